//! The per-container supervisor: stdio, log, attach socket, exit code; and the client side of its protocol.
//!
//! Spec: docker's json-file log format; the files and frames are in `docs/formats.md`.
//! Law: one thread, one epoll loop, no store, no network, no HTTP; at most 1.5 MB resident. What the container writes is
//! never lost to its log while the disk takes it, whatever clients do.
//! Not here: what a container is (engine), how it is made (runtime), restart policies and health checks.
#![forbid(unsafe_code)]

mod applet;
pub mod client;
mod config;
mod error;
mod foreign;
mod init;
mod lock;
mod log;
mod make;
pub mod protocol;
mod session;
mod state;
mod supervisor;
pub mod time;

pub use applet::applet;
pub use client::{Client, Event, Job};
pub use config::{CONFIG_VERSION, ExecConfig, LogConfig, MonitorConfig, StdinMode};
pub use error::Error;
pub use init::init_applet;
pub use log::{LogEntry, LogOptions, LogPlace, LogReader, Stream};
pub use session::{Ended, Session};
pub use state::{STATE_VERSION, State, StateError, Status, read_exec_state, read_state};
