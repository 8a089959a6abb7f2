//! The per-container supervisor: stdio, log, attach socket, exit code.
#![forbid(unsafe_code)]
