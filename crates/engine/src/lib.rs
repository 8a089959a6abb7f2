//! The verbs of the engine: policy and the paths between store, runtime and supervisor.
//!
//! Law: synchronous; no printing, no environment, no home directory, no current directory: all of that comes in as values in a
//! [`Context`]. Streams are handed out as descriptors.
//! Not here: command lines, tables, templates (the faces); making processes (the monitor and the runtime).
#![forbid(unsafe_code)]

pub mod policy;
pub mod userdb;
pub mod wanted;
