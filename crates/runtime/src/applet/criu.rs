//! `checkpoint` and `restore`: criu does it, asked through its RPC.
//!
//! Spec: criu's images/rpc.proto; the flags and words are runc's.
//! Not here: how a process is frozen and written down (criu).

mod checkpoint;
mod options;
mod protobuf;
mod restore;
mod service;

pub(crate) use checkpoint::checkpoint;
pub(crate) use options::{CHECKPOINT, RESTORE};
pub(crate) use restore::restore;
