//! Directories that a layer implies look like those below.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use knarr_store::{Durability, ImageRecord, LayerRecord, RootMounts, Store};

use crate::support::{container, fresh, id, new_image, put, unpacked};

const SOME_TIME: Duration = Duration::from_secs(1_000_000_000);

/// A layer with these directories; those with a `?` in front are implied, the others have mode 0o751 and an old time.
fn layer(store: &Store, dirs: &[&str], change: &dyn Fn(&Path)) -> LayerRecord {
    let build = store.begin_layer().unwrap();
    let mut facts = unpacked(&format!("{dirs:?}"));
    for dir in dirs {
        let implied = dir.strip_prefix('?');
        std::fs::create_dir_all(build.path().join(implied.unwrap_or(dir))).unwrap();
        facts.implied_dirs.extend(implied.map(|dir| PathBuf::from(if dir.is_empty() { "." } else { dir })));
    }
    change(&build.path());
    for dir in dirs.iter().rev().filter(|dir| !dir.starts_with('?')) {
        let path = build.path().join(dir);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
        let times = std::fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + SOME_TIME);
        std::fs::File::open(&path).unwrap().set_times(times).unwrap();
    }
    let blob = put(store, facts.diff_id.to_string().as_bytes());
    build.commit(facts, &blob).unwrap()
}

fn nothing(_: &Path) {}

fn stack(store: &Store, layers: Vec<LayerRecord>) -> (ImageRecord, RootMounts) {
    let stored = store.put_image(new_image("implied", layers, &["x"])).unwrap();
    let _ = store.remove_container(&id("a"));
    store.insert_container(&container("a", "web", Some(&stored)), Durability::Normal).unwrap();
    let mounts = store.snapshot(&id("a"), &stored).unwrap();
    (stored, mounts)
}

/// Directories, and what else is done to the tree.
type Layer<'a> = (&'a [&'a str], &'a dyn Fn(&Path));

/// The directories that the extra layer on top mends; empty where there is none.
fn mended(dirs: &[Layer<'_>]) -> Vec<String> {
    let fresh = fresh();
    let layers = dirs.iter().map(|(dirs, change)| layer(&fresh.store, dirs, change)).collect();
    let (stored, mounts) = stack(&fresh.store, layers);
    let Some(number) = stored.implied else { return Vec::new() };
    assert_eq!(mounts.lower[0], PathBuf::from(format!("{number}/fs")));
    let top = mounts.base.join(&mounts.lower[0]);
    let mut found = Vec::new();
    walk(&top, &top, &mut found);
    found.sort();
    found
}

fn walk(top: &Path, dir: &Path, into: &mut Vec<String>) {
    let metadata = dir.metadata().unwrap();
    if metadata.mode() & 0o7777 == 0o751 {
        assert_eq!(metadata.mtime() as u64, SOME_TIME.as_secs(), "{}", dir.display());
        into.push(dir.strip_prefix(top).unwrap().display().to_string());
    }
    for entry in std::fs::read_dir(dir).unwrap() {
        walk(top, &entry.unwrap().path(), into);
    }
}

#[test]
fn an_implied_directory_looks_like_the_one_below() {
    assert_eq!(mended(&[(&["usr", "usr/bin"], &nothing), (&["?usr", "?usr/bin"], &nothing)]), ["usr", "usr/bin"]);
}

#[test]
fn the_root_is_mended_too_and_the_upper_directory_takes_it() {
    let fresh = fresh();
    let layers = vec![layer(&fresh.store, &[""], &nothing), layer(&fresh.store, &["?", "etc"], &nothing)];
    let (_, mounts) = stack(&fresh.store, layers);
    assert_eq!(mounts.upper.unwrap().metadata().unwrap().mode() & 0o7777, 0o751);
}

#[test]
fn nothing_is_added_where_nothing_is_implied_or_nothing_lies_below() {
    assert!(mended(&[(&["usr"], &nothing), (&["usr"], &nothing)]).is_empty());
    assert!(mended(&[(&["etc"], &nothing), (&["?usr"], &nothing)]).is_empty());
    assert!(mended(&[(&["?usr"], &nothing)]).is_empty());
}

#[test]
fn a_directory_somebody_wrote_down_above_stays_as_it_is() {
    assert!(mended(&[(&["usr"], &nothing), (&["?usr"], &nothing), (&["usr"], &nothing)]).is_empty());
}

#[test]
fn parents_of_a_mended_directory_look_as_they_did() {
    assert_eq!(
        mended(&[(&["a", "a/b", "a/b/c"], &nothing), (&["a", "a/b", "?a/b/c"], &nothing)]),
        ["a", "a/b", "a/b/c"]
    );
}

#[test]
fn the_nearest_of_several_below_is_the_model() {
    let fresh = fresh();
    let wide = |root: &Path| std::fs::write(root.join("usr/marker"), "").unwrap();
    let layers = vec![
        layer(&fresh.store, &["usr"], &nothing),
        layer(&fresh.store, &["usr"], &wide),
        layer(&fresh.store, &["?usr"], &nothing),
    ];
    let near = layers[1].number;
    let path = fresh.store.state().join(format!("layers/{near}/fs/usr"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let (_, mounts) = stack(&fresh.store, layers);
    let usr = mounts.base.join(&mounts.lower[0]).join("usr");
    assert_eq!(usr.metadata().unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn what_was_removed_in_between_is_no_model() {
    let file = |root: &Path| std::fs::write(root.join("usr"), "a file hides the directory").unwrap();
    assert!(mended(&[(&["usr"], &nothing), (&[], &file), (&["?usr"], &nothing)]).is_empty());
}

#[test]
fn a_link_in_between_is_not_followed() {
    let link = |root: &Path| std::os::unix::fs::symlink("elsewhere", root.join("usr")).unwrap();
    assert!(
        mended(&[(&["elsewhere", "elsewhere/bin"], &nothing), (&[], &link), (&["?usr", "?usr/bin"], &nothing)])
            .is_empty()
    );
}

#[test]
fn nothing_below_an_opaque_directory_is_a_model_but_its_own_looks_are_kept() {
    let opaque = |root: &Path| mark(&root.join("usr"));
    if !can_mark() {
        eprintln!("skipped: this file system or user cannot set user.overlay.opaque");
        return;
    }
    assert_eq!(mended(&[(&["usr", "usr/bin"], &nothing), (&["?usr", "?usr/bin"], &opaque)]), ["usr"]);
}

fn can_mark() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::File::open(dir.path()).unwrap();
    knarr_sys::xattr::Holder::File(&file).set(c"user.overlay.opaque", b"y").is_ok()
}

fn mark(dir: &Path) {
    let file = std::fs::File::open(dir).unwrap();
    knarr_sys::xattr::Holder::File(&file).set(c"user.overlay.opaque", b"y").unwrap();
}

#[test]
fn the_extra_layer_is_made_once_and_collected_with_its_image() {
    let fresh = fresh();
    let layers = vec![layer(&fresh.store, &["usr"], &nothing), layer(&fresh.store, &["?usr"], &nothing)];
    let one = stack(&fresh.store, layers.clone()).0.implied.unwrap();
    assert_eq!(stack(&fresh.again(), layers).0.implied, Some(one));
    let (state, _dir) = fresh.close();
    let store = crate::support::open(&state);
    store.remove_container(&id("a")).unwrap();
    store.remove_image("x", false).unwrap();
    store.collect(&Default::default()).unwrap();
    assert!(!state.join(format!("layers/{one}")).exists());
}
