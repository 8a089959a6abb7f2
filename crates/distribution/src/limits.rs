//! Every limit of this crate, with its reason. Errors cite them.

/// Largest manifest or index. The specification asks registries to take at least 4 MiB; twice that is accepted, a hundred
/// megabytes are refused before they are read.
pub const MANIFEST_BYTES_MAX: u64 = 8 << 20;

/// Largest image config. Configs of thousands of history entries stay below one megabyte.
pub const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// Largest error body, token or other small answer of a server that is read.
pub const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Indexes may point to indexes; nobody nests deeper than two.
pub const INDEX_DEPTH_MAX: usize = 4;

/// Layers of one image. Docker stops at 127; overlayfs holds 500.
pub const LAYERS_MAX: usize = 500;

/// Redirects followed for one request; registries need one or two.
pub const REDIRECTS_MAX: usize = 10;

/// The longest `Retry-After` that is waited for; a registry that asks for more gets an error that says so.
pub const RETRY_AFTER_MAX_S: u64 = 60;

/// Layers fetched at once where the caller does not say.
pub const CONCURRENCY_DEFAULT: usize = 6;

/// Members of an image archive: layers, configs and their directories. Bounds the index kept in memory.
pub const ARCHIVE_MEMBERS_MAX: usize = 100_000;

/// Links followed inside an archive before it counts as a loop.
pub const ARCHIVE_LINKS_MAX: usize = 8;

/// Bytes of a compressed image archive after decompression that are spooled to disk: 256 GiB, far above any image, below
/// what a bomb would like.
pub const ARCHIVE_BYTES_MAX: u64 = 256 << 30;

/// Largest page of a list: a thousand tags of 128 bytes need an eighth of it, ten thousand referrers fit.
pub const LIST_BYTES_MAX: u64 = 8 << 20;

/// Pages of one list. A million tags are more than any repository has.
pub const PAGES_MAX: usize = 1000;

/// Largest blob a registry is believed to have: what fits the size of a tar with room to spare.
pub const BLOB_BYTES_MAX: u64 = 1 << 50;

/// Repositories a blob is asked to be mounted from: each one that does not have it costs a round trip.
pub const MOUNTS_TRIED_MAX: usize = 3;

/// Manifests that refer to one image, directly or through others, that are copied with it.
pub const REFERRERS_MAX: usize = 1000;

/// Signatures of one image that are tried; each costs a request or two.
pub const SIGNATURES_MAX: usize = 100;

/// Largest OpenPGP signature; they are a kilobyte.
pub const SIGNATURE_BYTES_MAX: u64 = 4 << 20;

/// What cosign puts behind a digest to make a tag of it: signatures, attestations, bills of material.
pub const COSIGN_TAGS: [&str; 3] = ["sig", "att", "sbom"];
