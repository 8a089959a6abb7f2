//! Identical files of different layers are one inode; a layer counts in its boot only, until its image is stored.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use knarr_store::gc::Policy;
use knarr_store::{LayerRecord, Store};
use knarr_sys::xattr::Holder;

use crate::support::{Fresh, diff_id, fresh, new_image, put, unpacked};

const TIME: SystemTime = SystemTime::UNIX_EPOCH;

/// A file as a layer has it: name, content, mode, seconds since 1970.
type Made<'m> = (&'m str, &'m str, u32, u64);

/// A layer of these files, in a directory `d` whose time is long ago.
fn layer(store: &Store, name: &str, files: &[Made<'_>], also: impl Fn(&Path)) -> LayerRecord {
    let build = store.begin_layer().unwrap();
    let dir = build.path().join("d");
    std::fs::create_dir(&dir).unwrap();
    for (name, content, mode, seconds) in files {
        std::fs::write(dir.join(name), content).unwrap();
        std::fs::set_permissions(dir.join(name), Permissions::from_mode(*mode)).unwrap();
        File::open(dir.join(name)).unwrap().set_modified(TIME + Duration::from_secs(*seconds)).unwrap();
    }
    also(&dir);
    File::open(&dir).unwrap().set_modified(TIME + Duration::from_secs(77)).unwrap();
    let blob = put(store, name.as_bytes());
    build.commit(unpacked(name), &blob).unwrap()
}

fn path(fresh: &Fresh, layer: &LayerRecord, name: &str) -> PathBuf {
    fresh.store.state().join(format!("layers/{}/fs/d/{name}", layer.number))
}

fn inode(fresh: &Fresh, layer: &LayerRecord, name: &str) -> u64 {
    std::fs::metadata(path(fresh, layer, name)).unwrap().ino()
}

/// Whether the second of two files, each in a layer of its own, became the first.
fn shared(one: Made<'_>, other: Made<'_>) -> bool {
    let fresh = fresh();
    let first = layer(&fresh.store, "first", &[one], |_| {});
    let second = layer(&fresh.store, "second", &[other], |_| {});
    assert_eq!(std::fs::read_to_string(path(&fresh, &second, other.0)).unwrap(), other.1);
    inode(&fresh, &first, one.0) == inode(&fresh, &second, other.0)
}

#[test]
fn the_same_file_in_two_layers_is_one_inode_whatever_its_name() {
    assert!(shared(("a", "same", 0o644, 5), ("a", "same", 0o644, 5)));
    assert!(shared(("a", "same", 0o644, 5), ("b", "same", 0o644, 5)));
}

#[test]
fn a_file_that_differs_in_anything_stays_its_own() {
    assert!(!shared(("a", "same", 0o644, 5), ("a", "Same", 0o644, 5)));
    assert!(!shared(("a", "same", 0o644, 5), ("a", "same", 0o600, 5)));
    assert!(!shared(("a", "same", 0o644, 5), ("a", "same", 0o644, 6)));
    assert!(!shared(("a", "", 0o644, 5), ("a", "", 0o644, 5)), "empty files take no room");
}

#[test]
fn attributes_count() {
    let fresh = fresh();
    let mark = |value: &'static [u8]| {
        move |dir: &Path| {
            let file = File::open(dir.join("a")).unwrap();
            let _ = Holder::File(&file).set(c"user.k", value);
        }
    };
    let file = [("a", "same", 0o644, 5)];
    let first = layer(&fresh.store, "first", &file, mark(b"1"));
    let second = layer(&fresh.store, "second", &file, mark(b"2"));
    let third = layer(&fresh.store, "third", &file, mark(b"1"));
    if Holder::File(File::open(path(&fresh, &first, "a")).unwrap()).get(c"user.k").ok().flatten().is_none() {
        return eprintln!("skipped: this file system has no user attributes");
    }
    assert_ne!(inode(&fresh, &first, "a"), inode(&fresh, &second, "a"));
    assert_eq!(inode(&fresh, &first, "a"), inode(&fresh, &third, "a"));
}

#[test]
fn two_files_of_one_layer_stay_two_and_two_names_of_one_file_stay_one() {
    let fresh = fresh();
    let link = |dir: &Path| std::fs::hard_link(dir.join("a"), dir.join("link")).unwrap();
    let files = [("a", "same", 0o644, 5), ("b", "same", 0o644, 5)];
    let first = layer(&fresh.store, "first", &files, link);
    let second = layer(&fresh.store, "second", &files, link);
    for layer in [&first, &second] {
        assert_ne!(inode(&fresh, layer, "a"), inode(&fresh, layer, "b"));
        assert_eq!(inode(&fresh, layer, "a"), inode(&fresh, layer, "link"));
    }
    assert_eq!(
        [inode(&fresh, &first, "a"), inode(&fresh, &first, "b")].iter().sum::<u64>(),
        [inode(&fresh, &second, "a"), inode(&fresh, &second, "b")].iter().sum::<u64>(),
        "both are shared between the layers"
    );
}

#[test]
fn the_directory_keeps_its_time_and_nothing_else_is_in_it() {
    let fresh = fresh();
    let file = [("a", "same", 0o644, 5)];
    layer(&fresh.store, "first", &file, |_| {});
    let second = layer(&fresh.store, "second", &file, |_| {});
    let dir = path(&fresh, &second, "");
    assert_eq!(std::fs::metadata(&dir).unwrap().mtime(), 77);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn what_the_older_layer_had_stays_when_it_goes() {
    let fresh = fresh();
    let file = [("a", "same", 0o644, 5)];
    let (first, second) = {
        let store = fresh.again();
        let first = layer(&store, "first", &file, |_| {});
        let second = layer(&store, "second", &file, |_| {});
        store.put_image(new_image("image", vec![second.clone()], &["image"])).unwrap();
        (first, second)
    };
    fresh.store.collect(&Policy::default()).unwrap();
    assert!(!path(&fresh, &first, "a").exists());
    assert_eq!(std::fs::read_to_string(path(&fresh, &second, "a")).unwrap(), "same");
    let third = layer(&fresh.store, "third", &file, |_| {});
    assert_eq!(inode(&fresh, &second, "a"), inode(&fresh, &third, "a"));
}

#[test]
fn damaged_keys_only_mean_that_nothing_is_shared() {
    let fresh = fresh();
    let file = [("a", "same", 0o644, 5)];
    let first = layer(&fresh.store, "first", &file, |_| {});
    let keys = fresh.store.state().join(format!("layers/{}/files", first.number));
    let whole = std::fs::read(&keys).unwrap();
    for damaged in [&b""[..], b"knarrF1\n", &whole[..whole.len() - 3], b"knarrF1\n\xff\xff\xff\xff\xff\xff\xff\xff"] {
        std::fs::write(&keys, damaged).unwrap();
        let text = format!("after {}", damaged.len());
        let next = layer(&fresh.store, &text, &file, |_| {});
        assert_eq!(std::fs::read_to_string(path(&fresh, &next, "a")).unwrap(), "same");
        fresh.again().collect(&Policy::default()).unwrap();
    }
}

#[test]
fn a_layer_of_another_boot_counts_no_more_until_an_image_was_stored_with_it() {
    let fresh = fresh();
    let record = layer(&fresh.store, "torn", &[("a", "x", 0o644, 5)], |_| {});
    let kept = layer(&fresh.store, "kept", &[("b", "y", 0o644, 5)], |_| {});
    fresh.store.put_image(new_image("image", vec![kept.clone()], &["image"])).unwrap();
    // What a power cut leaves: rows of layers, and another boot.
    let database = rusqlite::Connection::open(fresh.store.state().join("knarr.db")).unwrap();
    let changed = database.execute("UPDATE layers SET boot = 'another' WHERE boot IS NOT NULL", []).unwrap();
    assert_eq!(changed, 1, "the layer of the image is on the disk, the other is not");
    assert!(fresh.store.layer(&record.diff_id).unwrap().is_none());
    assert!(fresh.store.layer(&kept.diff_id).unwrap().is_some());
    assert_eq!(fresh.store.check(&Default::default()).unwrap(), []);
    let again = layer(&fresh.store, "torn", &[("a", "x", 0o644, 5)], |_| {});
    assert_ne!(again.number, record.number);
    assert_eq!(fresh.store.layer(&diff_id("torn")).unwrap().map(|layer| layer.number), Some(again.number));
}
