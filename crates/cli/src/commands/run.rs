//! `run`.

use knarr_engine::container::create::create;
use knarr_engine::container::remove::{after_exit, discard};
use knarr_engine::container::start::{Ahead, launch};
use knarr_engine::wanted::Wanted;
use knarr_engine::{Client, Context, Error, exit_code};

use crate::container_flags::ContainerFlags;
use crate::failure::Failure;
use crate::foreground::{self, End, Streams, check_terminal, detach_keys};
use crate::output::print;
use crate::verb::Verb;
use crate::world::{CliPulls, World};

/// Run a command in a new container.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Attach to stdin, stdout or stderr only
    #[arg(long, short = 'a', value_name = "STREAM")]
    attach: Vec<String>,
    /// Run in the background and print the container's id
    #[arg(long, short = 'd')]
    detach: bool,
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    #[command(flatten)]
    container: ContainerFlags,
}

impl Verb for Run {
    const NAMES: &'static [&'static str] = &["run", "container run"];
    const ABOUT: &'static str = "Run a command in a new container";
    const EXAMPLE: &'static str = "knarr run --rm -it docker.io/library/alpine sh";
    const USAGE: &'static str = "knarr run [OPTIONS] IMAGE [COMMAND] [ARG]...";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let ours = |failure: Failure| failure.code(exit_code::OURS);
        let mut wanted = self.container.wanted().map_err(ours)?;
        wanted.stdin_once = !self.detach;
        let streams = self.streams(&wanted)?;
        if let Some(stage) = &self.container.dry_run {
            return super::create::dry_run(world, wanted, stage);
        }
        *world.quiet.borrow_mut() = self.container.quiet;
        let entered = world.enter().map_err(ours)?;
        let ahead = Ahead::launch();
        let context = world.open(entered).map_err(ours)?;
        let pulls = CliPulls::new(self.container.quiet, self.container.tls_verify);
        let record = create(&context, wanted, &pulls).map_err(|error| ours(error.into()))?;
        world.notes_of(&context);
        let started =
            launch(&context, &record, ahead).and_then(|client| self.go(&context, &record.id, client, &streams));
        started.map_err(|error| {
            if self.container.rm {
                discard(&context, &record.id);
            }
            let code = error.exit_code();
            Failure::from(error).code(code)
        })
    }
}

impl Run {
    fn streams(&self, wanted: &Wanted) -> Result<Streams, Failure> {
        if self.detach && !self.attach.is_empty() {
            return Err(Failure::usage("conflicting options: -a (--attach) and -d (--detach)"));
        }
        let known = ["stdin", "stdout", "stderr"];
        if let Some(unknown) = self.attach.iter().find(|name| !known.contains(&name.to_lowercase().as_str())) {
            let message = format!("--attach: invalid value {unknown:?}: expected stdin, stdout or stderr");
            return Err(Failure::usage(message));
        }
        let named =
            |name: &str| self.attach.is_empty() || self.attach.iter().any(|stream| stream.eq_ignore_ascii_case(name));
        if !self.detach {
            check_terminal(wanted.interactive, wanted.terminal)?;
        }
        Ok(Streams {
            stdin: wanted.interactive && named("stdin"),
            stdout: named("stdout"),
            stderr: named("stderr"),
            terminal: wanted.terminal,
            signals: self.sig_proxy,
            detach_keys: detach_keys(self.detach_keys.as_deref())?,
            cleanup: wanted.auto_remove,
        })
    }

    fn go(&self, context: &Context, id: &str, mut client: Client, streams: &Streams) -> Result<u8, Error> {
        if self.detach {
            client.start()?;
            client.wait_started()?;
            // A closed standard output is not worth a container.
            let _ = print(&format!("{id}\n"));
            return Ok(0);
        }
        match foreground::run(&mut client, streams, |client| client.start())? {
            End::Exited(code) => {
                if streams.cleanup {
                    let rubbish = after_exit(context, id)?;
                    client.cleaned(&rubbish.into_directories())?;
                }
                Ok(code)
            }
            End::Left(code) => Ok(code),
        }
    }
}
