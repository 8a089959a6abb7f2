//! Removing trees: out of sight with one rename, then off the disk.

use std::io;
use std::path::Path;

use crate::error::{IoContext, Result};
use crate::store::{Store, token};

/// Moves `path` into the trash and removes it there. Nothing happens where it is gone already; what a death leaves in the
/// trash the next collection removes.
pub(crate) fn discard(store: &Store, path: &Path) -> Result<()> {
    let grave = store.dir("trash")?.join(token()?);
    match std::fs::rename(path, &grave) {
        Ok(()) => std::fs::remove_dir_all(&grave).doing("remove", &grave),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).doing("rename", path),
    }
}
