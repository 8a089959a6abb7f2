//! `poll(2)` on one descriptor.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Call, Errno, Fd, Result};

/// Whether there is something to read, an end or an error included, within `timeout` (`None`: however long it takes).
pub fn readable_within(fd: impl AsFd, timeout: Option<Duration>) -> Result<bool> {
    ready_within(fd, PollFlags::IN, timeout)
}

/// Whether the kernel says, within `timeout`, that an open file of kernfs (`cgroup.events`, a pressure file) changed since it was
/// last read.
pub fn changed_within(fd: impl AsFd, timeout: Option<Duration>) -> Result<bool> {
    ready_within(fd, PollFlags::PRI, timeout)
}

fn ready_within(fd: impl AsFd, flags: PollFlags, timeout: Option<Duration>) -> Result<bool> {
    let fd = fd.as_fd();
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], left.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).call(|| format!("poll({}, {flags:?})", Fd(fd))),
        }
    }
}
