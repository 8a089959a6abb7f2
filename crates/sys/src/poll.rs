//! `poll(2)` on one descriptor.

use std::os::fd::{AsFd, BorrowedFd};
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

/// Waits, however long it takes, until one of them has something to read, an end or an error; which ones.
pub fn readable<const N: usize>(fds: &[Option<BorrowedFd<'_>>; N]) -> Result<[bool; N]> {
    // A negative number is passed over by the kernel; rustix has no such thing, so the places are kept here.
    let places: Vec<usize> = (0..N).filter(|at| fds[*at].is_some()).collect();
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    loop {
        match poll(&mut polled, None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).call(|| format!("poll({} descriptors)", polled.len())),
        }
    }
    let mut ready = [false; N];
    for (at, fd) in places.into_iter().zip(&polled) {
        ready[at] = !fd.revents().is_empty();
    }
    Ok(ready)
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
