//! Files of images that are not fetched.

use knarr_distribution::files::{self, Files};
use knarr_distribution::{CopyOptions, Error};
use knarr_layer::toc::{self, Form};
use knarr_spec::image::Annotations;
use knarr_spec::{Descriptor, DiffId, Digest, Raw, media_type};

use crate::image::{Layer, Shelf, architecture, config, manifest_of, noise, ranged, tar_of};
use crate::server::{Reply, Request, Server};
use crate::setup::{options, told};

/// Half a megabyte that does not compress, beside a small file.
const NOISE_BYTES: usize = 512 << 10;

fn tar(name: &str) -> Vec<u8> {
    tar_of(&[("noise", &noise(NOISE_BYTES, 5)), (name, name.as_bytes())])
}

fn chunked(name: &str) -> (Layer, Annotations) {
    let (blob, annotations) = toc::write_chunked(&mut &tar(name)[..], Vec::new(), None).unwrap();
    let diff_id = DiffId(Digest::sha256_of(&tar(name)));
    (Layer { media_type: media_type::OCI_LAYER_ZSTD, blob, diff_id }, annotations)
}

fn stargz(name: &str) -> (Layer, Annotations) {
    let (blob, written) = toc::write_stargz(&mut &tar(name)[..], Vec::new(), None).unwrap();
    let layer = Layer { media_type: media_type::OCI_LAYER_GZIP, blob, diff_id: written.diff_id };
    (layer, written.annotations)
}

fn shelf(layers: &[(Layer, Annotations)]) -> Shelf {
    let mut shelf = Shelf::default();
    let plain: Vec<Layer> = layers.iter().map(|(layer, _)| layer.clone()).collect();
    let config = config(&plain, architecture());
    shelf.add_blob(&config);
    plain.iter().for_each(|layer| drop(shelf.add_blob(&layer.blob)));
    let described = layers.iter().map(|(layer, annotations)| {
        let annotations = annotations.clone();
        Descriptor { annotations, ..layer.descriptor() }
    });
    let manifest = manifest_of(&config, described.collect());
    shelf.add_document("v1", media_type::OCI_MANIFEST, Raw::from_document(manifest).bytes());
    shelf
}

fn place(server: &Server) -> knarr_distribution::Place {
    knarr_distribution::Place::with_transport(&format!("docker://{}/app:v1", server.host())).unwrap()
}

fn copying() -> CopyOptions<'static> {
    CopyOptions { source: options().network, ..CopyOptions::new(std::path::Path::new("/tmp")) }
}

fn listed(server: &Server, whole: bool) -> Files {
    files::list(None, &place(server), whole, &copying()).unwrap()
}

fn read(server: &Server, path: &str) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    files::read(None, &place(server), path.as_bytes(), &copying(), &mut out).map(|()| out)
}

fn names(files: &Files) -> Vec<String> {
    files.entries.keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

#[test]
fn only_tables_are_read_of_layers_that_have_them() {
    let layers = [chunked("one"), stargz("two"), (Layer::gzip(&[("three", b"3")]), Annotations::new())];
    let server = Server::start(shelf(&layers).into_handler());
    let files = listed(&server, false);
    let expect = ["", ".no.prefetch.landmark", "noise", "one", "stargz.index.json", "three", "two"];
    assert_eq!(names(&files), expect);
    assert_eq!(files.entries[&b"noise"[..]].0, 1);
    let forms: Vec<_> = files.layers.iter().map(|layer| layer.table).collect();
    assert_eq!(forms, [Some(Form::Chunked), Some(Form::Stargz), None]);
    assert!(files.layers[..2].iter().all(|layer| layer.bytes > NOISE_BYTES as u64 && layer.bytes_read < 20_000));
    assert!(files.layers.iter().all(|layer| layer.distrust.is_none()));
    let asked = server.requests();
    let big = |request: &&Request| request.path.contains(layers[0].0.digest().encoded());
    assert!(asked.iter().filter(big).all(|request| request.header("range").is_some()));
    assert_eq!(names(&listed(&server, true)), expect);
}

#[test]
fn a_file_comes_by_its_range() {
    for layer in [chunked("one"), stargz("one")] {
        let digest = layer.0.digest();
        let server = Server::start(shelf(&[layer]).into_handler());
        assert_eq!(read(&server, "/one").unwrap(), b"one");
        let all = |request: &Request| request.path.contains(digest.encoded()) && request.header("range").is_none();
        assert!(!server.requests().iter().any(all));
        assert!(read(&server, "noise").unwrap() == noise(NOISE_BYTES, 5));
        assert!(told(&read(&server, "/two").unwrap_err()).contains("/two: no such file in the image"));
    }
}

#[test]
fn a_table_that_is_not_what_the_manifest_says_is_not_believed() {
    for (layer, mut annotations) in [chunked("one"), stargz("one")] {
        for (name, value) in &mut annotations {
            if name.ends_with("manifest-checksum") || name.ends_with("toc.digest") {
                *value = Digest::sha256_of(b"another").to_string();
            }
        }
        let server = Server::start(shelf(&[(layer, annotations)]).into_handler());
        let files = listed(&server, false);
        assert!(files.entries.contains_key(&b"one"[..]));
        let read_of = &files.layers[0];
        assert_eq!((read_of.table, read_of.bytes_read), (None, read_of.bytes));
        assert!(read_of.distrust.as_ref().unwrap().contains("the manifest promises"), "{read_of:?}");
        assert_eq!(read(&server, "one").unwrap(), b"one");
    }
}

#[test]
fn a_server_without_ranges_gives_whole_layers() {
    let (shelf, zstd) = (shelf(&[chunked("one")]), chunked("one").0);
    let server = Server::start(move |request| match request.path.ends_with(zstd.digest().as_str()) {
        true => Reply::new(200, &zstd.blob[..]),
        false => shelf.answer(request),
    });
    let files = listed(&server, false);
    assert!(files.entries.contains_key(&b"one"[..]));
    assert!(files.layers[0].distrust.as_ref().unwrap().contains("no requests for parts"), "{:?}", files.layers);
    assert_eq!(read(&server, "one").unwrap(), b"one");
}

/// Parts of the blob before `table` are bent, the whole never.
#[test]
fn data_that_is_not_what_the_table_says_comes_from_the_whole_layer() {
    let (shelf, (zstd, _)) = (shelf(&[chunked("one")]), chunked("one"));
    let server = Server::start(move |request| match request.path.ends_with(zstd.digest().as_str()) {
        true => {
            let mut reply = ranged(request, &zstd.blob);
            let from: usize = request
                .header("range")
                .map_or(usize::MAX, |range| range[6..].split('-').next().unwrap().parse().unwrap());
            if (1..NOISE_BYTES).contains(&from) {
                reply.body[20] ^= 1;
            }
            reply
        }
        false => shelf.answer(request),
    });
    assert!(read(&server, "noise").unwrap() == noise(NOISE_BYTES, 5));
}
