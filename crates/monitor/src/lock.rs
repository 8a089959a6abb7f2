//! The lock that says a monitor lives.
//!
//! Law: asking never takes the lock, so that a curious `ps` can not make a start fail; the kernel drops it with the process.
//! An open file description lock (fcntl(2), `F_OFD_SETLK`), because flock(2) cannot be asked about without taking it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use knarr_sys::ofd_lock;

/// A lock held by a monitor that has recorded its end falls soon: it is asked for so many times, so far apart.
pub const PATIENCE_TRIES: u32 = 1000;
/// See [`PATIENCE_TRIES`].
pub const PATIENCE_STEP: Duration = Duration::from_millis(2);

/// Takes the lock, making the file if need be; `None` when another monitor has it. Held until the file is dropped.
pub fn take(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(ofd_lock::try_exclusive(&file)?.then_some(file))
}

/// Whether somebody has it.
pub fn is_held(path: &Path) -> io::Result<bool> {
    match File::open(path) {
        Ok(file) => Ok(ofd_lock::is_locked(&file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
