//! `cleanup`: what a monitor executes at the end of a `--rm` container whose client is gone. Not for people.

use knarr_engine::container::remove::after_exit;

use crate::failure::Failure;
use crate::verb::Verb;
use crate::world::World;

/// Remove a container that has ended.
#[derive(Debug, clap::Args)]
pub(crate) struct Cleanup {
    /// Its id
    id: String,
}

impl Verb for Cleanup {
    const NAMES: &'static [&'static str] = &["cleanup"];
    const ABOUT: &'static str = "";
    const EXAMPLE: &'static str = "knarr cleanup ID";

    fn run(self, world: &World) -> Result<u8, Failure> {
        after_exit(&world.reading()?, &self.id)?.remove()?;
        Ok(0)
    }
}
