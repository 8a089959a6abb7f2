//! `restart`.

use knarr_engine::container::start::{Started, start};
use knarr_engine::container::stop::{StopOptions, stop};

use crate::failure::Failure;
use crate::output::each;
use crate::verb::Verb;
use crate::world::World;

/// Stop containers and start them again.
#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
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

impl Verb for Restart {
    const NAMES: &'static [&'static str] = &["restart", "container restart"];
    const ABOUT: &'static str = "Stop containers and start them again";
    const EXAMPLE: &'static str = "knarr restart web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let options = StopOptions { signal: self.signal, timeout_s: self.timeout };
        let context = world.rooted()?;
        each("restart", &self.containers, |name| {
            stop(&context, name, &options)?;
            if let Started::Launched(mut client) = start(&context, name)? {
                client.start().and_then(|()| client.wait_started()).map_err(knarr_engine::Error::from)?;
            }
            Ok(name.to_owned())
        })
    }
}
