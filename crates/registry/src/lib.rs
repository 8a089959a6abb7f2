//! The distribution-spec server: blobs as files or objects, everything else in SQLite or Postgres, garbage collected while it serves.
//!
//! Spec: distribution-spec 1.1.1 and main (mid-2026). Each handler cites the endpoint it implements (`end-2`, `end-7b`, …).
//! Law: what was answered with 201 or 202 survives a kill of the process; what was answered with 201 survives a power cut.
//! Not here: the client (`distribution`), the engine's own store.
//!
//! ```text
//! <root>/registry.db            SQLite (WAL): repositories, blobs, manifests, tags
//! <root>/blobs/<algorithm>/<first two>/<encoded>
//! <root>/uploads/<uuid>         bytes received so far
//! <root>/uploads/<uuid>.json    whose upload it is
//! ```
#![forbid(unsafe_code)]

mod args;
mod audit;
mod auth;
mod blobs;
mod body;
mod cache;
mod check;
mod clock;
pub mod config;
mod connection;
#[cfg(any(feature = "objects", feature = "postgres"))]
mod driver;
mod error;
mod events;
mod export;
mod front;
mod handlers;
mod hasher;
mod keep;
mod limits;
mod live;
mod log;
mod manifest;
mod metadata;
mod metrics;
mod mirror;
mod outbound;
mod outlet;
mod page;
mod peer;
mod pulls;
pub mod reading;
mod records;
mod retention;
mod route;
mod server;
mod storage;
mod tls;
mod upkeep;
mod upload;

pub use args::{applet, command};
pub use server::{Registry, ServeError, serve};
