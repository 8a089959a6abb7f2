//! `sync_file_range(2)`: writing back begins, nobody waits.

use std::os::fd::{AsFd, AsRawFd};

use crate::error::{Errno, check};

/// Asks the kernel to begin writing `bytes` from `offset` to the disk, so that a later fsync has less to wait for. Promises
/// nothing; file systems that cannot do it say so.
pub fn start_writeback(fd: impl AsFd, offset: u64, bytes: u64) -> Result<(), Errno> {
    let (offset, bytes) = (offset as libc::off64_t, bytes as libc::off64_t);
    // SAFETY: takes a descriptor, which the borrow keeps open, and integers.
    let done = unsafe { libc::sync_file_range(fd.as_fd().as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE) };
    check(done.into()).map(drop)
}
