//! Layers and their making.

use knarr_store::Store;

use crate::support::{diff_id, fresh, layer, put, unpacked};

fn layer_dirs(store: &Store) -> usize {
    std::fs::read_dir(store.state().join("layers")).map_or(0, Iterator::count)
}

#[test]
fn a_layer_is_found_by_its_diff_id() {
    let fresh = fresh();
    let stored = layer(&fresh.store, "hello");
    let found = fresh.again().layer(&diff_id("hello")).unwrap().unwrap();
    assert_eq!(found, stored);
    let file = fresh.store.state().join(format!("layers/{}/fs/hello", stored.number));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "hello");
}

#[test]
fn what_the_unpacker_found_out_comes_back() {
    let fresh = fresh();
    let blob = put(&fresh.store, b"blob");
    let mut facts = unpacked("odd");
    facts.implied_dirs = vec!["usr".into(), std::ffi::OsString::from("usr/\u{e9}t\u{e9}").into()];
    facts.opaque_root = true;
    let stored = fresh.store.begin_layer().unwrap().commit(facts.clone(), &blob).unwrap();
    let found = fresh.store.layer(&diff_id("odd")).unwrap().unwrap();
    assert_eq!(found, stored);
    assert_eq!(found.implied_dirs, facts.implied_dirs);
    assert!(found.opaque_root);
    assert_eq!(found.blob, blob);
}

#[test]
fn an_abandoned_layer_leaves_nothing() {
    let fresh = fresh();
    let build = fresh.store.begin_layer().unwrap();
    std::fs::write(build.path().join("half"), "half").unwrap();
    drop(build);
    assert_eq!(layer_dirs(&fresh.store), 0);
}

#[test]
fn layers_in_the_making_never_share_a_directory() {
    let fresh = fresh();
    let builds: Vec<_> = (0..8).map(|_| fresh.again().begin_layer().unwrap()).collect();
    let mut paths: Vec<_> = builds.iter().map(|build| build.path()).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 8);
}

#[test]
fn the_slower_of_two_makers_of_a_layer_gets_the_faster_ones() {
    let fresh = fresh();
    let blob = put(&fresh.store, b"blob");
    let (one, two) = (fresh.store.begin_layer().unwrap(), fresh.again().begin_layer().unwrap());
    let first = one.commit(unpacked("same"), &blob).unwrap();
    let second = two.commit(unpacked("same"), &blob).unwrap();
    assert_eq!(first, second);
    assert_eq!(layer_dirs(&fresh.store), 1);
}

#[test]
fn a_layer_that_lost_its_directory_is_made_again_under_a_new_number() {
    let fresh = fresh();
    let lost = layer(&fresh.store, "lost");
    std::fs::remove_dir_all(fresh.store.state().join(format!("layers/{}", lost.number))).unwrap();
    assert!(fresh.store.layer(&diff_id("lost")).unwrap().is_none());
    let again = layer(&fresh.store, "lost");
    assert_ne!(again.number, lost.number);
    assert!(fresh.store.layer(&diff_id("lost")).unwrap().is_some());
}
