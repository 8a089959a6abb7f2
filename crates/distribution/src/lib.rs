//! The registry client and the image archives: resolve, authenticate, fetch, verify, unpack; push, copy, list, delete.
//!
//! Spec: distribution-spec 1.1 (client duties), Docker's token authentication, containers-registries.conf(5),
//! containers-auth.json(5), containers-certs.d(5), image-spec image-layout.md.
//! Law: nothing a registry or an archive says is believed before its digest agrees; every buffer, document and wait has a
//! named limit ([`limits`]). Configuration comes in as values: no environment variable, no home directory is read here.
//! Not here: names of files to read (the caller's), drawing of progress (the caller's), the store's layout, unpacking rules.
//!
//! ```text
//! Place ─► Origin (registry with mirrors | layout | archive | dir | store)   gives documents and byte streams, trusted in nothing
//!             └► fetch: choose platform ─► config ─► all layers at once
//!             │          layer: stream ─┬► store ingest (digest, size)       ─┐ both agree with manifest and config
//!             │                         └► pipe ─► layer::unpack (diff id)   ─┴► commit ─► put_image
//!             ├► files: table of contents, where a layer has one, else the layer ─► lists, one file
//!             └► copy: choose platforms ─► keep, convert, recompress ─► Sink (registry | layout | archive | dir)
//! ```
#![forbid(unsafe_code)]

pub mod archive;
pub mod auth;
mod certificates;
mod convert;
pub mod copy;
mod download;
pub mod error;
mod fetch;
pub mod files;
mod hash;
mod http;
mod layer_job;
pub mod limits;
pub mod look;
pub mod lookaside;
pub mod network;
mod options;
mod origin;
pub mod place;
pub mod policy;
pub mod progress;
mod pull;
mod push;
mod recompress;
pub mod registries;
mod registry;
pub mod search;
mod segments;
pub mod sign;
mod sink;
mod store_sink;
mod stored;
mod tail;
mod together;
mod upstream;
mod verified;

pub use archive::Input;
pub use auth::{AuthConfig, Credentials};
pub use copy::{Copied, CopyOptions, Format, MultiArch, Recompression, copy};
pub use download::download;
pub use error::{Error, ErrorKind, Problem};
pub use lookaside::Lookaside;
pub use network::{Network, Proxies, Retry, Timeouts};
pub use options::PullOptions;
pub use place::{Place, PlaceError};
pub use policy::Policy;
pub use progress::{LayerState, Outcome, Progress, Silent};
pub use pull::{fetch_document, load, pull, pull_artifact};
pub use push::{push, push_document};
pub use registries::Registries;
pub use sign::Signing;
pub use upstream::Upstream;
