//! A tree becomes a layer tar: the same tree, the same bytes, on every machine.
//!
//! Spec: image-spec layer.md, "Creating"; `docs/formats.md`, "Layer tars", pins every byte of the tar.
//! Law: order, headers and records depend on the tree alone. The compressed bytes also depend on the versions of the two
//! compressors, so `diff_id` is for ever and `digest` is for one build of knarr.
//! Not here: making sure that nobody changes the tree meanwhile; a file that changes its size is an error.

mod changes;
mod diff;
mod header;
mod sink;
mod walk;

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use knarr_spec::{DiffId, Digest};
use knarr_sys::Root;

use self::changes::Chosen;
pub use self::changes::{Change, changes};
use self::diff::Overlay;
pub(crate) use self::sink::Sink;
use self::walk::{Plain, Walk};
pub(crate) use self::walk::{joined, too_long};
use crate::{Compression, Error, IdMap};

/// Bytes copied at once.
const COPY_BYTES: usize = 256 << 10;

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
    /// Stands before every name: `dir/`. Not for layers.
    pub prefix: Vec<u8>,
    /// Names that a layer would read as whiteouts are names like others. Not for layers.
    pub any_names: bool,
    /// Paths that are no entries, with all that stands in them.
    pub leave_out: BTreeSet<Vec<u8>>,
    /// Owners are what [`rootless_owner`](crate::rootless_owner) attributes say, where there are any.
    pub recorded_owners: bool,
}

impl Default for PackOptions {
    fn default() -> PackOptions {
        PackOptions {
            compression: Compression::Gzip,
            level: None,
            ids: IdMap::identity(),
            time_max: None,
            sparse: false,
            prefix: Vec::new(),
            any_names: false,
            leave_out: BTreeSet::new(),
            recorded_owners: false,
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
    let entries = Walk::new(tree, options, Plain { root: true }, &mut sink).run()?;
    sink.finish(entries)
}

/// Packs what a tree holds, with names of any kind: an archive of files and no layer, as `export` writes it.
pub fn archive(tree: &Root, out: impl Write, options: &PackOptions) -> Result<Packed, Error> {
    let options = PackOptions { any_names: true, ..options.clone() };
    let mut sink = Sink::new(out, &options)?;
    let plain = Plain { root: !options.prefix.is_empty() };
    let entries = Walk::new(tree, &options, plain, &mut sink).run()?;
    sink.finish(entries)
}

/// Copies the tar in `reader`, whichever compressed form it has, in the form `options` ask for; its bytes stay the same.
pub fn recompress(reader: impl Read, mut out: impl Write, options: &PackOptions) -> Result<Packed, Error> {
    let mut reader = crate::decompress(reader, None)?;
    let form = reader.form();
    let mut sink = Sink::new(&mut out, options)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return sink.end(0),
            Ok(got) => {
                sink.write(&buffer[..got])?;
                at += got as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Read { at, form, source }),
        }
    }
}

/// Packs what an overlay's upper directory changed. With the lower directories (top first, in overlay form) an opaque
/// directory becomes one whiteout for each name it hides, which image-spec prefers; without them `.wh..wh..opq`.
/// The overlay must have been mounted with `redirect_dir=off,metacopy=off`. The root directory itself is not an entry.
pub fn diff(upper: &Root, lower: &[Root], out: impl Write, options: &PackOptions) -> Result<Packed, Error> {
    let mut sink = Sink::new(out, options)?;
    let entries = Walk::new(upper, options, Overlay::new(lower), &mut sink).run()?;
    sink.finish(entries)
}

/// Packs the paths of `changed` and the directories above them, and whiteouts for those of `removed`. The root directory
/// itself is an entry where it is in `changed`.
pub fn pack_chosen(
    tree: &Root,
    changed: &BTreeSet<Vec<u8>>,
    removed: &BTreeSet<Vec<u8>>,
    out: impl Write,
    options: &PackOptions,
) -> Result<Packed, Error> {
    let mut sink = Sink::new(out, options)?;
    let entries = Walk::new(tree, options, Chosen::new(changed, removed), &mut sink).run()?;
    sink.finish(entries)
}

/// Packs a tree under the name `into`, as a layer that puts it there; with `opaque` nothing of the layers below shows there.
pub fn pack_into(
    tree: &Root,
    into: &[u8],
    opaque: bool,
    out: impl Write,
    options: &PackOptions,
) -> Result<Packed, Error> {
    let options = PackOptions { prefix: [into, b"/"].concat(), ..options.clone() };
    let mut sink = Sink::new(out, &options)?;
    let plain = Plain { root: true };
    let entries = Walk::new(tree, &options, plain, &mut sink).opaque(opaque).run()?;
    sink.finish(entries)
}

/// A layer that takes one path away.
pub fn whiteout(path: &[u8], out: impl Write, options: &PackOptions) -> Result<Packed, Error> {
    let mut sink = Sink::new(out, options)?;
    let at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let name = [&path[..at], crate::unpack::WHITEOUT_PREFIX, &path[at..]].concat();
    sink.write(&header::Header::empty(name).blocks())?;
    sink.finish(1)
}

/// Packs what stands under one name of a directory, which is no directory itself, as an archive with one entry.
pub fn pack_one(
    tree: &Root,
    name: &CStr,
    called: &[u8],
    out: impl Write,
    options: &PackOptions,
) -> Result<Packed, Error> {
    let mut sink = Sink::new(out, options)?;
    let entries = Walk::new(tree, options, Plain { root: true }, &mut sink).one(tree.as_fd(), name, called)?;
    sink.finish(entries)
}
