//! Every limit on what comes from outside, and why it is what it is.

use std::time::Duration;

/// Largest manifest accepted. The specification asks for at least 4 MiB; this is that, exactly, as the other registries do.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most tags one manifest push may set; the specification asks for at least 10.
pub const TAGS_PER_PUSH_MAX: usize = 64;
/// Entries in a page of tags, repositories or referrers when the client names no number, and the most it can ask for.
/// 1 000 tags of 128 bytes are 150 kB, a page that streams in a millisecond.
pub const PAGE_ENTRIES_MAX: usize = 1000;
/// Unfinished uploads untouched for this long are removed. Longer than the slowest reasonable push of one blob.
pub const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(24 * 3600);
/// A blob without any manifest that names it is kept this long: the time between its upload and the push of its manifest.
pub const BLOB_GRACE: Duration = Duration::from_secs(24 * 3600);
/// How often garbage is looked for.
pub const GC_INTERVAL: Duration = Duration::from_secs(600);
/// Manifests, and likewise small blobs, kept in memory, in bytes: a few thousand of typical size, within the promise of
/// 20 MB resident.
pub const CACHE_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Blobs up to this size are read at once and kept in memory: image configs are 2 to 20 kB.
pub const SMALL_BLOB_BYTES_MAX: u64 = 64 * 1024;
/// Bytes read from a blob at once when it is sent.
pub const SEND_CHUNK_BYTES: usize = 256 * 1024;
/// Descriptors one manifest may name. A 4 MiB manifest has room for about 25 000.
pub const DESCRIPTORS_MAX: usize = 32_768;
