//! One command: its names, its parser, and what it does.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args, FromArgMatches};

use crate::failure::Failure;
use crate::unsupported;
use crate::world::World;

/// A command as a type: clap's derive gives the parser.
pub(crate) trait Verb: Args + FromArgMatches {
    /// `ps`, and the other ways to say it: `container ls`.
    const NAMES: &'static [&'static str];
    /// One line.
    const ABOUT: &'static str;
    /// One command line that works.
    const EXAMPLE: &'static str;
    /// The line of usage, where the parser's own does not say it well.
    const USAGE: &'static str = "";

    /// Does it; the exit code.
    fn run(self, world: &World) -> Result<u8, Failure>;
}

/// A line of the table of commands.
pub(crate) struct Entry {
    pub names: &'static [&'static str],
    pub about: &'static str,
    pub example: &'static str,
    pub run: fn(&World, &ArgMatches) -> Result<u8, Failure>,
    usage: &'static str,
    augment: fn(clap::Command) -> clap::Command,
}

impl Entry {
    pub(crate) const fn of<V: Verb>() -> Entry {
        let (names, about, example, usage) = (V::NAMES, V::ABOUT, V::EXAMPLE, V::USAGE);
        Entry { names, about, example, usage, run: run::<V>, augment: V::augment_args }
    }

    /// The name that stands first.
    pub(crate) fn name(&self) -> &'static str {
        self.names[0]
    }

    /// The parser of this command alone.
    pub(crate) fn parser(&self) -> clap::Command {
        self.parser_as(&format!("knarr {}", self.name()))
    }

    /// The same under another program's name for it: `skopeo copy`.
    pub(crate) fn parser_as(&self, name: &str) -> clap::Command {
        let ours = format!("knarr {}", self.name());
        let command = clap::Command::new(self.name()).bin_name(name).no_binary_name(true).about(self.about);
        let example = format!("Example:\n  {}", self.example.replace(&ours, name));
        let command = command.after_help(example).disable_version_flag(true);
        let mut command = (self.augment)(command).disable_help_flag(true);
        if !self.usage.is_empty() {
            command = command.override_usage(self.usage.replace(&ours, name));
        }
        let help = clap::Arg::new("help").long("help").help("Print help").action(clap::ArgAction::Help);
        // Docker's `-h` of `run` is the host name.
        let taken = command.get_arguments().any(|arg| arg.get_short() == Some('h'));
        command.arg(if taken { help } else { help.short('h') })
    }
}

fn run<V: Verb>(world: &World, matches: &ArgMatches) -> Result<u8, Failure> {
    V::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))?.run(world)
}

/// Prints the help that was asked for, or says what is wrong with the command line.
pub(crate) fn usage(entry: &Entry, error: clap::Error) -> Result<u8, Failure> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        let _ = error.print();
        return Ok(0);
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(list)) => list.first().cloned(),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    let flag = argument.split([' ', '=']).next().unwrap_or_default();
    let failure = match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            unknown_flag(entry.name(), flag, text(ContextKind::SuggestedArg))
        }
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_none_or(|value| value.is_empty()) => {
            Failure::usage(format!("flag needs an argument: {flag}"))
                .hint(format!("see `knarr {} --help`", entry.name()))
        }
        ErrorKind::MissingRequiredArgument => {
            Failure::usage(format!("requires {}", named(&argument))).hint(format!("for example: {}", entry.example))
        }
        _ => {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            Failure::usage(first).hint(format!("see `knarr {} --help`", entry.name()))
        }
    };
    Err(failure.of(entry.name()))
}

/// What to say of an option that the command does not have.
fn unknown_flag(command: &str, flag: &str, near: Option<String>) -> Failure {
    if let Some((name, hint)) = unsupported::flag(command, flag) {
        return Failure::usage(format!("{name} is not supported yet")).hint(hint);
    }
    let failure = Failure::usage(format!("unknown flag: {flag}"));
    match near {
        Some(near) => failure.hint(format!("did you mean `{near}`? see `knarr {command} --help`")),
        None => failure.hint(format!("see `knarr {command} --help`")),
    }
}

/// `<IMAGE>...` as `IMAGE`.
fn named(argument: &str) -> String {
    argument.trim_end_matches("...").trim_matches(['<', '>']).to_owned()
}
