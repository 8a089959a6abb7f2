//! Builds the binary we would ship and weighs it against the promise.

use crate::{Outcome, cargo};

/// The promise of SPECIFICATION.md for the whole binary, stripped; 10 MB was that for the first voyage alone.
const BINARY_BYTES_MAX: u64 = 16_000_000;

/// Builds with the release profile (fat LTO, one codegen unit) and prints path and size.
pub fn run() -> Outcome {
    let path = cargo::programs(&[("knarr", "knarr")], "release")?.remove(0);
    let bytes = std::fs::metadata(&path)?.len();
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!("{}: {:.2} MB of at most {:.0}", path.display(), mb(bytes), mb(BINARY_BYTES_MAX));
    if bytes > BINARY_BYTES_MAX { Err("the binary is heavier than SPECIFICATION.md promises".into()) } else { Ok(()) }
}
