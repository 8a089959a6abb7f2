//! `mount(2)` and the calls that replace it: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, `move_mount(2)`, `open_tree(2)`,
//! `mount_setattr(2)`; `umount2(2)`, `pivot_root(2)`.
//!
//! The new calls are there since 5.2, `mount_setattr` since 5.12; where they are missing or denied `mount(2)` does most of it.
//! Law: errors are bare numbers, for these calls run in a container's init, which reports a step and a number.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

pub use rustix::fs::CWD;
pub use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_reconfigure, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, fspick, mount_change, mount_remount, move_mount, open_tree, unmount,
};
pub use rustix::process::pivot_root;

use crate::error::Errno;

/// `struct mount_attr`: what [`setattr`] changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0.
    pub propagation: u64,
    /// With `MOUNT_ATTR_IDMAP`: the user namespace whose mapping the mount gets.
    pub userns_fd: u64,
}

/// `mount_setattr(fd, "", AT_EMPTY_PATH[|AT_RECURSIVE], attr)`.
pub fn setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and `attr` points to a mount_attr of the size that is passed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    crate::error::check(answer).map(drop)
}

/// A detached copy of the mount (with `recursive`, of the tree of mounts) that `file` stands on, beginning at `file`.
pub fn clone_tree(file: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(file, c"", flags)
}

/// Attaches a detached mount on top of `target`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// `mount(2)` itself. `data` is the file system's own option string.
pub fn mount(
    source: Option<&CStr>,
    target: &CStr,
    fstype: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) -> Result<(), Errno> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: every pointer is null or a C string that outlives the call.
    let answer = unsafe {
        libc::mount(pointer(source), target.as_ptr(), pointer(fstype), flags as libc::c_ulong, pointer(data).cast())
    };
    if answer == 0 { Ok(()) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}

/// What the file system said about the last failure on its `fsopen` descriptor; the bytes written into `into`.
pub fn fs_message(fs: impl AsFd, into: &mut [u8]) -> usize {
    rustix::io::read(fs, into).unwrap_or(0)
}
