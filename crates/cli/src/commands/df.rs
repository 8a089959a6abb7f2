//! `system df`.

use knarr_engine::image::df::disk_usage;

use crate::failure::Failure;
use crate::listing::render;
use crate::output::print;
use crate::rows::{USAGE, usage};
use crate::verb::Verb;
use crate::world::World;

/// Show what takes how much room.
#[derive(Debug, clap::Args)]
pub(crate) struct Df {
    /// A Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Df {
    const NAMES: &'static [&'static str] = &["system df"];
    const ABOUT: &'static str = "Show what takes how much room";
    const EXAMPLE: &'static str = "knarr system df";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let all = disk_usage(&context)?;
        let rows =
            [usage("Images", &all.images), usage("Containers", &all.containers), usage("Local Volumes", &all.volumes)];
        print(&render(&USAGE, self.format.as_deref(), false, &rows)?)?;
        Ok(0)
    }
}
