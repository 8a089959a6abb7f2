//! The log that engines read after a failure: logrus' text or JSON lines in a file, or crun's `syslog:` and `journald:`. Without
//! `--log` the lines go to standard error, as runc's do.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use super::{commands::Globals, failure::Failure, time};

/// syslog(3)'s socket, and its facility for daemons.
const SYSLOG: &str = "/dev/log";
const FACILITY_DAEMON: u8 = 3 << 3;
/// systemd-journald's.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What failed.
    Error,
    /// And what was left out.
    #[default]
    Warning,
    /// And what is done, step by step.
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Debug => "debug",
        }
    }

    /// As syslog(3) numbers them.
    fn priority(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Debug => 7,
        }
    }

    /// crun's `--log-level`, and logrus' names.
    pub(crate) fn parse(text: &str) -> Option<Level> {
        match text {
            "panic" | "fatal" | "error" => Some(Level::Error),
            "warning" | "warn" => Some(Level::Warning),
            "info" | "debug" | "trace" => Some(Level::Debug),
            _ => None,
        }
    }
}

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    File(PathBuf),
    /// With this name.
    Syslog(String),
    Journal(String),
}

impl Target {
    /// crun's `--log`: `file:PATH`, `syslog:NAME`, `journald:NAME`, and runc's path.
    pub(crate) fn parse(text: &str, directory: &Path) -> Target {
        match text.split_once(':') {
            Some(("syslog", name)) => Target::Syslog(name.into()),
            Some(("journald", name)) => Target::Journal(name.into()),
            Some(("file", path)) => Target::File(directory.join(path)),
            _ => Target::File(directory.join(text)),
        }
    }

    /// Whether there is somebody to tell: to be silent about a log that was asked for would hide every failure to come.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self {
            Target::Syslog(_) => connect(SYSLOG).map(drop),
            Target::Journal(_) => connect(JOURNAL).map(drop),
            Target::File(_) => Ok(()),
        }
    }
}

fn connect(path: &'static str) -> Result<UnixDatagram, Failure> {
    let open = || {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(socket)
    };
    open().map_err(|source| Failure::File { what: "open the log", path: path.into(), source })
}

/// One line of level `error` in the log, and on standard error: there `in_frame` for those who called us runc and look for
/// `level=error`, otherwise without a date, because engines show it to people.
pub(crate) fn error(globals: &Globals, text: &str, in_frame: bool) {
    if globals.log.is_some() {
        line(globals, Level::Error, text);
    }
    let told = match globals.log {
        None if globals.log_json => json(Level::Error, text),
        None if in_frame => plain(Level::Error, text),
        _ => format!("{text}\n"),
    };
    super::print_error(&told);
}

/// One line of level `warning`.
pub(crate) fn warning(globals: &Globals, text: &str) {
    line(globals, Level::Warning, text);
}

/// Lines of level `debug`, made only when somebody reads them.
pub(crate) fn debug(globals: &Globals, text: impl FnOnce() -> String) {
    if globals.log_level >= Level::Debug {
        text().lines().for_each(|one| line(globals, Level::Debug, one));
    }
}

/// A log that cannot be written is no reason to stop a container.
fn line(globals: &Globals, level: Level, text: &str) {
    if level > globals.log_level {
        return;
    }
    let formatted = || if globals.log_json { json(level, text) } else { plain(level, text) };
    let Some(target) = &globals.log else { return super::print_error(&formatted()) };
    let told = match target {
        Target::File(path) => {
            let line = formatted();
            OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(line.as_bytes()))
        }
        Target::Syslog(name) => send(SYSLOG, &format!("<{}>{name}: {text}", FACILITY_DAEMON | level.priority())),
        Target::Journal(name) => send(JOURNAL, &journal(level, name, text)),
    };
    drop(told);
}

fn send(path: &str, message: &str) -> std::io::Result<()> {
    UnixDatagram::unbound()?.send_to(message.as_bytes(), path).map(drop)
}

/// journald's own protocol: a field a line; a message has one line here.
fn journal(level: Level, name: &str, text: &str) -> String {
    let text = text.replace('\n', " ");
    format!("PRIORITY={}\nSYSLOG_IDENTIFIER={name}\nMESSAGE={text}\n", level.priority())
}

fn json(level: Level, text: &str) -> String {
    format!("{}\n", serde_json::json!({ "level": level.name(), "msg": text, "time": time::now() }))
}

fn plain(level: Level, text: &str) -> String {
    format!("time={:?} level={} msg={text:?}\n", time::now(), level.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_a_file_or_a_service() {
        let here = Path::new("/here");
        for (text, expect) in [
            ("/l", Target::File("/l".into())),
            ("l", Target::File("/here/l".into())),
            ("file:/l", Target::File("/l".into())),
            ("syslog:web", Target::Syslog("web".into())),
            ("journald:web", Target::Journal("web".into())),
        ] {
            assert_eq!(Target::parse(text, here), expect);
        }
    }

    #[test]
    fn the_journal_gets_fields() {
        assert_eq!(journal(Level::Error, "web", "a\nb"), "PRIORITY=3\nSYSLOG_IDENTIFIER=web\nMESSAGE=a b\n");
    }
}
