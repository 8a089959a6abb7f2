//! Layers, compressed or not.
#![no_main]

#[path = "../checks/layer.rs"]
mod layer;

use std::path::PathBuf;
use std::sync::LazyLock;

/// On a file system in memory, because every input becomes files.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = PathBuf::from(format!("/dev/shm/knarr-fuzz-layer-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory in /dev/shm");
    place
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| layer::check(bytes, &PLACE));
