//! Garbage collection on real files.

use std::path::PathBuf;

use knarr_store::gc::{Policy, PruneImages};
use knarr_store::{Durability, IngestState, Store};

use crate::support::{container, diff_id, fresh, id, image, layer, partial, put};

/// Everything below the state directory but the database and empty directories, sorted.
fn files(store: &Store) -> Vec<PathBuf> {
    fn walk(dir: PathBuf, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(path, into) } else { into.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(store.state().to_owned(), &mut found);
    let always = |name: &str| name.starts_with("knarr.db") || name == "reserve";
    found.retain(|path| !always(&path.file_name().unwrap().to_string_lossy()));
    found.sort();
    found
}

/// Collects as the next process does: the lease of `store` ended with it.
fn collect(state: &std::path::Path, images: PruneImages) -> u64 {
    let collected = crate::support::open(state).collect(&Policy { images, ..Policy::default() }).unwrap();
    assert!(collected.problems.is_empty(), "{:?}", collected.problems);
    collected.bytes
}

#[test]
fn an_image_with_a_tag_and_all_its_content_stays() {
    let fresh = fresh();
    image(&fresh.store, &["base"], &["a"]);
    let (state, _dir) = fresh.close();
    let before = files(&crate::support::open(&state));
    assert_eq!(collect(&state, PruneImages::Dangling), 0);
    assert_eq!(files(&crate::support::open(&state)), before);
}

#[test]
fn a_removed_image_gives_its_bytes_back_but_keeps_what_others_share() {
    let fresh = fresh();
    image(&fresh.store, &["shared"], &["a"]);
    image(&fresh.store, &["shared", "own"], &["b"]);
    let (state, _dir) = fresh.close();
    crate::support::open(&state).remove_image("b", false).unwrap();
    assert!(collect(&state, PruneImages::None) > 0);
    let store = crate::support::open(&state);
    assert!(store.layer(&diff_id("own")).unwrap().is_none());
    assert!(store.layer(&diff_id("shared")).unwrap().is_some());
    assert!(!store.resolve_image("a").unwrap().layers.is_empty());
}

#[test]
fn after_everything_is_removed_no_file_is_left() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base", "top"], &["a", "b"]);
    fresh.store.insert_container(&container("c", "web", Some(&stored)), Durability::Normal).unwrap();
    fresh.store.snapshot(&id("c"), &stored).unwrap();
    let (state, _dir) = fresh.close();
    let store = crate::support::open(&state);
    store.remove_container(&id("c")).unwrap();
    store.remove_image(stored.id.encoded(), true).unwrap();
    collect(&state, PruneImages::None);
    assert_eq!(files(&store), Vec::<PathBuf>::new());
}

#[test]
fn what_a_living_store_has_in_its_hands_stays() {
    let fresh = fresh();
    let digest = put(&fresh.store, b"pulled, its image is not there yet");
    let unnamed = layer(&fresh.store, "unpacked");
    let build = fresh.store.begin_layer().unwrap();
    std::fs::write(build.path().join("half"), "half").unwrap();
    assert_eq!(collect(fresh.store.state(), PruneImages::Unused), 0);
    assert!(fresh.store.blob_file(&digest).unwrap().is_some());
    assert_eq!(fresh.store.layer(&unnamed.diff_id).unwrap(), Some(unnamed));
    assert!(build.path().join("half").exists());
}

#[test]
fn what_a_dropped_store_had_in_its_hands_goes() {
    let fresh = fresh();
    put(&fresh.store, b"pulled for nothing");
    layer(&fresh.store, "unpacked for nothing");
    let (state, _dir) = fresh.close();
    assert!(collect(&state, PruneImages::None) > 0);
    assert_eq!(files(&crate::support::open(&state)), Vec::<PathBuf>::new());
}

#[test]
fn a_blob_found_present_is_protected_for_the_finder() {
    let fresh = fresh();
    let digest = put(&fresh.store, b"unreferenced");
    let (state, _dir) = fresh.close();
    let finder = crate::support::open(&state);
    assert!(matches!(finder.ingest(&digest, None).unwrap(), IngestState::Present(_)));
    collect(&state, PruneImages::None);
    assert!(finder.blob_file(&digest).unwrap().is_some());
}

#[test]
fn a_partial_blob_survives_for_resuming_until_it_is_old() {
    let fresh = fresh();
    let digest = knarr_spec::Digest::sha256_of(b"half of it");
    partial(&fresh.store, &digest, None).write(b"half").unwrap();
    collect(fresh.store.state(), PruneImages::Unused);
    assert_eq!(partial(&fresh.store, &digest, None).offset(), 4);
    let policy = Policy { partials_before_ns: i64::MAX, ..Policy::default() };
    assert_eq!(fresh.store.collect(&policy).unwrap().bytes, 4);
    assert_eq!(partial(&fresh.store, &digest, None).offset(), 0);
}

#[test]
fn layers_under_a_container_stay_when_its_image_is_forced_away() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    fresh.store.insert_container(&container("c", "web", Some(&stored)), Durability::Normal).unwrap();
    let mounts = fresh.store.snapshot(&id("c"), &stored).unwrap();
    let (state, _dir) = fresh.close();
    crate::support::open(&state).remove_image("a", true).unwrap();
    collect(&state, PruneImages::Unused);
    assert!(mounts.base.join(&mounts.lower[0]).join("base").exists());
}

#[test]
fn dangling_images_go_before_unused_ones() {
    let fresh = fresh();
    image(&fresh.store, &["nameless"], &[]);
    image(&fresh.store, &["named"], &["a"]);
    let used = image(&fresh.store, &["used"], &[]);
    fresh.store.insert_container(&container("c", "web", Some(&used)), Durability::Normal).unwrap();
    let left = |store: &Store| store.images().unwrap().len();
    collect(fresh.store.state(), PruneImages::Dangling);
    assert_eq!(left(&fresh.store), 2);
    collect(fresh.store.state(), PruneImages::Unused);
    assert_eq!(left(&fresh.store), 1);
}

#[test]
fn strays_of_dead_processes_go() {
    let fresh = fresh();
    image(&fresh.store, &["base"], &["a"]);
    let (state, _dir) = fresh.close();
    let before = files(&crate::support::open(&state));
    for path in [
        "blobs/sha256/0000000000000000000000000000000000000000000000000000000000000000",
        "blobs/sha256/not-a-digest",
        "layers/77/fs/x",
        "snapshots/gone/upper/x",
        "trash/0123/x",
        "leases/0123",
    ] {
        let path = state.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    collect(&state, PruneImages::None);
    assert_eq!(files(&crate::support::open(&state)), before);
}

#[test]
fn a_removal_of_a_volume_that_was_cut_short_is_finished() {
    let fresh = fresh();
    let connection = rusqlite::Connection::open(fresh.store.state().join("knarr.db")).unwrap();
    let data = fresh.store.volume_data("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("x"), "x").unwrap();
    let sql = "INSERT INTO volumes VALUES ('data', 1, 0, 'local', '{}', '{}', 1)";
    connection.execute(sql, []).unwrap();
    assert!(fresh.store.volume("data").is_err());
    collect(fresh.store.state(), PruneImages::None);
    assert!(!data.exists());
}

#[test]
fn volumes_are_never_garbage() {
    let fresh = fresh();
    let data = fresh.store.volume_data("nobody-knows-it");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("precious"), "x").unwrap();
    collect(fresh.store.state(), PruneImages::Unused);
    assert!(data.join("precious").exists());
}
