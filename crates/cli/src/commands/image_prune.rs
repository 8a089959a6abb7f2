//! `image prune`.

use knarr_engine::system::prune::{Pruned, prune_images};

use super::container_prune::confirmed;
use super::system_prune::{filtered, report};
use crate::failure::Failure;
use crate::output::print;
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
    /// Only those that fit (until=24h, label=NAME[=VALUE], label!=NAME[=VALUE])
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

impl Verb for ImagePrune {
    const NAMES: &'static [&'static str] = &["image prune"];
    const ABOUT: &'static str = "Remove images nobody names, or nobody uses";
    const EXAMPLE: &'static str = "knarr image prune -a -f";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let mut wanted = filtered(&self.filter)?;
        wanted.all_images = self.all;
        let what =
            if self.all { "images without at least one container associated to them" } else { "dangling images" };
        if !self.force && !confirmed(&format!("This will remove all {what}."))? {
            return Ok(0);
        }
        let context = world.rooted()?;
        let mut pruned = Pruned::default();
        prune_images(&context, &wanted, &mut pruned)?;
        print(&report(&pruned))?;
        for problem in &pruned.problems {
            world.note(problem);
        }
        Ok(0)
    }
}
