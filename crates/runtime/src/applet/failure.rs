//! What a command answers when it cannot do what it was asked.
//!
//! The sentences are runc's where engines search for them: containerd, podman and CRI-O know "container does not exist", "container
//! not running", "executable file not found in $PATH" and tell their own users by them.

use std::{error::Error as _, ffi::OsString, io, path::PathBuf};

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("flag provided but not defined: {0}")]
    Flag(String),
    #[error("flag needs an argument: {0}")]
    NoValue(String),
    #[error("invalid value for {flag}: {value:?} is not {wants}")]
    Value { flag: &'static str, value: String, wants: &'static str },
    #[error("argument {0:?} is not text")]
    NotText(OsString),
    #[error("No help topic for '{0}': there is no such command")]
    Command(String),
    #[error("{command}: {wants}")]
    Words { command: &'static str, wants: &'static str },
    #[error("container id cannot be empty")]
    EmptyId,
    #[error("invalid container ID format: {0}: invalid character in container ID")]
    InvalidId(String),
    #[error("container with given ID already exists: {0}")]
    Exists(String),
    #[error("container does not exist: {0}")]
    Missing(String),
    #[error("container not running")]
    NotRunning,
    #[error("container not paused")]
    NotPaused,
    #[error("cannot {verb} a container in the {status} state")]
    State { verb: &'static str, status: &'static str },
    #[error("cannot start an already running container")]
    AlreadyRunning,
    #[error("cannot start a container that has stopped")]
    HasStopped,
    #[error("cannot exec in a stopped container")]
    ExecStopped,
    #[error("cannot exec in a paused container (use --ignore-paused to override)")]
    ExecPaused,
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped { id: String, status: &'static str },
    #[error("bad sub cgroup path: {0} does not lie below the container's cgroup")]
    SubCgroup(String),
    #[error("unknown controller {0} in --cgroup")]
    Controller(String),
    #[error("container init still running")]
    StillRunning,
    #[error("unknown signal {0:?}")]
    Signal(String),
    #[error("cannot allocate tty if runc will detach without setting console socket")]
    NoConsoleSocket,
    #[error("cannot use console socket if runc will not detach or allocate tty")]
    NeedlessConsoleSocket,
    #[error("JSON specification file {} not found", .0.display())]
    NoConfig(PathBuf),
    #[error("File {} exists. Remove it first", .0.display())]
    ConfigExists(PathBuf),
    #[error("process: is required by start")]
    NoProcess,
    #[error("unable to stat preserved-fd {0}")]
    PreservedFd(u32),
    #[error("exec failed")]
    ExecFailed(#[source] Box<Failure>),
    #[error("{0}")]
    Exec(&'static str),
    #[error("systemd cgroup flag passed, but systemd support for managing cgroups is not available")]
    NoSystemd,
    #[error("--{flag}: {needs}")]
    IntelRdt { flag: &'static str, needs: &'static str },
    #[error(transparent)]
    Rdt(#[from] crate::resctrl::RdtError),
    #[error("Container cannot be checkpointed in {0} state")]
    CheckpointState(&'static str),
    #[error("{0}")]
    Checkpoint(&'static str),
    #[error("execute {}", program.display())]
    Criu { program: PathBuf, source: io::Error },
    #[error("{what}")]
    CriuTalk { what: &'static str, source: io::Error },
    #[error("criu failed: {0}")]
    CriuFailed(String),
    #[error("{what} {}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what}")]
    Json { what: String, source: serde_json::Error },
    #[error("read {}: {why}", path.display())]
    MemoryPolicy { path: PathBuf, why: String },
    #[error("ps: {0}")]
    Ps(String),
    #[error("execute a protected copy of this program")]
    Protect(#[source] io::Error),
    #[error(transparent)]
    Runtime(#[from] crate::Error),
    #[error(transparent)]
    Cgroup(#[from] knarr_cgroup::Error),
    #[error(transparent)]
    Kernel(#[from] knarr_sys::Error),
}

/// What runc exits with.
const EXIT_FAILED: u8 = 1;
/// … and from `exec`, where 1 could be the program's own.
const EXIT_EXEC_FAILED: u8 = 255;

impl Failure {
    /// The whole chain in one line, and the hint.
    pub(crate) fn text(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let told = error.to_string();
            // Some errors repeat what they come from.
            if !text.ends_with(&told) {
                text = format!("{text}: {told}");
            }
            source = error.source();
        }
        let cause = if let Failure::ExecFailed(cause) = self { cause } else { self };
        let hint = match cause {
            Failure::Runtime(error) => error.hint(),
            Failure::Cgroup(error) => error.hint(),
            Failure::Criu { .. } => Some("install the package criu, or name the program with --criu"),
            _ => None,
        };
        hint.map(|hint| format!("{text} (hint: {hint})")).unwrap_or(text)
    }

    /// The same for a command, in the frame that runc puts around an error of making a container or a process.
    pub(crate) fn text_of(&self, program: &str, command: &str) -> String {
        match self {
            // What execve(2) answered is told bare, as whoever executed it would.
            Failure::Runtime(crate::Error::Execute { .. }) => self.text(),
            Failure::Runtime(error) if matches!(command, "create" | "run") => {
                let frame = format!("{program} {command} failed: unable to start container process");
                format!("{frame}: {}{}", stage(error), self.text())
            }
            Failure::ExecFailed(cause) => match &**cause {
                Failure::Runtime(error) => {
                    format!("exec failed: unable to start container process: {}{}", stage(error), cause.text())
                }
                _ => self.text(),
            },
            _ => self.text(),
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self, Failure::ExecFailed(_)) { EXIT_EXEC_FAILED } else { EXIT_FAILED }
    }
}

/// Where runc's users look for the reason.
fn stage(error: &crate::Error) -> &'static str {
    match error {
        crate::Error::Step { what, .. } if MOUNTS.iter().any(|word| what.starts_with(word)) => {
            "error during container init: error mounting: "
        }
        crate::Error::Step { .. } => "error during container init: ",
        _ => "",
    }
}

/// How the steps that mount begin.
const MOUNTS: [&str; 4] = ["mount ", "bind ", "rbind ", "remount "];

/// Puts a path and a purpose beside an I/O error.
pub(crate) trait At<T> {
    fn at(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, Failure>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, Failure> {
        self.map_err(|source| Failure::File { what, path: path.into(), source })
    }
}
