//! Where the program is, and where it begins.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use knarr_sys::fs::{self, AtFlags, FileType, Mode, OFlags};
use knarr_sys::{Errno, io};

use super::wire::Trouble;

/// Changes to the working directory, and makes sure that it lies below our root: a descriptor that leaked from outside, reached
/// through `/proc/self/fd`, would be a way out (CVE-2024-21626).
pub(crate) fn working_directory(path: &CStr) -> Result<(), Trouble> {
    io::chdir(path)?;
    let here = io::getcwd(Vec::new())?;
    match here.as_bytes().first() {
        Some(b'/') => Ok(()),
        _ => Err(Trouble::new(Errno::PERM, "the working directory lies outside of the container's root")),
    }
}

/// The null device among our standard descriptors becomes the container's own, as runc does it: a checkpoint can only name files of mounts
/// the container has. Where it has none, nothing changes.
pub(crate) fn own_null() {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let null = |fd: BorrowedFd<'_>| fs::fstat(fd).is_ok_and(|stat| is_null(&stat));
    let are = [null(stdin.as_fd()), null(stdout.as_fd()), null(stderr.as_fd())];
    if are == [false; 3] {
        return;
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(own) = fs::openat(fs::CWD, c"/dev/null", flags, Mode::empty()) else { return };
    if !null(own.as_fd()) {
        return;
    }
    let _ = if are[0] { io::dup2_stdin(&own) } else { Ok(()) };
    let _ = if are[1] { io::dup2_stdout(&own) } else { Ok(()) };
    let _ = if are[2] { io::dup2_stderr(&own) } else { Ok(()) };
}

fn is_null(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == fs::makedev(1, 3)
}

/// The first candidate that can be executed; otherwise why the best of the others cannot.
pub(crate) fn find(candidates: &[CString]) -> Result<usize, Errno> {
    let mut reason = Errno::NOENT;
    for (index, path) in candidates.iter().enumerate() {
        match executable(path) {
            Ok(()) => return Ok(index),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => reason = errno,
        }
    }
    Err(reason)
}

fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = fs::statat(fs::CWD, path, AtFlags::empty())?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => fs::may_execute(path),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::ACCESS),
    }
}
