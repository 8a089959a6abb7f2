//! The knarr binary.
#![forbid(unsafe_code)]
fn main() {}
