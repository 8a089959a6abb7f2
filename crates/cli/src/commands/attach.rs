//! `attach`.

use knarr_engine::container::attach::connect;

use crate::failure::Failure;
use crate::foreground::{self, End, Streams, check_terminal, detach_keys};
use crate::verb::Verb;
use crate::world::World;

/// Connect to a running container.
#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Name or id
    container: String,
}

impl Verb for Attach {
    const NAMES: &'static [&'static str] = &["attach", "container attach"];
    const ABOUT: &'static str = "Connect to a running container";
    const EXAMPLE: &'static str = "knarr attach web    # ctrl-p ctrl-q leaves it running";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let context = world.reading()?;
        let (container, mut client) = connect(&context, &self.container)?;
        let wanted = &container.options.wanted;
        let stdin = wanted.interactive && !self.no_stdin;
        check_terminal(stdin, wanted.terminal)?;
        let streams = Streams {
            stdin,
            stdout: true,
            stderr: true,
            terminal: wanted.terminal,
            signals: self.sig_proxy,
            detach_keys: detach_keys(self.detach_keys.as_deref())?,
            cleanup: false,
        };
        match foreground::run(&mut client, &streams, |_| Ok(()))? {
            End::Exited(code) | End::Left(code) => Ok(code),
        }
    }
}
