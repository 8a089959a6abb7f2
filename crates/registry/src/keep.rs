//! What every push ends with: bytes in place, then the database, then the record.
//!
//! Law: garbage collection runs beside this and never takes what was acknowledged. It removes a file only while no row can
//! be written and none is there; so once the row is written, a file that is there stays, and one that is not is put again.

use knarr_spec::Digest;

use crate::error::{Code, Failure, StorageError};
use crate::metadata::NewManifest;
use crate::records;
use crate::server::Registry;
use crate::upload::Session;

/// How often a blob's file may be taken away between its putting and its row; each time is a garbage collection that
/// ended in just that moment.
const TRIES_MAX: usize = 5;

impl Registry {
    /// Keeps the verified bytes of an upload as a blob of `repository`.
    pub(crate) fn keep_blob(&self, repository: &str, digest: &Digest, from: &mut dyn Session) -> Result<(), Failure> {
        let bytes_max = self.settings().quota_of(repository);
        for _ in 0..TRIES_MAX {
            from.store(digest)?;
            if let Err(refusal) = self.meta().add_blob(repository, digest, from.offset(), bytes_max)? {
                self.remove_unknown(digest)?;
                return Err(refusal.explained(repository));
            }
            if self.blobs().contains(digest)? {
                return Ok(());
            }
        }
        Err(Failure::new(Code::Unknown, format!("blob {digest} was taken away {TRIES_MAX} times while it was stored")))
    }

    /// Removes the bytes of a blob unless somebody knows it: without a row, garbage collection would never come to them.
    pub(crate) fn remove_unknown(&self, digest: &Digest) -> Result<(), StorageError> {
        let mut removed = Ok(());
        self.meta().while_unknown(digest, &mut || removed = self.blobs().remove(digest))?;
        removed
    }

    /// Keeps a manifest.
    pub(crate) fn keep_manifest(&self, new: &NewManifest<'_>) -> Result<(), Failure> {
        self.meta().put_manifest(new)?.map_err(|refusal| refusal.explained(new.repository))?;
        self.manifests().invalidate(new.repository);
        Ok(self.write_records()?)
    }

    /// Writes the records of what changed.
    pub(crate) fn write_records(&self) -> Result<(), StorageError> {
        records::catch_up(self.meta(), self.blobs())
    }

    /// Writes the pulls since the last time to the database.
    pub(crate) fn note_pulls(&self) -> Result<(), StorageError> {
        let pulls = self.pulls().take();
        if pulls.is_empty() { Ok(()) } else { self.meta().note_pulls(&pulls) }
    }
}
