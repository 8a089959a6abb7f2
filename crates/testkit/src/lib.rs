//! What tests are made of: layers and images, registries, and a laboratory in which one `knarr` has a world of its own.
//!
//! Law: written from the specifications alone, on the `tar`, `flate2`, `zstd` and `sha2` crates, so that it can disagree with
//! the crates under test. Works offline. Every guard undoes what it did when it is dropped, also after a panic.
//! Not here: the tests (`e2e/`), anything the product depends on.
#![forbid(unsafe_code)]

pub mod archive;
pub mod azure;
pub mod blob;
pub mod certificate;
pub mod gcs;
pub mod hostile;
pub mod http;
pub mod image;
pub mod lab;
pub mod layer;
pub mod leftovers;
pub mod postgres;
pub mod process;
pub mod registry;
pub mod relay;
pub mod s3;
pub mod server;
pub mod wait;

pub use blob::Blob;
pub use image::{Format, Image, ImageMaker};
pub use lab::{Done, Lab};
pub use layer::{Compression, LayerTar};
