//! `image prune`.

use knarr_engine::image::prune::prune;

use super::container_prune::confirmed;
use crate::failure::Failure;
use crate::output::print;
use crate::units::size;
use crate::verb::Verb;
use crate::world::World;

/// Remove images nobody names, or nobody uses.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagePrune {
    /// Every image without a container, not only those without a name
    #[arg(long, short = 'a')]
    all: bool,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

impl Verb for ImagePrune {
    const NAMES: &'static [&'static str] = &["image prune"];
    const ABOUT: &'static str = "Remove images nobody names, or nobody uses";
    const EXAMPLE: &'static str = "knarr image prune -a -f";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let what =
            if self.all { "images without at least one container associated to them" } else { "dangling images" };
        if !self.force && !confirmed(&format!("This will remove all {what}."))? {
            return Ok(0);
        }
        let context = world.rooted()?;
        let collected = prune(&context, self.all)?;
        print(&format!("Total reclaimed space: {}\n", size(collected.bytes, 4)))?;
        for problem in collected.problems {
            world.note(&problem.to_string());
        }
        Ok(0)
    }
}
