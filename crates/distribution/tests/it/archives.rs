//! Loads of layouts and archives, good and bad.

use std::io::Write;
use std::path::{Path, PathBuf};

use knarr_distribution::{ErrorKind, Input, load};
use knarr_spec::Digest;
use knarr_store::ImageRecord;

use crate::image::{Layer, Shelf, architecture, config, gzip, noise, zstd};
use crate::setup::{Place, fails, options, told};

/// A tar of `members`; a name that ends in `@` is a symbolic link with its content as target.
fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        match name.strip_suffix('@') {
            Some(link) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, link, std::str::from_utf8(content).unwrap()).unwrap();
            }
            None => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, name, *content).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// The members of an OCI layout with what is on `shelf`; `index` is the text of `index.json`.
fn layout_members(shelf: &Shelf, index: &str) -> Vec<(String, Vec<u8>)> {
    let by_digest = shelf.manifests.iter().filter(|(name, _)| name.starts_with("sha256:"));
    let documents = by_digest.map(|(digest, (_, bytes))| (digest, bytes));
    let contents = documents.chain(&shelf.blobs);
    let mut members: Vec<(String, Vec<u8>)> =
        contents.map(|(digest, bytes)| (format!("blobs/{}", digest.replace(':', "/")), bytes.clone())).collect();
    members.push(("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    members.push(("index.json".to_owned(), index.as_bytes().to_vec()));
    members
}

/// `index.json` with `tags` of the shelf under their own names.
fn index_json(shelf: &Shelf, tags: &[&str]) -> String {
    let entry = |tag: &&str| {
        let (media_type, bytes) = &shelf.manifests[*tag];
        serde_json::json!({"mediaType": media_type, "digest": Digest::sha256_of(bytes), "size": bytes.len(),
            "annotations": {"org.opencontainers.image.ref.name": tag}})
    };
    let entries: Vec<_> = tags.iter().map(entry).collect();
    serde_json::json!({"schemaVersion": 2, "manifests": entries}).to_string()
}

fn as_tar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<_> = members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    tar_of(&members)
}

fn write(place: &Place, name: &str, bytes: &[u8]) -> PathBuf {
    let path = place.dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn write_layout(place: &Place, members: &[(String, Vec<u8>)]) -> PathBuf {
    for (name, bytes) in members {
        write(place, &format!("layout/{name}"), bytes);
    }
    place.dir.path().join("layout")
}

fn load_path(place: &Place, path: &Path) -> Vec<ImageRecord> {
    load(&place.store, Input::Path(path.to_owned()), &options()).unwrap()
}

fn two_images() -> Shelf {
    let mut shelf = Shelf::of(&[Layer::gzip(&[("a", b"1")]), Layer::zstd(&[("b", b"2")])]);
    shelf.add_image("v2", &[Layer::plain(&[("a", b"3")])], architecture());
    shelf
}

#[test]
fn a_layout_gives_the_image_of_a_tag_with_its_digest_unchanged() {
    let (shelf, place) = (two_images(), Place::new());
    let dir = write_layout(&place, &layout_members(&shelf, &index_json(&shelf, &["v1", "v2"])));
    let image = place.pull(&format!("oci:{}:v1", dir.display())).unwrap();
    assert_eq!(image.manifest_digest, Digest::sha256_of(&shelf.manifests["v1"].1));
    assert_eq!(place.file(&image, 1, "b"), b"2");
    assert!(image.names.is_empty(), "a bare tag names no repository: {:?}", image.names);
}

#[test]
fn a_layout_of_several_images_wants_a_tag_and_names_those_it_has() {
    let (shelf, place) = (two_images(), Place::new());
    let dir = write_layout(&place, &layout_members(&shelf, &index_json(&shelf, &["v1", "v2"])));
    fails(place.pull(&format!("oci:{}", dir.display())), r#"name one of ["v1", "v2"]"#);
    let error = fails(place.pull(&format!("oci:{}:v3", dir.display())), r#"no image "v3"; there are ["v1", "v2"]"#);
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_layout_of_one_image_needs_no_tag() {
    let (shelf, place) = (two_images(), Place::new());
    let dir = write_layout(&place, &layout_members(&shelf, &index_json(&shelf, &["v2"])));
    place.pull(&format!("oci:{}", dir.display())).unwrap();
}

#[test]
fn entries_of_one_name_are_one_image_for_several_platforms() {
    let mut shelf = Shelf::default();
    let mut entry = |architecture: &str, content: &[u8]| {
        let root = shelf.add_image(architecture, &[Layer::gzip(&[("a", content)])], architecture);
        serde_json::json!({"mediaType": root.media_type, "digest": root.digest, "size": root.size,
            "platform": {"os": "linux", "architecture": architecture},
            "annotations": {"io.containerd.image.name": "reg.example/app:1"}})
    };
    let entries = [entry("s390x", b"other"), entry(architecture(), b"ours")];
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries}).to_string();
    let place = Place::new();
    let images = load_path(&place, &write_layout(&place, &layout_members(&shelf, &index)));
    assert_eq!(images.len(), 1);
    assert_eq!(place.file(&images[0], 0, "a"), b"ours");
    assert_eq!(images[0].names[0].to_string(), "reg.example/app:1");
}

#[test]
fn an_oci_archive_loads_plain_compressed_and_from_a_stream() {
    let shelf = two_images();
    let archive = as_tar(&layout_members(&shelf, &index_json(&shelf, &["v1", "v2"])));
    for bytes in [archive.clone(), gzip(&archive), zstd(&archive)] {
        let place = Place::new();
        let path = write(&place, "image.tar", &bytes);
        assert_eq!(load_path(&place, &path).len(), 2);
        let place = Place::new();
        let images = load(&place.store, Input::Stream(Box::new(std::io::Cursor::new(bytes))), &options()).unwrap();
        assert_eq!(images.len(), 2);
    }
}

#[test]
fn an_oci_archive_is_a_source_of_pull() {
    let (shelf, place) = (two_images(), Place::new());
    let archive = as_tar(&layout_members(&shelf, &index_json(&shelf, &["v1", "v2"])));
    let path = write(&place, "image.tar", &archive);
    let image = place.pull(&format!("oci-archive:{}:v2", path.display())).unwrap();
    assert_eq!(place.file(&image, 0, "a"), b"3");
}

/// What `docker save` wrote until 2023: a directory per layer, equal layers as links to one another.
fn legacy_archive(tags: &str) -> Vec<u8> {
    let layers = [Layer::plain(&[("a", b"1")]), Layer::plain(&[("b", b"2")])];
    let with_repeat = [layers[0].clone(), layers[1].clone(), layers[0].clone()];
    let config = config(&with_repeat, architecture());
    let name = format!("{}.json", Digest::sha256_of(&config).encoded());
    let manifest = format!(
        r#"[{{"Config":"{name}","RepoTags":{tags},"Layers":["one/layer.tar","two/layer.tar","three/layer.tar"]}}]"#
    );
    tar_of(&[
        ("one/layer.tar", &layers[0].blob),
        ("two/layer.tar", &layers[1].blob),
        ("three/layer.tar@", b"../one/layer.tar"),
        (&name, &config),
        ("manifest.json", manifest.as_bytes()),
        ("repositories", b"{}"),
    ])
}

#[test]
fn an_old_docker_archive_loads_with_its_tags_and_linked_layers() {
    let place = Place::new();
    let path = write(&place, "image.tar", &legacy_archive(r#"["app:1","reg.example/app:2"]"#));
    let images = load_path(&place, &path);
    assert_eq!(images.len(), 1);
    let names: Vec<_> = images[0].names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["docker.io/library/app:1", "reg.example/app:2"]);
    assert_eq!(place.file(&images[0], 2, "a"), b"1");
    assert_eq!(images[0].layers[0].number, images[0].layers[2].number);
}

#[test]
fn a_docker_archive_loads_compressed_untagged_and_as_a_source_of_pull() {
    let place = Place::new();
    let path = write(&place, "image.tar.gz", &gzip(&legacy_archive("null")));
    assert!(load_path(&place, &path)[0].names.is_empty());
    let path = write(&place, "tagged.tar", &legacy_archive(r#"["app:1"]"#));
    place.pull(&format!("docker-archive:{}:app:1", path.display())).unwrap();
    fails(place.pull(&format!("docker-archive:{}:app:2", path.display())), r#"no image "app:2""#);
}

#[test]
fn the_same_archive_makes_the_same_image_twice() {
    let archive = legacy_archive("null");
    let load = || {
        let place = Place::new();
        let path = write(&place, "image.tar", &archive);
        load_path(&place, &path)[0].manifest_digest.clone()
    };
    assert_eq!(load(), load());
}

#[test]
fn a_docker_archive_with_compressed_layers_loads() {
    let layers = [Layer::gzip(&[("a", b"1")]), Layer::zstd(&[("b", b"2")])];
    let config = config(&layers, architecture());
    let archive = tar_of(&[
        ("c.json", &config),
        ("manifest.json", br#"[{"Config":"c.json","Layers":["1.tar","2.tar"]}]"#),
        ("1.tar", &layers[0].blob),
        ("2.tar", &layers[1].blob),
    ]);
    let place = Place::new();
    let images = load_path(&place, &write(&place, "image.tar", &archive));
    assert_eq!(place.file(&images[0], 1, "b"), b"2");
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn archives_of_xz_and_bzip2_load() {
    for pack in [xz, bzip2] {
        let place = Place::new();
        let path = write(&place, "image.tar.x", &pack(&legacy_archive("null")));
        assert_eq!(place.file(&load_path(&place, &path)[0], 1, "b"), b"2");
        let shelf = two_images();
        let layout = pack(&as_tar(&layout_members(&shelf, &index_json(&shelf, &["v1"]))));
        let stream = Input::Stream(Box::new(std::io::Cursor::new(layout)));
        assert_eq!(load(&place.store, stream, &options()).unwrap().len(), 1);
    }
}

#[test]
fn layers_of_xz_and_bzip2_in_a_docker_archive_are_the_tars_in_them() {
    let (xz_layer, bzip2_layer) = (Layer::plain(&[("a", &noise(600_000, 1))]), Layer::plain(&[("b", b"2")]));
    let config = config(&[xz_layer.clone(), bzip2_layer.clone()], architecture());
    let archive = tar_of(&[
        ("c.json", &config),
        ("manifest.json", br#"[{"Config":"c.json","Layers":["1.tar","2.tar"]}]"#),
        ("1.tar", &xz(&xz_layer.blob)),
        ("2.tar", &bzip2(&bzip2_layer.blob)),
    ]);
    let place = Place::new();
    let image = &load_path(&place, &write(&place, "image.tar", &archive))[0];
    assert_eq!(place.file(image, 0, "a"), noise(600_000, 1));
    assert_eq!(place.file(image, 1, "b"), b"2");
    let manifest = place.store.blob_bytes(&image.manifest_digest, 1 << 20).unwrap().unwrap();
    assert!(String::from_utf8(manifest).unwrap().contains(&format!("\"size\":{}", xz_layer.blob.len())));
}

/// That loading `archive` fails with `expect` and leaves no image.
fn refuses(archive: &[u8], expect: &str) {
    let place = Place::new();
    let path = write(&place, "image.tar", archive);
    let error = load(&place.store, Input::Path(path), &options()).expect_err(expect);
    assert!(told(&error).contains(expect), "expected {expect:?} in {:?}", told(&error));
    assert!(place.store.images().unwrap().is_empty());
}

#[test]
fn what_is_no_image_archive_is_said_to_be_none() {
    refuses(&tar_of(&[("hello", b"world")]), "is no image archive");
    refuses(b"\x7fELF and so on", "damaged archive");
    refuses(b"", "is no image archive");
    refuses(b"<html>", "HTML");
}

#[test]
fn an_archive_that_ends_early_is_damaged() {
    let whole = legacy_archive("null");
    refuses(&whole[..whole.len() / 2 - 100], "damaged archive: it is cut off");
    let packed = gzip(&tar_of(&[("noise", &noise(1 << 20, 1))]));
    refuses(&packed[..packed.len() / 2], "damaged archive");
}

#[test]
fn names_that_lead_outside_find_nothing() {
    let config = config(&[], architecture());
    let check = |name: &str, expect| {
        let manifest = format!(r#"[{{"Config":"{name}","Layers":[]}}]"#);
        refuses(&tar_of(&[("c.json", &config), ("manifest.json", manifest.as_bytes())]), expect);
    };
    check("../../../../../../etc/passwd", "etc/passwd is missing");
    check("/etc/passwd", "/etc/passwd is missing");
    let link = tar_of(&[("c.json@", b"/etc/passwd"), ("manifest.json", br#"[{"Config":"c.json","Layers":[]}]"#)]);
    refuses(&link, "c.json is not a regular file");
}

#[test]
fn a_layer_that_is_not_its_diff_id_is_refused() {
    let (layer, other) = (Layer::plain(&[("a", b"1")]), Layer::plain(&[("a", b"2")]));
    let config = config(std::slice::from_ref(&layer), architecture());
    let archive = tar_of(&[
        ("c.json", &config),
        ("manifest.json", br#"[{"Config":"c.json","Layers":["1.tar"]}]"#),
        ("1.tar", &other.blob),
    ]);
    refuses(&archive, &format!("content has digest {}, expected {}", other.diff_id, layer.diff_id));
}

#[test]
fn a_manifest_json_that_does_not_fit_its_config_is_refused() {
    let config = config(&[], architecture());
    let archive = |manifest: &[u8]| tar_of(&[("c.json", &config), ("x", b""), ("manifest.json", manifest)]);
    refuses(&archive(br#"[{"Config":"c.json","Layers":["x"]}]"#), "the manifest has 1 layers, its config 0 diff ids");
    refuses(&archive(br#"[]"#), "is no image archive");
    refuses(&archive(br#"{"#), "malformed manifest.json");
    refuses(&archive(br#"[{"Config":"x","Layers":[]}]"#), "malformed image config");
}

#[test]
fn an_oci_archive_with_a_spoiled_or_missing_blob_is_refused() {
    let layer = Layer::gzip(&[("a", b"1")]);
    let shelf = Shelf::of(std::slice::from_ref(&layer));
    let index = index_json(&shelf, &["v1"]);
    let name = format!("blobs/sha256/{}", layer.digest().encoded());
    let mut members = layout_members(&shelf, &index);
    members.retain(|(member, _)| *member != name);
    refuses(&as_tar(&members), &format!("{name} is missing"));
    members.push((name, b"short".to_vec()));
    refuses(&as_tar(&members), &format!("archive sent 5 bytes, manifest promised {}", layer.blob.len()));
}

#[test]
fn a_layout_of_the_future_is_refused() {
    let shelf = two_images();
    let mut members = layout_members(&shelf, &index_json(&shelf, &["v1"]));
    for (name, bytes) in &mut members {
        if name == "oci-layout" {
            *bytes = br#"{"imageLayoutVersion":"2.0.0"}"#.to_vec();
        }
    }
    refuses(&as_tar(&members), "image layout version \"2.0.0\" is not supported");
}

#[test]
fn a_fifo_in_a_layout_does_not_make_us_wait() {
    let (shelf, place) = (two_images(), Place::new());
    let dir = write_layout(&place, &layout_members(&shelf, &index_json(&shelf, &["v1"])));
    std::fs::remove_file(dir.join("index.json")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(dir.join("index.json")).status().unwrap().success());
    fails(place.pull(&format!("oci:{}", dir.display())), "index.json is not a regular file");
}

#[test]
fn a_bomb_behind_gzip_stops_at_the_end_of_what_is_a_tar() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&tar_of(&[("hello", b"x")])).unwrap();
    encoder.write_all(&vec![0; 64 << 20]).unwrap();
    refuses(&encoder.finish().unwrap(), "is no image archive");
}
