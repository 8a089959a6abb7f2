//! `kill`.

use knarr_engine::container::kill::kill;

use crate::failure::Failure;
use crate::output::each;
use crate::verb::Verb;
use crate::world::World;

/// Send a signal to running containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// The signal
    #[arg(long, short = 's', value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Kill {
    const NAMES: &'static [&'static str] = &["kill", "container kill"];
    const ABOUT: &'static str = "Send a signal to running containers";
    const EXAMPLE: &'static str = "knarr kill -s HUP web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.reading()?;
        each("kill", &self.containers, |name| {
            kill(&context, name, &self.signal)?;
            Ok(name.to_owned())
        })
    }
}
