//! Immutable tags, quotas, retention.

use std::path::Path;

use knarr_registry::config::Settings;
use knarr_spec::Digest;
use serde_json::json;

use crate::harness::{OCI_MANIFEST, Server, manifest, refused};

/// A server with these settings beside the defaults of the tests.
fn server(text: &str) -> Server {
    let read = Settings::parse(text, Path::new("test.toml")).expect("settings");
    Server::start_with(|settings| {
        settings.gc = read.gc;
        settings.retention = read.retention;
        settings.immutable = read.immutable;
        settings.quota = read.quota;
    })
}

#[test]
fn an_immutable_tag_is_pushed_once() {
    let server = server("[[immutable]]\nrepositories = \"release/*\"\ntags = \"v*\"");
    let (digest, ..) = server.push_image("release/app", "v1", "x");
    server.push_image("release/app", "v1", "x");
    server.push_image("release/app", "latest", "y");
    server.push_image("release/app", "latest", "z");
    let config = server.push_blob("release/app", b"{}");
    let other = manifest(&config, &[]).to_string();
    let put = server.send(
        "PUT",
        "/v2/release/app/manifests/v1",
        &[&format!("content-type: {OCI_MANIFEST}")],
        other.as_bytes(),
    );
    refused(&put, 403, "DENIED");
    refused(&server.delete("/v2/release/app/manifests/v1"), 403, "DENIED");
    refused(&server.delete(&format!("/v2/release/app/manifests/{digest}")), 403, "DENIED");
    assert_eq!(server.get("/v2/release/app/manifests/v1").header("docker-content-digest"), Some(digest.as_str()));
}

#[test]
fn a_repository_holds_no_more_than_its_quota() {
    let server = server("[[quota]]\nrepositories = \"small/*\"\nbytes = \"1000\"");
    server.push_blob("small/app", &[1; 600]);
    let digest = server.push_blob("large/app", &[2; 600]);
    let pushed = server.send("POST", &format!("/v2/small/app/blobs/uploads/?digest={digest}"), &[], &[2; 600]);
    refused(&pushed, 403, "DENIED");
    let mounted = server.send("POST", &format!("/v2/small/app/blobs/uploads/?mount={digest}&from=large/app"), &[], b"");
    refused(&mounted, 403, "DENIED");
    assert_eq!(server.get(&format!("/v2/small/app/blobs/{digest}")).status, 404);
    server.push_blob("small/other", &[3; 900]);
    // What nobody else has is not kept in secret.
    let bytes_of = |digest: &Digest| {
        let encoded = digest.encoded();
        server.root().join(format!("blobs/sha256/{}/{encoded}", &encoded[..2]))
    };
    let unwanted = Digest::sha256_of(&[4; 600]);
    let pushed = server.send("POST", &format!("/v2/small/app/blobs/uploads/?digest={unwanted}"), &[], &[4; 600]);
    refused(&pushed, 403, "DENIED");
    assert!(!bytes_of(&unwanted).exists());
    assert!(bytes_of(&digest).exists(), "the other repository's");
}

#[test]
fn retention_removes_what_no_rule_keeps_and_gc_what_that_leaves() {
    let rules = "[gc]\ninterval = \"1h\"\ngrace = \"0s\"\n[[retention]]\ntags = \"pr-*\"\nkeep_last = 1\nuntagged_after = \"0s\"";
    let server = server(rules);
    let (_, _, old) = server.push_image("a", "pr-1", "old");
    wait_a_second();
    let (_, _, new) = server.push_image("a", "pr-2", "new");
    server.push_image("a", "v1", "kept");
    wait_a_second();
    // One round for the tag, one for the manifest it leaves.
    for _ in 0..2 {
        server.registry.apply_retention().expect("applied");
    }
    server.registry.collect_garbage().expect("collected");
    assert_eq!(server.json("/v2/a/tags/list")["tags"], json!(["pr-2", "v1"]));
    assert_eq!(server.get(&format!("/v2/a/blobs/{old}")).status, 404);
    assert_eq!(server.get(&format!("/v2/a/blobs/{new}")).body, b"new");
}

/// Times are kept in seconds.
fn wait_a_second() {
    std::thread::sleep(std::time::Duration::from_millis(1100));
}
