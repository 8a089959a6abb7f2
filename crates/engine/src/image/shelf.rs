//! Where an image is taken from and put: the store, or an OCI layout. Every verb that makes one image of another works on
//! either.
//!
//! Law: blobs first, documents then, the name last.

mod layout;
mod local;

use std::fs::File;

use knarr_layer::{Compression, PackOptions, Packed};
use knarr_spec::{Digest, ImageConfig, Index, Manifest, Platform, Raw, media_type};

pub use layout::{Layout, split};
pub use local::Local;

use super::compose::Layer;
use crate::{Context, Error, Result};

/// An image that was found.
#[derive(Debug, Clone)]
pub struct Picked {
    /// Its manifest, exactly.
    pub manifest: Raw<Manifest>,
    /// The index the manifest was chosen from.
    pub index: Option<Raw<Index>>,
    /// Its config, exactly.
    pub config: Raw<ImageConfig>,
}

/// A place images are in.
pub trait Shelf {
    /// The image called `name`, for `platform` where there are several.
    fn pick(&self, name: &str, platform: &Platform) -> Result<Picked>;
    /// A blob, open for reading.
    fn blob(&self, digest: &Digest) -> Result<File>;
    /// A file to write a blob into.
    fn spool(&self) -> Result<File>;
    /// Keeps what was written into a spool.
    fn keep(&self, spool: File, digest: &Digest, bytes: u64) -> Result<()>;
    /// Makes an image visible. `name` may be absent where the place has images without one.
    fn put(&self, manifest: Raw<Manifest>, config: Raw<ImageConfig>, name: Option<&str>) -> Result<()>;
}

/// Writes a layer into the shelf; `write` fills the file as these options say.
pub fn add_layer(
    shelf: &dyn Shelf,
    options: &PackOptions,
    write: impl FnOnce(&mut File, &PackOptions) -> Result<Packed, knarr_layer::Error>,
) -> Result<(Layer, Packed)> {
    let mut spool = shelf.spool()?;
    let packed = write(&mut spool, options);
    let packed = packed.map_err(|source| Error::Layer { what: "write a layer".to_owned(), source })?;
    shelf.keep(spool, &packed.digest, packed.blob_bytes)?;
    Ok((Layer::of(&packed, options.compression), packed))
}

/// `gzip`, `zstd`, `none`.
pub fn compression(word: &str) -> Option<Compression> {
    match word {
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        "none" => Some(Compression::None),
        _ => None,
    }
}

/// How a layer is compressed where nobody says: as the topmost one that is compressed at all, else with gzip.
pub fn compression_like(manifest: &Manifest) -> Compression {
    let known = manifest.layers.iter().rev().filter_map(|layer| media_type::layer_compression(&layer.media_type));
    known.into_iter().find(|form| *form != Compression::None).unwrap_or(Compression::Gzip)
}

/// The place and name that `text` means: `oci:DIR[:TAG]`, else an image of the store.
pub fn find<'c>(context: &'c Context, text: &str) -> Result<(Box<dyn Shelf + 'c>, String)> {
    match text.strip_prefix("oci:") {
        Some(layout) => {
            let (dir, tag) = layout::split(layout);
            Ok((Box::new(Layout::open(&dir)?), tag))
        }
        None => Ok((Box::new(Local(context)), text.to_owned())),
    }
}

/// Copies one blob from a shelf to another, unless both are one.
pub fn carry(from: &dyn Shelf, to: &dyn Shelf, digest: &Digest, bytes: u64) -> Result<()> {
    let mut file = from.blob(digest)?;
    let mut spool = to.spool()?;
    std::io::copy(&mut file, &mut spool)
        .map_err(Error::io("copy a blob to", std::path::Path::new(digest.encoded())))?;
    to.keep(spool, digest, bytes)
}
