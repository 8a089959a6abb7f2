//! Other registries' content: fetched once, kept, served beside our own.

use std::path::Path;

use knarr_registry::config::Settings;
use knarr_testkit::http::{self, Request};
use knarr_testkit::server::{Fault, Gate, Hold, LOGIN, Server as Upstream};
use knarr_testkit::{Image, ImageMaker, LayerTar, wait};
use serde_json::json;

use crate::harness::{Server, manifest, refused, text};

fn image(content: &str) -> Image {
    ImageMaker::new(json!({}), vec![LayerTar::new().file("a", 0o644, content).finish()]).make()
}

/// A server that mirrors `upstream` below `up/`.
fn mirror(upstream: &str, more: &str) -> Server {
    let text = format!("[[mirror]]\nupstream = \"{upstream}\"\nprefix = \"up\"\n{more}");
    let read = Settings::parse(&text, Path::new("test.toml")).expect("settings");
    Server::start_with(|settings| settings.mirror = read.mirror)
}

/// How often the upstream was asked for something like this.
fn asked(upstream: &Upstream, what: &str) -> usize {
    upstream.requests().iter().filter(|request| request.contains(what)).count()
}

#[test]
fn many_clients_at_once_are_one_request_to_the_upstream() {
    let image = image(&"x".repeat(300_000));
    let upstream =
        Upstream::start(Hold::default().image("team/app", "v1", &image), Gate::Open, None).expect("upstream");
    let server = mirror(&upstream.address, "");
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let got = server.get("/v2/up/team/app/manifests/v1");
                assert_eq!(got.body, image.manifest.bytes, "{}", text(&got));
                for blob in image.blobs() {
                    let got = server.get(&format!("/v2/up/team/app/blobs/{}", blob.digest));
                    assert!(got.status == 200 && got.body == blob.bytes, "{}", text(&got));
                    assert_eq!(got.header("docker-content-digest"), Some(blob.digest.as_str()));
                }
            });
        }
    });
    assert_eq!(asked(&upstream, "GET /v2/team/app/manifests/v1"), 1);
    for blob in image.blobs() {
        assert_eq!(asked(&upstream, &format!("GET /v2/team/app/blobs/{}", blob.digest)), 1);
    }
    let layer = image.blobs().next().expect("a blob").clone();
    let part = server.send("GET", &format!("/v2/up/team/app/blobs/{}", layer.digest), &["range: bytes=1-3"], b"");
    assert_eq!((part.status, part.body.as_slice()), (206, &layer.bytes[1..4]));
    refused(&server.get("/v2/up/team/app/manifests/v2"), 404, "MANIFEST_UNKNOWN");
    refused(&server.get("/v2/up/nobody/manifests/v1"), 404, "MANIFEST_UNKNOWN");
}

#[test]
fn a_name_space_leads_to_its_mirror_and_pushes_go_beside_it() {
    let image = image("x");
    let upstream =
        Upstream::start(Hold::default().image("team/app", "v1", &image), Gate::Open, None).expect("upstream");
    let server = mirror(&upstream.address, "");
    let got = server.get(&format!("/v2/team/app/manifests/v1?ns={}", upstream.address));
    assert_eq!((got.status, got.header("oci-namespace")), (200, Some(upstream.address.as_str())));
    assert_eq!(server.get("/v2/up/team/app/manifests/v1").header("oci-namespace"), None);
    let other = server.get("/v2/team/app/manifests/v1?ns=other.example");
    assert_eq!((other.status, other.header("oci-namespace")), (404, None));
    let (own, ..) = server.push_image("team/app", "v1", "our own");
    assert_eq!(server.get("/v2/team/app/manifests/v1").header("docker-content-digest"), Some(own.as_str()));
    let config = server.push_blob("team/app", b"{}");
    refused(&server.send("POST", "/v2/up/team/app/blobs/uploads/", &[], b""), 403, "DENIED");
    let put = manifest(&config, &[]).to_string();
    refused(&server.send("PUT", "/v2/up/team/app/manifests/v1", &[], put.as_bytes()), 403, "DENIED");
}

#[test]
fn a_stale_tag_is_served_at_once_and_compared_behind_the_clients_back() {
    let upstream = Server::start();
    let (first, ..) = upstream.push_image("app", "latest", "first");
    let server = mirror(&upstream.address, "fresh = \"0s\"");
    let digest = || server.get("/v2/up/app/manifests/latest").header("docker-content-digest").map(str::to_owned);
    assert_eq!(digest().as_deref(), Some(first.as_str()));
    let (second, _, layer) = upstream.push_image("app", "latest", "second");
    assert_eq!(digest().as_deref(), Some(first.as_str()), "the client was made to wait");
    wait::until("the mirror has the second", || (digest().as_deref() == Some(second.as_str())).then_some(()));
    assert_eq!(server.get(&format!("/v2/up/app/blobs/{layer}")).body, b"second");
    assert_eq!(upstream.delete("/v2/app/manifests/latest").status, 202);
    wait::until("the tag is gone here too", || digest().is_none().then_some(()));
}

#[test]
fn the_tags_of_a_mirror_are_the_upstreams_also_those_nobody_asked_for() {
    let upstream = Server::start();
    for tag in ["v3", "v1", "V2"] {
        upstream.push_image("app", tag, "content");
    }
    let server = mirror(&upstream.address, "fresh = \"0s\"");
    assert_eq!(server.json("/v2/up/app/tags/list"), json!({"name": "up/app", "tags": ["V2", "v1", "v3"]}));
    let page = server.get("/v2/up/app/tags/list?n=1&last=V2");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&page.body).expect("JSON")["tags"], json!(["v1"]));
    assert_eq!(page.header("link"), Some("</v2/up/app/tags/list?n=1&last=v1>; rel=\"next\""));
    // What is here is listed when nobody else can be asked.
    assert_eq!(server.get("/v2/up/app/manifests/v3").status, 200);
    drop(upstream);
    assert_eq!(server.json("/v2/up/app/tags/list")["tags"], json!(["v3"]));
    refused(&server.get("/v2/up/other/tags/list"), 404, "NAME_UNKNOWN");
}

#[test]
fn what_was_fetched_is_served_while_the_upstream_is_gone() {
    let image = image("x");
    let upstream = Upstream::start(Hold::default().image("app", "v1", &image), Gate::Open, None).expect("upstream");
    let server = mirror(&upstream.address, "fresh = \"0s\"");
    assert_eq!(server.get("/v2/up/app/manifests/v1").status, 200);
    for blob in image.blobs() {
        assert_eq!(server.get(&format!("/v2/up/app/blobs/{}", blob.digest)).status, 200);
    }
    drop(upstream);
    for _ in 0..3 {
        assert_eq!(server.get("/v2/up/app/manifests/v1").body, image.manifest.bytes);
    }
    for blob in image.blobs() {
        assert_eq!(server.get(&format!("/v2/up/app/blobs/{}", blob.digest)).body, blob.bytes);
    }
}

#[test]
fn a_blob_with_another_digest_neither_ends_at_a_client_nor_stays() {
    let image = image(&"x".repeat(300_000));
    let layer = image.blobs().max_by_key(|blob| blob.bytes.len()).expect("a layer").clone();
    let fault = Some(Fault::BendLastByte(layer.digest.clone()));
    let upstream = Upstream::start(Hold::default().image("app", "v1", &image), Gate::Open, fault).expect("upstream");
    let server = mirror(&upstream.address, "");
    assert_eq!(server.get("/v2/up/app/manifests/v1").status, 200);
    let path = format!("/v2/up/app/blobs/{}", layer.digest);
    for _ in 0..2 {
        let request = Request { method: "GET", path: &path, headers: vec![], body: b"" };
        if let Ok(answer) = http::send(&server.address, &request) {
            assert!(answer.status == 502 || answer.body.len() < layer.bytes.len(), "the whole of it was given out");
        }
    }
    assert!(asked(&upstream, &format!("GET /v2/app/blobs/{}", layer.digest)) >= 2, "the bent blob was kept");
}

#[test]
fn the_mirror_logs_in_with_its_own_name() {
    let image = image("x");
    let upstream = Upstream::start(Hold::default().image("app", "v1", &image), Gate::Bearer, None).expect("upstream");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    std::fs::write(&file, format!("{}\n", LOGIN.1)).expect("written");
    let settings = format!("user = \"{}\"\npassword_file = \"{}\"", LOGIN.0, file.display());
    let server = mirror(&upstream.address, &settings);
    assert_eq!(server.get("/v2/up/app/manifests/v1").body, image.manifest.bytes);
    let anonymous = mirror(&upstream.address, "");
    refused(&anonymous.get("/v2/up/app/manifests/v1"), 403, "DENIED");
}

#[test]
fn what_is_to_be_synced_is_here_before_anybody_asks() {
    let upstream = Server::start();
    let (_, config, layer) = upstream.push_image("app", "v1", "synced");
    let server = mirror(&upstream.address, "[[mirror.sync]]\nrepository = \"app\"\ntags = [\"v1\"]");
    let files: Vec<_> = [config, layer]
        .iter()
        .map(|digest| server.root.path().join("blobs/sha256").join(&digest.encoded()[..2]).join(digest.encoded()))
        .collect();
    wait::until("all blobs are here", || files.iter().all(|file| file.exists()).then_some(()));
}
