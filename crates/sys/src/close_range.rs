//! `close_range(2)`.

use crate::error::{Errno, check};

/// `CLOSE_RANGE_CLOEXEC` (kernel 5.11).
const CLOEXEC: u32 = 1 << 2;

/// Marks every descriptor from `first` on close-on-exec. Without the call: one by one, from `/proc/self/fd` or up to the limit.
pub fn cloexec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: takes integers; nothing is closed now.
    match check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOEXEC) }) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => one_by_one(first),
        other => other.map(drop),
    }
}

/// Closes every descriptor from `first` to `last`. The caller owns none of them any more.
pub fn close(first: u32, last: u32) -> Result<(), Errno> {
    if first > last {
        return Ok(());
    }
    // SAFETY: takes integers; that nobody uses these numbers is the caller's promise, and a mistake is an EBADF.
    match check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }) {
        Err(Errno::NOSYS | Errno::PERM) => {
            for fd in u64::from(first)..=u64::from(last).min(limit()) {
                // SAFETY: as above.
                let _ = unsafe { libc::close(fd as i32) };
            }
            Ok(())
        }
        other => other.map(drop),
    }
}

/// No descriptor has a higher number.
fn limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(FDS_MAX).min(FDS_MAX)
}

fn one_by_one(first: u32) -> Result<(), Errno> {
    for fd in u64::from(first)..limit() {
        // SAFETY: takes integers; a descriptor that is not open answers EBADF, which is what was wanted.
        let _ = unsafe { libc::fcntl(fd as i32, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Where the walk ends on kernels without the call: a million is the kernel's own default `fs.nr_open`.
const FDS_MAX: u64 = 1 << 20;
