//! `rm`.

use knarr_engine::container::remove::{RemoveOptions, remove};

use crate::failure::Failure;
use crate::output::each;
use crate::verb::Verb;
use crate::world::World;

/// Remove containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Kill those that run; say nothing of those that are not there
    #[arg(long, short = 'f')]
    force: bool,
    /// Remove their anonymous volumes too
    #[arg(long, short = 'v')]
    volumes: bool,
    /// Name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Rm {
    const NAMES: &'static [&'static str] = &["rm", "container rm", "container remove"];
    const ABOUT: &'static str = "Remove containers";
    const EXAMPLE: &'static str = "knarr rm -f web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.rooted()?;
        let options = RemoveOptions { force: self.force, volumes: self.volumes };
        each("rm", &self.containers, |name| {
            match remove(&context, name, options) {
                Err(error) if self.force && error.kind() == knarr_engine::Kind::NotFound => {}
                other => other?,
            }
            Ok(name.to_owned())
        })
    }
}
