//! Records: beside the blobs, one small file for each manifest of each repository, from which the database can be rebuilt.
//!
//! Law: a change is in the database's list of changes in the transaction that makes it, and leaves the list when its
//! record is written. A kill in between leaves it in the list.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::blobs::Blobs;
use crate::error::StorageError;
use crate::metadata::{Change, Metadata};

/// Changes read in one go.
const CHANGES_AT_ONCE: usize = 100;

/// Records of one go that are written at the same time.
const WRITERS: usize = 8;

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

/// Writes the records of all changes so far.
pub fn catch_up(metadata: &dyn Metadata, blobs: &dyn Blobs) -> Result<(), StorageError> {
    while metadata.record(CHANGES_AT_ONCE, &mut |changes| write_all(changes, blobs))? > 0 {}
    Ok(())
}

/// Where blobs are far away, one after the other would be slow.
fn write_all(changes: &[Change], blobs: &dyn Blobs) -> Result<(), StorageError> {
    // They were all read in one moment: of several about one manifest any says all.
    let latest: BTreeMap<(&str, &str), &Change> =
        changes.iter().map(|change| ((change.repository.as_str(), change.digest.as_str()), change)).collect();
    let latest: Vec<&Change> = latest.into_values().collect();
    if let [change] = latest[..] {
        return write(change, blobs);
    }
    std::thread::scope(|scope| {
        let writers: Vec<_> = latest
            .chunks(latest.len().div_ceil(WRITERS).max(1))
            .map(|some| scope.spawn(|| some.iter().try_for_each(|change| write(change, blobs))))
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or(Err(StorageError::Worker)))
    })
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
