//! Mount table, membership and the files of a group.
#![no_main]

#[path = "../checks/cgroup.rs"]
mod cgroup;

use std::path::PathBuf;
use std::sync::LazyLock;

/// On a file system in memory, because every input is written to files.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = PathBuf::from(format!("/dev/shm/knarr-fuzz-cgroup-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory in /dev/shm");
    place
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cgroup::check(bytes, &PLACE));
