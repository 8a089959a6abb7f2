//! What can go wrong with a cgroup.

use std::{io, path::PathBuf};

/// What, where, why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the cgroup or of `/proc` could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the cgroup could not be written.
    #[error("write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// Why.
        source: io::Error,
    },
}
