//! Finished blobs: exact bytes under their digest.
//!
//! Law: a blob is there when its row is there and its file has the row's size, or when it was dropped (`remake`) and the layer
//! it is made of is there. Any other row is damage, which a later pull mends; the content is not read again to find out
//! (`check` does).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use knarr_spec::Digest;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::database::Fault;
use crate::error::{Error, IoContext, Result};
use crate::ingest::Ingest;
use crate::partial::IngestState;
use crate::store::Store;

/// A blob in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content.
    pub bytes: u64,
}

impl Store {
    /// Where the bytes of `digest` are, whether they are there or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.state.join("blobs").join(digest.algorithm().as_str()).join(digest.encoded())
    }

    /// The blob's file, open for reading; `None` where the store has no such blob, or lost its file. A blob that was dropped
    /// is made again.
    pub fn blob_file(&self, digest: &Digest) -> Result<Option<File>> {
        let Some(row) = self.blob_row(digest)? else { return Ok(None) };
        if let Some(file) = self.open_blob(digest, row.bytes)? {
            return Ok(Some(file));
        }
        let Some(number) = self.made_of(digest)? else { return Ok(None) };
        self.make_again(digest, row.bytes, number).map(Some)
    }

    fn blob_row(&self, digest: &Digest) -> Result<Option<BlobRow>> {
        self.database().read("find blob", |c| row(c, digest))
    }

    /// The layer that a dropped blob is made of. Read after the file was not found: until then the blob may have been whole.
    fn made_of(&self, digest: &Digest) -> Result<Option<i64>> {
        let layer = self.blob_row(digest)?.and_then(|row| row.made_of);
        Ok(layer.filter(|&number| self.layer_fs(number).is_dir()))
    }

    /// The blob, if its file is there.
    pub(crate) fn held_file(&self, digest: &Digest) -> Result<Option<Blob>> {
        let Some(BlobRow { bytes, .. }) = self.blob_row(digest)? else { return Ok(None) };
        Ok(self.open_blob(digest, bytes)?.map(|_| Blob { digest: digest.clone(), bytes }))
    }

    pub(crate) fn open_blob(&self, digest: &Digest, bytes: u64) -> Result<Option<File>> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Ok(file) => Ok((file.metadata().doing("stat", &path)?.len() == bytes).then_some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("open", path),
        }
    }

    /// The blob's content, for documents; more than `max` bytes are an error. The content is verified.
    pub fn blob_bytes(&self, digest: &Digest, max: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.blob_file(digest)? else { return Ok(None) };
        let path = self.blob_path(digest);
        let bytes = file.metadata().doing("stat", &path)?.len();
        if bytes > max {
            return Err(Error::TooBig { digest: digest.clone(), bytes, max });
        }
        let mut content = Vec::with_capacity(bytes as usize);
        file.take(max).read_to_end(&mut content).doing("read", &path)?;
        let mut hasher = crate::hash::Hasher::for_digest(digest)?;
        hasher.update(&content);
        match hasher.finish() {
            actual if actual == *digest => Ok(Some(content)),
            actual => Err(Error::WrongDigest { expected: digest.clone(), actual }),
        }
    }

    /// Whether the store has the blob, and its size.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        let Some(BlobRow { bytes, .. }) = self.blob_row(digest)? else { return Ok(None) };
        let there = self.open_blob(digest, bytes)?.is_some() || self.made_of(digest)?.is_some();
        Ok(there.then(|| Blob { digest: digest.clone(), bytes }))
    }

    /// Stores `bytes` under their SHA-256.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        self.put_blobs(&[bytes])?;
        Ok(Digest::sha256_of(bytes))
    }

    /// Stores documents together, which costs less than one by one.
    pub(crate) fn put_blobs(&self, documents: &[&[u8]]) -> Result<()> {
        // By digest, so that two processes never wait for each other.
        let documents: BTreeMap<Digest, &[u8]> =
            documents.iter().map(|bytes| (Digest::sha256_of(bytes), *bytes)).collect();
        let mut ingests = Vec::new();
        for (digest, bytes) in documents {
            ingests.extend(self.write_document(&digest, bytes)?);
        }
        if ingests.is_empty() { Ok(()) } else { self.commit_all(ingests) }
    }

    /// A complete, uncommitted ingest; `None` where the blob is there.
    fn write_document(&self, digest: &Digest, bytes: &[u8]) -> Result<Option<Ingest>> {
        loop {
            match self.ingest(digest, Some(bytes.len() as u64))? {
                IngestState::Present(_) => return Ok(None),
                IngestState::Busy(busy) => busy.wait()?,
                IngestState::Partial(mut ingest) => {
                    ingest.restart()?;
                    ingest.write(bytes)?;
                    return Ok(Some(ingest));
                }
            }
        }
    }
}

/// What the database has of a blob.
pub(crate) struct BlobRow {
    bytes: u64,
    /// The number of its layer, where it was dropped and is made of that.
    made_of: Option<i64>,
}

/// The row of a blob.
pub(crate) fn row(connection: &Connection, digest: &Digest) -> Result<Option<BlobRow>, Fault> {
    let sql = "SELECT bytes, (SELECT number FROM layers WHERE dropped AND diff_id = digest AND boot IS NULL)
               FROM blobs WHERE digest = ?1";
    let mut query = connection.prepare_cached(sql)?;
    let read = |row: &Row<'_>| Ok(BlobRow { bytes: row.get(0)?, made_of: row.get(1)? });
    Ok(query.query_row([digest.as_str()], read).optional()?)
}
