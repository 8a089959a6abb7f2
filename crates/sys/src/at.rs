//! Calls on one name in an open directory: `openat(2)`, `mkdirat(2)`, `mknodat(2)`, `symlinkat(2)`, `linkat(2)`,
//! `unlinkat(2)`, `renameat2(2)`, `fstatat(2)`, `fchownat(2)`, `fchmod(2)`, `utimensat(2)`, `getdents(2)`.
//!
//! Law: `name` is one name without a slash, and a symbolic link under that name is never followed. So the directory, got
//! from a [`Root`](crate::Root), decides where things happen.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, RenameFlags, Timestamps};
pub use rustix::fs::{FileType, Mode, OFlags, Stat, Timespec, makedev};
use rustix::process::{Gid, Uid};

use crate::error::{Call, Errno, Error, Fd, Result};

/// Opens `name` with any flags; `O_NOFOLLOW|O_CLOEXEC` are added.
pub fn open(dir: impl AsFd, name: &CStr, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    rustix::fs::openat(&dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)
        .call(|| format!("openat({}, {name:?}, {}|O_NOFOLLOW)", Fd(&dir), crate::root::words(flags)))
}

/// Opens the directory `name` for reading its entries; a link is ENOTDIR.
pub fn open_dir(dir: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    open(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Makes a directory; `false` where the name is taken already, by whatever.
pub fn make_dir(dir: impl AsFd, name: &CStr, mode: Mode) -> Result<bool> {
    match rustix::fs::mkdirat(&dir, name, mode) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(Error::new(format!("mkdirat({}, {name:?}, {:#o})", Fd(&dir), mode.bits()), errno)),
    }
}

/// Makes a device node, fifo or socket.
pub fn make_node(dir: impl AsFd, name: &CStr, kind: FileType, mode: Mode, device: u64) -> Result<()> {
    rustix::fs::mknodat(&dir, name, kind, mode, device)
        .call(|| format!("mknodat({}, {name:?}, {kind:?}|{:#o}, {device:#x})", Fd(&dir), mode.bits()))
}

/// Makes a symbolic link.
pub fn make_symlink(target: &CStr, dir: impl AsFd, name: &CStr) -> Result<()> {
    rustix::fs::symlinkat(target, &dir, name).call(|| format!("symlinkat({target:?}, {}, {name:?})", Fd(&dir)))
}

/// Makes a second name for `from`, which may itself be a symbolic link.
pub fn make_link(from_dir: impl AsFd, from: &CStr, dir: impl AsFd, name: &CStr) -> Result<()> {
    rustix::fs::linkat(&from_dir, from, &dir, name, AtFlags::empty())
        .call(|| format!("linkat({}, {from:?}, {}, {name:?}, 0)", Fd(&from_dir), Fd(&dir)))
}

/// Gives `from` the name `to`, in one directory, in the place of what stands there.
pub fn rename_over(dir: impl AsFd, from: &CStr, to: &CStr) -> Result<()> {
    rustix::fs::renameat(&dir, from, &dir, to).call(|| format!("renameat({0}, {from:?}, {0}, {to:?})", Fd(&dir)))
}

/// Removes a name that is no directory; `false` where it is one.
pub fn remove_file(dir: impl AsFd, name: &CStr) -> Result<bool> {
    match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(errno) => Err(Error::new(format!("unlinkat({}, {name:?}, 0)", Fd(&dir)), errno)),
    }
}

/// Removes an empty directory; `false` where it is not empty.
pub fn remove_dir(dir: impl AsFd, name: &CStr) -> Result<bool> {
    match rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY) => Ok(false),
        Err(errno) => Err(Error::new(format!("unlinkat({}, {name:?}, AT_REMOVEDIR)", Fd(&dir)), errno)),
    }
}

/// Moves a name; EEXIST where the new one is taken.
pub fn rename_new(from_dir: impl AsFd, from: &CStr, dir: impl AsFd, name: &CStr) -> Result<()> {
    rustix::fs::renameat_with(&from_dir, from, &dir, name, RenameFlags::NOREPLACE)
        .call(|| format!("renameat2({}, {from:?}, {}, {name:?}, RENAME_NOREPLACE)", Fd(&from_dir), Fd(&dir)))
}

/// What stands under `name`; `None` where nothing does.
pub fn stat(dir: impl AsFd, name: &CStr) -> Result<Option<Stat>> {
    match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::new(format!("newfstatat({}, {name:?}, AT_SYMLINK_NOFOLLOW)", Fd(&dir)), errno)),
    }
}

/// Major and minor of a device.
pub fn device_numbers(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

/// What an open file is.
pub fn fstat(fd: impl AsFd) -> Result<Stat> {
    rustix::fs::fstat(&fd).call(|| format!("fstat({})", Fd(&fd)))
}

/// The target of a symbolic link.
pub fn read_link(dir: impl AsFd, name: &CStr) -> Result<CString> {
    rustix::fs::readlinkat(&dir, name, Vec::new()).call(|| format!("readlinkat({}, {name:?})", Fd(&dir)))
}

/// Gives `name` to an owner; neither id may be -1.
pub fn chown(dir: impl AsFd, name: &CStr, uid: u32, gid: u32) -> Result<()> {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(&dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
        .call(|| format!("fchownat({}, {name:?}, {uid}, {gid}, AT_SYMLINK_NOFOLLOW)", Fd(&dir)))
}

/// Gives an open file to an owner; neither id may be -1.
pub fn fchown(fd: impl AsFd, uid: u32, gid: u32) -> Result<()> {
    rustix::fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        .call(|| format!("fchown({}, {uid}, {gid})", Fd(&fd)))
}

/// Sets the mode of an open file (not `O_PATH`).
pub fn fchmod(fd: impl AsFd, mode: Mode) -> Result<()> {
    rustix::fs::fchmod(&fd, mode).call(|| format!("fchmod({}, {:#o})", Fd(&fd), mode.bits()))
}

/// Sets the mode of what an `O_PATH` handle holds, which `fchmod(2)` refuses: through `/proc`, where the handle and not a
/// name decides what is changed.
pub fn chmod_handle(handle: impl AsFd, mode: Mode) -> Result<()> {
    let path = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    rustix::fs::chmod(path, mode).call(|| format!("chmod({}, {:#o})", Fd(&handle), mode.bits()))
}

/// Sets access and modification time of `name`.
pub fn set_times(dir: impl AsFd, name: &CStr, access: Timespec, modification: Timespec) -> Result<()> {
    let times = Timestamps { last_access: access, last_modification: modification };
    rustix::fs::utimensat(&dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        .call(|| format!("utimensat({}, {name:?}, {}, AT_SYMLINK_NOFOLLOW)", Fd(&dir), modification.tv_sec))
}

/// Sets access and modification time of an open file (not `O_PATH`).
pub fn fset_times(fd: impl AsFd, access: Timespec, modification: Timespec) -> Result<()> {
    let times = Timestamps { last_access: access, last_modification: modification };
    rustix::fs::futimens(&fd, &times).call(|| format!("utimensat({}, NULL, {})", Fd(&fd), modification.tv_sec))
}

/// Sets the length of an open file.
pub fn truncate(fd: impl AsFd, bytes: u64) -> Result<()> {
    rustix::fs::ftruncate(&fd, bytes).call(|| format!("ftruncate({}, {bytes})", Fd(&fd)))
}

/// The start and length of the data that follows `from` in a sparse file; `None` where only a hole is left.
pub fn next_data(fd: impl AsFd, from: u64) -> Result<Option<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    let start = match seek(&fd, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(Error::new(format!("lseek({}, {from}, SEEK_DATA)", Fd(&fd)), errno)),
    };
    let end = seek(&fd, SeekFrom::Hole(start)).call(|| format!("lseek({}, {start}, SEEK_HOLE)", Fd(&fd)))?;
    Ok(Some((start, end - start)))
}

/// The names in a directory, without `.` and `..`, in the file system's order. The handle must not be `O_PATH`.
pub fn names(dir: BorrowedFd<'_>) -> Result<Vec<CString>> {
    let words = || format!("getdents64({})", Fd(dir));
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).call(words)? {
        let entry = entry.call(words)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}
