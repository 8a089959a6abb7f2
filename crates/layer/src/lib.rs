//! Turns layer tars into trees and trees into layer tars.
//!
//! Spec: image-spec layer.md. `docs/formats.md`, "Layer tars", pins what [`pack`](pack()) writes, byte for byte.
//! Law: reader in, tree out. Every name goes through a [`Root`](knarr_sys::Root); nothing outside of it is opened, made
//! or removed, whatever the tar says.
//! Not here: where layers live, which ones there are, and when they are made durable (`store`).
#![forbid(unsafe_code)]

mod acl;
mod archive;
pub mod compression;
pub mod error;
pub mod ids;
pub mod index;
pub mod limits;
pub mod listing;
pub mod pack;
pub mod recipe;
pub mod rootless_owner;
mod stream;
pub mod toc;
pub mod unpack;

pub use archive::Kind;
pub use compression::{Compression, Decompressor, decompress};
pub use error::{Error, HeaderFault, Refusal};
pub use ids::{IdMap, IdRange};
pub use index::Index;
pub use limits::Limits;
pub use listing::{Item, Listed, Listing, list, merged};
pub use pack::{
    Change, PackOptions, Packed, archive, changes, diff, pack, pack_chosen, pack_into, pack_one, recompress, whiteout,
};
pub use unpack::{Owners, Skipped, UnpackOptions, Unpacked, WhiteoutForm, unpack};
