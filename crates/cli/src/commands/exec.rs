//! `exec`.

use knarr_engine::container::exec::{ExecWanted, exec};
use knarr_engine::wanted::env_file;

use crate::failure::Failure;
use crate::foreground::{self, End, Streams, check_terminal, detach_keys};
use crate::verb::Verb;
use crate::world::{World, current_dir};

/// Run a command in a running container.
#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// Run in the background
    #[arg(long, short = 'd')]
    detach: bool,
    /// Keys that leave the command running
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set an environment variable (NAME=value, or NAME to pass ours on)
    #[arg(long, short = 'e', value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Pass standard input on
    #[arg(long, short = 'i')]
    interactive: bool,
    /// All capabilities
    #[arg(long)]
    privileged: bool,
    /// Allocate a terminal
    #[arg(long, short = 't')]
    tty: bool,
    /// User and group (NAME|UID[:GROUP|GID])
    #[arg(long, short = 'u', value_name = "USER")]
    user: Option<String>,
    /// Current directory of the command
    #[arg(long, short = 'w', value_name = "DIR")]
    workdir: Option<String>,
    /// Container, then command and arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CONTAINER COMMAND")]
    words: Vec<String>,
}

impl Verb for Exec {
    const NAMES: &'static [&'static str] = &["exec", "container exec"];
    const ABOUT: &'static str = "Run a command in a running container";
    const EXAMPLE: &'static str = "knarr exec -it web sh";
    const USAGE: &'static str = "knarr exec [OPTIONS] CONTAINER COMMAND [ARG]...";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let interactive = self.interactive && !self.detach;
        check_terminal(interactive, self.tty)?;
        let streams = Streams {
            stdin: interactive,
            stdout: !self.detach,
            stderr: !self.detach,
            terminal: self.tty,
            signals: false,
            detach_keys: detach_keys(self.detach_keys.as_deref())?,
            cleanup: false,
        };
        let (container, args) = self.words.split_first().expect("the parser requires a container");
        if args.is_empty() {
            return Err(Failure::usage("requires a command").hint(format!("for example: {}", Self::EXAMPLE)));
        }
        let wanted = ExecWanted {
            args: args.to_vec(),
            env: self.environment()?,
            user: self.user.clone(),
            workdir: self.workdir.clone(),
            terminal: self.tty,
            interactive,
            detach: self.detach,
            privileged: self.privileged,
        };
        let ahead = world.ahead();
        let context = world.reading()?;
        let mut session = exec(&context, container, &wanted, ahead)?;
        let ended = if self.detach {
            session
                .client
                .start()
                .and_then(|()| session.client.wait_started())
                .map(|()| End::Left(0))
                .map_err(Into::into)
        } else {
            foreground::run(&mut session.client, &streams, |client| client.start())
        };
        match ended {
            Ok(End::Exited(code) | End::Left(code)) => Ok(code),
            Err(error) => {
                // Docker: 126 and 127 as a shell says them, everything else 1.
                let code = match error.exit_code() {
                    knarr_engine::exit_code::OURS => knarr_engine::exit_code::FAILED,
                    code => code,
                };
                Err(Failure::from(error).code(code))
            }
        }
    }
}

impl Exec {
    fn environment(&self) -> Result<Vec<String>, Failure> {
        let mut list = Vec::new();
        for path in &self.env_file {
            let text = std::fs::read_to_string(current_dir().join(path));
            list.extend(env_file(&text.map_err(|error| Failure::usage(format!("--env-file: {path}: {error}")))?)?);
        }
        list.extend(self.env.clone());
        let passed = |entry: String| match std::env::var(&entry) {
            Ok(value) if !entry.contains('=') => format!("{entry}={value}"),
            _ => entry,
        };
        Ok(list.into_iter().map(passed).collect())
    }
}
