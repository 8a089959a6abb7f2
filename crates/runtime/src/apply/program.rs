//! Where the program is, and where it begins.

use std::ffi::{CStr, CString};

use knarr_sys::fs::{self, AtFlags, FileType};
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
