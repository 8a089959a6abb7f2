//! The options before the command, parsed by hand: there are few, and `--version` must not pay for a parser.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::Failure;

/// Options of every command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Globals {
    /// `--root`: in place of `/var/lib/knarr` or `~/.local/share/knarr`.
    pub root: Option<PathBuf>,
    /// `--runroot`: in place of `/run/knarr` or `$XDG_RUNTIME_DIR/knarr`.
    pub runroot: Option<PathBuf>,
}

/// What comes after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum First {
    Help,
    Version,
    Command(Vec<OsString>),
}

impl Globals {
    pub(crate) fn parse(args: Vec<OsString>) -> Result<(Globals, First), Failure> {
        let mut globals = Globals::default();
        let mut args = args.into_iter();
        while let Some(word) = args.next() {
            let Some(text) = word.to_str().filter(|text| text.starts_with('-')) else {
                return Ok((globals, First::Command(std::iter::once(word).chain(args).collect())));
            };
            let (name, value) =
                text.split_once('=').map_or((text, None), |(name, value)| (name, Some(OsString::from(value))));
            match name {
                "--help" | "-h" => return Ok((globals, First::Help)),
                "--version" | "-v" => return Ok((globals, First::Version)),
                "--root" | "--runroot" => {
                    let value = value.or_else(|| args.next()).filter(|value| !value.is_empty());
                    let value = value.ok_or_else(|| Failure::usage(format!("flag needs an argument: {name}")))?;
                    let slot = if name == "--root" { &mut globals.root } else { &mut globals.runroot };
                    *slot =
                        Some(std::path::absolute(value).map_err(|error| Failure::usage(format!("{name}: {error}")))?);
                }
                _ => {
                    let failure = Failure::usage(format!("unknown flag: {name}"));
                    return Err(failure.hint("options of a command stand behind it; see `knarr --help`"));
                }
            }
        }
        Ok((globals, First::Help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], root: Option<&str>, first: First) {
        let globals = Globals { root: root.map(Into::into), runroot: None };
        let got = Globals::parse(words.iter().map(OsString::from).collect()).ok();
        assert_eq!(got, Some((globals, first)));
    }

    #[test]
    fn the_first_word_without_dash_is_the_command() {
        let command = First::Command(vec!["ps".into(), "-a".into()]);
        check(&["--root", "/x", "ps", "-a"], Some("/x"), command.clone());
        check(&["--root=/x", "ps", "-a"], Some("/x"), command);
    }

    #[test]
    fn nothing_and_help_are_help() {
        check(&[], None, First::Help);
        check(&["-h", "ps"], None, First::Help);
        check(&["--version"], None, First::Version);
    }

    #[test]
    fn unknown_and_incomplete_options_are_refused() {
        assert!(Globals::parse(vec!["--rot".into()]).is_err());
        assert!(Globals::parse(vec!["--root".into()]).is_err());
    }
}
