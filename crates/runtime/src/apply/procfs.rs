//! Writes to procfs: the runtime's own, verified to be one, never the container's.
//!
//! A container's `/proc` could be anything (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881); ours was opened before the clone.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use knarr_sys::fs::{self, Mode, OFlags};
use knarr_sys::setns::{flag, setns, unshare};
use knarr_sys::{Errno, io, mount};

use super::prepare::Prepared;
use super::wire::Trouble;
use crate::plan::step::ProcWrite;

/// The root directory of a procfs.
pub(crate) fn open() -> Result<OwnedFd, Errno> {
    let fd = fs::openat(fs::CWD, c"/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    check(&fd)?;
    Ok(fd)
}

/// ENOTSUP where a file does not belong to procfs.
pub(crate) fn check(fd: impl AsFd) -> Result<(), Errno> {
    if fs::fstatfs(fd)?.f_type as u64 == fs::PROC_MAGIC { Ok(()) } else { Err(Errno::NOTSUP) }
}

pub(crate) fn write(prepared: &Prepared, write: &ProcWrite) -> Result<(), Trouble> {
    let proc = prepared.proc.as_ref().ok_or(Errno::NOTSUP)?;
    match write_below(proc, &write.file, write.value.as_bytes()) {
        // Where the runtime itself runs in a container its /proc/sys is often read-only: a procfs of our own is not.
        Err(Errno::ROFS) => Ok(write_below(&private()?, &write.file, write.value.as_bytes())?),
        other => Ok(other?),
    }
}

fn write_below(proc: &OwnedFd, file: &CStr, value: &[u8]) -> Result<(), Errno> {
    let file = fs::openat(proc, file, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    check(&file)?;
    io::write(&file, value).map(drop)
}

fn private() -> Result<OwnedFd, Errno> {
    let fs = mount::fsopen(c"proc", mount::FsOpenFlags::FSOPEN_CLOEXEC)?;
    mount::fsconfig_create(&fs)?;
    mount::fsmount(&fs, mount::FsMountFlags::FSMOUNT_CLOEXEC, mount::MountAttrFlags::empty())
}

/// Offsets can be written as long as nobody is in; we enter ourselves afterwards.
pub(crate) fn new_clocks(prepared: &Prepared, offsets: &CStr) -> Result<(), Trouble> {
    let proc = prepared.proc.as_ref().ok_or(Errno::NOTSUP)?;
    unshare(flag::TIME)?;
    if !offsets.is_empty() {
        write_below(proc, c"self/timens_offsets", offsets.to_bytes())?;
    }
    let namespace = fs::openat(proc, c"self/ns/time_for_children", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(setns(&namespace, flag::TIME)?)
}
