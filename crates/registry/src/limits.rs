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
/// Bytes of a file that the kernel is asked to send at once, where they are in memory.
pub const SEND_FILE_BYTES: usize = 1024 * 1024;
/// Descriptors one manifest may name. A 4 MiB manifest has room for about 25 000.
pub const DESCRIPTORS_MAX: usize = 32_768;
/// Connections served at once; more wait to be accepted. Each holds [`CONNECTION_BUFFER_BYTES`] at most beside its bodies.
pub const CONNECTIONS_MAX: usize = 4096;
/// Bytes of a request's line and headers: 64 tags in a query are 9 kB, a bearer token 4 kB. More is answered with 431.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Bytes read ahead of a connection: a few of them fill one write to the disk.
pub const CONNECTION_BUFFER_BYTES: usize = 128 * 1024;
/// A head that has not arrived whole after this time, a connection that asks for nothing for so long, and a body of which
/// nothing arrives any more are given up, unless the settings say otherwise; an upload can go on from there.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A connection whose client acknowledges nothing for so long is ended by the kernel. Clients that unpack while they
/// download may well take a minute's rest.
pub const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(300);
/// After this time of silence the kernel asks whether the client is still there.
pub const KEEP_ALIVE_PROBE_AFTER: Duration = Duration::from_secs(60);
/// Rest after an `accept` that failed, for a descriptor to become free.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// A TLS handshake that is not done after this time never will be.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
