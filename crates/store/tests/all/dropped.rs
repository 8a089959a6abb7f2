//! Uncompressed layers that are kept as trees alone: the blob goes, and comes back with every byte when it is asked for.

use std::path::{Path, PathBuf};
use std::sync::Barrier;

use knarr_layer::Unpacked;
use knarr_spec::{DiffId, Digest};
use knarr_store::gc::{Policy, PruneImages};
use knarr_store::{Budget, CheckOptions, Collected, Error, Finding, IngestState, Kind, LayerRecord, Store};

use crate::support::{fresh, new_image, open, put, tar, unpacked};

const THOROUGH: CheckOptions = CheckOptions { contents: true };

fn content(name: &str) -> Vec<u8> {
    tar(name, &name.bytes().cycle().take(100_000).collect::<Vec<u8>>())
}

/// A layer whose blob is its tar.
fn layer(store: &Store, name: &str) -> LayerRecord {
    let tar = content(name);
    let blob = put(store, &tar);
    let build = store.begin_layer().unwrap();
    std::fs::write(build.path().join(name), &tar[512..512 + 100_000]).unwrap();
    build.commit(Unpacked { diff_id: DiffId(blob.clone()), ..unpacked(name) }, &blob).unwrap()
}

/// A store with the image `a` of such a layer, in which nobody has anything in hand.
fn stored(name: &str) -> (PathBuf, tempfile::TempDir, LayerRecord) {
    let fresh = fresh();
    let layer = layer(&fresh.store, name);
    fresh.store.put_image(new_image("a", vec![layer.clone()], &["a"])).unwrap();
    let (state, dir) = fresh.close();
    (state, dir, layer)
}

fn collect(state: &Path) -> Collected {
    let collected = open(state).collect(&Policy { drop_remakeable: true, ..Policy::default() }).unwrap();
    assert!(collected.problems.is_empty(), "{:?}", collected.problems);
    collected
}

fn has_file(state: &Path, digest: &Digest) -> bool {
    open(state).blob_path(digest).exists()
}

#[test]
fn a_dropped_blob_is_still_there_and_has_every_byte() {
    let (state, _dir, layer) = stored("base");
    assert_eq!(collect(&state).bytes, content("base").len() as u64);
    assert!(!has_file(&state, &layer.blob));
    let store = open(&state);
    assert_eq!(store.blob(&layer.blob).unwrap().unwrap().bytes, content("base").len() as u64);
    assert!(matches!(store.ingest(&layer.blob, None).unwrap(), IngestState::Present(_)), "nobody fetches it again");
    assert_eq!(store.check(&THOROUGH).unwrap(), []);
    assert_eq!(store.blob_bytes(&layer.blob, u64::MAX).unwrap().unwrap(), content("base"));
    assert!(has_file(&state, &layer.blob));
}

#[test]
fn nothing_is_dropped_unless_it_is_asked_for_and_then_with_every_collection() {
    let (state, _dir, layer) = stored("base");
    open(&state).collect(&Policy::default()).unwrap();
    assert!(has_file(&state, &layer.blob));
    open(&state).set_budget(&Budget { drop_remakeable: true, ..Budget::default() }).unwrap();
    open(&state).collect(&Policy::default()).unwrap();
    assert!(!has_file(&state, &layer.blob));
}

#[test]
fn what_somebody_has_in_hand_is_not_dropped() {
    let (state, _dir, layer) = stored("base");
    let busy = open(&state);
    assert!(matches!(busy.ingest(&layer.blob, None).unwrap(), IngestState::Present(_)));
    assert_eq!(collect(&state).removed, []);
    drop(busy);
    assert_eq!(collect(&state).removed.len(), 1);
}

#[test]
fn a_compressed_layer_is_not_dropped() {
    let fresh = fresh();
    let layer = crate::support::layer(&fresh.store, "base");
    fresh.store.put_image(new_image("a", vec![layer.clone()], &["a"])).unwrap();
    let (state, _dir) = fresh.close();
    collect(&state);
    assert!(has_file(&state, &layer.blob));
}

#[test]
fn a_dropped_blob_keeps_its_layer_and_goes_with_its_image() {
    let (state, _dir, layer) = stored("base");
    collect(&state);
    collect(&state);
    assert!(open(&state).layer(&layer.diff_id).unwrap().is_some());
    open(&state).remove_image("a", false).unwrap();
    open(&state).collect(&Policy { images: PruneImages::Unused, ..Policy::default() }).unwrap();
    assert!(open(&state).blob(&layer.blob).unwrap().is_none());
    assert!(open(&state).layer(&layer.diff_id).unwrap().is_none());
    assert_eq!(std::fs::read_dir(state.join("recipes/sha256")).unwrap().count(), 0);
}

#[test]
fn the_recipe_of_a_blob_that_came_back_is_garbage() {
    let (state, _dir, layer) = stored("base");
    collect(&state);
    open(&state).blob_file(&layer.blob).unwrap().unwrap();
    open(&state).collect(&Policy::default()).unwrap();
    assert_eq!(std::fs::read_dir(state.join("recipes/sha256")).unwrap().count(), 0);
    assert!(has_file(&state, &layer.blob));
}

#[test]
fn a_file_that_a_death_left_behind_its_drop_goes_with_the_next_collection() {
    let (state, _dir, layer) = stored("base");
    collect(&state);
    let path = open(&state).blob_path(&layer.blob);
    std::fs::write(&path, content("base")).unwrap();
    open(&state).collect(&Policy::default()).unwrap();
    assert!(!path.exists());
    assert_eq!(open(&state).blob_bytes(&layer.blob, u64::MAX).unwrap().unwrap(), content("base"));
}

#[test]
fn two_who_drop_one_blob_do_not_harm_it() {
    let (state, _dir, layer) = stored("base");
    let policy = Policy { drop_remakeable: true, ..Policy::default() };
    let late = knarr_store::gc::plan(&open(&state).facts().unwrap(), &policy);
    collect(&state);
    let collected = open(&state).apply(late);
    assert_eq!((collected.removed.len(), collected.problems.len()), (0, 0));
    assert_eq!(open(&state).blob_bytes(&layer.blob, u64::MAX).unwrap().unwrap(), content("base"));
}

#[test]
fn many_who_ask_at_once_all_get_it() {
    let (state, _dir, layer) = stored("base");
    collect(&state);
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = open(&state);
                barrier.wait();
                assert_eq!(store.blob_bytes(&layer.blob, u64::MAX).unwrap().unwrap(), content("base"));
            });
        }
    });
}

#[test]
fn a_tree_that_changed_is_found_out_and_the_blob_is_fetched_again() {
    let (state, _dir, layer) = stored("base");
    collect(&state);
    std::fs::write(state.join(format!("layers/{}/fs/base", layer.number)), [b'x'; 100_000]).unwrap();
    let store = open(&state);
    assert!(matches!(store.blob_file(&layer.blob), Err(Error::WrongDigest { .. })));
    let findings = store.check(&THOROUGH).unwrap();
    assert_eq!(findings, [Finding::BlobContent(layer.blob.clone())]);
    store.repair(findings, &crate::damage::unpack_options());
    assert!(matches!(store.ingest(&layer.blob, None).unwrap(), IngestState::Partial(_)));
}

#[test]
fn a_layer_or_a_recipe_that_is_lost_is_named() {
    let (state, _dir, layer) = stored("base");
    collect(&state);
    std::fs::remove_file(state.join(format!("layers/{}/fs/base", layer.number))).unwrap();
    let error = open(&state).blob_file(&layer.blob).unwrap_err();
    assert_eq!(error.to_string(), format!("blob {} is not kept, and could not be made of layers/1", layer.blob));
    assert_eq!(error.kind(), Kind::Damaged);
    std::fs::remove_dir_all(state.join("recipes")).unwrap();
    assert_eq!(open(&state).check(&CheckOptions::default()).unwrap(), [Finding::BlobMissing(layer.blob.clone())]);
}
