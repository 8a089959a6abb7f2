//! `tag`.

use knarr_engine::image::tag::tag;

use crate::failure::Failure;
use crate::verb::Verb;
use crate::world::World;

/// Give an image another name.
#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    /// Name or id
    source: String,
    /// The new name
    target: String,
}

impl Verb for Tag {
    const NAMES: &'static [&'static str] = &["tag", "image tag"];
    const ABOUT: &'static str = "Give an image another name";
    const EXAMPLE: &'static str = "knarr tag alpine registry.example/base:1";

    fn run(self, world: &World) -> Result<u8, Failure> {
        tag(&world.reading()?, &self.source, &self.target)?;
        Ok(0)
    }
}
