//! A container's log: docker's json-file format.
//!
//! ```text
//! {"log":"what it wrote\n","stream":"stdout","time":"2026-11-23T01:45:20.5Z"}
//! ```
//!
//! Law: a line is written by one write(2) and never torn: what a full disk or a kill leaves half written is cut off again.
//! Not here: other log drivers.

mod line;
mod reader;
mod writer;

pub use line::Stream;
pub use reader::{LogEntry, LogOptions, LogPlace, LogReader};
pub(crate) use writer::{LogWriter, Loss};
