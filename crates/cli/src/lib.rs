//! The command line: argv to wanted, results to tables and templates.
#![forbid(unsafe_code)]

pub mod listing;
pub mod template;
