//! Where uploads go on.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use knarr_spec::Digest;
use knarr_store::gc::Policy;

use crate::support::{Fresh, fresh};

const PLACE: &str = "127.0.0.1:5000/app";

fn digest() -> Digest {
    Digest::sha256_of(b"layer")
}

fn files(fresh: &Fresh) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(fresh.store.state().join("uploads/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_was_kept_is_known_to_the_next_store_and_forgotten_on_demand() {
    let fresh = fresh();
    fresh.again().upload(&digest(), PLACE).unwrap().unwrap().keep("http://r/upload/1").unwrap();
    let store = &fresh.store;
    assert!(store.upload(&digest(), "127.0.0.1:5000/other").unwrap().unwrap().location().is_none());
    let mut note = store.upload(&digest(), PLACE).unwrap().unwrap();
    assert_eq!(note.location(), Some("http://r/upload/1"));
    note.keep("http://r/2").unwrap();
    drop(note);
    let mut note = store.upload(&digest(), PLACE).unwrap().unwrap();
    assert_eq!(note.location(), Some("http://r/2"));
    note.forget().unwrap();
    drop(note);
    assert!(files(&fresh).is_empty());
}

#[test]
fn an_upload_is_one_processes_at_a_time() {
    let fresh = fresh();
    let store = fresh.again();
    let note = store.upload(&digest(), PLACE).unwrap().unwrap();
    assert!(fresh.again().upload(&digest(), PLACE).unwrap().is_none());
    drop(note);
    assert!(fresh.again().upload(&digest(), PLACE).unwrap().is_some());
}

#[test]
fn uploads_no_registry_remembers_are_garbage_and_others_are_not() {
    let fresh = fresh();
    let store = fresh.again();
    for place in [PLACE, "127.0.0.1:5000/old"] {
        store.upload(&digest(), place).unwrap().unwrap().keep("http://r/1").unwrap();
    }
    let old = files(&fresh).into_iter().find(|path| fs::read_to_string(path).unwrap().contains("/old")).unwrap();
    let ago = SystemTime::now() - Duration::from_secs(9 * 24 * 3600);
    File::options().write(true).open(&old).unwrap().set_modified(ago).unwrap();
    store.collect(&Policy::default()).unwrap();
    assert!(!old.exists());
    assert_eq!(files(&fresh).len(), 1);
}
