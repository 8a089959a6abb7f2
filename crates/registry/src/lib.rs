//! The distribution-spec server.
#![forbid(unsafe_code)]
