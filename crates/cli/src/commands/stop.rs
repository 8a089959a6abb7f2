//! `stop`.

use knarr_engine::container::stop::{StopOptions, stop};

use crate::failure::Failure;
use crate::output::each;
use crate::verb::Verb;
use crate::world::World;

/// Stop running containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Signal in place of the container's own
    #[arg(long, short = 's', value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds until SIGKILL; -1 waits for ever
    #[arg(long, short = 't', visible_alias = "time", value_name = "SECONDS", allow_hyphen_values = true)]
    timeout: Option<i64>,
    /// Name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Stop {
    const NAMES: &'static [&'static str] = &["stop", "container stop"];
    const ABOUT: &'static str = "Stop running containers";
    const EXAMPLE: &'static str = "knarr stop -t 30 web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let options = StopOptions { signal: self.signal, timeout_s: self.timeout };
        let context = world.reading()?;
        each("stop", &self.containers, |name| {
            stop(&context, name, &options)?;
            Ok(name.to_owned())
        })
    }
}
