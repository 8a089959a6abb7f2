//! Records: beside the blobs, one small file for each manifest of each repository, from which the database can be rebuilt.
//!
//! Law: a change is in the database's list of changes in the transaction that makes it, and leaves the list when its
//! record is written. A kill in between leaves it in the list.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::blobs::Blobs;
use crate::error::StorageError;
use crate::metadata::{Change, Metadata};

/// Changes read in one go.
const CHANGES_AT_ONCE: usize = 100;

/// The version of records we write, and the newest we read.
pub const VERSION: u32 = 1;

/// A manifest of a repository, without its bytes, which are a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub version: u32,
    pub repository: String,
    pub digest: String,
    pub media_type: String,
    /// Seconds since 1970.
    pub pushed: i64,
    /// Tags that point to it, and since when.
    pub tags: BTreeMap<String, i64>,
}

/// Writes records, one process and one thread at a time.
#[derive(Default)]
pub struct Recorder {
    /// The number of the last change whose record was written.
    written: Mutex<i64>,
}

impl Recorder {
    /// Writes the records of all changes so far.
    pub fn catch_up(&self, metadata: &dyn Metadata, blobs: &dyn Blobs) -> Result<(), StorageError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let changes = metadata.changes(*written, CHANGES_AT_ONCE)?;
            let Some(last) = changes.last() else { return Ok(()) };
            let number = last.number;
            // They were all read in one moment: of several about one manifest any says all.
            let latest: BTreeMap<(&str, &str), &Change> =
                changes.iter().map(|change| ((change.repository.as_str(), change.digest.as_str()), change)).collect();
            for change in latest.into_values() {
                write(change, blobs)?;
            }
            *written = number;
        }
    }

    /// Takes what is written from the database's list.
    pub fn tidy(&self, metadata: &dyn Metadata) -> Result<(), StorageError> {
        let written = *self.written.lock().unwrap_or_else(PoisonError::into_inner);
        metadata.recorded(written)
    }
}

fn write(change: &Change, blobs: &dyn Blobs) -> Result<(), StorageError> {
    let Some(state) = &change.state else { return blobs.remove_record(&change.repository, &change.digest) };
    if !blobs.contains(&change.digest)? {
        blobs.put_manifest(&change.digest, &state.bytes)?;
    }
    let record = Record {
        version: VERSION,
        repository: change.repository.clone(),
        digest: change.digest.to_string(),
        media_type: state.media_type.clone(),
        pushed: state.pushed,
        tags: state.tags.clone(),
    };
    let text = serde_json::to_vec(&record).expect("strings and numbers");
    blobs.put_record(&change.repository, &change.digest, &text)
}
