//! Volumes.

use std::collections::BTreeMap;

use knarr_store::{Durability, Error, Store, VolumeRecord};

use crate::support::{container, fresh, id};

fn volume(name: &str) -> VolumeRecord {
    VolumeRecord {
        name: name.to_owned(),
        created_ns: 1,
        anonymous: false,
        driver: "local".to_owned(),
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        options: BTreeMap::new(),
    }
}

fn fill(store: &Store, name: &str) -> std::path::PathBuf {
    store.create_volume(&volume(name)).unwrap();
    let file = store.volume_data(name).join("file");
    std::fs::write(&file, "precious").unwrap();
    file
}

#[test]
fn a_volume_comes_back_as_it_was_made() {
    let fresh = fresh();
    assert_eq!(fresh.store.create_volume(&volume("data")).unwrap(), volume("data"));
    assert_eq!(fresh.again().volume("data").unwrap(), volume("data"));
    assert_eq!(fresh.again().volumes().unwrap(), [volume("data")]);
    assert!(fresh.store.volume_data("data").is_dir());
}

#[test]
fn making_a_volume_that_exists_keeps_it() {
    let fresh = fresh();
    let file = fill(&fresh.store, "data");
    let other = VolumeRecord { created_ns: 2, ..volume("data") };
    assert_eq!(fresh.store.create_volume(&other).unwrap(), volume("data"));
    assert!(file.exists());
}

#[test]
fn a_removed_volume_is_gone_with_its_files() {
    let fresh = fresh();
    let file = fill(&fresh.store, "data");
    fresh.store.remove_volume("data").unwrap();
    assert!(!file.exists());
    assert_eq!(fresh.store.volume("data").unwrap_err().to_string(), "get data: no such volume");
    assert!(matches!(fresh.store.remove_volume("data"), Err(Error::NoSuchVolume(_))));
}

#[test]
fn a_volume_in_use_stays_and_its_users_are_named() {
    let fresh = fresh();
    let file = fill(&fresh.store, "data");
    let mut user = container("a", "web", None);
    user.volumes = vec!["data".to_owned()];
    fresh.store.insert_container(&user, Durability::Normal).unwrap();
    let error = fresh.store.remove_volume("data").unwrap_err();
    assert_eq!(error.to_string(), format!("remove data: volume is in use - [{}]", id("a")));
    assert!(file.exists());
    assert_eq!(fresh.store.volume_users("data").unwrap(), [id("a")]);
    fresh.store.remove_container(&id("a")).unwrap();
    fresh.store.remove_volume("data").unwrap();
}

#[test]
fn only_names_that_docker_accepts_become_directories() {
    let fresh = fresh();
    for bad in ["", ".", "..", "../x", "a/b", "-a", ".a", "a b", "ü", &"a".repeat(256)] {
        assert!(matches!(fresh.store.create_volume(&volume(bad)), Err(Error::BadVolumeName(_))), "{bad:?}");
    }
}
