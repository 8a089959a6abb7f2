//! A little room kept back, so that a full disk can still be cleared.
//!
//! Removing something writes to the database before it frees anything. Where that finds the disk full, the reserve is given
//! up, the removal is done, and the next collection that leaves room makes a new reserve.

use std::path::PathBuf;

use crate::error::{Kind, Result};
use crate::store::Store;

/// Enough for the log pages of many removals.
const RESERVE_BYTES: usize = 512 << 10;

impl Store {
    /// Runs a removal, once more with the reserve given up where the disk is full.
    pub(crate) fn freeing<T>(&self, removal: impl Fn() -> Result<T>) -> Result<T> {
        match removal() {
            Err(error) if error.kind() == Kind::NoSpace && std::fs::remove_file(self.reserve()).is_ok() => removal(),
            done => done,
        }
    }

    /// Makes the reserve where it is missing and there is room.
    pub(crate) fn keep_reserve(&self) {
        let path = self.reserve();
        let there = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == RESERVE_BYTES as u64);
        if !there && std::fs::write(&path, vec![0xa5; RESERVE_BYTES]).is_err() {
            let _ = std::fs::remove_file(&path);
        }
    }

    fn reserve(&self) -> PathBuf {
        self.inner.state.join("reserve")
    }
}
