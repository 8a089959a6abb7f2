//! end-7, end-9: manifests in and out.

use knarr_spec::Digest;
use serde_json::json;

use crate::harness::{OCI_INDEX, OCI_MANIFEST, Server, artifact, manifest, refused, text};

#[test]
fn several_tags_are_set_at_once() {
    let server = Server::start();
    let config = server.push_blob("a", b"{}");
    let bytes = manifest(&config, &[]).to_string().into_bytes();
    let digest = Digest::sha256_of(&bytes);
    let tags: Vec<String> = (0..12).map(|i| format!("tag=v{i}")).collect();
    let path = format!("/v2/a/manifests/{digest}?{}", tags.join("&"));
    let pushed = server.send("PUT", &path, &[&format!("content-type: {OCI_MANIFEST}")], &bytes);
    let said = pushed.headers.iter().filter(|(name, _)| name == "oci-tag").count();
    assert_eq!((pushed.status, said), (201, 12));
    assert_eq!(server.get("/v2/a/manifests/v11").body, bytes);
    let many: Vec<String> = (0..65).map(|i| format!("tag=v{i}")).collect();
    let path = format!("/v2/a/manifests/{digest}?{}", many.join("&"));
    assert_eq!(server.send("PUT", &path, &[&format!("content-type: {OCI_MANIFEST}")], &bytes).status, 414);
}

#[test]
fn a_manifest_of_four_mebibytes_is_taken_and_a_larger_one_is_not() {
    let server = Server::start();
    let config = server.push_blob("a", b"{}");
    let filled = |size: usize| {
        let mut document = manifest(&config, &[]);
        document["annotations"] = json!({"filler": ""});
        let padding = size - document.to_string().len();
        document["annotations"] = json!({"filler": "x".repeat(padding)});
        document.to_string().into_bytes()
    };
    let content_type = format!("content-type: {OCI_MANIFEST}");
    let largest = filled(4 << 20);
    assert_eq!(server.send("PUT", "/v2/a/manifests/v1", &[&content_type], &largest).status, 201);
    assert!(server.get("/v2/a/manifests/v1").body == largest);
    let larger = server.send("PUT", "/v2/a/manifests/v2", &[&content_type], &filled((4 << 20) + 1));
    refused(&larger, 413, "SIZE_INVALID");
}

#[test]
fn a_manifest_that_names_what_is_not_there_is_refused_unless_sparse_ones_are_allowed() {
    let document = manifest(&Digest::sha256_of(b"never pushed"), &[]);
    let bytes = document.to_string().into_bytes();
    let push =
        |server: &Server| server.send("PUT", "/v2/a/manifests/v1", &[&format!("content-type: {OCI_MANIFEST}")], &bytes);
    let refusal = push(&Server::start());
    assert!(text(&refusal).contains(Digest::sha256_of(b"never pushed").as_str()));
    refused(&refusal, 400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(push(&Server::start_with(|settings| settings.manifests.sparse = true)).status, 201);
}

#[test]
fn an_index_may_name_manifests_that_are_not_there() {
    let server = Server::start();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": Digest::sha256_of(b"elsewhere").as_str(), "size": 7}]});
    server.push_manifest("a", "v1", &index);
    assert_eq!(server.get("/v2/a/manifests/v1").header("content-type"), Some(OCI_INDEX));
}

#[test]
fn a_subject_is_answered_and_may_be_missing() {
    let server = Server::start();
    server.push_blob("a", b"{}");
    let subject = Digest::sha256_of(b"not pushed yet");
    let bytes = artifact(&subject, "example/sbom", 0).to_string().into_bytes();
    let path = format!("/v2/a/manifests/{}", Digest::sha256_of(&bytes));
    let pushed = server.send("PUT", &path, &[&format!("content-type: {OCI_MANIFEST}")], &bytes);
    assert_eq!((pushed.status, pushed.header("oci-subject")), (201, Some(subject.as_str())));
}

#[test]
fn nonsense_is_refused() {
    let server = Server::start();
    let put = |reference: &str, content_type: &str, body: &str| {
        let path = format!("/v2/a/manifests/{reference}");
        server.send("PUT", &path, &[&format!("content-type: {content_type}")], body.as_bytes())
    };
    refused(&put("v1", OCI_MANIFEST, "{"), 400, "MANIFEST_INVALID");
    refused(&put("v1", OCI_MANIFEST, &json!({"mediaType": OCI_INDEX}).to_string()), 400, "MANIFEST_INVALID");
    refused(&put("-v1", OCI_MANIFEST, "{}"), 400, "MANIFEST_INVALID");
    refused(&put(Digest::sha256_of(b"other").as_str(), OCI_MANIFEST, "{}"), 400, "DIGEST_INVALID");
}

#[test]
fn a_deleted_tag_leaves_the_manifest_and_a_deleted_manifest_takes_its_tags() {
    let server = Server::start();
    let (digest, ..) = server.push_image("a", "v1", "x");
    server.push_image("a", "v2", "x");
    assert_eq!(server.delete("/v2/a/manifests/v1").status, 202);
    refused(&server.get("/v2/a/manifests/v1"), 404, "MANIFEST_UNKNOWN");
    refused(&server.delete("/v2/a/manifests/v1"), 404, "MANIFEST_UNKNOWN");
    assert_eq!(server.get(&format!("/v2/a/manifests/{digest}")).status, 200);
    assert_eq!(server.delete(&format!("/v2/a/manifests/{digest}")).status, 202);
    for reference in ["v2", digest.as_str()] {
        refused(&server.get(&format!("/v2/a/manifests/{reference}")), 404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(server.json("/v2/a/tags/list")["tags"], json!([]));
}

#[test]
fn a_tag_moves_and_nobody_sees_the_old_one_after_that() {
    let server = Server::start();
    for round in 0..20 {
        let (digest, ..) = server.push_image("a", "latest", &format!("round {round}"));
        let got = server.get("/v2/a/manifests/latest");
        assert_eq!(got.header("docker-content-digest"), Some(digest.as_str()));
    }
}
