//! `pidfd_open(2)`, `pidfd_send_signal(2)`, and `waitid(2)` on one.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::error::{Call, Errno, Error, Fd, Result, check};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// The code a shell gives: 128 + n for a signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// A handle on a process.
pub fn open(pid: u32) -> Result<OwnedFd> {
    let words = || format!("pidfd_open({pid})");
    let Some(pid) = Pid::from_raw(pid as i32) else {
        return Err(Error::new(words(), Errno::INVAL));
    };
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).call(words)
}

/// Sends a signal; 0 only asks whether the process is there.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let fd = pidfd.as_fd();
    // SAFETY: takes integers and a null pointer.
    let answer =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, std::ptr::null::<u8>(), 0) };
    check(answer).map(drop).call(|| format!("pidfd_send_signal({}, {signal})", Fd(fd)))
}

/// A signal to a process by its number, for kernels and filters without [`open`]: between the caller's look and this call
/// the number can have been given to another.
pub fn kill(pid: u32, signal: i32) -> Result<()> {
    // SAFETY: takes integers.
    let answer = unsafe { libc::syscall(libc::SYS_kill, pid as libc::pid_t, signal) };
    check(answer).map(drop).call(|| format!("kill({pid}, {signal})"))
}

/// Whether [`open`] failed because there is no such call, or a filter denies it.
pub fn is_missing(error: &Error) -> bool {
    matches!(error.errno, Errno::NOSYS | Errno::PERM)
}

/// Waits for our child to end, and reaps it.
pub fn wait(pidfd: impl AsFd) -> Result<Exit> {
    let fd = pidfd.as_fd();
    loop {
        match rustix::process::waitid(WaitId::PidFd(fd), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new(format!("waitid(P_PIDFD, {})", Fd(fd)), errno)),
            Ok(None) => {}
            Ok(Some(status)) => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, signal) => Exit::Signal(signal.unwrap_or(0)),
                });
            }
        }
    }
}

/// Whether the process ended within `timeout` (`None`: however long it takes). It is not reaped.
pub fn ended_within(pidfd: impl AsFd, timeout: Option<Duration>) -> std::result::Result<bool, Errno> {
    let fd = pidfd.as_fd();
    let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], timeout.as_ref()) {
            Err(Errno::INTR) => {}
            other => return other.map(|ready| ready > 0),
        }
    }
}
