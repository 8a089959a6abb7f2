//! `wait`.

use knarr_engine::container::wait::wait;

use crate::failure::Failure;
use crate::output::each;
use crate::verb::Verb;
use crate::world::World;

/// Wait until containers end and print their exit codes.
#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// Name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Wait {
    const NAMES: &'static [&'static str] = &["wait", "container wait"];
    const ABOUT: &'static str = "Wait until containers end and print their exit codes";
    const EXAMPLE: &'static str = "knarr wait web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.reading()?;
        each("wait", &self.containers, |name| Ok(wait(&context, name)?.to_string()))
    }
}
