//! What a caller is told while an image arrives. Docker's words; drawing them is the caller's.
//!
//! Law: events of one layer come in order; events of different layers come from different threads.

use knarr_spec::Digest;

/// Where one layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// Known, not begun (docker: `Pulling fs layer`, then `Waiting`).
    Waiting,
    /// Bytes are arriving (docker: `Downloading`).
    Downloading {
        /// Bytes of the blob that are here, those of an earlier interrupted pull included.
        bytes: u64,
        /// Size of the blob.
        total: u64,
    },
    /// Another process is fetching the same blob; this one waits for it.
    WaitingForOther,
    /// All bytes are here and verified (docker: `Download complete`).
    Downloaded,
    /// The rest of the tree is being written (docker: `Extracting`).
    Extracting,
    /// Bytes are leaving (docker: `Pushing`).
    Uploading {
        /// Bytes of the blob that are there.
        bytes: u64,
        /// Size of the blob.
        total: u64,
    },
    /// Where it should be (docker: `Pushed`).
    Uploaded,
    /// Was where it should be before (docker: `Layer already exists`).
    AlreadyThere,
    /// The layer gets another compression.
    Compressing,
    /// In the store (docker: `Pull complete`).
    Done,
    /// Was in the store before (docker: `Already exists`).
    AlreadyExists,
    /// The connection broke or the registry asked for patience; the attempt with this number follows.
    Retrying {
        /// 1 for the first repetition.
        attempt: u32,
    },
}

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Docker: `Downloaded newer image for`.
    Downloaded,
    /// Docker: `Image is up to date for`.
    UpToDate,
}

/// Receives events; called from several threads.
pub trait Progress: Sync {
    /// A layer changed its state. `digest` is that of the blob.
    fn layer(&self, digest: &Digest, state: LayerState);

    /// The reference was resolved; `digest` is what docker prints as `Digest:` (the index's where there is one).
    fn resolved(&self, subject: &str, digest: &Digest) {
        let _ = (subject, digest);
    }

    /// A registry took the blob from another of its repositories (docker: `Mounted from`).
    fn mounted(&self, digest: &Digest, from: &str) {
        let _ = (digest, from);
    }

    /// The registry counts requests: so many of `limit` are left.
    fn rate_limit(&self, host: &str, remaining: u64, limit: u64) {
        let _ = (host, remaining, limit);
    }

    /// The image is in the store.
    fn finished(&self, subject: &str, outcome: Outcome) {
        let _ = (subject, outcome);
    }
}

/// Nobody is watching.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn layer(&self, _: &Digest, _: LayerState) {}
}
