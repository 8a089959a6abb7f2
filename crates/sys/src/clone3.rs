//! `clone3(2)`, falling back to `clone(2)`.
//!
//! Law: the caller has one thread, and that is checked: a copy of a process with more could hold a lock that nobody releases.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Call, Errno, Error, Result, check};

/// What the child shares, and where it begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneOptions<'f> {
    /// `CLONE_NEW*` and `CLONE_PARENT`; `CLONE_PIDFD` is added.
    pub flags: u64,
    /// The version 2 control group the child begins in (kernel 5.7).
    pub into_cgroup: Option<BorrowedFd<'f>>,
}

/// A new process.
#[derive(Debug)]
pub struct Child {
    /// Its id as the caller sees it.
    pub pid: u32,
    /// A handle on it.
    pub pidfd: OwnedFd,
}

/// The new process is our parent's child, as we are.
pub const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;

/// libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Whether this process has one thread: sharing the address space is a flag `unshare(2)` takes from nobody else.
pub fn single_threaded() -> bool {
    // SAFETY: with CLONE_THREAD unshare changes nothing, it only answers.
    unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_THREAD) == 0 }
}

/// Makes a process that runs `child` on a copy of our memory and exits with what it returns.
pub fn clone3(options: &CloneOptions<'_>, child: impl FnOnce() -> i32) -> Result<Child> {
    if !single_threaded() {
        return Err(Error::new("clone3(/* from a process with several threads */)", Errno::DEADLK));
    }
    let mut pidfd: i32 = -1;
    let answer = match clone3_raw(options, &mut pidfd) {
        // EPERM may be the answer of a filter that knows the old call only, or the kernel's own: then the old call has it too.
        Err(Errno::NOSYS | Errno::PERM) if options.into_cgroup.is_none() => clone_raw(options.flags, &mut pidfd),
        other => other,
    };
    let pid = answer.call(|| format!("clone3({{flags={:#x}}})", options.flags))?;
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
        // SAFETY: _exit ends the process without running what belongs to the original.
        unsafe { libc::_exit(code) }
    }
    // SAFETY: the kernel stored a descriptor that is ours alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid: pid as u32, pidfd })
}

fn clone3_raw(options: &CloneOptions<'_>, pidfd: &mut i32) -> std::result::Result<i64, Errno> {
    let mut args = CloneArgs {
        flags: options.flags | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(pidfd) as u64,
        // A sibling's end is told as ours is.
        exit_signal: if options.flags & CLONE_PARENT != 0 { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = options.into_cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and with no stack given the child goes on with a copy of this stack, as after fork; there
    // is one thread, so no lock is held by another.
    check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })
}

/// The old call; its lowest byte is the exit signal, so time namespaces cannot be asked for.
fn clone_raw(flags: u64, pidfd: &mut i32) -> std::result::Result<i64, Errno> {
    if flags & 0xff != 0 || flags >> 32 != 0 {
        return Err(Errno::NOSYS);
    }
    let flags = flags | libc::CLONE_PIDFD as u64 | libc::SIGCHLD as u64;
    // SAFETY: as in clone3_raw; the third argument is where CLONE_PIDFD stores the descriptor.
    check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, std::ptr::from_mut(pidfd), 0, 0) })
}
