//! Finished blobs: exact bytes under their digest.
//!
//! Law: a blob is there when its row is there and its file has the row's size. A row without such a file is damage, which
//! a later pull mends; the content is not read again to find out (`check` does).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use knarr_spec::Digest;
use rusqlite::{Connection, OptionalExtension};

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

    /// The blob's file, open for reading; `None` where the store has no such blob, or lost its file.
    pub fn blob_file(&self, digest: &Digest) -> Result<Option<File>> {
        let Some(bytes) = self.database().read("find blob", |c| row(c, digest))? else { return Ok(None) };
        self.open_blob(digest, bytes)
    }

    fn open_blob(&self, digest: &Digest, bytes: u64) -> Result<Option<File>> {
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
        let Some(bytes) = self.database().read("find blob", |c| row(c, digest))? else { return Ok(None) };
        let there = self.open_blob(digest, bytes)?.is_some();
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

/// The size the database has for a blob.
pub(crate) fn row(connection: &Connection, digest: &Digest) -> Result<Option<u64>, Fault> {
    let mut query = connection.prepare_cached("SELECT bytes FROM blobs WHERE digest = ?1")?;
    Ok(query.query_row([digest.as_str()], |row| row.get(0)).optional()?)
}
