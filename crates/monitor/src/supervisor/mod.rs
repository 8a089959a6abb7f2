//! The loop that stands beside one container, or one exec'd process, from before its creation until after its end.
//!
//! ```text
//! Waiting ──start──► (exec only: the process is made)──► Running ──exit──► Ended ──clients served──► done
//!    └── launcher gone, creation or start failed ──────────────────────────►┘
//! ```
//!
//! Law: single-threaded; between creation and end nothing blocks but the log's disk. The order at the end must not change: last
//! output to log and clients, exit.json, state.json, `exited` to clients, socket and control group removed, lock dropped; so that
//! whoever hears `exited` reads the same from disk, and whoever gets the lock finds nothing left.
//! Not here: frames' meaning to a client (`protocol`), how a container is made (`make`).

mod begin;
mod end;
mod output;
mod peer;
mod peers;
mod poll;
mod record;
mod stdin;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use knarr_cgroup::{Cgroup, Directory};
use knarr_sys::signalfd::SignalFd;

use crate::log::LogWriter;
use crate::make::{Foreign, Gate, Maker};
use crate::protocol::{Exit, FRAME_BYTES_MAX};
use crate::{Error, LogConfig, StdinMode, lock};
use peer::Peer;
use poll::{EventFlags, Poll, Token};
use record::Record;
use stdin::Stdin;

/// SIGCHLD tells of ends; SIGTERM is forwarded; the others must not end a monitor: a hangup, keys typed at a terminal it once
/// shared, and a file size limit (SIGXFSZ) that the log may run into.
const SIGNALS: [i32; 7] = [SIGCHLD, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGXFSZ];
/// What the kernel adds to our chances when it looks for a victim: containerd's shims stand there as well.
const OOM_SCORE_ADJ: &str = "-998";

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGKILL: i32 = 9;
const SIGPIPE: i32 = 13;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const SIGXFSZ: i32 = 25;

/// When nothing has happened for so long, the container is one that stays: worth a few page faults.
const SETTLE_MS: u32 = 100;

/// What to supervise.
#[derive(Debug)]
pub(crate) struct Task {
    /// The container's or the session's id, for messages.
    pub(crate) id: String,
    /// Where lock, state.json and attach.sock are.
    pub(crate) run_dir: PathBuf,
    /// Where exit.json goes; an exec session has none.
    pub(crate) container_dir: Option<PathBuf>,
    pub(crate) log: Option<LogConfig>,
    pub(crate) terminal: bool,
    pub(crate) stdin: StdinMode,
    pub(crate) stop_signal: i32,
    pub(crate) maker: Maker,
}

impl Task {
    /// An exec'd process runs as soon as it is made, so it is made when the launcher says `start`; a container waits inside.
    fn is_exec(&self) -> bool {
        self.container_dir.is_none()
    }
}

#[derive(Debug)]
enum Phase {
    /// For the launcher's `start`.
    Waiting(Option<Gate>),
    Running,
    Ended(Exit),
}

/// The process that is supervised.
#[derive(Debug)]
struct Child {
    pid: u32,
    pidfd: OwnedFd,
}

#[derive(Debug)]
struct Supervisor {
    task: Task,
    lock: Option<File>,
    poll: Poll,
    signals: SignalFd,
    phase: Phase,
    child: Option<Child>,
    cgroup: Option<Cgroup>,
    memory: Option<Directory>,
    foreign: Option<Foreign>,
    /// The pipes' ends; with a terminal its master stands for standard output.
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// Keeps the terminal from hanging up while the program has it closed for a moment.
    terminal_slave: Option<OwnedFd>,
    terminal_size: Option<(u16, u16)>,
    /// Output is left unread for the sake of a client that wants every byte.
    is_paused: bool,
    stdin: Stdin,
    log: Option<LogWriter>,
    listener: Option<OwnedFd>,
    peers: Vec<Peer>,
    peers_seen: u64,
    record: Record,
    failure: Option<Error>,
    /// A client kept its promise to clean up but for these directories, each followed by a NUL.
    cleaned: Option<Vec<u8>>,
    buffer: Vec<u8>,
}

/// Supervises until the end; whether the exit command has to run.
pub(crate) fn supervise(task: Task, launcher: Option<OwnedFd>) -> Result<bool, Error> {
    let lock = take_lock(&task)?;
    let signals = SignalFd::block(&SIGNALS).map_err(Error::call("block signals"))?;
    let poll = Poll::new().map_err(Error::call("make an epoll"))?;
    let record = Record::begin(&task.run_dir, task.container_dir.as_deref(), std::process::id());
    let log = task.log.as_ref().map(LogWriter::open);
    let mut supervisor = Supervisor {
        task,
        lock: Some(lock),
        poll,
        signals,
        phase: Phase::Waiting(None),
        child: None,
        cgroup: None,
        memory: None,
        foreign: None,
        stdout: None,
        stderr: None,
        terminal_slave: None,
        terminal_size: None,
        is_paused: false,
        stdin: Stdin::default(),
        log,
        listener: None,
        peers: Vec::new(),
        peers_seen: 0,
        record,
        failure: None,
        cleaned: None,
        buffer: Vec::new(),
    };
    supervisor.run(launcher)
}

/// A monitor that has recorded its end holds the lock for a moment more while it removes the control group.
fn take_lock(task: &Task) -> Result<File, Error> {
    let path = task.run_dir.join("lock");
    for _ in 0..lock::PATIENCE_TRIES {
        if let Some(lock) = lock::take(&path).map_err(Error::io("lock", &path))? {
            return Ok(lock);
        }
        if !record::is_over(&task.run_dir) {
            break;
        }
        std::thread::sleep(lock::PATIENCE_STEP);
    }
    Err(Error::Busy { id: task.id.clone() })
}

impl Supervisor {
    fn run(&mut self, launcher: Option<OwnedFd>) -> Result<bool, Error> {
        self.poll.add(&self.signals, Token::Signals, EventFlags::IN).map_err(Error::call("watch signals"))?;
        let is_alone = launcher.is_none();
        if let Some(socket) = launcher {
            self.add_peer(socket, true);
        }
        if !self.task.is_exec() {
            self.make();
        }
        match is_alone {
            true => self.start(),
            // It has mostly said `attach` and `start` by now.
            false => self.on_peer(0, EventFlags::IN),
        }
        self.announce_created();
        let mut patience_ms = Some(SETTLE_MS);
        while !matches!(self.phase, Phase::Ended(_)) {
            if !self.turn(patience_ms)? && patience_ms.take().is_some() {
                self.settle();
            }
        }
        self.end()
    }

    /// Making a container is most of what a monitor ever does: afterwards it gives back the memory that took.
    fn settle(&mut self) {
        self.buffer = Vec::new();
        knarr_sys::memory::trim_heap();
        knarr_sys::memory::forget_program();
    }

    /// The room for one read; put back after use.
    fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(FRAME_BYTES_MAX, 0);
        buffer
    }

    /// Waits once and handles what came; `false` when nothing did.
    fn turn(&mut self, timeout_ms: Option<u32>) -> Result<bool, Error> {
        let events = self.poll.wait(timeout_ms).map_err(Error::call("wait for events"))?;
        let is_busy = !events.is_empty();
        for (token, flags) in events {
            match token {
                Token::Signals => self.on_signals(),
                Token::Listener => self.accept(),
                Token::Stdin => self.flush_stdin(),
                Token::Stdout | Token::Stderr => self.on_output(token),
                Token::Peer(number) => self.on_peer(number, flags),
            }
        }
        Ok(is_busy)
    }

    fn on_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                SIGCHLD => self.reap(),
                SIGTERM => self.kill(self.task.stop_signal),
                _ => {}
            }
        }
    }

    /// Sends a signal to the process; one that is already gone needs none.
    fn kill(&self, signal: i32) {
        if let Some(child) = &self.child {
            let _ = knarr_sys::pidfd::send_signal(&child.pidfd, signal);
        }
    }

    /// Collects every child that ended: the container's init, and whatever it left us as the subreaper.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            if self.child.as_ref().is_some_and(|child| child.pid == pid.as_raw_nonzero().get() as u32) {
                self.child = None;
                self.phase = Phase::Ended(Exit { code: code.unwrap_or(0) as u8, oom_killed: false });
            }
        }
    }
}
