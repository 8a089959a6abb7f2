//! Blobs whose digest is only known when they are written: an unnamed file that becomes the blob.
//!
//! Law: until it has its name nobody sees it, and a death leaves nothing. It takes its place under the lock of its digest,
//! like every blob.

use std::fs::File;
use std::io::{Read, Seek, Write};

use knarr_spec::Digest;

use crate::blob::Blob;
use crate::error::{Error, IoContext, Result};
use crate::hash::Hasher;
use crate::partial::IngestState;
use crate::store::Store;

/// Bytes copied at once.
const CHUNK_BYTES: usize = 256 << 10;

impl Store {
    /// A file without a name, on the store's file system, to write a blob into.
    pub fn spool(&self) -> Result<File> {
        let dir = self.state();
        let file = knarr_sys::fs::unnamed_file(dir).map_err(|source| Error::Sys { action: "make a blob", source })?;
        Ok(File::from(file))
    }

    /// Stores all that is left in `reader` under its SHA-256.
    pub fn put_stream(&self, mut reader: impl Read) -> Result<Blob> {
        let mut spool = self.spool()?;
        let mut hasher = Hasher::for_digest(&Digest::sha256_of(b""))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut bytes = 0;
        loop {
            let got = match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).doing("read", self.state()),
            };
            hasher.update(&chunk[..got]);
            spool.write_all(&chunk[..got]).doing("write", self.state())?;
            bytes += got as u64;
        }
        self.keep(spool, &hasher.finish(), bytes)
    }

    /// Makes what was written into `spool` the blob `digest` of `bytes` bytes: the digest is its writer's word.
    pub fn keep(&self, mut spool: File, digest: &Digest, bytes: u64) -> Result<Blob> {
        loop {
            match self.ingest(digest, Some(bytes))? {
                IngestState::Present(blob) => return Ok(blob),
                IngestState::Busy(busy) => busy.wait()?,
                IngestState::Partial(mut ingest) => {
                    if ingest.take_over(&spool, bytes)? {
                        return ingest.commit();
                    }
                    // A file system that cannot name it: its bytes are copied, and verified on the way.
                    let state = self.state();
                    ingest.restart()?;
                    spool.rewind().doing("rewind", state)?;
                    std::io::copy(&mut spool, &mut ingest).and_then(|_| ingest.flush()).doing("copy", state)?;
                    return ingest.commit();
                }
            }
        }
    }
}
