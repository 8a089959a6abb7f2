//! Copies to a registry that makes it hard.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use knarr_distribution::{Copied, CopyOptions, Error, Network, Place, Retry, copy, look};
use knarr_spec::Digest;

use crate::image::{Layer, Shelf, noise};
use crate::server::{Reply, Request, Server};
use crate::setup::told;

/// What a registry was given.
#[derive(Default)]
struct Dock {
    begun: usize,
    uploads: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    manifests: HashMap<String, Vec<u8>>,
}

/// A registry that takes pushes; `first` may answer in its place.
fn dock(first: impl Fn(&Request, &mut Dock) -> Option<Reply> + Send + Sync + 'static) -> (Server, Arc<Mutex<Dock>>) {
    let dock = Arc::new(Mutex::new(Dock::default()));
    let shared = dock.clone();
    let server = Server::start(move |request| {
        let mut dock = shared.lock().unwrap();
        first(request, &mut dock).unwrap_or_else(|| take(request, &mut dock))
    });
    (server, dock)
}

fn take(request: &Request, dock: &mut Dock) -> Reply {
    let upload = request.path.strip_prefix("/v2/to/blobs/uploads/").filter(|id| !id.is_empty());
    match (request.method.as_str(), upload) {
        ("POST", _) => {
            dock.begun += 1;
            let id = format!("u{}", dock.begun);
            dock.uploads.insert(id.clone(), Vec::new());
            Reply::new(202, "").with("Location", format!("/v2/to/blobs/uploads/{id}"))
        }
        ("PATCH", Some(id)) => {
            dock.uploads.get_mut(id).unwrap().extend(&request.bytes);
            Reply::new(202, "").with("Location", &request.path)
        }
        ("GET", Some(id)) => {
            let last = dock.uploads[id].len().saturating_sub(1);
            Reply::new(204, "").with("Location", &request.path).with("Range", format!("0-{last}"))
        }
        ("PUT", Some(id)) => {
            let mut blob = dock.uploads.remove(id).unwrap();
            blob.extend(&request.bytes);
            let digest = Digest::sha256_of(&blob).to_string();
            let wanted = request.query.replace("digest=", "").replace("%3A", ":");
            if wanted != digest {
                return Reply::error(400, "DIGEST_INVALID", "another digest");
            }
            dock.blobs.insert(digest, blob);
            Reply::new(201, "")
        }
        ("PUT", None) => {
            let name = request.path.strip_prefix("/v2/to/manifests/").unwrap();
            dock.manifests.insert(name.to_owned(), request.bytes.clone());
            Reply::new(201, "").with("Docker-Content-Digest", Digest::sha256_of(&request.bytes).to_string())
        }
        ("GET" | "HEAD", None) if request.path.contains("/manifests/") => {
            match dock.manifests.get(request.path.rsplit('/').next().unwrap()) {
                Some(bytes) => Reply::new(200, bytes.clone()),
                None => Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            }
        }
        _ => Reply::error(404, "BLOB_UNKNOWN", "blob unknown"),
    }
}

fn network() -> Network {
    Network {
        retry: Retry { attempts: 3, delay: Duration::from_millis(1), delay_max: Duration::from_millis(5) },
        ..Network::default()
    }
}

fn copied(layers: &[Layer], to: &Server) -> Result<Copied, Error> {
    let from = Server::start(Shelf::of(layers).into_handler());
    let options = CopyOptions { source: network(), destination: network(), ..CopyOptions::new(Path::new("/tmp")) };
    let place = |text: String| Place::with_transport(&text).unwrap();
    let (from, to) =
        (place(format!("docker://{}/app:v1", from.host())), place(format!("docker://{}/to:v1", to.host())));
    copy(None, &from, &to, &options)
}

fn methods(server: &Server) -> Vec<String> {
    server.requests().into_iter().map(|request| request.method).collect()
}

#[test]
fn an_image_arrives_whole_and_its_manifest_last() {
    let layer = Layer::big();
    let (server, dock) = dock(|_, _| None);
    let copied = copied(std::slice::from_ref(&layer), &server).unwrap();
    let dock = dock.lock().unwrap();
    assert_eq!(dock.blobs[layer.digest().as_str()], layer.blob);
    assert_eq!(Digest::sha256_of(&dock.manifests["v1"]), copied.digest);
    assert_eq!(server.requests().last().unwrap().path, "/v2/to/manifests/v1");
}

#[test]
fn a_broken_upload_goes_on_at_the_byte_the_registry_has() {
    let layer = Layer::big();
    let broken = AtomicBool::new(false);
    let (server, dock) = dock(move |request, dock| {
        let of_layer = request.method == "PATCH" && request.bytes.len() > 1 << 20;
        (of_layer && !broken.swap(true, Ordering::Relaxed)).then(|| {
            let id = request.path.rsplit('/').next().unwrap();
            dock.uploads.get_mut(id).unwrap().extend(&request.bytes[..1 << 20]);
            Reply::new(503, "")
        })
    });
    copied(std::slice::from_ref(&layer), &server).unwrap();
    assert_eq!(dock.lock().unwrap().blobs[layer.digest().as_str()], layer.blob);
    let requests = server.requests();
    let ranges: Vec<_> = requests.iter().filter_map(|request| request.header("content-range")).collect();
    let last = layer.blob.len() - 1;
    assert_eq!(ranges, [format!("0-{last}"), format!("{}-{last}", 1 << 20)]);
}

/// Copies with a store that remembers uploads, without a second attempt.
fn copied_once(store: &knarr_store::Store, layers: &[Layer], to: &Server) -> Result<Copied, Error> {
    let from = Server::start(Shelf::of(layers).into_handler());
    let once = Network { retry: Retry { attempts: 1, ..network().retry }, ..network() };
    let options = CopyOptions { source: network(), destination: once, ..CopyOptions::new(Path::new("/tmp")) };
    let place = |text: String| knarr_distribution::Place::with_transport(&text).unwrap();
    let from = place(format!("docker://{}/app:v1", from.host()));
    copy(Some(store), &from, &place(format!("docker://{}/to:v1", to.host())), &options)
}

#[test]
fn a_later_push_goes_on_where_an_earlier_one_ended_and_begins_anew_where_nobody_knows_it() {
    for remembers in [true, false] {
        let (place, layer) = (crate::setup::Place::new(), Layer::big());
        let broken = AtomicBool::new(false);
        let (server, dock) = dock(move |request, dock| match request.method.as_str() {
            "PATCH" if request.bytes.len() > 1 << 20 && !broken.swap(true, Ordering::Relaxed) => {
                let id = request.path.rsplit('/').next().unwrap();
                dock.uploads.get_mut(id).unwrap().extend(&request.bytes[..1 << 20]);
                Some(Reply::new(403, ""))
            }
            "GET" if request.path.contains("/uploads/") && dock.manifests.is_empty() && !remembers => {
                // The first to ask still hears of it: it is the earlier push that just failed.
                dock.manifests.insert("asked".to_owned(), Vec::new());
                None
            }
            "GET" if request.path.contains("/uploads/") && !remembers => {
                Some(Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "unknown"))
            }
            _ => None,
        });
        copied_once(&place.store, std::slice::from_ref(&layer), &server).unwrap_err();
        copied_once(&place.store, std::slice::from_ref(&layer), &server).unwrap();
        assert_eq!(dock.lock().unwrap().blobs[layer.digest().as_str()], layer.blob);
        let requests = server.requests();
        let ranges: Vec<_> = requests.iter().filter_map(|request| request.header("content-range")).collect();
        let (last, again) = (layer.blob.len() - 1, if remembers { 1 << 20 } else { 0 });
        assert_eq!(ranges, [format!("0-{last}"), format!("{again}-{last}")]);
        assert_eq!(std::fs::read_dir(place.store.state().join("uploads/sha256")).unwrap().count(), 0);
    }
}

#[test]
fn a_registry_that_has_more_than_it_said_is_asked_again() {
    let layer = Layer::big();
    let told_too_little = AtomicBool::new(false);
    let (server, dock) = dock(move |request, dock| {
        let id = request.path.rsplit('/').next().unwrap().to_owned();
        match (request.method.as_str(), request.header("content-range")) {
            ("PATCH", Some(range)) if range.starts_with("0-") && request.bytes.len() > 1 << 20 => {
                dock.uploads.get_mut(&id).unwrap().extend(&request.bytes[..2 << 20]);
                Some(Reply::new(503, ""))
            }
            ("GET", _) if request.path.contains("/uploads/") && !told_too_little.swap(true, Ordering::Relaxed) => {
                Some(Reply::new(204, "").with("Location", &request.path).with("Range", format!("0-{}", (1 << 20) - 1)))
            }
            ("PATCH", Some(range)) if !range.starts_with(&format!("{}-", dock.uploads[&id].len())) => {
                Some(Reply::new(416, ""))
            }
            _ => None,
        }
    });
    copied(std::slice::from_ref(&layer), &server).unwrap();
    assert_eq!(dock.lock().unwrap().blobs[layer.digest().as_str()], layer.blob);
    let requests = server.requests();
    let ranges: Vec<_> = requests.iter().filter_map(|request| request.header("content-range")).collect();
    let first = |range: &str| range.split('-').next().unwrap().parse::<usize>().unwrap();
    assert_eq!(ranges.iter().map(|range| first(range)).collect::<Vec<_>>(), [0, 1 << 20, 2 << 20]);
}

#[test]
fn who_refuses_big_requests_gets_pieces() {
    let layer = Layer::plain(&[("noise", &noise(18 << 20, 5))]);
    let layer = Layer { media_type: knarr_spec::media_type::OCI_LAYER_GZIP, ..layer };
    let (server, dock) = dock(|request, _| (request.bytes.len() > 8 << 20).then(|| Reply::new(413, "")));
    copied(std::slice::from_ref(&layer), &server).unwrap();
    assert_eq!(dock.lock().unwrap().blobs[layer.digest().as_str()], layer.blob);
    assert_eq!(methods(&server).iter().filter(|method| *method == "PATCH").count(), 4);
}

#[test]
fn a_registry_that_forgets_an_upload_gets_all_of_it_again() {
    let layer = Layer::big();
    // Once, and the layer's alone: the config is on its way beside it.
    let forgotten = AtomicBool::new(false);
    let (server, dock) = dock(move |request, _| match request.method.as_str() {
        "PATCH" if request.bytes.len() > 1 << 20 && !forgotten.swap(true, Ordering::Relaxed) => {
            Some(Reply::new(502, ""))
        }
        "GET" if request.path.contains("/uploads/") => Some(Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "unknown")),
        _ => None,
    });
    copied(std::slice::from_ref(&layer), &server).unwrap();
    assert_eq!(dock.lock().unwrap().blobs[layer.digest().as_str()], layer.blob);
}

#[test]
fn a_digest_the_registry_disagrees_about_is_an_error() {
    let (server, _) = dock(|request, _| {
        let manifest = request.method == "PUT" && request.path.contains("/manifests/");
        manifest.then(|| Reply::new(201, "").with("Docker-Content-Digest", Digest::sha256_of(b"other").to_string()))
    });
    let error = copied(&[Layer::big()], &server).unwrap_err();
    assert!(told(&error).contains("Docker-Content-Digest"), "{}", told(&error));
}

#[test]
fn an_upload_without_a_place_to_go_is_an_error() {
    let (server, _) = dock(|request, _| (request.method == "POST").then(|| Reply::new(202, "")));
    let error = copied(&[Layer::big()], &server).unwrap_err();
    assert!(told(&error).contains("an upload without Location"), "{}", told(&error));
}

#[test]
fn a_list_that_goes_in_circles_ends() {
    let page = |request: &Request| {
        let next = if request.query.contains("last=b") { "a" } else { "b" };
        Reply::new(200, r#"{"name":"app","tags":["a","b"]}"#)
            .with("Link", format!("</v2/app/tags/list?last={next}>; rel=\"next\""))
    };
    let server = Server::start(page);
    let reference = format!("{}/app", server.host()).parse().unwrap();
    look::list_tags(&reference, &network()).unwrap();
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_list_without_end_is_an_error() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let at = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::new(200, r#"{"name":"app","tags":["a"]}"#)
            .with("Link", format!("</v2/app/tags/list?last={at}>; rel=next"))
    });
    let reference = format!("{}/app", server.host()).parse().unwrap();
    let error = look::list_tags(&reference, &network()).unwrap_err();
    assert!(told(&error).contains("a list of more than"), "{}", told(&error));
}

#[test]
fn a_next_page_on_another_server_is_not_asked_for() {
    let other = Server::start(|_| Reply::new(200, r#"{"tags":["stolen"]}"#));
    let link = format!("<http://{}/v2/app/tags/list>; rel=\"next\"", other.host());
    let server = Server::start(move |_| Reply::new(200, r#"{"tags":["a"]}"#).with("Link", &*link));
    let reference = format!("{}/app", server.host()).parse().unwrap();
    assert_eq!(look::list_tags(&reference, &network()).unwrap(), ["a"]);
    assert!(other.requests().is_empty());
}
