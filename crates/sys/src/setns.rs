//! `setns(2)` and `unshare(2)`.

use std::os::fd::{AsFd, AsRawFd};

use crate::error::{Errno, check};

/// `CLONE_NEW*`, as `clone3`, `setns` and `unshare` take them.
pub mod flag {
    /// Time.
    pub const TIME: u64 = 0x80;
    /// Mounts.
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// Control groups.
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// Host name.
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// System V and POSIX IPC.
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// Users.
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    /// Processes.
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    /// Network.
    pub const NETWORK: u64 = libc::CLONE_NEWNET as u64;
}

/// Joins a namespace (a descriptor of `/proc/PID/ns/…`) or several of a process (a pidfd, kernel 5.8).
pub fn setns(fd: impl AsFd, flags: u64) -> Result<(), Errno> {
    // SAFETY: takes two integers.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_fd().as_raw_fd(), flags as libc::c_int) }).map(drop)
}

/// Leaves namespaces for new ones.
pub fn unshare(flags: u64) -> Result<(), Errno> {
    // SAFETY: takes an integer; CLONE_NEW* flags and CLONE_FS do not touch the descriptor table or memory.
    check(unsafe { libc::syscall(libc::SYS_unshare, flags as libc::c_int) }).map(drop)
}
