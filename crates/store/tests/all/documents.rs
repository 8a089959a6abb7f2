//! Lists and artifacts: what they need stays, what they were goes.

use std::collections::BTreeSet;

use knarr_store::gc::Policy;
use knarr_store::{Budget, DocumentKind};

use crate::support::{fresh, layer, new_image, put};

#[test]
fn a_document_keeps_what_it_needs_until_it_is_removed() {
    let fresh = fresh();
    let name = "team/model:v1".parse().unwrap();
    let file = {
        let store = fresh.again();
        let file = put(&store, b"weights");
        store.put_document(&name, DocumentKind::Artifact, b"{}", std::slice::from_ref(&file)).unwrap();
        file
    };
    fresh.store.collect(&Policy::default()).unwrap();
    assert!(fresh.store.blob(&file).unwrap().is_some());
    let record = fresh.store.document(&name).unwrap().unwrap();
    assert_eq!((record.name.to_string().as_str(), record.kind), ("docker.io/team/model:v1", DocumentKind::Artifact));
    assert_eq!(fresh.store.documents().unwrap(), [record]);
    assert!(fresh.store.remove_document(&name).unwrap() && !fresh.store.remove_document(&name).unwrap());
    fresh.store.collect(&Policy::default()).unwrap();
    assert!(fresh.store.blob(&file).unwrap().is_none());
}

#[test]
fn a_document_that_needs_what_is_not_there_is_refused() {
    let fresh = fresh();
    let nothing = knarr_spec::Digest::sha256_of(b"nothing");
    let name = "list".parse().unwrap();
    assert!(fresh.store.put_document(&name, DocumentKind::List, b"{}", &[nothing]).is_err());
    assert!(fresh.store.document(&name).unwrap().is_none());
}

#[test]
fn what_is_over_the_budget_goes_and_what_was_just_added_stays() {
    let fresh = fresh();
    let add = |mark: &str| {
        let store = fresh.again();
        let record = layer(&store, mark);
        store.put_image(new_image(mark, vec![record], &[mark])).unwrap()
    };
    let old = add("old");
    let new = add("new");
    assert!(fresh.store.keep_budget(&BTreeSet::new()).unwrap().is_none(), "no budget, nothing goes");
    let budget = Budget { used_bytes_max: Some(1), ..Budget::default() };
    fresh.store.set_budget(&budget).unwrap();
    assert_eq!(fresh.again().budget().unwrap(), budget);
    fresh.store.keep_budget(&BTreeSet::from([new.id.clone()])).unwrap();
    assert!(fresh.store.image(&old.id).unwrap().is_none());
    assert!(fresh.store.image(&new.id).unwrap().is_some());
}

#[test]
fn a_blob_whose_digest_is_known_at_its_end_is_a_blob_like_others() {
    let fresh = fresh();
    let content = b"0123456789".repeat(100_000);
    let blob = fresh.store.put_stream(&content[..]).unwrap();
    assert_eq!(fresh.store.blob_bytes(&blob.digest, u64::MAX).unwrap().as_deref(), Some(&content[..]));
    assert_eq!(fresh.store.put_stream(&content[..]).unwrap(), blob);
    let left = std::fs::read_dir(fresh.store.state().join("ingest/sha256")).unwrap().count();
    assert_eq!(left, 0, "nothing of its making is left");
}

#[test]
fn an_image_says_that_a_blob_of_it_is_gone() {
    let fresh = fresh();
    let record = layer(&fresh.store, "layer");
    let blob = record.blob.clone();
    let image = fresh.store.put_image(new_image("image", vec![record], &["image"])).unwrap();
    assert!(!fresh.store.lacks_blobs(&image.id).unwrap());
    let database = rusqlite::Connection::open(fresh.store.state().join("knarr.db")).unwrap();
    database.execute("DELETE FROM blobs WHERE digest = ?1", [blob.as_str()]).unwrap();
    assert!(fresh.store.lacks_blobs(&image.id).unwrap());
}
