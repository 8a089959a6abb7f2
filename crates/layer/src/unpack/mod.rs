//! A layer tar becomes a tree.
//!
//! Spec: image-spec layer.md, "Applying Changesets".
//! Law: nothing outside of the root is opened, made or removed. An error leaves a tree that is partly there; its owner
//! throws it away.
//! Not here: fsync (the store syncs a finished layer once).

mod dirs;
mod entries;
mod metadata;
mod place;
mod remove;
mod tree;
mod whiteout;

use std::io::Read;
use std::path::PathBuf;

use knarr_spec::DiffId;
use knarr_sys::Root;

use self::entries::Unpacker;
pub(crate) use self::place::{Meaning, OPAQUE_NAME, Place, WHITEOUT_PREFIX, show};
use self::tree::Tree;
pub(crate) use self::tree::{failed, is_dir, is_whiteout, refused};
use crate::archive::Archive;
use crate::stream::{End, Stream};
use crate::{Compression, Error, IdMap, Limits};

/// What becomes of whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhiteoutForm {
    /// As overlayfs reads them: a character device 0:0, and `trusted.overlay.opaque` on opaque directories.
    OverlayTrusted,
    /// The same with `user.overlay.opaque`, for overlays mounted with `userxattr` in a user namespace.
    OverlayUser,
    /// What they hide is removed: the layer goes onto an existing tree.
    Apply,
    /// There are none: a name is a name. For archives that are no layers, as `cp` has them.
    Literal,
}

/// What becomes of the owners an archive names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// They own what is made.
    Set,
    /// Whoever unpacks owns everything.
    Leave,
    /// Whoever unpacks owns everything, and an attribute says who should ([`rootless_owner`](crate::rootless_owner)).
    Record,
    /// This user and group own everything.
    Give(u32, u32),
}

/// How to unpack.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// What the media type declares; `None` where there is none and the first bytes decide.
    pub compression: Option<Compression>,
    /// What becomes of whiteouts.
    pub whiteouts: WhiteoutForm,
    /// The owners there are.
    pub ids: IdMap,
    /// What becomes of owners.
    pub owners: Owners,
    /// What the layer may cost.
    pub limits: Limits,
    /// Whether we are root of a user namespace only: device nodes and `trusted.*` attributes are then left out and
    /// reported, because the kernel refuses them there.
    pub rootless: bool,
    /// Decompress and hash on threads of their own. Faster wherever a second core is idle.
    pub pipeline: bool,
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Bytes of the uncompressed tar.
    pub tar_bytes: u64,
    /// Entries of the tar, whiteouts included.
    pub entries: u64,
    /// Bytes of file data written.
    pub tree_bytes: u64,
    /// Directories that entries imply but the layer does not carry, `.` for the root. They were made with mode 0755,
    /// owner 0:0 and the epoch as their time; in an image they look like the layers below have them.
    pub implied_dirs: Vec<PathBuf>,
    /// Whether the root itself is opaque: overlayfs does not look at the mark there, so whoever stacks layers leaves
    /// out what lies below.
    pub opaque_root: bool,
    /// What could not be made here and was left out.
    pub skipped: Vec<Skipped>,
}

/// Something of the layer that the tree lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The entry.
    pub path: PathBuf,
    /// What is missing: `device`, or the name of an extended attribute.
    pub what: String,
}

/// Unpacks a layer into `into`, an empty directory in the overlay forms. With `pipeline` a reader that blocks also holds up
/// the return of an error.
pub fn unpack(reader: impl Read + Send, into: &Root, options: &UnpackOptions) -> Result<Unpacked, Error> {
    let (declared, limits) = (options.compression, &options.limits);
    if !options.pipeline {
        return unpack_stream(Stream::direct(reader, declared, limits)?, into, options);
    }
    std::thread::scope(|scope| unpack_stream(Stream::piped(scope, reader, declared, limits)?, into, options))
}

fn unpack_stream(mut stream: Stream<'_>, into: &Root, options: &UnpackOptions) -> Result<Unpacked, Error> {
    let tree = Tree::new(into, options)?;
    let archive = Archive::new(&mut stream, &options.limits);
    let mut unpacker = Unpacker { tree, archive, options, tree_bytes: 0 };
    unpacker.run()?;
    let Unpacker { tree, archive, tree_bytes, .. } = unpacker;
    let entries = archive.entries();
    let End { diff_id, tar_bytes } = stream.finish()?;
    let implied_dirs = tree.implied.iter().map(|path| place::show(path)).collect();
    let Tree { opaque_root, skipped, .. } = tree;
    Ok(Unpacked { diff_id, tar_bytes, entries, tree_bytes, implied_dirs, opaque_root, skipped })
}
