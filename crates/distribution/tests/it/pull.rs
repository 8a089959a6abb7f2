//! Pulls from a registry that behaves.

use knarr_distribution::{ErrorKind, LayerState, Outcome, Progress, PullOptions};
use knarr_spec::{Digest, Raw, media_type};

use crate::image::{Layer, Shelf, architecture, config, manifest_of};
use crate::server::Server;
use crate::setup::{Place, Recorder, fails, options};

#[test]
fn layers_of_every_compression_are_unpacked() {
    let layers = [Layer::plain(&[("a", b"1")]), Layer::gzip(&[("a", b"2")]), Layer::zstd(&[("a", b"3")])];
    let server = Server::start(Shelf::of(&layers).into_handler());
    let place = Place::new();
    let image = place.pull(&format!("{}/app:v1", server.host())).unwrap();
    let contents: Vec<_> = (0..3).map(|layer| place.file(&image, layer, "a")).collect();
    assert_eq!(contents, [b"1", b"2", b"3"]);
    assert_eq!(image.names[0].to_string(), format!("{}/app:v1", server.host()));
}

#[test]
fn exact_bytes_of_manifest_and_config_are_kept() {
    let layers = [Layer::gzip(&[("a", b"1")])];
    let mut shelf = Shelf::default();
    let root = shelf.add_image("v1", &layers, architecture());
    let server = Server::start(shelf.clone().into_handler());
    let place = Place::new();
    let image = place.pull(&format!("{}/app:v1", server.host())).unwrap();
    let kept = place.store.blob_bytes(&root.digest, 1 << 20).unwrap().unwrap();
    assert_eq!(kept, shelf.manifests["v1"].1);
    assert_eq!(image.config.bytes(), config(&layers, architecture()));
    assert_eq!(place.store.blob_bytes(&layers[0].digest(), 1 << 20).unwrap().unwrap(), layers[0].blob);
}

#[test]
fn docker_media_types_are_taken() {
    let layer = Layer::gzip(&[("a", b"1")]);
    let config = config(std::slice::from_ref(&layer), architecture());
    let mut manifest = manifest_of(&config, vec![layer.descriptor()]);
    manifest.media_type = Some(media_type::DOCKER_MANIFEST.to_owned());
    manifest.config.media_type = media_type::DOCKER_CONFIG.to_owned();
    manifest.layers[0].media_type = media_type::DOCKER_LAYER_GZIP.to_owned();
    let mut shelf = Shelf::default();
    shelf.add_blob(&config);
    shelf.add_blob(&layer.blob);
    shelf.add_document("v1", media_type::DOCKER_MANIFEST, Raw::from_document(manifest).bytes());
    let server = Server::start(shelf.into_handler());
    let place = Place::new();
    let image = place.pull(&format!("{}/app:v1", server.host())).unwrap();
    assert_eq!(place.file(&image, 0, "a"), b"1");
}

fn multi_platform() -> (Shelf, Digest) {
    let mut shelf = Shelf::default();
    let ours = shelf.add_image("ours", &[Layer::gzip(&[("a", b"ours")])], architecture());
    let other = shelf.add_image("other", &[Layer::gzip(&[("a", b"other")])], "s390x");
    let platform = format!("linux/{}", architecture());
    let index = shelf.add_index("multi", &[("linux/s390x", other), (&platform, ours)]);
    (shelf, index.digest)
}

#[test]
fn an_index_gives_the_image_for_our_platform_and_is_kept() {
    let (shelf, index) = multi_platform();
    let server = Server::start(shelf.into_handler());
    let place = Place::new();
    let image = place.pull(&format!("{}/app:multi", server.host())).unwrap();
    assert_eq!(place.file(&image, 0, "a"), b"ours");
    assert_eq!(image.index_digest, Some(index.clone()));
    assert_eq!(image.repo_digests[0].digest(), Some(&index));
    assert!(place.store.blob(&index).unwrap().is_some());
}

#[test]
fn another_platform_can_be_asked_for() {
    let (shelf, _) = multi_platform();
    let server = Server::start(shelf.into_handler());
    let place = Place::new();
    let options = PullOptions { platform: "linux/s390x".parse().unwrap(), ..options() };
    let image = place.pull_with(&format!("{}/app:multi", server.host()), &options).unwrap();
    assert_eq!(place.file(&image, 0, "a"), b"other");
}

#[test]
fn a_missing_platform_is_said_in_dockers_words_with_what_there_is() {
    let (shelf, _) = multi_platform();
    let server = Server::start(shelf.into_handler());
    let options = PullOptions { platform: "linux/riscv64".parse().unwrap(), ..options() };
    let result = Place::new().pull_with(&format!("{}/app:multi", server.host()), &options);
    let error = fails(result, "no matching manifest for linux/riscv64 in the manifest list entries");
    assert_eq!(error.kind(), ErrorKind::Platform);
    assert!(error.hint().unwrap().contains("linux/s390x"));
}

#[test]
fn an_index_within_an_index_is_followed_and_both_are_kept() {
    let (mut shelf, inner) = multi_platform();
    let inner_descriptor = shelf.add_index("copy", &[]);
    let (media_type, bytes) = shelf.manifests[inner.as_str()].clone();
    let descriptor = knarr_spec::Descriptor::new(&media_type, inner, bytes.len() as u64);
    let platform = format!("linux/{}", architecture());
    let outer = shelf.add_index("outer", &[("linux/s390x", inner_descriptor), (&platform, descriptor)]);
    let server = Server::start(shelf.into_handler());
    let place = Place::new();
    let image = place.pull(&format!("{}/app:outer", server.host())).unwrap();
    assert_eq!(place.file(&image, 0, "a"), b"ours");
    assert!(place.store.blob(&outer.digest).unwrap().is_some());
}

#[test]
fn an_endless_nest_of_indexes_is_refused() {
    let mut shelf = Shelf::default();
    let platform = format!("linux/{}", architecture());
    let mut descriptor = shelf.add_image("v1", &[], architecture());
    for _ in 0..6 {
        descriptor = shelf.add_index("nest", &[(&platform, descriptor)]);
    }
    let server = Server::start(shelf.into_handler());
    fails(Place::new().pull(&format!("{}/app:nest", server.host())), "nested more than 4 deep");
}

#[test]
fn a_second_pull_costs_one_request() {
    let server = Server::start(Shelf::of(&[Layer::gzip(&[("a", b"1")])]).into_handler());
    let place = Place::new();
    let name = format!("{}/app:v1", server.host());
    let first = place.pull(&name).unwrap();
    let before = server.requests().len();
    let second = place.pull(&name).unwrap();
    let after = server.requests();
    assert_eq!(first.id, second.id);
    assert_eq!(after.len(), before + 1);
    assert_eq!(after[before].method, "HEAD");
}

#[test]
fn a_known_digest_costs_no_request_at_all() {
    let mut shelf = Shelf::default();
    let root = shelf.add_image("v1", &[Layer::gzip(&[("a", b"1")])], architecture());
    let server = Server::start(shelf.into_handler());
    let place = Place::new();
    let name = format!("{}/app@{}", server.host(), root.digest);
    let first = place.pull(&name).unwrap();
    let before = server.requests().len();
    assert_eq!(place.pull(&name).unwrap().id, first.id);
    assert_eq!(server.requests().len(), before);
    assert!(first.names.is_empty(), "a pull by digest makes no tag: {:?}", first.names);
}

#[test]
fn a_moved_tag_brings_the_new_image_and_only_its_new_layers() {
    let base = Layer::gzip(&[("base", b"1")]);
    let old = Shelf::of(&[base.clone(), Layer::gzip(&[("a", b"old")])]);
    let new = Shelf::of(&[base.clone(), Layer::gzip(&[("a", b"new")])]);
    let moved = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = moved.clone();
    let server = Server::start(move |request| {
        if seen.load(std::sync::atomic::Ordering::SeqCst) { new.answer(request) } else { old.answer(request) }
    });
    let place = Place::new();
    let name = format!("{}/app:v1", server.host());
    place.pull(&name).unwrap();
    moved.store(true, std::sync::atomic::Ordering::SeqCst);
    let recorder = Recorder::default();
    let image = place.pull_with(&name, &PullOptions { progress: &recorder, ..options() }).unwrap();
    assert_eq!(place.file(&image, 1, "a"), b"new");
    assert_eq!(server.count(base.digest().as_str()), 1);
    assert_eq!(recorder.states(&base.digest()), [LayerState::Waiting, LayerState::AlreadyExists]);
}

#[test]
fn a_layer_that_occurs_twice_is_fetched_once() {
    let layer = Layer::gzip(&[("a", b"1")]);
    let server = Server::start(Shelf::of(&[layer.clone(), Layer::plain(&[("b", b"2")]), layer.clone()]).into_handler());
    let place = Place::new();
    let image = place.pull(&format!("{}/app:v1", server.host())).unwrap();
    assert_eq!(image.layers.len(), 3);
    assert_eq!(image.layers[0].number, image.layers[2].number);
    assert_eq!(server.count(layer.digest().as_str()), 1);
}

#[test]
fn many_layers_come_in_parallel_and_in_order() {
    let layers: Vec<Layer> = (0..20u8).map(|n| Layer::gzip(&[("n", &[n])])).collect();
    let server = Server::start(Shelf::of(&layers).into_handler());
    let place = Place::new();
    let image = place.pull(&format!("{}/app:v1", server.host())).unwrap();
    for n in 0..20u8 {
        assert_eq!(place.file(&image, n.into(), "n"), [n]);
    }
}

#[test]
fn an_image_without_layers_is_an_image() {
    let server = Server::start(Shelf::of(&[]).into_handler());
    assert!(Place::new().pull(&format!("{}/app:v1", server.host())).unwrap().layers.is_empty());
}

#[test]
fn the_states_of_a_layer_come_in_dockers_order() {
    let layer = Layer::big();
    let server = Server::start(Shelf::of(std::slice::from_ref(&layer)).into_handler());
    let recorder = Recorder::default();
    let options = PullOptions { progress: &recorder, ..options() };
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &options).unwrap();
    let mut states = recorder.states(&layer.digest());
    states.dedup_by_key(|state| std::mem::discriminant(state));
    let total = layer.blob.len() as u64;
    let first = LayerState::Downloading { bytes: 0, total };
    let expect = [LayerState::Waiting, first, LayerState::Downloaded, LayerState::Extracting, LayerState::Done];
    assert_eq!(states, expect);
}

#[test]
fn the_outcome_says_whether_anything_was_new() {
    struct Outcomes(std::sync::Mutex<Vec<Outcome>>);
    impl Progress for Outcomes {
        fn layer(&self, _: &Digest, _: LayerState) {}
        fn finished(&self, _: &str, outcome: Outcome) {
            self.0.lock().unwrap().push(outcome);
        }
    }
    let server = Server::start(Shelf::of(&[Layer::gzip(&[("a", b"1")])]).into_handler());
    let (place, outcomes) = (Place::new(), Outcomes(Default::default()));
    let options = PullOptions { progress: &outcomes, ..options() };
    for _ in 0..2 {
        place.pull_with(&format!("{}/app:v1", server.host()), &options).unwrap();
    }
    assert_eq!(*outcomes.0.lock().unwrap(), [Outcome::Downloaded, Outcome::UpToDate]);
}

#[test]
fn two_pulls_of_one_image_fetch_each_blob_once() {
    let layer = Layer::big();
    let server = Server::start(Shelf::of(std::slice::from_ref(&layer)).into_handler());
    let place = Place::new();
    let name = format!("{}/app:v1", server.host());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| place.pull(&name).unwrap());
        }
    });
    assert_eq!(server.count(layer.digest().as_str()), 1);
}

#[test]
fn content_embedded_in_a_descriptor_is_used_and_checked() {
    use base64::Engine as _;
    let layer = Layer::gzip(&[("a", b"1")]);
    let config = config(std::slice::from_ref(&layer), architecture());
    let mut manifest = manifest_of(&config, vec![layer.descriptor()]);
    let encode = |bytes: &[u8]| Some(base64::engine::general_purpose::STANDARD.encode(bytes));
    manifest.config.data = encode(&config);
    let mut shelf = Shelf::default();
    shelf.add_blob(&layer.blob);
    shelf.add_document("good", media_type::OCI_MANIFEST, Raw::from_document(manifest.clone()).bytes());
    manifest.config.data = encode(b"{}");
    shelf.add_document("bad", media_type::OCI_MANIFEST, Raw::from_document(manifest).bytes());
    let server = Server::start(shelf.into_handler());
    let place = Place::new();
    fails(place.pull(&format!("{}/app:bad", server.host())), "embedded data does not match");
    place.pull(&format!("{}/app:good", server.host())).unwrap();
    assert_eq!(server.count(Digest::sha256_of(&config).as_str()), 0);
}
