//! What can go wrong between a plan and a running program.

use knarr_sys::Errno;

use crate::{Lint, Problems};

/// What, where, why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be run.
    #[error("configuration: {0}")]
    Problems(Problems),
    /// The plan contradicts itself; a mistake of ours, not of the configuration.
    #[error("plan: {}", .0.iter().map(Lint::to_string).collect::<Vec<_>>().join("; "))]
    Plan(Vec<Lint>),
    /// A step failed.
    #[error("step {number} of {total}: {what}: {}{}", reason(*.errno), note.as_ref().map(|n| format!(" ({n})")).unwrap_or_default())]
    Step {
        /// Position in its list, from 1.
        number: usize,
        /// Length of the list.
        total: usize,
        /// The step in words.
        what: String,
        /// The kernel's answer.
        errno: Errno,
        /// What the kernel said beside it.
        note: Option<String>,
        /// What to do about it, where that is known.
        hint: Option<&'static str>,
    },
    /// The user's program cannot be executed.
    #[error("exec: {name:?}: {}", program_reason(name, *.errno))]
    Program {
        /// `process.args[0]`.
        name: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The user's program was found, but not executed.
    #[error("exec {name}: {}", reason(*.errno))]
    Execute {
        /// `process.args[0]`.
        name: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A system call of the parent failed.
    #[error("{what}")]
    Parent {
        /// What it was for.
        what: String,
        /// The call.
        source: knarr_sys::Error,
    },
    /// The container's process ended before it reported.
    #[error("the container's init ended before it was ready: {status}")]
    InitDied {
        /// `killed by signal 9`, `exit code 1`.
        status: String,
    },
    /// A hook failed.
    #[error("error running {kind} hook #{index}: {path}: {why}")]
    Hook {
        /// As in the document: `createRuntime`.
        kind: &'static str,
        /// Its place among those of its kind, from 0, as runc counts.
        index: usize,
        /// The program.
        path: String,
        /// `exit code 1: what it wrote`, `timed out after 5 s`.
        why: String,
    },
    /// `newuidmap` or `newgidmap` did not map the ids.
    #[error("{program}: {why}")]
    IdMapHelper {
        /// Which.
        program: String,
        /// What it wrote, or why it could not be run.
        why: String,
    },
    /// The control group could not be made.
    #[error("cgroup")]
    Cgroup(#[from] knarr_cgroup::Error),
    /// The group of caches and memory bandwidth could not be joined.
    #[error("intelRdt")]
    Rdt(#[from] crate::resctrl::RdtError),
    /// The process cannot join the container's control group; 0 is how a process names itself there.
    #[error("adding pid 0 to cgroups")]
    JoinCgroup(#[source] Box<Error>),
    /// The container is not in the state the operation needs.
    #[error("container {id} is {status}")]
    Status {
        /// The container.
        id: String,
        /// `not running`, `stopped`, `already started`.
        status: &'static str,
    },
}

// Not by `from`, which would make them the source as well, and have them told twice.
impl From<Problems> for Error {
    fn from(problems: Problems) -> Error {
        Error::Problems(problems)
    }
}

/// The exit code docker and the shells give when the program is missing.
const EXIT_NOT_FOUND: u8 = 127;
/// … and when it is there but cannot be executed.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The exit code of an engine that failed itself.
const EXIT_OURS: u8 = 125;

impl Error {
    /// What a command line exits with: 127, 126, or 125 where the program was not to blame.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Program { errno: Errno::NOENT, .. } | Error::Execute { errno: Errno::NOENT, .. } => EXIT_NOT_FOUND,
            Error::Program { .. } | Error::Execute { .. } => EXIT_NOT_EXECUTABLE,
            _ => EXIT_OURS,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Step { hint, .. } => *hint,
            Error::Cgroup(error) => error.hint(),
            Error::IdMapHelper { .. } => {
                Some("install the package uidmap, and see that /etc/subuid and /etc/subgid list the user")
            }
            _ => None,
        }
    }
}

fn reason(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// runc's words, which engines look for.
fn program_reason(name: &str, errno: Errno) -> String {
    match errno {
        Errno::NOENT if !name.contains('/') => "executable file not found in $PATH".into(),
        Errno::NOENT => format!("stat {name}: no such file or directory"),
        other => reason(other),
    }
}
