//! Bytes by digest, and beside them small records from which the database can be rebuilt.
//!
//! Law: content-addressed, written once, never changed; a blob is whole and on stable storage when `put` returns.
//! Not here: who may see a blob (`metadata`), whether the bytes have their digest (`upload` verifies before it puts).
//!
//! A second implementation has to pass `contract`; handlers know this interface only.

#[cfg(test)]
mod contract;
mod files;
#[cfg(feature = "objects")]
mod objects;

use std::path::Path;
use std::time::SystemTime;

use axum::body::Body;
use knarr_spec::Digest;

use crate::error::StorageError;
use crate::outlet::Outlet;

pub use files::Files;
#[cfg(feature = "objects")]
pub use objects::{Objects, Segment};
#[cfg(all(test, feature = "objects"))]
pub use objects::{PART_BYTES, tests::open as open_for_tests};

pub type Result<T> = std::result::Result<T, StorageError>;

/// A blob's bytes, to be read at any place. When it has been removed they are read on where the place allows it (a file that
/// is open), and are an error otherwise, never other bytes.
pub trait Content: Send + Sync {
    fn size(&self) -> u64;

    /// The `length` bytes from `start` on, as the body of an answer; those of a file may go through the `outlet` of the connection
    /// that the answer is for.
    fn body(self: Box<Self>, start: u64, length: u64, outlet: Option<Outlet>) -> Body;

    /// Fills `buffer` with the bytes from `at` on.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<()>;
}

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub digest: Digest,
    pub size: u64,
    pub modified: SystemTime,
}

/// Where blobs are kept. All methods block.
pub trait Blobs: Send + Sync {
    /// A blob's bytes; `None` where there is none.
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Content>>>;

    /// Where clients may fetch the blob themselves, if they are to.
    fn address(&self, _digest: &Digest) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether the blob is there.
    fn contains(&self, digest: &Digest) -> Result<bool>;

    /// Stores the bytes of the file `from`, which stays but must not be written to any more; a blob that is there already is replaced (the new bytes are
    /// verified, the old ones may have rotted).
    fn put(&self, digest: &Digest, from: &Path) -> Result<()>;

    /// Stores the few bytes of a manifest, which the database has as well.
    fn put_manifest(&self, digest: &Digest, bytes: &[u8]) -> Result<()>;

    /// Removes a blob; its absence is no error.
    fn remove(&self, digest: &Digest) -> Result<()>;

    /// Takes a damaged blob out of the way, where a person can look at it.
    fn set_aside(&self, digest: &Digest) -> Result<()>;

    /// Shows every blob there is, in no order.
    fn list(&self, visit: &mut dyn FnMut(Stored) -> Result<()>) -> Result<()>;

    /// Writes the record of a manifest of a repository.
    fn put_record(&self, repository: &str, digest: &Digest, text: &[u8]) -> Result<()>;

    /// Removes such a record; its absence is no error.
    fn remove_record(&self, repository: &str, digest: &Digest) -> Result<()>;

    /// Shows every record, in no order.
    fn records(&self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}
