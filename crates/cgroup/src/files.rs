//! Reading and writing the one-value files of a cgroup.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use crate::Error;

/// The longest file read whole. `cgroup.procs` of the largest machine has four million lines of seven digits.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A page, and what kernfs gives at most in one piece.
const READ_BYTES: usize = 4096;

/// The file's bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    try_read(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// The file's bytes, or `None` where there is no such file (a controller that is off, a cgroup that is gone).
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match try_read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if gone(&error) => Ok(None),
        Err(source) => Err(Error::Read { path: path.into(), source }),
    }
}

fn try_read(path: &Path) -> io::Result<Vec<u8>> {
    // Room for nearly every file at once: a growing buffer begins with reads of 32 bytes, which the kernel answers one by one.
    let mut bytes = Vec::with_capacity(READ_BYTES);
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes `value` with one write(2), as the kernel's files want it; never creates a file.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), Error> {
    try_write(path, value).map_err(|source| Error::Write { path: path.into(), value: value.into(), source })
}

/// The same, for callers that handle some errors themselves.
pub(crate) fn try_write(path: &Path, value: &str) -> io::Result<()> {
    let written = OpenOptions::new().write(true).open(path)?.write(value.as_bytes())?;
    if written == value.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Whether the cgroup, or the file, is not there (any more): reading an open file of a removed cgroup says ENODEV.
pub(crate) fn gone(error: &io::Error) -> bool {
    const ENODEV: i32 = 19;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ENODEV)
}

/// Whether this user may not do it.
pub(crate) fn denied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
