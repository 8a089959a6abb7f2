//! `flock` on the thing itself: the partial blob, the layer's directory, the lease's file.
//!
//! Law: a lock counts only while its name still leads to the locked inode; else someone finished or removed the thing in
//! between, and the taker starts over. A lock ends with its holder, however it dies.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{IoContext, Result};

/// A file or directory whose lock we hold.
///
/// The lock is given back by name, not by closing: a process that another thread of ours is starting has a copy of every
/// descriptor until it executes, and would hold the lock that long.
pub(crate) struct Locked(File);

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Where this fails, closing does it.
        let _ = self.0.unlock();
    }
}

/// Tries to lock the open `file`; `None` where another holds it, or where `path` no longer leads to it.
pub(crate) fn try_lock(file: File, path: &Path) -> Result<Option<Locked>> {
    match file.try_lock() {
        Ok(()) => still_there(Locked(file), path),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).doing("lock", path),
    }
}

/// Locks a file that has no name yet, so that nobody can be in the way; `None` where somebody is.
pub(crate) fn lock_unnamed(file: File, path: &Path) -> Result<Option<Locked>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Locked(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).doing("lock", path),
    }
}

/// The file if `path` still leads to it.
fn still_there(file: Locked, path: &Path) -> Result<Option<Locked>> {
    let ours = file.metadata().doing("stat", path)?;
    match std::fs::symlink_metadata(path) {
        Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("stat", path),
    }
}

/// Locks a directory or file that exists; `None` where it is gone or held.
pub(crate) fn try_lock_existing(path: &Path) -> Result<Option<Locked>> {
    match File::open(path) {
        Ok(file) => try_lock(file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("open", path),
    }
}

/// What `path` is while nobody holds its lock; `None` where it is gone or held.
pub(crate) fn look(path: &Path) -> Result<Option<Metadata>> {
    try_lock_existing(path)?.map(|file| file.metadata().doing("stat", path)).transpose()
}

/// Waits until nobody holds the lock of `path`, which may go away meanwhile.
pub(crate) fn wait(path: &Path) -> Result<()> {
    match File::open(path) {
        Ok(file) => wait_for(file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).doing("open", path),
    }
}

/// The same of a file that is open.
pub(crate) fn wait_for(file: File, path: &Path) -> Result<()> {
    file.lock_shared().doing("lock", path)?;
    drop(Locked(file));
    Ok(())
}

/// Makes the directory `path`, which must be new, and locks it. `None` where it exists.
pub(crate) fn make_locked_dir(path: &Path) -> Result<Option<Locked>> {
    match std::fs::create_dir(path) {
        Ok(()) => try_lock_existing(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error).doing("create", path),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Looks at the lock of one file, each after the other.
    const LOOKS: usize = 20_000;

    #[test]
    fn a_look_leaves_no_lock_with_a_process_that_is_being_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease");
        File::create(&path).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Command::new("true").status().unwrap();
                }
            });
            let held = (0..LOOKS).filter(|_| look(&path).unwrap().is_none()).count();
            done.store(true, Ordering::Relaxed);
            assert_eq!(held, 0);
        });
    }
}
