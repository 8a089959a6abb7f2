//! The vocabulary every other crate speaks: OCI documents, Docker's older forms of them, digests, references, platforms.
//!
//! Spec: image-spec 1.1 (and main), distribution-spec (reference grammar), runtime-spec 1.3 (re-exported from `oci-spec`).
//! Law: pure. No I/O, no unsafe, no async, no logging. Where a digest depends on bytes, the bytes are kept ([`Raw`]).
//! Not here: fetching, storing or running anything.
//!
//! Image documents are plain structs of our own and not `oci-spec`'s: those check digests to fixed algorithms and lose
//! Docker's fields; the runtime document is `oci-spec`'s, as [`runtime`].
#![forbid(unsafe_code)]

pub mod digest;
pub mod image;
pub mod media_type;
pub mod other_platforms;
pub mod platform;
pub mod raw;
pub mod ref_name;
pub mod reference;

pub use digest::{Algorithm, ChainId, DiffId, Digest, DigestError};
pub use image::{Descriptor, ImageConfig, Index, Manifest};
pub use oci_spec::runtime;
pub use other_platforms::OtherPlatforms;
pub use platform::Platform;
pub use raw::Raw;
pub use ref_name::is_ref_name;
pub use reference::{Reference, ReferenceError};
