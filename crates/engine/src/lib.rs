//! The verbs of the engine: policy and the paths between store, runtime and supervisor.
//!
//! Law: synchronous; no printing, no environment, no home directory, no current directory: all of that comes in as values in a
//! [`Context`]. Streams are handed out as descriptors.
//! Not here: command lines, tables, templates (the faces); making processes (the monitor and the runtime).
#![forbid(unsafe_code)]

pub mod bundle;
mod clock;
pub mod container;
pub mod context;
pub mod error;
pub mod exit_code;
pub mod host;
pub mod image;
pub mod policy;
pub mod record;
pub mod resolve;
pub mod rootless;
pub mod system;
pub mod terminal;
pub mod userdb;
pub mod wanted;

pub use context::{Caller, Context, Namespace, Paths};
pub use error::{Error, Kind, Result};
pub use record::Container;

pub use knarr_layer::{Change, Compression, IdMap, PackOptions};
/// The parts of the monitor's client side a face works with.
pub use knarr_monitor::{
    Client, Ended, Error as MonitorError, LogOptions, LogReader, Session, State, Status, Stream, protocol::Attach, time,
};
/// What the store says of images and volumes.
pub use knarr_store::{Budget, Collected, ImageRecord, RemovedImage};
/// What happened to a path, as `diff` lists it.
pub use knarr_sys::Root;
