//! What is true about a container: `state.json` while the machine runs, `exit.json` after the end.
//!
//! ```text
//! <run>/containers/<id>/lock         write-locked by the monitor as long as it lives (open file description lock)
//! <run>/containers/<id>/state.json   replaced by rename at created, running, exited
//! <state>/containers/<id>/started    empty; made at each start, so that a reboot in between is noticed
//! <state>/containers/<id>/exit.json  the last state, written once at the end, removed at the next start
//! ```
//!
//! Law: a reader never waits, never takes the lock, and is never misled by a monitor that was killed.
//! Not here: names, images, limits: the engine's records.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use knarr_cgroup::Cgroup;
use serde::{Deserialize, Serialize};

use crate::lock;

/// The version of `state.json` and `exit.json`.
pub const STATE_VERSION: u32 = 1;

/// The exit code of a container that SIGKILL ended, as it does when its monitor is killed.
const KILLED: u8 = 137;

/// The exit code of a container that was running when the machine went down: nobody saw its end.
const LOST: u8 = 255;

/// Where a container stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Recorded, or made and waiting for its start.
    #[default]
    Created,
    /// The program runs.
    Running,
    /// It ended, or never came to run ([`State::error`]).
    Exited,
}

/// What the monitor last knew. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`STATE_VERSION`].
    pub version: u32,
    /// Where it stands.
    pub status: Status,
    /// The init process as the host sees it; 0 when there is none.
    pub pid: u32,
    /// Field 22 of its `/proc/PID/stat`: pid and start together name one process for ever.
    pub pid_start_ticks: u64,
    /// The supervisor; 0 when there is none.
    pub monitor_pid: u32,
    /// The container's control group: its directory in each hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// When the program was executed.
    pub started_at: Option<u64>,
    /// When it ended; `None` for an end nobody saw.
    pub finished_at: Option<u64>,
    /// The exit code once exited.
    pub exit_code: u8,
    /// The kernel killed a process of the container for lack of memory.
    pub oom_killed: bool,
    /// Why it did not start, or why its end was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Lines that did not reach the log, because of [`State::log_error`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub log_lines_lost: u64,
    /// The last failure to write the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_error: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl State {
    /// Nothing more will happen: it ended, or its start failed (docker leaves that at `created`, with an error).
    pub fn is_final(&self) -> bool {
        self.status == Status::Exited || self.finished_at.is_some()
    }
}

/// A state that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
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
}

impl StateError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
        let path = path.to_owned();
        move |source| StateError::Io { action, path, source }
    }
}

/// Where the container stands now. `run_dir` is `<run>/containers/<id>`, `container_dir` is `<state>/containers/<id>`.
///
/// A living monitor's word is taken as it is. Without one, a state that claims to run is the trace of a killed monitor, whose
/// container died with it.
pub fn read_state(run_dir: &Path, container_dir: &Path) -> Result<State, StateError> {
    let alive = lock::is_held(&run_dir.join("lock")).map_err(StateError::io("query", &run_dir.join("lock")))?;
    match read_file(&run_dir.join("state.json"))? {
        Some(state) if alive || state.is_final() => Ok(state),
        Some(state) => Ok(read_file(&container_dir.join("exit.json"))?.unwrap_or_else(|| killed(state))),
        None if alive => Ok(State { version: STATE_VERSION, ..State::default() }),
        None => Ok(read_file(&container_dir.join("exit.json"))?.unwrap_or_else(|| unseen(container_dir))),
    }
}

/// The state of an exec session, which has no place on disk beside its run directory.
pub fn read_exec_state(session_dir: &Path) -> Result<State, StateError> {
    read_state(session_dir, session_dir)
}

fn killed(last: State) -> State {
    let error = Some("the monitor was killed, and the container with it".to_owned());
    State { status: Status::Exited, pid: 0, monitor_pid: 0, exit_code: KILLED, error, ..last }
}

/// No word at all: never started, or running when the run directory vanished.
fn unseen(container_dir: &Path) -> State {
    let state = State { version: STATE_VERSION, ..State::default() };
    if !container_dir.join("started").exists() {
        return state;
    }
    let error = Some("nobody saw the end: the machine was restarted, or the run directory was removed".to_owned());
    State { status: Status::Exited, exit_code: LOST, error, ..state }
}

/// A damaged file (a power cut may leave one empty) must not block any command: it says that the end is unknown.
pub(crate) fn read_file(path: &Path) -> Result<Option<State>, StateError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::io("read", path)(error)),
    };
    Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        let error = Some(format!("{} is damaged: {error}", path.display()));
        State { version: STATE_VERSION, status: Status::Exited, exit_code: LOST, error, ..State::default() }
    })))
}

/// Enough for the fields of a `/proc/PID/stat`: 52 numbers of at most 20 digits and a name of 64 bytes.
const STAT_BYTES: usize = 1200;

/// When a process began, in clock ticks since boot: field 22 of its `stat`, counted after the name, which may hold anything.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let mut text = [0; STAT_BYTES];
    let length = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut text)).ok()?;
    let after_name = text[..length].iter().rposition(|byte| *byte == b')')? + 1;
    std::str::from_utf8(&text[after_name..length]).ok()?.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Replaces `directory/name` by rename, so that a reader sees the old state or the new one.
pub(crate) fn write_file(directory: &Path, name: &str, state: &State) -> Result<(), StateError> {
    let (path, temporary) = (directory.join(name), directory.join(format!(".{name}.new")));
    let bytes = serde_json::to_vec(state).expect("a state has string keys and finite numbers");
    fs::write(&temporary, bytes).map_err(StateError::io("write", &temporary))?;
    fs::rename(&temporary, &path).map_err(StateError::io("rename", &path))
}
