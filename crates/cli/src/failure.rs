//! What went wrong, as it is printed once: `knarr: <verb>: <what>: <where>: <why>`, a hint below it, and the exit code.

use std::error::Error as _;

use knarr_engine::wanted::ParseError;
use knarr_engine::{Error, Kind};

use crate::template::TemplateError;

/// Docker's exit code for what a command could not do.
const FAILED: u8 = 1;

/// ENOSPC as the C library says it.
const NO_SPACE: &str = "No space left on device";
/// What to do about it.
const ROOM: &str = "free some space (`knarr system df` shows what takes it, `knarr system prune` removes what nobody uses), then try again";

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The command, where it is known.
    verb: Option<String>,
    message: String,
    hint: Option<String>,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { verb: None, message: message.into(), hint: None, code: FAILED }
    }

    /// A command line that cannot be meant.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure { code: knarr_engine::exit_code::OURS, ..Failure::new(message) }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn code(self, code: u8) -> Failure {
        Failure { code, ..self }
    }

    /// What is printed of it, without program and command.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says in the course of what it happened.
    pub(crate) fn within(self, what: &str) -> Failure {
        Failure { message: format!("{what}: {}", self.message), ..self }
    }

    /// Names the command.
    pub(crate) fn of(self, verb: &str) -> Failure {
        Failure { verb: self.verb.or_else(|| Some(verb.to_owned())), ..self }
    }

    /// Writes it to standard error.
    pub(crate) fn print(&self) {
        anstream::eprintln!("{}", self.text());
    }

    /// Writes it as skopeo does.
    pub(crate) fn log(&self) {
        let quoted = serde_json::to_string(&self.message).expect("a string");
        anstream::eprintln!("{}", log_line("fatal", &quoted));
    }

    /// What [`Failure::print`] writes.
    pub(crate) fn text(&self) -> String {
        // The one form scripts look for.
        let mut text = match &self.verb {
            _ if self.message.starts_with("No such ") => format!("Error: {}", self.message),
            // What happened may begin with the verb itself: `pull alpine: …`.
            Some(verb) if self.message.split(' ').next() == Some(verb) => format!("knarr: {}", self.message),
            Some(verb) => format!("knarr: {verb}: {}", self.message),
            None => format!("knarr: {}", self.message),
        };
        if let Some(hint) = &self.hint {
            text += &format!("\nhint: {hint}");
        }
        text
    }
}

/// A line of skopeo's log; `message` is quoted already.
pub(crate) fn log_line(level: &str, message: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let time = knarr_engine::time::rfc3339(now.as_secs() * 1_000_000_000);
    format!("time={time:?} level={level} msg={message}")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match error.kind() {
            Kind::Invalid => knarr_engine::exit_code::OURS,
            _ => FAILED,
        };
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            // An error that stands for its source has said it already.
            if !message.ends_with(&error.to_string()) {
                message = format!("{message}: {error}");
            }
            source = error.source();
        }
        let full = || message.contains(NO_SPACE).then(|| ROOM.to_owned());
        let hint = error.hint().or_else(full);
        Failure { verb: None, message, hint, code }
    }
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Failure {
        Failure::usage(error.to_string())
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Failure {
        Failure::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_program_verb_and_reason() {
        let failure = Failure::new("no room").of("run").hint("make some");
        assert_eq!(failure.text(), "knarr: run: no room\nhint: make some");
    }

    #[test]
    fn the_verb_is_said_once() {
        let failure = Failure::new("pull alpine: no such host").of("pull");
        assert_eq!(failure.text(), "knarr: pull alpine: no such host");
    }

    #[test]
    fn a_full_disk_has_a_remedy() {
        let source = std::io::Error::from_raw_os_error(28);
        let failure = Failure::from(Error::Io { action: "write", path: "/x".into(), source });
        assert!(failure.text().contains("\nhint: free some space"), "{}", failure.text());
    }

    #[test]
    fn a_missing_container_has_dockers_text() {
        assert_eq!(Failure::new("No such container: x").of("stop").text(), "Error: No such container: x");
    }
}
