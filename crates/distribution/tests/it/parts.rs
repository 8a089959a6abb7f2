//! Big blobs in several parts at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use knarr_distribution::{Copied, CopyOptions, Error, Network, copy};

use crate::image::{Layer, Shelf, noise, ranged};
use crate::server::{Reply, Request, Sending, Server};
use crate::setup::{Place, fails, options};

/// Twenty megabytes that do not compress.
fn layer() -> Layer {
    Layer::plain(&[("noise", &noise(20 << 20, 3))])
}

fn server(layer: &Layer, blob: impl Fn(usize, &Request, &[u8]) -> Reply + Send + Sync + 'static) -> Server {
    let (shelf, of_blob) = (Shelf::of(std::slice::from_ref(layer)), layer.clone());
    let (path, attempts) = (format!("/v2/app/blobs/{}", layer.digest()), AtomicUsize::new(0));
    Server::start(move |request| match request.path == path {
        true => blob(attempts.fetch_add(1, Ordering::SeqCst), request, &of_blob.blob),
        false => shelf.answer(request),
    })
}

fn asked(server: &Server, layer: &Layer) -> Vec<String> {
    let requests = server.requests();
    let blobs = requests.iter().filter(|request| request.path.ends_with(layer.digest().as_str()));
    blobs.map(|request| request.header("range").unwrap_or("all").to_owned()).collect()
}

#[test]
fn a_big_blob_comes_in_parts_and_is_whole() {
    let layer = layer();
    let server = server(&layer, |_, request, blob| ranged(request, blob));
    let place = Place::new();
    let image = place.pull(&format!("{}/app:v1", server.host())).unwrap();
    assert_eq!(place.file(&image, 0, "noise"), noise(20 << 20, 3));
    let mut asked = asked(&server, &layer);
    asked.sort();
    assert_eq!(asked.len(), 6, "{asked:?}");
    assert!(asked.contains(&"bytes=0-4194303".to_owned()), "{asked:?}");
}

#[test]
fn a_server_without_ranges_is_asked_once_more_and_sends_all() {
    let layer = layer();
    let server = server(&layer, |_, _, blob| Reply::new(200, blob));
    let place = Place::new();
    place.pull(&format!("{}/app:v1", server.host())).unwrap();
    assert_eq!(asked(&server, &layer).last().unwrap(), "all");
}

#[test]
fn a_part_that_breaks_is_continued_at_its_byte() {
    let layer = layer();
    let server = server(&layer, |attempt, request, blob| match attempt {
        0 => ranged(request, blob).sent(Sending::CutAfter(1 << 20)),
        _ => ranged(request, blob),
    });
    let place = Place::new();
    let image = place.pull(&format!("{}/app:v1", server.host())).unwrap();
    assert_eq!(place.file(&image, 0, "noise").len(), 20 << 20);
    assert_eq!(asked(&server, &layer).len(), 7);
}

#[test]
fn what_came_in_order_is_kept_when_a_later_part_fails() {
    let layer = layer();
    let server = server(&layer, |_, request, blob| match request.header("range") {
        Some(range) if range.starts_with("bytes=8388608-") => Reply::new(403, ""),
        _ => ranged(request, blob),
    });
    let place = Place::new();
    fails(place.pull(&format!("{}/app:v1", server.host())), "denied");
    assert_eq!(std::fs::metadata(place.partial(&layer.digest())).unwrap().len(), 8 << 20);
}

#[test]
fn a_part_that_lies_is_found_out_by_the_digest_of_the_whole() {
    let layer = layer();
    let server = server(&layer, |_, request, blob| {
        let mut reply = ranged(request, blob);
        reply.body[0] ^= 1;
        reply
    });
    fails(Place::new().pull(&format!("{}/app:v1", server.host())), "content has digest");
}

/// Called gzip, so that it is copied as it is.
fn as_gzip(layer: Layer) -> Layer {
    Layer { media_type: knarr_spec::media_type::OCI_LAYER_GZIP, ..layer }
}

/// Copies from `server` into a layout, over one connection more than there are blobs.
fn copied(server: &Server, into: &std::path::Path, network: Network) -> Result<Copied, Error> {
    let options = CopyOptions { source: network, concurrency: 3, ..CopyOptions::new(std::path::Path::new("/tmp")) };
    let place = |text: String| knarr_distribution::Place::with_transport(&text).unwrap();
    let (from, to) = (format!("docker://{}/app:v1", server.host()), format!("oci:{}:v1", into.display()));
    copy(None, &place(from), &place(to), &options)
}

#[test]
fn a_copy_fetches_a_big_blob_in_parts_where_a_connection_is_left_over() {
    let (layer, dir) = (as_gzip(layer()), tempfile::tempdir().unwrap());
    let server = server(&layer, |_, request, blob| ranged(request, blob));
    copied(&server, dir.path(), options().network).unwrap();
    let blob = dir.path().join("blobs/sha256").join(layer.digest().encoded());
    assert!(std::fs::read(blob).unwrap() == layer.blob);
    assert!(asked(&server, &layer).iter().all(|range| range.starts_with("bytes=")));
}

#[test]
fn a_copy_from_a_server_without_ranges_is_whole() {
    let (layer, dir) = (as_gzip(layer()), tempfile::tempdir().unwrap());
    let server = server(&layer, |_, _, blob| Reply::new(200, blob));
    copied(&server, dir.path(), options().network).unwrap();
    let blob = dir.path().join("blobs/sha256").join(layer.digest().encoded());
    assert!(std::fs::read(blob).unwrap() == layer.blob);
}

#[test]
fn a_copy_that_failed_goes_on_in_the_next_one() {
    let (layer, dir) = (Layer::big(), tempfile::tempdir().unwrap());
    let server = server(&layer, |attempt, request, blob| match attempt {
        0 => Reply::new(200, blob).sent(Sending::CutAfter(2 << 20)),
        1..3 => Reply::new(403, ""),
        _ => ranged(request, blob),
    });
    copied(&server, dir.path(), options().network).unwrap_err();
    let (blobs, digest) = (dir.path().join("blobs/sha256"), layer.digest());
    assert_eq!(std::fs::metadata(blobs.join(format!(".new-{}", digest.encoded()))).unwrap().len(), 2 << 20);
    copied(&server, dir.path(), options().network).unwrap_err();
    copied(&server, dir.path(), options().network).unwrap();
    assert!(std::fs::read(blobs.join(digest.encoded())).unwrap() == layer.blob);
    assert_eq!(asked(&server, &layer).pop().unwrap(), format!("bytes={}-", 2 << 20));
    let hidden = std::fs::read_dir(&blobs)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}
