//! `syncfs(2)`: everything written to one file system reaches the disk.

use std::os::fd::AsFd;

use crate::error::{Call, Fd, Result};

/// Writes back the whole file system that `fd` is on; returns when the disk has it.
pub fn syncfs(fd: impl AsFd) -> Result<()> {
    rustix::fs::syncfs(&fd).call(|| format!("syncfs({})", Fd(&fd)))
}
