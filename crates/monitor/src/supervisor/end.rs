//! After the end: record it, tell it, clean up, and serve those who are still reading.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use knarr_cgroup::{Directory, Version};

use super::{Phase, Supervisor};
use crate::Error;
use crate::protocol::{Exit, Frame};
use crate::time::now_ns;

/// How many processes the kernel killed there for lack of memory. One file is read, not all that `Cgroup::stats` reads: this
/// stands on the way of every exit.
fn oom_kills(memory: &Directory) -> Option<u64> {
    let file = match memory.version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    let text = fs::read_to_string(memory.path.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// How long clients that did not ask for every byte may take to read what is queued for them.
const LINGER: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Everything from the last byte to the last client; whether the exit command has to run.
    pub(super) fn end(&mut self) -> Result<bool, Error> {
        let Phase::Ended(exit) = self.phase else { return Ok(false) };
        self.drain_output();
        self.close_streams();
        if let Some(log) = &mut self.log {
            log.finish(now_ns());
            self.record.log_loss(log.loss());
        }
        let exit = Exit { oom_killed: self.was_oom_killed(), ..exit };
        // A foreign runtime keeps its state in our run directory, which whoever hears of the end may remove at once.
        if let Some(foreign) = self.foreign.take() {
            foreign.delete();
        }
        self.tell_end(exit);
        self.remove_traces();
        self.serve_last_clients()?;
        Ok(self.sweep())
    }

    /// Takes off the disk what the client that cleaned up left for us; whether nobody cleaned up. What cannot be removed the
    /// store's next collection finds.
    fn sweep(&mut self) -> bool {
        let Some(rubbish) = self.cleaned.take() else { return true };
        self.peers.clear();
        for path in rubbish.split(|byte| *byte == 0).filter(|path| path.starts_with(b"/")) {
            let _ = fs::remove_dir_all(OsStr::from_bytes(path));
        }
        false
    }

    fn tell_end(&mut self, exit: Exit) {
        let failure = self.failure.take().map(|error| error.to_failure());
        self.record.ended(exit, failure.as_ref().map(|failure| failure.message.clone()));
        match failure {
            Some(failure) => {
                let json = serde_json::to_vec(&failure).unwrap_or_default();
                self.tell_all(Frame::Error(&json));
            }
            None => self.tell_all(Frame::Exited(exit)),
        }
    }

    /// The process is gone and all it wrote is read. Closing the terminal's master hangs it up for whoever is left.
    fn close_streams(&mut self) {
        (self.stdout, self.stderr, self.stdin.fd, self.terminal_slave) = (None, None, None, None);
    }

    fn was_oom_killed(&self) -> bool {
        self.memory.as_ref().and_then(oom_kills).is_some_and(|kills| kills > 0)
    }

    /// Socket, processes that outlived their init (without a process namespace of their own), control group, lock.
    fn remove_traces(&mut self) {
        if self.listener.take().is_some() {
            let _ = fs::remove_file(self.task.run_dir.join("attach.sock"));
        }
        if let Some(cgroup) = self.cgroup.take()
            && !self.task.is_exec()
        {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
        self.lock = None;
    }

    /// Until those who must get every byte have it, and those who promised to clean up have done so or are gone.
    fn serve_last_clients(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + LINGER;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let is_awaited = self.peers.iter().any(|peer| peer.is_awaited());
            let is_behind = self.peers.iter().any(|peer| peer.backlog() > 0);
            if !is_awaited && (!is_behind || left.is_zero()) {
                return Ok(());
            }
            self.turn(if is_awaited { None } else { Some(left.as_millis() as u32 + 1) })?;
        }
    }
}
