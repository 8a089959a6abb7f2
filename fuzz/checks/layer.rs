//! A layer from a stranger: plain, gzip or zstd, as its first bytes say.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use knarr_layer::{Compression, IdMap, Limits, Owners, PackOptions, UnpackOptions, WhiteoutForm, pack, unpack};
use knarr_sys::Root;

/// What stands beside the tree and must stay as it is.
const OUTSIDE: &str = "not the layer's";

fn options() -> UnpackOptions {
    UnpackOptions {
        compression: None,
        whiteouts: WhiteoutForm::Apply,
        ids: IdMap::identity(),
        owners: Owners::Leave,
        limits: Limits { tar_bytes_max: 4 << 20, entries_max: 500, sparse_pieces_max: 500, ..Limits::default() },
        rootless: true,
        pipeline: false,
    }
}

/// Panics where a law is broken. `place` is a directory of the caller's that nobody else uses.
pub fn check(bytes: &[u8], place: &Path) {
    let (tree, again) = (fresh(place, "tree"), fresh(place, "again"));
    fs::write(place.join("outside"), OUTSIDE).expect("written");
    let unpacked = unpack(bytes, &Root::open(&tree).expect("a directory"), &options());
    assert_eq!(fs::read_to_string(place.join("outside")).expect("still there"), OUTSIDE);
    let beside = fs::read_dir(place).expect("a directory").count();
    assert_eq!(beside, 3, "something was made outside of the tree");
    if let Ok(unpacked) = unpacked {
        assert!(unpacked.tar_bytes <= options().limits.tar_bytes_max);
        let plain = PackOptions { compression: Compression::None, ..PackOptions::default() };
        let mut packed = Vec::new();
        // A tree may hold what no layer can: names of whiteouts, paths beyond the limit.
        if pack(&Root::open(&tree).expect("a directory"), &mut packed, &plain).is_ok() {
            let limits = Limits { tar_bytes_max: 1 << 30, ..options().limits };
            let options = UnpackOptions { limits, ..options() };
            unpack(&packed[..], &Root::open(&again).expect("a directory"), &options).expect("what we wrote we read");
        }
    }
    clear(&tree);
    clear(&again);
}

fn fresh(place: &Path, name: &str) -> std::path::PathBuf {
    let path = place.join(name);
    clear(&path);
    fs::create_dir(&path).expect("made");
    path
}

/// Removes a tree whose directories may not let their owner in.
fn clear(path: &Path) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    if found.is_dir() {
        fs::set_permissions(path, Permissions::from_mode(0o700)).expect("our own");
        fs::read_dir(path).expect("a directory").flatten().for_each(|entry| clear(&entry.path()));
        fs::remove_dir(path).expect("empty");
    } else {
        fs::remove_file(path).expect("removed");
    }
}
