//! `credentials(7)`: `setresuid(2)`, `setresgid(2)`, `setgroups(2)`, `umask(2)`, `setsid(2)`, of the calling thread alone.

use crate::error::{Errno, check};

/// Sets real, effective and saved user id.
pub fn set_user(uid: u32) -> Result<(), Errno> {
    // SAFETY: takes integers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Sets real, effective and saved group id.
pub fn set_group(gid: u32) -> Result<(), Errno> {
    // SAFETY: takes integers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets the supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer is to as many numbers as the length says.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets the file mode creation mask.
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Begins a session without a terminal.
pub fn set_session() -> Result<(), Errno> {
    rustix::process::setsid().map(drop)
}

/// Effective user id.
pub fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Effective group id.
pub fn effective_group() -> u32 {
    rustix::process::getegid().as_raw()
}
