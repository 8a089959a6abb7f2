//! `prctl(2)`.

use crate::error::{Errno, check};

fn prctl(option: libc::c_int, value: u64) -> Result<(), Errno> {
    // SAFETY: the options used here take integers.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, value, 0, 0, 0) }).map(drop)
}

/// Send us this signal when the thread that made us ends.
pub fn set_parent_death_signal(signal: i32) -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64)
}

/// No program we execute gains privileges, and neither do its children; it cannot be taken back.
pub fn set_no_new_privileges() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Keep the permitted capabilities when the user ids change to others than root.
pub fn set_keep_capabilities(keep: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep))
}

/// Whether others may trace us and read `/proc/self` of ours.
pub fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(dumpable))
}

/// Become the parent of orphaned descendants.
pub fn set_child_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}
