//! Our own binary in a form that nobody can open for writing through a running process (CVE-2019-5736).
//!
//! A detached read-only bind mount (open_tree(2), mount_setattr(2); Linux 5.12); where that is denied, a sealed copy in memory
//! (memfd_create(2)), which costs milliseconds and the binary's size in memory.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;

use crate::error::{Call, Error, Fd, Result};
use crate::mount::{self, MountAttr, MountAttrFlags, OpenTreeFlags};

/// A descriptor to execute ourselves from, by `/proc/self/fd/N` or execveat(2).
pub fn protected() -> Result<OwnedFd> {
    read_only_mount().or_else(|_| sealed_copy())
}

/// Whether the file we were executed from cannot be written by anybody: it is on a read-only mount, or a sealed copy.
pub fn is_protected() -> bool {
    let Ok(exe) = rustix::fs::open(c"/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    let read_only = rustix::fs::fstatvfs(&exe).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    read_only || rustix::fs::fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

/// A bind mount of our binary that is attached nowhere and whose file cannot be opened for writing, even by root.
pub fn read_only_mount() -> Result<OwnedFd> {
    let tree = clone_mount(c"/proc/self/exe").or_else(|_| clone_by_name())?;
    set_read_only(&tree)?;
    Ok(tree)
}

/// In a mount namespace that was made after we were executed the link leads to a mount outside of it, which cannot be
/// cloned; the file's name leads to its counterpart inside, which must be the same file.
fn clone_by_name() -> Result<OwnedFd> {
    let link = c"/proc/self/exe";
    let name = rustix::fs::readlink(link, Vec::new()).call(|| "readlink(\"/proc/self/exe\")")?;
    let tree = clone_mount(&name)?;
    let (ours, found) = (rustix::fs::stat(link), rustix::fs::fstat(&tree));
    match (ours, found) {
        (Ok(ours), Ok(found)) if (ours.st_dev, ours.st_ino) == (found.st_dev, found.st_ino) => Ok(tree),
        _ => Err(Error::new(format!("open_tree(AT_FDCWD, {name:?}, OPEN_TREE_CLONE)"), Errno::STALE)),
    }
}

fn clone_mount(path: &CStr) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(rustix::fs::CWD, path, flags)
        .call(|| format!("open_tree(AT_FDCWD, {path:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)"))
}

fn set_read_only(tree: &OwnedFd) -> Result<()> {
    let attributes = MountAttr { set: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), ..MountAttr::default() };
    mount::setattr(tree.as_fd(), false, &attributes)
        .call(|| format!("mount_setattr({}, \"\", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY)", Fd(tree)))
}

/// A copy in memory that can no longer be changed.
pub fn sealed_copy() -> Result<OwnedFd> {
    let words = || "memfd_create(\"knarr\", MFD_CLOEXEC|MFD_ALLOW_SEALING|MFD_EXEC)";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create(c"knarr", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(c"knarr", flags))
        .call(words)?;
    let mut target = File::from(memory);
    File::open("/proc/self/exe")
        .and_then(|mut source| io::copy(&mut source, &mut target))
        .map_err(|error| Error::new("copy(\"/proc/self/exe\")", Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(target.as_fd(), seals).call(|| format!("fcntl({}, F_ADD_SEALS)", Fd(&target)))?;
    Ok(target.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn refuses_writers(exe: OwnedFd) {
        let path = format!("/proc/self/fd/{}", exe.as_raw_fd());
        let writable = File::options().write(true).open(&path).and_then(|mut file| io::Write::write(&mut file, b"x"));
        assert!(writable.is_err(), "{path} took a byte");
        assert!(File::open(&path).unwrap().metadata().unwrap().len() > 0);
    }

    #[test]
    fn the_read_only_mount_cannot_be_written() {
        match read_only_mount() {
            Ok(exe) => refuses_writers(exe),
            Err(error) => eprintln!("skipped: {error}"),
        }
    }

    #[test]
    fn the_sealed_copy_cannot_be_written() {
        refuses_writers(sealed_copy().unwrap());
    }
}
