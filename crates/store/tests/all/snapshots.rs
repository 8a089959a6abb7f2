//! Snapshots: mounts as data.

use std::os::unix::fs::PermissionsExt;

use knarr_store::{Durability, Error, ImageRecord, ImageRemoval, RootMounts, Store};

use crate::support::{container, fresh, id, image, layer, new_image, put, unpacked};

/// A container of `image` with its snapshot.
fn snapshot(store: &Store, image: &ImageRecord) -> RootMounts {
    store.insert_container(&container("a", "web", Some(image)), Durability::Normal).unwrap();
    store.snapshot(&id("a"), image).unwrap()
}

#[test]
fn a_snapshot_has_the_layers_top_first_and_its_own_upper_and_work() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base", "top"], &[]);
    let mounts = snapshot(&fresh.store, &stored);
    assert_eq!(mounts.base, fresh.store.state().join("layers"));
    let tops: Vec<_> = mounts.lower.iter().map(|lower| mounts.base.join(lower)).collect();
    assert!(tops[0].join("top").exists() && tops[1].join("base").exists());
    assert!(mounts.upper.as_ref().unwrap().is_dir() && mounts.work.as_ref().unwrap().is_dir());
    assert_eq!(fresh.again().root_mounts(&id("a")).unwrap(), mounts);
}

#[test]
fn mounts_survive_the_trip_through_json() {
    let fresh = fresh();
    let mounts = snapshot(&fresh.store, &image(&fresh.store, &["base"], &[]));
    let text = serde_json::to_string(&mounts).unwrap();
    assert_eq!(serde_json::from_str::<RootMounts>(&text).unwrap(), mounts);
}

#[test]
fn an_image_without_layers_still_has_something_to_mount() {
    let fresh = fresh();
    let mounts = snapshot(&fresh.store, &image(&fresh.store, &[], &[]));
    assert_eq!(mounts.lower.len(), 1);
    assert_eq!(std::fs::read_dir(mounts.base.join(&mounts.lower[0])).unwrap().count(), 0);
    assert_eq!(fresh.store.root_mounts(&id("a")).unwrap(), mounts);
}

#[test]
fn upper_takes_the_mode_of_the_images_root() {
    let fresh = fresh();
    let build = fresh.store.begin_layer().unwrap();
    std::fs::set_permissions(build.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let blob = put(&fresh.store, b"blob");
    let record = build.commit(unpacked("odd root"), &blob).unwrap();
    let stored = fresh.store.put_image(new_image("odd", vec![record], &[])).unwrap();
    let upper = snapshot(&fresh.store, &stored).upper.unwrap();
    assert_eq!(upper.metadata().unwrap().permissions().mode() & 0o7777, 0o1777);
}

#[test]
fn nothing_below_an_opaque_root_is_mounted() {
    let fresh = fresh();
    let blob = put(&fresh.store, b"blob");
    let mut facts = unpacked("opaque");
    facts.opaque_root = true;
    let opaque = fresh.store.begin_layer().unwrap().commit(facts, &blob).unwrap();
    let layers = vec![layer(&fresh.store, "hidden"), opaque, layer(&fresh.store, "top")];
    let stored = fresh.store.put_image(new_image("opaque", layers, &[])).unwrap();
    assert_eq!(snapshot(&fresh.store, &stored).lower.len(), 2);
}

#[test]
fn two_snapshots_of_one_container_are_refused() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &[]);
    snapshot(&fresh.store, &stored);
    assert!(matches!(fresh.store.snapshot(&id("a"), &stored), Err(Error::ContainerExists(_))));
}

#[test]
fn directories_left_by_a_death_before_the_record_are_replaced() {
    let fresh = fresh();
    let left = fresh.store.state().join("snapshots").join(id("a")).join("upper");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("stale"), "stale").unwrap();
    let mounts = snapshot(&fresh.store, &image(&fresh.store, &["base"], &[]));
    assert_eq!(std::fs::read_dir(mounts.upper.unwrap()).unwrap().count(), 0);
}

#[test]
fn a_removed_snapshot_is_gone_with_its_files_and_removing_it_again_is_fine() {
    let fresh = fresh();
    let mounts = snapshot(&fresh.store, &image(&fresh.store, &["base"], &[]));
    fresh.store.remove_snapshot(&id("a")).unwrap();
    assert!(!mounts.upper.unwrap().exists());
    assert!(matches!(fresh.store.root_mounts(&id("a")), Err(Error::NoSuchSnapshot(_))));
    fresh.store.remove_snapshot(&id("a")).unwrap();
}

#[test]
fn a_snapshot_outlives_its_images_record() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    let mounts = snapshot(&fresh.store, &stored);
    assert!(matches!(fresh.store.remove_image("a", true).unwrap(), ImageRemoval::Done(_)));
    assert_eq!(fresh.store.root_mounts(&id("a")).unwrap(), mounts);
}

#[test]
fn a_lost_layer_is_named_when_a_snapshot_needs_it() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &[]);
    std::fs::remove_dir_all(fresh.store.state().join(format!("layers/{}", stored.layers[0].number))).unwrap();
    let error = fresh.store.snapshot(&id("a"), &stored).unwrap_err();
    assert!(error.to_string().contains(&stored.layers[0].diff_id.to_string()), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_snapshot_needs_its_containers_record_first() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &[]);
    assert!(matches!(fresh.store.snapshot(&id("a"), &stored), Err(Error::NoSuchContainer(_))));
    assert!(!fresh.store.state().join("snapshots").join(id("a")).exists());
}

#[test]
fn removing_the_container_removes_its_snapshot() {
    let fresh = fresh();
    let mounts = snapshot(&fresh.store, &image(&fresh.store, &["base"], &[]));
    fresh.store.remove_container(&id("a")).unwrap();
    assert!(!mounts.upper.unwrap().exists());
    assert!(matches!(fresh.store.root_mounts(&id("a")), Err(Error::NoSuchSnapshot(_))));
}

#[test]
fn only_container_ids_become_directories() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &[]);
    for bad in ["", "a", "../../etc", &"G".repeat(64), &"a".repeat(65)] {
        assert!(matches!(fresh.store.snapshot(bad, &stored), Err(Error::BadContainerId(_))), "{bad:?}");
        assert!(matches!(fresh.store.remove_snapshot(bad), Err(Error::BadContainerId(_))), "{bad:?}");
    }
}
