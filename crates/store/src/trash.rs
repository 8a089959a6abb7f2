//! Removing trees: out of sight with one rename, then off the disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};
use crate::store::{Store, token};

impl Store {
    /// Moves a directory of this root into the trash; its place there, for whoever takes it off the disk, which may take
    /// milliseconds. `None` where it is gone already.
    pub fn bury(&self, path: &Path) -> Result<Option<PathBuf>> {
        let grave = self.dir("trash")?.join(token()?);
        match std::fs::rename(path, &grave) {
            Ok(()) => Ok(Some(grave)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("rename", path),
        }
    }
}

/// Moves `path` into the trash and removes it there. What a death leaves in the trash the next collection removes.
pub(crate) fn discard(store: &Store, path: &Path) -> Result<()> {
    store.bury(path)?.map_or(Ok(()), |grave| std::fs::remove_dir_all(&grave).doing("remove", &grave))
}
