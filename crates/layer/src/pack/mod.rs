//! A tree becomes a layer tar: the same tree, the same bytes, on every machine.
//!
//! Spec: image-spec layer.md, "Creating"; `docs/formats.md`, "Layer tars", pins every byte of the tar.
//! Law: order, headers and records depend on the tree alone. The compressed bytes also depend on the versions of the two
//! compressors, so `diff_id` is for ever and `digest` is for one build of knarr.
//! Not here: making sure that nobody changes the tree meanwhile; a file that changes its size is an error.

mod diff;
mod header;
mod sink;
mod walk;

use std::io::Write;

use knarr_spec::{DiffId, Digest};
use knarr_sys::Root;

use self::diff::Overlay;
use self::sink::Sink;
use self::walk::{Plain, Walk};
use crate::{Compression, Error, IdMap};

/// How to pack.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// The compressed form.
    pub compression: Compression,
    /// The compressor's level; by default 6 for gzip and 3 for zstd.
    pub level: Option<i32>,
    /// The owners there are, read backwards: from here to the layer.
    pub ids: IdMap,
    /// Later times become this one, in seconds since the epoch (`SOURCE_DATE_EPOCH`).
    pub time_max: Option<i64>,
    /// Keep holes as GNU's pax form 1.0. Off by default: a layer then has the same bytes whether its tree lost its holes
    /// on the way or not.
    pub sparse: bool,
}

impl Default for PackOptions {
    fn default() -> PackOptions {
        PackOptions {
            compression: Compression::Gzip,
            level: None,
            ids: IdMap::identity(),
            time_max: None,
            sparse: false,
        }
    }
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Digest of the bytes written.
    pub digest: Digest,
    /// Bytes written.
    pub blob_bytes: u64,
    /// Bytes of the uncompressed tar.
    pub tar_bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
}

/// Packs a whole tree, its root directory first.
pub fn pack(tree: &Root, out: impl Write, options: &PackOptions) -> Result<Packed, Error> {
    let mut sink = Sink::new(out, options)?;
    let entries = Walk::new(tree, options, Plain, &mut sink).run()?;
    sink.finish(entries)
}

/// Packs what an overlay's upper directory changed. With the lower directories (top first, in overlay form) an opaque
/// directory becomes one whiteout for each name it hides, which image-spec prefers; without them `.wh..wh..opq`.
/// The overlay must have been mounted with `redirect_dir=off,metacopy=off`. The root directory itself is not an entry.
pub fn diff(upper: &Root, lower: &[Root], out: impl Write, options: &PackOptions) -> Result<Packed, Error> {
    let mut sink = Sink::new(out, options)?;
    let entries = Walk::new(upper, options, Overlay::new(lower), &mut sink).run()?;
    sink.finish(entries)
}
