//! What every database of a registry must do.

use knarr_spec::Digest;
use serde_json::json;

use super::*;
use crate::manifest;

fn digest(text: &str) -> Digest {
    Digest::sha256_of(text.as_bytes())
}

fn tag(name: &str) -> ManifestReference {
    ManifestReference::Tag(name.into())
}

fn immutable_none(_: &str) -> bool {
    false
}

/// An image manifest that names these blobs.
fn image(blobs: &[&Digest], subject: Option<&Digest>) -> (Parsed, Vec<u8>) {
    let target = |digest: &&Digest| json!({"mediaType": "x/y", "digest": digest.as_str(), "size": 1});
    let layers: Vec<_> = blobs.iter().map(target).collect();
    let mut document = json!({"schemaVersion": 2, "layers": layers, "artifactType": "x/artifact"});
    if let Some(subject) = subject {
        document["subject"] = target(&subject);
        document["annotations"] = json!({"a": "b"});
    }
    let bytes = document.to_string().into_bytes();
    (manifest::parse(&bytes, Some("x/manifest"), &tag("any")).unwrap(), bytes)
}

fn put(
    meta: &dyn Metadata,
    repository: &str,
    tags: &[&str],
    image: &(Parsed, Vec<u8>),
) -> std::result::Result<(), Refusal> {
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let new = NewManifest {
        repository,
        manifest: &image.0,
        bytes: &image.1,
        tags: &tags,
        blobs_required: true,
        immutable: &|tag| tag.starts_with("fixed"),
        bytes_max: None,
    };
    meta.put_manifest(&new).unwrap()
}

fn add(meta: &dyn Metadata, repository: &str, text: &str) -> Digest {
    let digest = digest(text);
    meta.add_blob(repository, &digest, text.len() as u64, None).unwrap().unwrap();
    digest
}

/// All changes still to be recorded, which they then are.
pub fn changes(meta: &dyn Metadata) -> Vec<Change> {
    let mut all = Vec::new();
    let mut show = |changes: &[Change]| {
        all.extend_from_slice(changes);
        Ok(())
    };
    while meta.record(2, &mut show).unwrap() > 0 {}
    all
}

/// A whole garbage collection without grace.
fn collect(meta: &dyn Metadata) -> Vec<Digest> {
    let mut sweep = Sweep::default();
    let garbage = Garbage { before: i64::MAX, busy: &|repository| repository == "busy" };
    while sweep != Sweep::Done {
        meta.sweep(&mut sweep, &garbage, 2).unwrap();
    }
    let mut leaving = meta.leaving(100).unwrap();
    leaving.sort();
    meta.left(&leaving).unwrap();
    leaving
}

pub fn a_blob_is_seen_where_it_was_pushed_or_mounted(meta: &dyn Metadata) {
    let blob = add(meta, "a", "abc");
    assert_eq!(meta.blob_size("a", &blob).unwrap(), Some(3));
    assert_eq!(meta.blob_size("b", &blob).unwrap(), None);
    assert_eq!(meta.mount_blob("b", &blob, Some("c"), None).unwrap(), Ok(false));
    assert_eq!(meta.mount_blob("b", &blob, Some("a"), None).unwrap(), Ok(true));
    assert_eq!(meta.mount_blob("d", &blob, None, None).unwrap(), Ok(true));
    assert_eq!(meta.mount_blob("d", &digest("nowhere"), None, None).unwrap(), Ok(false));
    assert!(meta.unlink_blob("a", &blob).unwrap() && !meta.unlink_blob("a", &blob).unwrap());
    assert_eq!((meta.blob_size("a", &blob).unwrap(), meta.blob_size("b", &blob).unwrap()), (None, Some(3)));
}

pub fn a_manifest_comes_back_by_tag_and_digest(meta: &dyn Metadata) {
    let image = image(&[&add(meta, "a", "layer")], None);
    assert_eq!(put(meta, "a", &["v1", "v2"], &image), Ok(()));
    let by_digest = ManifestReference::Digest(image.0.digest.clone());
    for reference in [tag("v1"), tag("v2"), by_digest.clone()] {
        let stored = meta.manifest("a", &reference).unwrap().unwrap();
        assert_eq!((stored.bytes, stored.media_type.as_str()), (image.1.clone(), "x/manifest"));
    }
    assert_eq!(meta.manifest("b", &tag("v1")).unwrap(), None);
    assert_eq!(meta.named_by("a", &digest("layer")).unwrap(), Some(image.1.clone()));
    assert_eq!(
        (meta.named_by("a", &digest("x")).unwrap(), meta.named_by("b", &digest("layer")).unwrap()),
        (None, None)
    );
    assert_eq!(meta.delete_manifest("a", &tag("v1"), &immutable_none).unwrap(), Ok(true));
    assert_eq!(meta.delete_manifest("a", &tag("v1"), &immutable_none).unwrap(), Ok(false));
    assert!(meta.manifest("a", &by_digest).unwrap().is_some());
    assert_eq!(meta.delete_manifest("a", &by_digest, &immutable_none).unwrap(), Ok(true));
    assert_eq!((meta.manifest("a", &tag("v2")).unwrap(), meta.manifest("a", &by_digest).unwrap()), (None, None));
}

pub fn a_manifest_whose_blobs_are_missing_changes_nothing(meta: &dyn Metadata) {
    add(meta, "elsewhere", "layer");
    let image = image(&[&digest("layer")], None);
    assert_eq!(put(meta, "a", &["v1"], &image), Err(Refusal::MissingBlobs(vec![digest("layer").to_string()])));
    assert_eq!(meta.repositories("", 10).unwrap().entries, Vec::<String>::new());
    assert_eq!(changes(meta), []);
}

pub fn an_immutable_tag_neither_moves_nor_goes(meta: &dyn Metadata) {
    let blob = add(meta, "a", "layer");
    let (first, second) = (image(&[&blob], None), image(&[], None));
    assert_eq!(put(meta, "a", &["fixed"], &first), Ok(()));
    assert_eq!(put(meta, "a", &["fixed"], &first), Ok(()));
    let refused = Err(Refusal::Immutable("fixed".into()));
    assert_eq!(put(meta, "a", &["other", "fixed"], &second), refused);
    assert_eq!(meta.manifest("a", &tag("other")).unwrap(), None);
    let fixed = |tag: &str| tag == "fixed";
    let by_digest = ManifestReference::Digest(first.0.digest);
    for reference in [tag("fixed"), by_digest] {
        assert_eq!(meta.delete_manifest("a", &reference, &fixed).unwrap(), Err(Refusal::Immutable("fixed".into())));
    }
}

pub fn a_quota_is_kept_by_every_way_in(meta: &dyn Metadata) {
    add(meta, "other", "0123456789");
    assert_eq!(meta.add_blob("a", &digest("abc"), 3, Some(8)).unwrap(), Ok(()));
    let refused = Err(Refusal::OverQuota { bytes: 13, bytes_max: 8 });
    assert_eq!(meta.mount_blob("a", &digest("0123456789"), None, Some(8)).unwrap(), refused.map(|()| true));
    let refused = meta.add_blob("a", &digest("defghi"), 6, Some(8)).unwrap();
    assert_eq!(refused, Err(Refusal::OverQuota { bytes: 9, bytes_max: 8 }));
    assert_eq!(meta.blob_size("a", &digest("defghi")).unwrap(), None);
    let (manifest, bytes) = image(&[], None);
    let new = NewManifest {
        repository: "a",
        manifest: &manifest,
        bytes: &bytes,
        tags: &[],
        blobs_required: true,
        immutable: &immutable_none,
        bytes_max: Some(8),
    };
    assert!(matches!(meta.put_manifest(&new).unwrap(), Err(Refusal::OverQuota { .. })));
}

pub fn lists_come_in_byte_order_and_pages(meta: &dyn Metadata) {
    let image = image(&[], None);
    for repository in ["b", "a/c", "a"] {
        assert_eq!(put(meta, repository, &["v2", "V1", "10"], &image), Ok(()));
    }
    add(meta, "blobs-only", "x");
    assert_eq!(meta.repositories("", 10).unwrap().entries, ["a", "a/c", "b"]);
    let page = meta.repositories("a", 1).unwrap();
    assert_eq!((page.entries, page.more), (vec!["a/c".to_owned()], true));
    let page = meta.tags("a", "", 2).unwrap().unwrap();
    assert_eq!((page.entries, page.more), (vec!["10".to_owned(), "V1".to_owned()], true));
    let page = meta.tags("a", "V1", 2).unwrap().unwrap();
    assert_eq!((page.entries, page.more), (vec!["v2".to_owned()], false));
    assert_eq!(meta.tags("nowhere", "", 2).unwrap(), None);
}

pub fn referrers_are_those_of_their_subject(meta: &dyn Metadata) {
    let subject = digest("subject");
    let with = image(&[&add(meta, "a", "1")], Some(&subject));
    put(meta, "a", &[], &with).unwrap();
    put(meta, "a", &[], &image(&[&add(meta, "a", "2")], Some(&subject))).unwrap();
    put(meta, "a", &[], &image(&[&add(meta, "a", "3")], Some(&digest("another")))).unwrap();
    let page = meta.referrers("a", &subject, None, "", 1).unwrap();
    assert!(page.more);
    let rest = meta.referrers("a", &subject, None, &page.entries[0].digest, 10).unwrap();
    assert_eq!((rest.entries.len(), rest.more), (1, false));
    assert_eq!(meta.referrers("a", &subject, Some("x/artifact"), "", 10).unwrap().entries.len(), 2);
    assert_eq!(meta.referrers("a", &subject, Some("x/else"), "", 10).unwrap().entries.len(), 0);
    assert_eq!(meta.referrers("b", &subject, None, "", 10).unwrap().entries.len(), 0);
    let entry = [page.entries, rest.entries].concat().into_iter().find(|entry| entry.digest == with.0.digest.as_str());
    let entry = entry.unwrap();
    assert_eq!((entry.size, entry.annotations.as_deref()), (with.1.len() as u64, Some("{\"a\":\"b\"}")));
}

pub fn garbage_is_what_no_manifest_of_the_repository_uses(meta: &dyn Metadata) {
    let (used, unused, elsewhere) = (add(meta, "a", "used"), add(meta, "a", "unused"), add(meta, "b", "used"));
    add(meta, "busy", "waiting");
    assert_eq!(used, elsewhere);
    let image = image(&[&used], None);
    put(meta, "a", &["v1"], &image).unwrap();
    let fresh = Garbage { before: 0, busy: &|_| false };
    let mut sweep = Sweep::default();
    while sweep != Sweep::Done {
        assert_eq!(meta.sweep(&mut sweep, &fresh, 2).unwrap(), Vec::<String>::new());
    }
    assert_eq!(collect(meta), [unused]);
    assert_eq!((meta.blob_size("a", &used).unwrap(), meta.blob_size("b", &used).unwrap()), (Some(4), None));
    assert_eq!(meta.blob_size("busy", &digest("waiting")).unwrap(), Some(7));
    meta.delete_manifest("a", &tag("v1"), &immutable_none).unwrap().unwrap();
    assert_eq!(collect(meta), []);
    let by_digest = ManifestReference::Digest(image.0.digest.clone());
    meta.delete_manifest("a", &by_digest, &immutable_none).unwrap().unwrap();
    // The manifest is a blob as well.
    let mut both = vec![used, image.0.digest];
    both.sort();
    assert_eq!(collect(meta), both);
}

pub fn a_file_is_removed_only_while_its_blob_is_unknown(meta: &dyn Metadata) {
    let known = add(meta, "a", "known");
    let mut removed = Vec::new();
    for blob in [&known, &digest("unknown")] {
        meta.while_unknown(blob, &mut || removed.push(blob.clone())).unwrap();
    }
    assert_eq!(removed, [digest("unknown")]);
}

pub fn bytes_that_are_found_are_garbage_unless_used(meta: &dyn Metadata) {
    let [used, unused] = ["used", "unused"].map(digest);
    meta.adopt(&[(used.clone(), 4), (unused.clone(), 6), (used.clone(), 4)]).unwrap();
    assert_eq!(meta.blob_size("a", &used).unwrap(), None, "nobody is shown them");
    add(meta, "a", "used");
    put(meta, "a", &["v1"], &image(&[&used], None)).unwrap();
    assert_eq!(collect(meta), [unused]);
    assert_eq!(meta.leaving(9).unwrap(), []);
}

pub fn every_change_is_listed_until_it_is_recorded(meta: &dyn Metadata) {
    let (first, second) = (image(&[], None), image(&[&add(meta, "a", "x")], None));
    put(meta, "a", &["v1"], &first).unwrap();
    put(meta, "a", &["v1", "v2"], &second).unwrap();
    // Who fails to write them is shown them again.
    let failed = meta.record(100, &mut |_| Err(StorageError::Worker));
    assert!(failed.is_err());
    let changes = changes(meta);
    let state = |digest: &Digest| changes.iter().rfind(|change| change.digest == *digest).unwrap().state.clone();
    let tags = |digest: &Digest| state(digest).unwrap().tags.into_keys().collect::<Vec<_>>();
    assert_eq!((tags(&first.0.digest), tags(&second.0.digest)), (vec![], vec!["v1".to_owned(), "v2".to_owned()]));
    meta.tidy().unwrap();
    assert_eq!(self::changes(meta), []);
    meta.delete_manifest("a", &ManifestReference::Digest(first.0.digest.clone()), &immutable_none).unwrap().unwrap();
    let changes = self::changes(meta);
    assert_eq!((changes.len(), &changes[0].state), (1, &None));
}

pub fn retention_removes_what_is_still_as_it_was_seen(meta: &dyn Metadata) {
    let (child, other) = (image(&[], None), image(&[&add(meta, "a", "x")], None));
    put(meta, "a", &["v1"], &child).unwrap();
    put(meta, "a", &[], &other).unwrap();
    meta.note_pulls(&[Pull { repository: "a".into(), reference: tag("v1"), at: 77 }]).unwrap();
    let (tags, manifests) = meta.facts("a").unwrap();
    assert_eq!((tags.len(), tags[0].pulled, manifests.len()), (1, Some(77), 2));
    let uses = |digest: &Digest| manifests.iter().find(|fact| fact.digest == digest.as_str()).unwrap().uses.len();
    assert_eq!((uses(&child.0.digest), uses(&other.0.digest)), (0, 1));
    let moved = Removal::Tag { name: "v1".into(), moved: tags[0].moved - 1 };
    let tagged = Removal::Manifest { digest: child.0.digest.to_string(), pushed: manifests[0].pushed };
    let free = Removal::Manifest { digest: other.0.digest.to_string(), pushed: manifests[0].pushed };
    assert_eq!(meta.retire("a", &[moved, tagged.clone(), free.clone()]).unwrap(), [free]);
    let tag = Removal::Tag { name: "v1".into(), moved: tags[0].moved };
    assert_eq!(meta.retire("a", &[tag.clone(), tagged.clone()]).unwrap(), [tag, tagged]);
}

pub fn a_database_is_rebuilt_from_what_was_recorded(meta: &dyn Metadata) {
    let blob = digest("layer");
    let old = image(&[&blob], None);
    let state = |moved: i64, pushed| Recorded {
        media_type: "x/manifest".into(),
        bytes: old.1.clone(),
        pushed,
        tags: [("v1".to_owned(), moved)].into(),
    };
    meta.restore("a", &old.0, &state(5, 5), &[(blob.clone(), 5)]).unwrap();
    let new = image(&[], None);
    meta.restore("a", &new.0, &Recorded { bytes: new.1.clone(), ..state(4, 4) }, &[]).unwrap();
    assert_eq!(meta.manifest("a", &tag("v1")).unwrap().unwrap().bytes, old.1);
    assert_eq!(meta.blob_size("a", &blob).unwrap(), Some(5));
    assert_eq!(meta.known_blobs("", 1).unwrap().entries.len(), 1);
    assert_eq!(meta.known_blobs("", 10).unwrap().entries.len(), 3);
    assert_eq!(meta.forget_blob(&blob).unwrap(), ["a"]);
    assert_eq!((meta.blob_size("a", &blob).unwrap(), meta.known_blobs("", 10).unwrap().entries.len()), (None, 2));
    assert_eq!(meta.complaints().unwrap(), Vec::<String>::new());
}

/// A sentence above.
pub type Law = fn(&dyn Metadata);

/// Every sentence above. Each wants a fresh database.
macro_rules! laws {
    ($($law:ident)*) => {
        #[cfg(feature = "postgres")]
        pub const LAWS: &[Law] = &[$($law),*];

        /// One test per law.
        macro_rules! contract {
            ($make:expr) => {
                $(#[test]
                fn $law() {
                    let directory = tempfile::tempdir().unwrap();
                    crate::metadata::contract::$law(&$make(directory.path()));
                })*
            };
        }
        pub(super) use contract;
    };
}
laws! {
    a_blob_is_seen_where_it_was_pushed_or_mounted
    a_manifest_comes_back_by_tag_and_digest
    a_manifest_whose_blobs_are_missing_changes_nothing
    an_immutable_tag_neither_moves_nor_goes
    a_quota_is_kept_by_every_way_in
    lists_come_in_byte_order_and_pages
    referrers_are_those_of_their_subject
    garbage_is_what_no_manifest_of_the_repository_uses
    a_file_is_removed_only_while_its_blob_is_unknown
    bytes_that_are_found_are_garbage_unless_used
    every_change_is_listed_until_it_is_recorded
    retention_removes_what_is_still_as_it_was_seen
    a_database_is_rebuilt_from_what_was_recorded
}
