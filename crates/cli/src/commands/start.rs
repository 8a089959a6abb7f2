//! `start`.

use knarr_engine::container::{attach::connect, start::Started, start::start};
use knarr_engine::{Context, container};

use crate::failure::Failure;
use crate::foreground::{self, End, Streams, check_terminal, detach_keys};
use crate::output::each;
use crate::verb::Verb;
use crate::world::World;

/// Start containers at rest.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// Show the output and pass signals on
    #[arg(long, short = 'a')]
    attach: bool,
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass standard input on
    #[arg(long, short = 'i')]
    interactive: bool,
    /// Name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Start {
    const NAMES: &'static [&'static str] = &["start", "container start"];
    const ABOUT: &'static str = "Start containers at rest";
    const EXAMPLE: &'static str = "knarr start -a web";

    fn run(self, world: &World) -> Result<u8, Failure> {
        if (self.attach || self.interactive) && self.containers.len() > 1 {
            return Err(Failure::usage("you cannot start and attach multiple containers at once"));
        }
        let context = world.rooted()?;
        if self.attach || self.interactive {
            return self.attached(&context, &self.containers[0]);
        }
        each("start", &self.containers, |name| {
            if let Started::Launched(mut client) = start(&context, name)? {
                client.start().and_then(|()| client.wait_started()).map_err(knarr_engine::Error::from)?;
            }
            Ok(name.to_owned())
        })
    }
}

impl Start {
    fn attached(&self, context: &Context, name: &str) -> Result<u8, Failure> {
        let container = container::find(context, name)?;
        let wanted = &container.options.wanted;
        let stdin = self.interactive && wanted.interactive;
        check_terminal(stdin, wanted.terminal)?;
        let streams = Streams {
            stdin,
            stdout: true,
            stderr: true,
            terminal: wanted.terminal,
            signals: true,
            detach_keys: detach_keys(self.detach_keys.as_deref())?,
            cleanup: false,
        };
        let end = match start(context, name)? {
            Started::Launched(mut client) => foreground::run(&mut client, &streams, |client| client.start()),
            Started::Already => foreground::run(&mut connect(context, name)?.1, &streams, |_| Ok(())),
        };
        match end {
            Ok(End::Exited(code) | End::Left(code)) => Ok(code),
            Err(error) => {
                let code = error.exit_code();
                Err(Failure::from(error).code(code))
            }
        }
    }
}
