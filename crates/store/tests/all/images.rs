//! Images, their names and their removal.

use knarr_spec::{Descriptor, Digest, Index, Raw, media_type};
use knarr_store::{Durability, Error, ImageRemoval, NewImage, RemovedImage, Store};

use crate::support::{container, fresh, image, layer, name, new_image};

fn resolves(store: &Store, text: &str, to: &Digest) {
    assert_eq!(store.resolve_image(text).expect(text).id, *to, "{text}");
}

fn is_unknown(store: &Store, text: &str) {
    let error = store.resolve_image(text).expect_err(text);
    assert!(matches!(error, Error::NoSuchImage(_)), "{text}: {error}");
    assert_eq!(error.to_string(), format!("No such image: {text}"));
}

fn done(removal: ImageRemoval) -> RemovedImage {
    match removal {
        ImageRemoval::Done(removed) => removed,
        other => panic!("refused: {other:?}"),
    }
}

#[test]
fn an_image_is_found_by_every_text_that_means_it() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base", "top"], &["alpine:3"]);
    let hex = stored.id.encoded();
    for text in ["alpine:3", "docker.io/library/alpine:3", hex, &hex[..12], &hex[..3], stored.id.as_str()] {
        resolves(&fresh.store, text, &stored.id);
    }
    resolves(&fresh.store, &format!("sha256:{}", &hex[..20]), &stored.id);
    resolves(&fresh.store, &format!("alpine@{}", stored.manifest_digest), &stored.id);
}

#[test]
fn texts_that_mean_no_image_say_so_as_docker_does() {
    let fresh = fresh();
    image(&fresh.store, &["base"], &["alpine:3"]);
    for text in ["alpine", "alpine:4", "ffffffffffff", "busybox", &"0".repeat(64)] {
        is_unknown(&fresh.store, text);
    }
    is_unknown(&fresh.store, &format!("alpine@sha256:{}", "0".repeat(64)));
    assert!(matches!(fresh.store.resolve_image("UPPER CASE"), Err(Error::BadReference(_))));
}

#[test]
fn a_name_wins_over_the_beginning_of_an_id() {
    let fresh = fresh();
    let one = image(&fresh.store, &["one"], &[]);
    let two = image(&fresh.store, &["two"], &[]);
    let start = &one.id.encoded()[..4];
    fresh.store.tag(&two.id, &name(start)).unwrap();
    resolves(&fresh.store, start, &two.id);
    resolves(&fresh.store, &one.id.encoded()[..5], &one.id);
}

#[test]
fn documents_come_back_byte_for_byte() {
    let fresh = fresh();
    let mut new = new_image("exact", vec![layer(&fresh.store, "base")], &["exact"]);
    // Odd spacing and unknown fields survive.
    let odd = String::from_utf8(new.manifest.bytes().to_vec()).unwrap().replacen('{', "{ \"unknown\" : 1 ,\n", 1);
    new.manifest = Raw::parse(odd.clone().into_bytes()).unwrap();
    let stored = fresh.store.put_image(new).unwrap();
    assert_eq!(fresh.store.blob_bytes(&stored.manifest_digest, 1 << 20).unwrap().unwrap(), odd.into_bytes());
    assert_eq!(fresh.store.blob_bytes(&stored.id, 1 << 20).unwrap().unwrap(), stored.config.bytes());
}

#[test]
fn an_image_chosen_from_an_index_keeps_it_and_is_found_by_its_digest() {
    let fresh = fresh();
    let mut new = new_image("indexed", vec![layer(&fresh.store, "base")], &[]);
    let entry = Descriptor::new(media_type::OCI_MANIFEST, new.manifest.digest(), 1);
    let index = Raw::from_document(Index {
        schema_version: 2,
        media_type: None,
        artifact_type: None,
        manifests: vec![entry],
        subject: None,
        annotations: Default::default(),
    });
    new.names = vec![name(&format!("app:1@{}", index.digest()))];
    new.index = Some(index.clone());
    let stored = fresh.store.put_image(new).unwrap();
    assert_eq!(stored.index_digest, Some(index.digest()));
    assert_eq!(stored.names, [name("app:1")]);
    assert_eq!(stored.repo_digests, [name(&format!("app@{}", index.digest()))]);
    for text in ["app:1".to_owned(), format!("app@{}", index.digest()), format!("app@{}", stored.manifest_digest)] {
        resolves(&fresh.store, &text, &stored.id);
    }
    assert_eq!(fresh.store.blob_bytes(&index.digest(), 1 << 20).unwrap().unwrap(), index.bytes());
}

#[test]
fn layers_other_than_the_configs_are_refused() {
    let fresh = fresh();
    let layers = vec![layer(&fresh.store, "one"), layer(&fresh.store, "two")];
    let refuse = |change: &dyn Fn(&mut NewImage)| {
        let mut new = new_image("mixed", layers.clone(), &[]);
        change(&mut new);
        let error = fresh.store.put_image(new).unwrap_err();
        assert!(matches!(error, Error::WrongLayer { .. }), "{error}");
    };
    refuse(&|new| new.layers.reverse());
    refuse(&|new| new.layers.truncate(1));
    refuse(&|new| new.layers.push(new.layers[0].clone()));
}

#[test]
fn documents_that_do_not_belong_together_are_refused() {
    let fresh = fresh();
    let mut new = new_image("one", vec![layer(&fresh.store, "base")], &[]);
    new.config = new_image("two", vec![layer(&fresh.store, "base")], &[]).config;
    assert!(matches!(fresh.store.put_image(new), Err(Error::WrongDocument { document: "config", .. })));
    let liar = format!("app@sha256:{}", "1".repeat(64));
    let new = new_image("one", vec![layer(&fresh.store, "base")], &[&liar]);
    assert!(matches!(fresh.store.put_image(new), Err(Error::WrongDocument { document: "name", .. })));
}

#[test]
fn an_image_whose_layer_blob_is_missing_is_not_made_visible() {
    let fresh = fresh();
    let mut record = layer(&fresh.store, "base");
    record.blob = Digest::sha256_of(b"never stored");
    let error = fresh.store.put_image(new_image("x", vec![record], &["x"])).unwrap_err();
    assert!(matches!(error, Error::NoSuchBlob(_)), "{error}");
    assert!(fresh.store.images().unwrap().is_empty());
}

#[test]
fn a_tag_moves_and_leaves_its_old_image_without_a_name() {
    let fresh = fresh();
    let old = image(&fresh.store, &["old"], &["app:1"]);
    let new = image(&fresh.store, &["new"], &["app:1"]);
    resolves(&fresh.store, "app:1", &new.id);
    assert!(fresh.store.image(&old.id).unwrap().unwrap().names.is_empty());
}

#[test]
fn storing_the_same_image_twice_changes_nothing_but_names() {
    let fresh = fresh();
    let one = image(&fresh.store, &["same"], &["a"]);
    let two = image(&fresh.store, &["same"], &["b"]);
    assert_eq!(one.id, two.id);
    assert_eq!(two.names, [name("a"), name("b")]);
    assert_eq!(fresh.store.images().unwrap().len(), 1);
}

#[test]
fn removing_one_of_two_names_keeps_the_image() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a", "b"]);
    let removed = done(fresh.store.remove_image("a", false).unwrap());
    assert_eq!(removed, RemovedImage { untagged: vec![name("a")], deleted: None, chains: vec![] });
    resolves(&fresh.store, "b", &stored.id);
    is_unknown(&fresh.store, "a");
}

#[test]
fn removing_the_last_name_removes_the_image_and_tells_its_chains() {
    let fresh = fresh();
    image(&fresh.store, &["shared"], &["keeps-the-base"]);
    let stored = image(&fresh.store, &["shared", "own"], &["a"]);
    let removed = done(fresh.store.remove_image("a:latest", false).unwrap());
    assert_eq!(removed.untagged, [name("a")]);
    assert_eq!(removed.deleted, Some(stored.id.clone()));
    assert_eq!(removed.chains.len(), 1, "the base is another image's too");
    is_unknown(&fresh.store, "a");
}

#[test]
fn an_image_under_a_container_is_removed_by_force_only() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    fresh.store.insert_container(&container("c0", "web", Some(&stored)), Durability::Normal).unwrap();
    let refused = fresh.store.remove_image("a", false).unwrap();
    let ImageRemoval::InUse { containers, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(containers[0].1, "web");
    resolves(&fresh.store, "a", &stored.id);
    assert!(done(fresh.store.remove_image("a", true).unwrap()).deleted.is_some());
}

#[test]
fn an_image_of_several_repositories_goes_by_id_with_force_only() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a:1", "a:2"]);
    fresh.store.tag(&stored.id, &name("b")).unwrap();
    let refused = fresh.store.remove_image(stored.id.encoded(), false).unwrap();
    assert!(matches!(&refused, ImageRemoval::SeveralNames { names, .. } if names.len() == 3), "{refused:?}");
    assert_eq!(done(fresh.store.remove_image(stored.id.encoded(), true).unwrap()).untagged.len(), 3);
}

#[test]
fn two_tags_of_one_repository_go_by_id_without_force() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a:1", "a:2"]);
    assert_eq!(done(fresh.store.remove_image(stored.id.short(), false).unwrap()).untagged.len(), 2);
}

#[test]
fn untagging_takes_one_name_and_says_whether_it_was_there() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    assert!(fresh.store.untag(&name("a")).unwrap());
    assert!(!fresh.store.untag(&name("a")).unwrap());
    assert!(fresh.store.image(&stored.id).unwrap().unwrap().names.is_empty());
}

#[test]
fn the_size_of_an_image_is_its_layers_content() {
    let fresh = fresh();
    assert_eq!(image(&fresh.store, &["12345", "123"], &[]).bytes, 8);
}
