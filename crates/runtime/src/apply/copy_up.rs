//! `tmpcopyup`: a tmpfs begins with what it covers.
//!
//! Not here: devices, sockets and fifos, which a directory that is to be covered hardly holds; they are left out.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use knarr_sys::Errno;
use knarr_sys::fs::{self, AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};

/// Copies what is in `from` to `into`; both are directories.
pub(crate) fn fill(from: BorrowedFd<'_>, into: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = fs::openat(from, c".", flags, Mode::empty())?;
    let into = fs::openat(into, c".", flags, Mode::empty())?;
    like(&into, &fs::fstat(&from)?)?;
    copy_entries(&from, &into)
}

fn copy_entries(from: &OwnedFd, into: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            copy(from, into, name)?;
        }
    }
    Ok(())
}

fn copy(from: &OwnedFd, into: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let stat = fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            fs::mkdirat(into, name, mode)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = fs::openat(into, name, flags, Mode::empty())?;
            like(&inner, &stat)?;
            copy_entries(&fs::openat(from, name, flags, Mode::empty())?, &inner)
        }
        FileType::Symlink => {
            let text = fs::readlinkat(from, name, Vec::new())?;
            fs::symlinkat(OsStr::from_bytes(text.as_bytes()), into, name)?;
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            fs::chownat(into, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        }
        FileType::RegularFile => copy_file(from, into, name, mode, &stat),
        _ => Ok(()),
    }
}

fn copy_file(from: &OwnedFd, into: &OwnedFd, name: &CStr, mode: Mode, stat: &fs::Stat) -> Result<(), Errno> {
    let source = fs::openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let made = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = fs::openat(into, name, made, mode)?;
    while fs::sendfile(target.as_fd(), source.as_fd(), None, COPY_BYTES)? > 0 {}
    like(&target, stat)
}

/// How much one call copies: any number does, the kernel goes page by page.
const COPY_BYTES: usize = 1 << 20;

fn like(fd: &OwnedFd, stat: &fs::Stat) -> Result<(), Errno> {
    fs::fchown(fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777))
}
