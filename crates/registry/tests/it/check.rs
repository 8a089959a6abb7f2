//! `registry check`, as people run it.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use knarr_registry::config::values::Span;
use knarr_testkit::wait;

use crate::harness::{Server, artifact};

fn check(root: &Path, repair: bool) -> bool {
    let mut words: Vec<OsString> = vec!["check".into(), "--root".into(), root.into()];
    words.extend(repair.then(|| "--repair".into()));
    format!("{:?}", knarr_registry::applet(words)) == format!("{:?}", ExitCode::SUCCESS)
}

fn blob_file(root: &Path, digest: &knarr_spec::Digest) -> std::path::PathBuf {
    root.join("blobs/sha256").join(&digest.encoded()[..2]).join(digest.encoded())
}

#[test]
fn a_registry_in_order_is_found_to_be() {
    let server = Server::start();
    server.push_image("a/b", "v1", "x");
    let root = server.stop();
    assert!(check(root.path(), false));
}

#[test]
fn a_lost_database_is_rebuilt_from_blobs_and_records() {
    let server = Server::start();
    let (first, config, layer) = server.push_image("a", "v1", "x");
    server.push_image("a", "v1", "y");
    server.push_image("a", "v2", "y");
    server.push_blob("a", b"{}");
    let signature = artifact(&first, "example/signature", 1);
    server.push_manifest("a", "signature", &signature);
    let (deleted, ..) = server.push_image("b/c", "gone", "z");
    assert_eq!(server.delete(&format!("/v2/b/c/manifests/{deleted}")).status, 202);
    let before = server.get("/v2/a/manifests/v1").body;
    let root = server.stop();
    for damage in ["removed", "garbage"] {
        for name in ["registry.db", "registry.db-wal", "registry.db-shm"] {
            let _ = std::fs::remove_file(root.path().join(name));
        }
        if damage == "garbage" {
            std::fs::write(root.path().join("registry.db"), [7; 8192]).expect("written");
        }
        assert!(!check(root.path(), false), "{damage}");
        assert!(check(root.path(), true), "{damage}");
        assert!(check(root.path(), false), "{damage}: not mended");
    }
    let server = Server::start_in(root, |_| {});
    assert_eq!(server.get("/v2/a/manifests/v1").body, before);
    assert_eq!(server.json("/v2/a/tags/list")["tags"], serde_json::json!(["signature", "v1", "v2"]));
    assert_eq!(server.get(&format!("/v2/a/manifests/{first}")).status, 200);
    assert_eq!(server.get(&format!("/v2/a/blobs/{layer}")).body, b"x");
    assert_eq!(server.get(&format!("/v2/a/blobs/{config}")).status, 200);
    assert_eq!(server.json(&format!("/v2/a/referrers/{first}"))["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.get(&format!("/v2/b/c/manifests/{deleted}")).status, 404);
}

#[test]
fn rotten_bytes_are_found_set_aside_and_can_be_pushed_again() {
    let server = Server::start();
    let (manifest, _, layer) = server.push_image("a", "v1", "healthy");
    let lost = server.push_blob("a", b"lost");
    let root = server.stop();
    std::fs::write(blob_file(root.path(), &layer), "Healthy").expect("bent");
    std::fs::remove_file(blob_file(root.path(), &lost)).expect("removed");
    std::fs::write(blob_file(root.path(), &manifest), "{}").expect("bent");
    assert!(!check(root.path(), false));
    assert!(check(root.path(), true));
    assert!(check(root.path(), false), "not mended");
    assert!(root.path().join(format!("damaged/sha256-{}", layer.encoded())).exists());
    let server = Server::start_in(root, |_| {});
    assert_eq!(server.get(&format!("/v2/a/blobs/{layer}")).status, 404);
    // The database had the manifest's bytes.
    assert_eq!(server.get("/v2/a/manifests/v1").status, 200);
    server.push_blob("a", b"healthy");
    assert_eq!(server.get(&format!("/v2/a/blobs/{layer}")).body, b"healthy");
}

#[test]
fn bytes_that_a_kill_left_without_a_row_are_found_and_collected() {
    let server = Server::start();
    server.push_image("a", "v1", "kept");
    let root = server.stop();
    let digest = knarr_spec::Digest::sha256_of(b"left");
    let file = blob_file(root.path(), &digest);
    std::fs::create_dir_all(file.parent().expect("a shelf")).expect("made");
    std::fs::write(&file, "left").expect("written");
    assert!(check(root.path(), false), "what has just come may be about to get its row");
    let old = SystemTime::now() - Duration::from_secs(7200);
    std::fs::File::open(&file).and_then(|file| file.set_modified(old)).expect("made old");
    assert!(!check(root.path(), false));
    assert!(check(root.path(), true));
    assert!(check(root.path(), false), "not mended");
    assert!(file.exists(), "its time of grace has just begun");
    let server = Server::start_in(root, |settings| settings.gc.grace = Span::seconds(0));
    wait::until("it is collected", || (!file.exists()).then_some(()));
    assert_eq!(server.get("/v2/a/manifests/v1").status, 200);
}

#[test]
fn repair_keeps_away_from_a_running_server() {
    let server = Server::start();
    assert!(!check(server.root.path(), true));
    assert!(check(server.root.path(), false));
}
