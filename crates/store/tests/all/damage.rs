//! Damage: what is found, what it blocks, and how it is mended.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use knarr_layer::{IdMap, IdRange, Limits, Owners, UnpackOptions, WhiteoutForm};
use knarr_spec::Digest;
use knarr_store::{CheckOptions, Durability, Error, Finding, Kind, LayerRecord, Mended, Store, salvage};
use knarr_sys::credentials;

use crate::support::{Fresh, container, fresh, id, image, new_image, open, put, tar};

const THOROUGH: CheckOptions = CheckOptions { contents: true };

pub fn unpack_options() -> UnpackOptions {
    UnpackOptions {
        compression: None,
        whiteouts: WhiteoutForm::OverlayUser,
        ids: ours(),
        owners: Owners::Set,
        limits: Limits::default(),
        rootless: true,
        pipeline: false,
    }
}

/// Root's files become ours, so that an ordinary user can unpack them.
fn ours() -> IdMap {
    let ours = |here| vec![IdRange { layer: 0, here, count: 1 }];
    IdMap { uids: ours(credentials::effective_user()), gids: ours(credentials::effective_group()) }
}

/// A layer that is really unpacked from a tar with one file.
fn real_layer(store: &Store, name: &str) -> LayerRecord {
    let tar = tar(name, b"");
    let blob = put(store, &tar);
    let build = store.begin_layer().unwrap();
    let unpacked = knarr_layer::unpack(tar.as_slice(), build.root(), &unpack_options()).unwrap();
    build.commit(unpacked, &blob).unwrap()
}

fn findings(store: &Store) -> Vec<Finding> {
    store.check(&THOROUGH).unwrap()
}

fn mend(store: &Store) -> Vec<Mended> {
    store.repair(findings(store), &unpack_options()).into_iter().map(|(_, mended)| mended).collect()
}

fn overwrite(path: &Path, content: &[u8]) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, content).unwrap();
}

fn layer_dir(store: &Store, number: i64) -> std::path::PathBuf {
    store.state().join(format!("layers/{number}"))
}

#[test]
fn a_sound_store_has_no_findings() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    fresh.store.insert_container(&container("c", "web", Some(&stored)), Durability::Normal).unwrap();
    fresh.store.snapshot(&id("c"), &stored).unwrap();
    assert_eq!(findings(&fresh.store), []);
}

#[test]
fn blobs_that_are_lost_short_or_changed_are_each_named_and_forgotten() {
    let fresh = fresh();
    let [lost, short, changed] = [b"lost..", b"short.", b"change"].map(|content| put(&fresh.store, content));
    std::fs::remove_file(fresh.store.blob_path(&lost)).unwrap();
    overwrite(&fresh.store.blob_path(&short), b"s");
    overwrite(&fresh.store.blob_path(&changed), b"CHANGE");
    let mut expected = vec![
        Finding::BlobMissing(lost),
        Finding::BlobSize { digest: short, expected: 6, actual: 1 },
        Finding::BlobContent(changed.clone()),
    ];
    let mut found = findings(&fresh.store);
    let key = |finding: &Finding| finding.to_string();
    expected.sort_by_key(key);
    found.sort_by_key(key);
    assert_eq!(found, expected);
    assert!(!fresh.store.check(&CheckOptions { contents: false }).unwrap().contains(&Finding::BlobContent(changed)));
    assert!(mend(&fresh.store).iter().all(|mended| matches!(mended, Mended::PullAgain)));
    assert_eq!(findings(&fresh.store), []);
    put(&fresh.store, b"change");
    assert_eq!(findings(&fresh.store), []);
}

#[test]
fn a_lost_layer_is_unpacked_again_and_its_containers_follow() {
    let fresh = fresh();
    let layer = real_layer(&fresh.store, "file");
    let stored = fresh.store.put_image(new_image("real", vec![layer.clone()], &["a"])).unwrap();
    fresh.store.insert_container(&container("c", "web", Some(&stored)), Durability::Normal).unwrap();
    fresh.store.snapshot(&id("c"), &stored).unwrap();
    std::fs::remove_dir_all(layer_dir(&fresh.store, layer.number)).unwrap();
    let expected = Finding::LayerMissing { diff_id: layer.diff_id.clone(), number: layer.number };
    assert_eq!(findings(&fresh.store), [expected]);
    assert!(matches!(mend(&fresh.store)[..], [Mended::Whole]));
    assert_eq!(findings(&fresh.store), []);
    let mounts = fresh.store.root_mounts(&id("c")).unwrap();
    assert!(mounts.base.join(&mounts.lower[0]).join("file").exists());
    assert!(!fresh.store.resolve_image("a").unwrap().layers.is_empty());
}

#[test]
fn a_lost_layer_without_its_blob_waits_for_a_pull() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    std::fs::remove_dir_all(layer_dir(&fresh.store, stored.layers[0].number)).unwrap();
    std::fs::remove_file(fresh.store.blob_path(&stored.layers[0].blob)).unwrap();
    assert!(mend(&fresh.store).iter().all(|mended| matches!(mended, Mended::PullAgain)));
    // The pull.
    image(&fresh.store, &["base"], &["a"]);
    assert_eq!(findings(&fresh.store), []);
}

#[test]
fn a_lost_writable_layer_and_a_lost_volume_come_back_empty_and_say_so() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    fresh.store.insert_container(&container("c", "web", Some(&stored)), Durability::Normal).unwrap();
    let mounts = fresh.store.snapshot(&id("c"), &stored).unwrap();
    std::fs::remove_dir_all(mounts.upper.as_ref().unwrap()).unwrap();
    assert_eq!(findings(&fresh.store), [Finding::SnapshotMissing(id("c"))]);
    assert!(matches!(mend(&fresh.store)[..], [Mended::Empty]));
    assert!(mounts.upper.unwrap().is_dir());
}

/// A store with many containers, all of it in the database file and nothing in its log.
fn crowded() -> Fresh {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    for number in 0..200 {
        let mut record = container(&format!("{number:03}"), &format!("name-{number:03}"), Some(&stored));
        record.options = serde_json::json!({"padding": "x".repeat(300)});
        fresh.store.insert_container(&record, Durability::Normal).unwrap();
    }
    let connection = rusqlite::Connection::open(fresh.store.state().join("knarr.db")).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    fresh
}

/// What the first byte of a page with rows of a table says.
const TABLE_LEAF: u8 = 0x0d;

/// Overwrites the page with the row that has `text` in it.
fn damage(state: &Path, text: &str) {
    let path = state.join("knarr.db");
    let bytes = std::fs::read(&path).unwrap();
    let has_text = |page: &[u8]| page.windows(text.len()).any(|window| window == text.as_bytes());
    let page = bytes.chunks(4096).position(|page| page[0] == TABLE_LEAF && has_text(page)).expect(text);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0xff; 4096], page as u64 * 4096).unwrap();
}

#[test]
fn a_damaged_page_is_named_blocks_nothing_else_and_costs_only_its_rows() {
    let (state, _dir) = crowded().close();
    damage(&state, "name-100");
    let store = open(&state);
    let error = store.containers().unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged, "{error}");
    assert!(error.to_string().contains("knarr.db"), "{error}");
    assert!(error.hint().unwrap().contains("--repair"));
    assert_eq!(store.resolve_image("a").unwrap().layers.len(), 1, "damage elsewhere blocks nothing");
    assert!(matches!(findings(&store)[0], Finding::Database(_)));
    drop(store);
    let salvaged = salvage(&state, &Default::default()).unwrap();
    assert_eq!(salvaged.incomplete, ["containers"]);
    assert!(salvaged.damaged.exists());
    let store = open(&state);
    let saved = store.containers().unwrap().len();
    assert!((150..200).contains(&saved), "{saved} of 200 containers saved");
    assert_eq!(findings(&store), []);
    assert_eq!(store.resolve_image("a").unwrap().layers.len(), 1);
}

#[test]
fn a_database_beyond_reading_is_replaced_and_content_on_disk_is_used_again() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    fresh.store.insert_container(&container("c", "web", Some(&stored)), Durability::Normal).unwrap();
    let upper = fresh.store.snapshot(&id("c"), &stored).unwrap().upper.unwrap();
    std::fs::write(upper.join("written"), "by the container").unwrap();
    let data = fresh.store.volume_data("data");
    std::fs::create_dir_all(&data).unwrap();
    let (state, _dir) = fresh.close();
    std::fs::remove_file(state.join("knarr.db-wal")).unwrap();
    std::fs::write(state.join("knarr.db"), vec![0xff; 40960]).unwrap();
    assert!(matches!(Store::open(&state, &Default::default()), Err(Error::Damaged { .. })));
    let salvaged = salvage(&state, &Default::default()).unwrap();
    assert_eq!(salvaged.volumes, ["data"]);
    assert_eq!(salvaged.snapshots, [id("c")]);
    let store = open(&state);
    assert!(store.volume("data").is_ok());
    assert!(state.join("lost").join(id("c")).join("upper/written").exists());
    // A pull finds the blob's bytes on disk and need not fetch them.
    let blob = stored.layers[0].blob.clone();
    let bytes = std::fs::metadata(store.blob_path(&blob)).unwrap().len();
    assert_eq!(crate::support::partial(&store, &blob, Some(bytes)).offset(), bytes);
}

#[test]
fn findings_name_the_thing_and_say_what_is_wrong() {
    let digest = Digest::sha256_of(b"x");
    assert_eq!(
        Finding::BlobSize { digest: digest.clone(), expected: 6, actual: 1 }.to_string(),
        format!("blob {digest}: its file has 1 bytes, not 6")
    );
}
