//! `rename`.

use knarr_engine::container::rename::rename;

use crate::failure::Failure;
use crate::verb::Verb;
use crate::world::World;

/// Give a container another name.
#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    /// Name or id
    container: String,
    /// The new name
    name: String,
}

impl Verb for Rename {
    const NAMES: &'static [&'static str] = &["rename", "container rename"];
    const ABOUT: &'static str = "Give a container another name";
    const EXAMPLE: &'static str = "knarr rename web web-old";

    fn run(self, world: &World) -> Result<u8, Failure> {
        rename(&world.reading()?, &self.container, &self.name)?;
        Ok(0)
    }
}
