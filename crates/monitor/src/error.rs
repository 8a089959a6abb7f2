//! What can go wrong in and around a monitor.

use std::io;
use std::path::{Path, PathBuf};

use crate::protocol::{Failure, ProtocolError};
use crate::state::StateError;

/// What, where, why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system said no.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A system call failed that has no file.
    #[error("{action}")]
    Call {
        /// What it was for.
        action: &'static str,
        /// The call.
        source: io::Error,
    },
    /// A configuration is not JSON or lacks a field.
    #[error("read {}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A configuration of another version.
    #[error("read {}: version {version}, this program knows {}", path.display(), crate::CONFIG_VERSION)]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Another monitor has the lock.
    #[error("container {id} already has a monitor")]
    Busy {
        /// The container.
        id: String,
    },
    /// The container to join does not run.
    #[error("container {id} is not running")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// The container's state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The runtime could not make, start or join the container.
    #[error(transparent)]
    Runtime(#[from] knarr_runtime::Error),
    /// A foreign runtime failed.
    #[error("{} {verb}: {reason}", program.display())]
    Foreign {
        /// The runtime.
        program: PathBuf,
        /// `create`, `start`, `exec`.
        verb: &'static str,
        /// The last line it wrote, or how it ended.
        reason: String,
    },
    /// The other side speaks no frames, or wrong ones.
    #[error("monitor protocol")]
    Protocol(#[from] ProtocolError),
    /// The monitor told us why it failed.
    #[error("{}", .0.message)]
    Remote(Failure),
    /// The monitor is gone without a word.
    #[error("the monitor ended without reporting an exit code")]
    Lost,
    /// The launcher was gone before it said `start`.
    #[error("the client was gone before the container was started")]
    Abandoned,
    /// Called with arguments no engine gives.
    #[error("usage: knarr monitor CONTAINER_DIRECTORY | knarr monitor --exec SESSION_DIRECTORY")]
    Usage,
}

/// The exit code docker and the shells give when the program is missing.
const EXIT_NOT_FOUND: u8 = 127;
/// … and when it is there but cannot be executed.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The exit code of an engine that failed itself.
const EXIT_OURS: u8 = 125;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    pub(crate) fn call<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::Call { action, source: source.into() }
    }

    /// What a command line exits with: docker's 125, 126 or 127.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Runtime(error) => error.exit_code(),
            Error::Remote(failure) => failure.exit_code.unwrap_or(EXIT_OURS),
            Error::Foreign { reason, .. } => foreign_exit_code(reason),
            _ => EXIT_OURS,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Runtime(error) => error.hint().map(str::to_owned),
            Error::Remote(failure) => failure.hint.clone(),
            Error::Foreign { reason, .. } if reason.contains(RUNSC_ROOT_NETWORK) => Some(RUNSC_HINT.to_owned()),
            _ => None,
        }
    }

    /// As it is sent to a client.
    pub fn to_failure(&self) -> Failure {
        let mut message = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            message = format!("{message}: {error}");
            source = error.source();
        }
        Failure { message, hint: self.hint(), exit_code: Some(self.exit_code()) }
    }
}

/// What runsc says where it takes every network namespace for the machine's own: it looks for files of /proc/sys/net/core that newer
/// kernels show in all of them.
const RUNSC_ROOT_NETWORK: &str = "cannot run with network enabled in root network namespace";
const RUNSC_HINT: &str = "runsc does not recognise network namespaces on this kernel; name a script as the runtime that ends in \
    `exec runsc --network=none \"$@\"`";

/// The words by which docker tells a missing program from one that cannot be executed, in what runc and crun say.
fn foreign_exit_code(reason: &str) -> u8 {
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    let names_the_program = has(&["exec: ", "exec ", "executable file"]);
    if names_the_program && has(&["not found", "no such file", "No such file"]) {
        return EXIT_NOT_FOUND;
    }
    if names_the_program && has(&["ermission denied", "xec format error", "s a directory"]) {
        return EXIT_NOT_EXECUTABLE;
    }
    EXIT_OURS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reason: &str, expect: u8) {
        assert_eq!(foreign_exit_code(reason), expect, "{reason}");
    }

    #[test]
    fn a_missing_program_is_127_in_every_runtimes_words() {
        check("unable to start container process: exec: \"nope\": executable file not found in $PATH", 127);
        check("error during container init: exec: \"/nope\": stat /nope: no such file or directory", 127);
        check("executable file `nope` not found in $PATH: No such file or directory: exec failed", 127);
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_126() {
        check("exec: \"/etc/passwd\": permission denied", 126);
        check("exec /data: exec format error", 126);
    }

    #[test]
    fn anything_else_is_125() {
        check("mounting \"/nowhere\" to rootfs: no such file or directory", 125);
        check("cgroup: permission denied", 125);
    }
}
