//! The store as a place for what is no image: an artifact's manifest and files, kept as they come.
//!
//! Law: as with every blob of the store: one writer per digest, and what a broken attempt brought is gone on from.

use knarr_spec::{Descriptor, Digest};
use knarr_store::{IngestState, Store};

use crate::Problem;
use crate::origin::Document;
use crate::sink::{Manners, Opener, Presence, Sink};

/// Blobs and manifests of the store.
pub(crate) struct StoreSink<'s>(pub(crate) &'s Store);

impl Sink for StoreSink<'_> {
    fn manners(&self) -> Manners {
        Manners { oci_only: false, compresses: false, indexes: true }
    }

    fn presence(&self, blob: &Descriptor) -> Result<Presence, Problem> {
        Ok(if self.0.blob(&blob.digest)?.is_some() { Presence::Present } else { Presence::Absent })
    }

    fn put_blob(&self, blob: &Descriptor, open: &Opener<'_>, tell: &dyn Fn(u64)) -> Result<(), Problem> {
        loop {
            match self.0.ingest(&blob.digest, Some(blob.size))? {
                IngestState::Present(_) => return Ok(()),
                IngestState::Busy(other) => other.wait()?,
                IngestState::Partial(mut ingest) => {
                    if ingest.offset() < blob.size {
                        let mut stream = open(ingest.offset())?;
                        while let Some(chunk) = stream.chunk()? {
                            ingest.write(&chunk)?;
                            tell(ingest.offset());
                        }
                    }
                    return Ok(ingest.commit().map(drop)?);
                }
            }
        }
    }

    fn put_manifest(&self, document: &Document, _: &Digest) -> Result<(), Problem> {
        Ok(self.0.put_blob(&document.bytes).map(drop)?)
    }

    fn put_root(&self, document: &Document, digest: &Digest) -> Result<(), Problem> {
        self.put_manifest(document, digest)
    }
}
