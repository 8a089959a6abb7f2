//! Keeps the state on disk true: see `state.rs` for the files.
//!
//! Law: a state that cannot be written (a full tmpfs) never stops the container.

use std::fs;
use std::path::{Path, PathBuf};

use knarr_cgroup::Cgroup;

use crate::log::Loss;
use crate::protocol::Exit;
use crate::state::{self, STATE_VERSION, State, Status};
use crate::time::now_ns;

#[derive(Debug)]
pub(super) struct Record {
    run_dir: PathBuf,
    container_dir: Option<PathBuf>,
    state: State,
    is_created_announced: bool,
}

/// Whether the last monitor has recorded its end.
pub(super) fn is_over(run_dir: &Path) -> bool {
    matches!(state::read_file(&run_dir.join("state.json")), Ok(Some(state)) if state.is_final())
}

impl Record {
    /// A new run: the end of the last one is forgotten.
    pub(super) fn begin(run_dir: &Path, container_dir: Option<&Path>, monitor_pid: u32) -> Record {
        let state = State { version: STATE_VERSION, monitor_pid, ..State::default() };
        let _ = fs::remove_file(run_dir.join("state.json"));
        if let Some(directory) = container_dir {
            let _ = fs::remove_file(directory.join("exit.json"));
            let _ = fs::write(directory.join("started"), b"");
        }
        let (run_dir, container_dir) = (run_dir.to_owned(), container_dir.map(Path::to_owned));
        Record { run_dir, container_dir, state, is_created_announced: false }
    }

    pub(super) fn made(&mut self, pid: u32, cgroup: Option<&Cgroup>) {
        self.state.pid = pid;
        self.state.pid_start_ticks = state::start_ticks(pid).unwrap_or(0);
        self.state.cgroup = cgroup.cloned();
    }

    /// Whether clients are still to be told of the creation.
    pub(super) fn announce_created(&mut self) -> bool {
        !std::mem::replace(&mut self.is_created_announced, true)
    }

    pub(super) fn created(&mut self) {
        self.write();
    }

    pub(super) fn started(&mut self) {
        self.state.status = Status::Running;
        self.state.started_at = Some(now_ns());
        self.write();
    }

    /// Takes over what the log lost; whether the reason is a new one.
    pub(super) fn log_loss(&mut self, loss: &Loss) -> bool {
        self.state.log_lines_lost = loss.lines;
        let is_new = self.state.log_error != loss.error;
        self.state.log_error.clone_from(&loss.error);
        is_new
    }

    /// The end, for good. A failed start stays `created`, with an error, as docker has it.
    pub(super) fn ended(&mut self, exit: Exit, error: Option<String>) {
        self.state.status = if error.is_some() { Status::Created } else { Status::Exited };
        self.state.finished_at = Some(now_ns());
        (self.state.exit_code, self.state.oom_killed, self.state.error) = (exit.code, exit.oom_killed, error);
        (self.state.pid, self.state.monitor_pid) = (0, 0);
        self.state.cgroup = None;
        if let Some(directory) = &self.container_dir {
            let _ = state::write_file(directory, "exit.json", &self.state);
        }
        self.write();
    }

    pub(super) fn write(&self) {
        let _ = state::write_file(&self.run_dir, "state.json", &self.state);
    }
}
