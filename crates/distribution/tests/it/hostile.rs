//! Registries that lie, cut, stall and loop. Each says what it does, and what the user is told.

use std::sync::Arc;

use knarr_distribution::{ErrorKind, PullOptions};
use knarr_spec::{Digest, Raw, media_type};

use crate::image::{Layer, Shelf, architecture, config, manifest_of, ranged};
use crate::server::{Reply, Request, Sending, Server};
use crate::setup::{Place, fails, options};

/// A pull of an image with one big layer whose blob is answered by `blob`.
fn check_blob(
    blob: impl Fn(&Request, &[u8]) -> Reply + Send + Sync + 'static,
    kind: ErrorKind,
    expect: impl Fn(&Layer) -> String,
) {
    let layer = Layer::big();
    let (shelf, of_blob) = (Shelf::of(std::slice::from_ref(&layer)), layer.clone());
    let path = format!("/v2/app/blobs/{}", layer.digest());
    let server = Server::start(move |request| match request.path == path {
        true => blob(request, &of_blob.blob),
        false => shelf.answer(request),
    });
    let place = Place::new();
    let name = format!("{}/app:v1", server.host());
    let error = fails(place.pull(&name), &expect(&layer));
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().starts_with(&format!("pull {name}: layer {}: ", layer.digest())), "{error}");
    assert!(place.store.images().unwrap().is_empty());
    assert!(place.store.layer(&layer.diff_id).unwrap().is_none());
}

/// A pull whose manifest request is answered by `manifest`.
fn check_manifest(manifest: impl Fn(&Request) -> Reply + Send + Sync + 'static, kind: ErrorKind, expect: &str) {
    let server = Server::start(manifest);
    let error = fails(Place::new().pull(&format!("{}/app:v1", server.host())), expect);
    assert_eq!(error.kind(), kind, "{error}");
}

#[test]
fn a_blob_shorter_than_promised_says_both_numbers() {
    check_blob(
        |_, blob| Reply::new(200, &blob[..1000]),
        ErrorKind::Corrupt,
        |layer| format!("registry sent 1000 bytes, manifest promised {}", layer.blob.len()),
    );
}

#[test]
fn a_blob_longer_than_promised_is_not_read_to_its_end() {
    check_blob(
        |_, blob| Reply::new(200, [blob, b"more"].concat()),
        ErrorKind::Corrupt,
        |layer| format!("registry sent {} bytes, manifest promised {}", layer.blob.len() + 4, layer.blob.len()),
    );
    check_blob(
        |_, _| Reply::new(200, "").sent(Sending::Endless),
        ErrorKind::Corrupt,
        |layer| format!("registry sent more than {0} bytes, manifest promised {0}", layer.blob.len()),
    );
}

#[test]
fn a_blob_that_is_another_is_found_out_by_its_digest_and_not_kept() {
    let spoil = |blob: &[u8]| {
        let mut spoiled = blob.to_vec();
        let middle = spoiled.len() / 2;
        spoiled[middle] ^= 1;
        spoiled
    };
    check_blob(
        move |_, blob| Reply::new(200, spoil(blob)),
        ErrorKind::Corrupt,
        |layer| format!("content has digest {}, expected {}", Digest::sha256_of(&spoil(&layer.blob)), layer.digest()),
    );
}

#[test]
fn a_connection_that_always_breaks_is_given_up_after_some_attempts() {
    check_blob(|_, blob| Reply::new(200, blob).sent(Sending::CutAfter(10)), ErrorKind::Network, |_| "127.0.0.1".into());
    check_blob(
        |_, blob| Reply::new(200, &blob[..500]).sent(Sending::UntilClose),
        ErrorKind::Network,
        |layer| format!("the connection ended after 500 of {} bytes", layer.blob.len()),
    );
}

#[test]
fn a_silent_registry_is_not_waited_for_for_ever() {
    check_blob(
        |_, blob| Reply::new(200, blob).sent(Sending::HangAfter(0)),
        ErrorKind::Network,
        |_| "no data for".into(),
    );
}

#[test]
fn a_range_that_was_not_asked_for_is_refused() {
    check_blob(
        |request, blob| match request.header("range") {
            None => Reply::new(200, blob).sent(Sending::CutAfter(2 << 20)),
            Some(_) => {
                let range = format!("bytes 7-{}/{}", blob.len() - 1, blob.len());
                Reply::new(206, &blob[7..]).with("Content-Range", range)
            }
        },
        ErrorKind::Corrupt,
        |_| "answered \"bytes 7-".into(),
    );
}

#[test]
fn a_partial_answer_of_another_size_is_refused() {
    check_blob(
        |request, blob| match request.header("range") {
            None => Reply::new(200, blob).sent(Sending::CutAfter(2 << 20)),
            Some(_) => ranged(request, &[blob, b"x"].concat()),
        },
        ErrorKind::Corrupt,
        |layer| format!("registry sent {} bytes, manifest promised {}", layer.blob.len() + 1, layer.blob.len()),
    );
}

#[test]
fn a_redirect_loop_ends() {
    check_blob(
        |request, _| Reply::new(307, "").with("Location", request.path.clone()),
        ErrorKind::Network,
        |_| "more than 10 redirects".into(),
    );
}

#[test]
fn a_redirect_to_a_file_is_not_followed() {
    check_blob(
        |_, _| Reply::new(302, "").with("Location", "file:///etc/passwd"),
        ErrorKind::Network,
        |_| "neither http nor https".into(),
    );
}

#[test]
fn a_missing_blob_is_said_to_be_missing() {
    check_blob(|_, _| Reply::error(404, "BLOB_UNKNOWN", "x"), ErrorKind::NotFound, |_| "blob unknown".into());
}

#[test]
fn a_server_in_trouble_is_asked_again_and_then_given_up() {
    check_blob(|_, _| Reply::new(503, "no"), ErrorKind::Network, |_| "503 Service Unavailable".into());
}

#[test]
fn a_wait_of_an_hour_is_reported_and_not_waited() {
    check_blob(
        |_, _| Reply::new(429, "").with("Retry-After", "3600"),
        ErrorKind::Network,
        |_| "it asks to wait 3600 s".into(),
    );
}

#[test]
fn a_manifest_of_100_mb_is_refused_before_it_is_read() {
    check_manifest(
        |_| Reply::new(200, "{").with("Content-Type", media_type::OCI_MANIFEST).sent(Sending::Promising(100 << 20)),
        ErrorKind::Corrupt,
        "larger than 8388608 bytes",
    );
}

#[test]
fn a_manifest_without_end_is_refused_at_its_limit() {
    check_manifest(|_| Reply::new(200, "").sent(Sending::Endless), ErrorKind::Corrupt, "larger than 8388608 bytes");
}

#[test]
fn manifests_that_are_none_are_refused_by_name() {
    check_manifest(
        |_| Reply::new(200, "<html>").with("Content-Type", "text/html; charset=utf-8"),
        ErrorKind::Unsupported,
        "media type \"text/html\" is not supported for a manifest",
    );
    check_manifest(
        |_| Reply::new(200, r#"{"schemaVersion":1}"#).with("Content-Type", media_type::DOCKER_SCHEMA1_SIGNED),
        ErrorKind::Unsupported,
        "v1+prettyjws",
    );
    check_manifest(
        |_| Reply::new(200, "{").with("Content-Type", media_type::OCI_MANIFEST),
        ErrorKind::Corrupt,
        "malformed manifest",
    );
}

#[test]
fn a_header_digest_that_contradicts_the_body_is_refused() {
    let shelf = Shelf::of(&[]);
    let wrong = Digest::sha256_of(b"another");
    check_manifest(
        move |request| {
            let mut reply = shelf.answer(request);
            reply.headers.retain(|(name, _)| name != "Docker-Content-Digest");
            reply.with("Docker-Content-Digest", wrong.to_string())
        },
        ErrorKind::Corrupt,
        "Docker-Content-Digest says sha256:",
    );
}

#[test]
fn a_manifest_that_is_not_its_digest_is_refused() {
    let mut shelf = Shelf::default();
    shelf.add_image("v1", &[], architecture());
    let body = shelf.manifests["v1"].1.clone();
    let server = Server::start(move |_| Reply::new(200, body.clone()).with("Content-Type", media_type::OCI_MANIFEST));
    let digest = Digest::sha256_of(b"wanted");
    fails(Place::new().pull(&format!("{}/app@{digest}", server.host())), &format!("expected {digest}"));
}

#[test]
fn a_missing_manifest_is_said_in_dockers_words() {
    check_manifest(
        |_| Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        ErrorKind::NotFound,
        "app:v1 not found: manifest unknown: manifest unknown",
    );
}

#[test]
fn a_layer_whose_config_promises_another_tree_is_not_kept() {
    let (layer, other) = (Layer::gzip(&[("a", b"1")]), Layer::gzip(&[("a", b"2")]));
    let config = config(std::slice::from_ref(&other), architecture());
    let mut shelf = Shelf::default();
    shelf.add_blob(&config);
    shelf.add_blob(&layer.blob);
    let manifest = manifest_of(&config, vec![layer.descriptor()]);
    shelf.add_document("v1", media_type::OCI_MANIFEST, Raw::from_document(manifest).bytes());
    let server = Server::start(shelf.into_handler());
    let place = Place::new();
    fails(
        place.pull(&format!("{}/app:v1", server.host())),
        &format!("unpacks to diff id {}, the image config promises {}", layer.diff_id, other.diff_id),
    );
    assert!(place.store.layer(&layer.diff_id).unwrap().is_none());
}

/// A pull of a manifest that `edit` changed.
fn check_edited(edit: impl FnOnce(&mut knarr_spec::Manifest), expect: &str) {
    let layer = Layer::gzip(&[("a", b"1")]);
    let config = config(std::slice::from_ref(&layer), architecture());
    let mut manifest = manifest_of(&config, vec![layer.descriptor()]);
    edit(&mut manifest);
    let mut shelf = Shelf::default();
    shelf.add_blob(&config);
    shelf.add_blob(&layer.blob);
    shelf.add_document("v1", media_type::OCI_MANIFEST, Raw::from_document(manifest).bytes());
    let server = Server::start(shelf.into_handler());
    fails(Place::new().pull(&format!("{}/app:v1", server.host())), expect);
}

#[test]
fn a_manifest_and_a_config_that_count_differently_are_refused() {
    check_edited(|manifest| manifest.layers.clear(), "the manifest has 0 layers, its config 1 diff ids");
}

#[test]
fn an_artifact_is_no_image() {
    check_edited(
        |manifest| manifest.config.media_type = "application/vnd.example+json".to_owned(),
        "media type \"application/vnd.example+json\" is not supported for a config",
    );
    check_edited(
        |manifest| manifest.layers[0].media_type = "text/plain".to_owned(),
        "media type \"text/plain\" is not supported for a layer",
    );
}

#[test]
fn a_digest_of_an_algorithm_we_do_not_have_is_refused() {
    check_edited(|manifest| manifest.layers[0].digest = "crc32:00".parse().unwrap(), "crc32");
}

#[test]
fn a_config_larger_than_its_limit_is_not_asked_for() {
    check_edited(|manifest| manifest.config.size = 1 << 40, "larger than 8388608 bytes");
}

#[test]
fn a_layer_that_is_not_compressed_as_declared_is_refused() {
    check_edited(|manifest| manifest.layers[0].media_type = media_type::OCI_LAYER_ZSTD.to_owned(), "declared zstd");
}

#[test]
fn foreign_urls_are_not_contacted() {
    let elsewhere = Server::start(|_| Reply::new(200, "x"));
    let url = format!("https://{}/blob", elsewhere.host());
    let missing = Digest::sha256_of(b"nowhere");
    check_edited(
        |manifest| {
            manifest.layers[0].digest = missing;
            manifest.layers[0].urls = vec![url];
        },
        "which is not contacted",
    );
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = fails(Place::new().pull(&format!("127.0.0.1:{port}/app:v1")), "Connection refused");
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.hint().is_some());
}

#[test]
fn one_layer_that_fails_stops_the_others() {
    let (good, bad) = (Layer::big(), Layer::gzip(&[("a", b"1")]));
    let shelf = Arc::new(Shelf::of(&[good.clone(), bad.clone()]));
    let (good_path, bad_path) = (good.digest().to_string(), bad.digest().to_string());
    let server = Server::start(move |request| match &request.path {
        path if path.ends_with(&bad_path) => Reply::error(404, "BLOB_UNKNOWN", "x"),
        path if path.ends_with(&good_path) => shelf.answer(request).sent(Sending::HangAfter(1000)),
        _ => shelf.answer(request),
    });
    let mut options = options();
    options.network.timeouts.stall = std::time::Duration::from_secs(3600);
    let result = Place::new().pull_with(&format!("{}/app:v1", server.host()), &PullOptions { ..options });
    fails(result, &bad.digest().to_string());
}
