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

fn one_by_one(first: u32) -> Result<(), Errno> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(FDS_MAX).min(FDS_MAX);
    for fd in u64::from(first)..limit {
        // SAFETY: takes integers; a descriptor that is not open answers EBADF, which is what was wanted.
        let _ = unsafe { libc::fcntl(fd as i32, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Where the walk ends on kernels without the call: a million is the kernel's own default `fs.nr_open`.
const FDS_MAX: u64 = 1 << 20;
