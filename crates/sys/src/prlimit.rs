//! `prlimit(2)`.

use crate::error::{Errno, check};

/// Sets a limit of the calling process; `u64::MAX` means none.
pub fn set(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = [soft, hard];
    // SAFETY: struct rlimit64 is two 64-bit numbers; the old limit is not asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, limit.as_ptr(), std::ptr::null::<u64>()) }).map(drop)
}
