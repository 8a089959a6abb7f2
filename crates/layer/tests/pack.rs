//! What trees become, and that they come back as they were.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use knarr_layer::{Compression, PackOptions, Packed, UnpackOptions, WhiteoutForm, decompress, diff, pack};
use knarr_spec::Digest;
use knarr_sys::at::{self, FileType, Mode};
use knarr_sys::xattr::Holder;
use support::{Place, Tar, apply, is_root, options};

fn plain() -> PackOptions {
    PackOptions { compression: Compression::None, ids: options().ids, ..PackOptions::default() }
}

fn packed(place: &Place, options: &PackOptions) -> (Vec<u8>, Packed) {
    let mut out = Vec::new();
    let report = pack(&place.handle(), &mut out, options).unwrap();
    assert_eq!((report.digest.clone(), report.blob_bytes), (Digest::sha256_of(&out), out.len() as u64));
    (out, report)
}

/// The names of a tar's entries with their types, as the `tar` crate reads them.
fn listing(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    let line = |entry: tar::Entry<'_, &[u8]>| {
        let kind = char::from(entry.header().entry_type().as_byte());
        format!("{kind} {}", String::from_utf8_lossy(&entry.path_bytes()))
    };
    archive.entries().unwrap().map(|entry| line(entry.unwrap())).collect()
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let dir = fs::File::open(path.parent().unwrap()).unwrap();
    let name = std::ffi::CString::new(path.file_name().unwrap().as_encoded_bytes()).unwrap();
    let time = at::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    at::set_times(&dir, &name, time, time).unwrap();
}

/// A tree with one of everything an ordinary user can make.
fn sample() -> Place {
    let place = Place::new();
    let at = |name: &str| place.root().join(name);
    fs::create_dir_all(at("usr/lib")).unwrap();
    fs::write(at("usr/lib/so"), "library").unwrap();
    fs::hard_link(at("usr/lib/so"), at("usr/lib/so.1")).unwrap();
    symlink("usr/lib", at("lib")).unwrap();
    fs::write(at("usr.conf"), "between by name, behind by directory").unwrap();
    fs::write(at("ü"), vec![7; 700_000]).unwrap();
    fs::write(at(&"n".repeat(200)), "").unwrap();
    symlink("t".repeat(150), at("far")).unwrap();
    fs::set_permissions(at("usr.conf"), fs::Permissions::from_mode(0o4751)).unwrap();
    for name in ["usr/lib/so", "lib", "usr.conf", "ü", "far", "usr/lib", "usr"] {
        set_mtime(&at(name), 1_600_000_000, 123_000_000);
    }
    set_mtime(&at("usr.conf"), -5, 0);
    set_mtime(&place.root(), 77, 0);
    place
}

#[test]
fn directories_come_first_and_names_ascend() {
    let place = sample();
    let (bytes, report) = packed(&place, &plain());
    let long = format!("0 {}", "n".repeat(200));
    let expect = [
        "5 ./",
        "2 far",
        "2 lib",
        &long,
        "5 usr/",
        "5 usr/lib/",
        "0 usr/lib/so",
        "1 usr/lib/so.1",
        "0 usr.conf",
        "0 ü",
    ];
    let expect: Vec<&str> = expect.into();
    assert_eq!(listing(&bytes), expect);
    assert_eq!((report.entries, report.tar_bytes), (10, bytes.len() as u64));
}

#[test]
fn a_tree_comes_back_as_it_was_and_packs_to_the_same_bytes() {
    let place = sample();
    let (bytes, report) = packed(&place, &plain());
    let back = Place::new();
    let unpacked = back.unpack_with(&bytes, &options()).unwrap();
    assert_eq!(unpacked.diff_id, report.diff_id);
    assert_eq!(unpacked.implied_dirs, Vec::<std::path::PathBuf>::new());
    assert_eq!(back.text(), place.text());
    for name in ["usr/lib/so", "lib", "usr.conf", "usr/lib", "usr", "."] {
        let times = |place: &Place| (place.stat(name).mtime(), place.stat(name).mtime_nsec());
        assert_eq!(times(&back), times(&place), "{name}");
    }
    assert_eq!(back.stat("usr/lib/so").nlink(), 2);
    assert_eq!(packed(&back, &plain()).0, bytes);
}

#[test]
fn every_form_has_the_same_diff_id_and_is_what_it_says() {
    let place = sample();
    let (tar, _) = packed(&place, &plain());
    for compression in [Compression::Gzip, Compression::Zstd] {
        let options = PackOptions { compression, ..plain() };
        let (blob, report) = packed(&place, &options);
        assert_eq!(report.diff_id.0, Digest::sha256_of(&tar));
        let mut back = Vec::new();
        std::io::Read::read_to_end(&mut decompress(&blob[..], Some(compression)).unwrap(), &mut back).unwrap();
        assert_eq!(back, tar);
        assert_eq!(packed(&place, &options).0, blob);
    }
}

/// The bytes `docs/formats.md` promises; if this fails, every layer anybody packed changes its digest.
#[test]
fn the_pinned_bytes_do_not_change() {
    let place = Place::new();
    fs::write(place.root().join("file"), "data").unwrap();
    fs::set_permissions(place.root().join("file"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.root(), fs::Permissions::from_mode(0o755)).unwrap();
    set_mtime(&place.root().join("file"), 1_700_000_000, 5_000_000);
    set_mtime(&place.root(), 1_700_000_000, 0);
    let (bytes, report) = packed(&place, &plain());
    assert_eq!(bytes.len(), 512 * 7);
    assert_eq!(&bytes[..100], [b"./".to_vec(), vec![0; 98]].concat());
    assert_eq!(report.diff_id.to_string(), "sha256:acc41db3b451ae38f7ef3b8c49d175479777e7c7af180d4dcf9a2c5251fc4144");
}

#[test]
fn later_times_are_clamped_where_asked() {
    let place = Place::new();
    fs::write(place.root().join("new"), "").unwrap();
    fs::write(place.root().join("old"), "").unwrap();
    set_mtime(&place.root().join("old"), 5, 0);
    let (bytes, _) = packed(&place, &PackOptions { time_max: Some(1000), ..plain() });
    let back = Place::new();
    back.unpack_with(&bytes, &options()).unwrap();
    assert_eq!((back.stat("new").mtime(), back.stat("new").mtime_nsec(), back.stat("old").mtime()), (1000, 0, 5));
}

#[test]
fn attributes_and_labels() {
    let place = Place::new();
    fs::write(place.root().join("file"), "").unwrap();
    let file = fs::File::open(place.root().join("file")).unwrap();
    let holder = Holder::File(&file);
    if let Err(error) = holder.set(c"user.k", b"a\nb\0") {
        return eprintln!("skipped: no user attributes here: {error}");
    }
    holder.set(c"user.overlay.origin", b"elsewhere").unwrap();
    let back = Place::new();
    back.unpack_with(&packed(&place, &plain()).0, &options()).unwrap();
    let file = fs::File::open(back.root().join("file")).unwrap();
    assert_eq!(Holder::File(&file).get(c"user.k").unwrap().as_deref(), Some(&b"a\nb\0"[..]));
    assert_eq!(Holder::File(&file).list().unwrap(), [c"user.k".to_owned()]);
}

#[test]
fn holes_are_kept_where_asked() {
    let place = Place::new();
    let file = fs::File::create(place.root().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 1 << 20).unwrap();
    file.set_len(3 << 20).unwrap();
    let (dense, _) = packed(&place, &plain());
    let (sparse, _) = packed(&place, &PackOptions { sparse: true, ..plain() });
    assert!(dense.len() > 3 << 20 && sparse.len() < 100_000, "{} and {}", dense.len(), sparse.len());
    let back = Place::new();
    back.unpack_with(&sparse, &options()).unwrap();
    let read = |place: &Place| fs::read(place.root().join("sparse")).unwrap();
    assert!(read(&back) == read(&place));
    assert!(back.stat("sparse").blocks() < 1000);
}

#[test]
fn a_name_that_would_be_read_as_a_whiteout_is_refused() {
    let place = Place::new();
    fs::write(place.root().join(".wh.file"), "").unwrap();
    let error = pack(&place.handle(), Vec::new(), &plain()).unwrap_err();
    assert_eq!(error.to_string(), "pack \".wh.file\": a layer would read its name as a whiteout");
}

#[test]
fn sockets_are_left_out() {
    let place = Place::new();
    let _socket = std::os::unix::net::UnixListener::bind(place.root().join("socket")).unwrap();
    assert_eq!(listing(&packed(&place, &plain()).0), ["5 ./"]);
}

/// Unpacks a layer as an upper directory, and returns what its diff over `lower` lists.
fn diffed(upper: Tar, lower: &[&Place]) -> Vec<String> {
    let place = Place::new();
    place.unpack_with(&upper.end(), &options()).unwrap();
    let lower: Vec<_> = lower.iter().map(|place| place.handle()).collect();
    let mut out = Vec::new();
    diff(&place.handle(), &lower, &mut out, &plain()).unwrap();
    listing(&out)
}

fn layer(tar: Tar) -> Place {
    let place = Place::new();
    place.unpack_with(&tar.end(), &options()).unwrap();
    place
}

#[test]
fn removed_names_become_whiteouts_before_their_neighbours() {
    let upper = Tar::new().dir("a").file("a/.wh.z", "").file("a/b", "").file(".wh.gone", "");
    assert_eq!(diffed(upper, &[]), ["0 .wh.gone", "5 a/", "0 a/.wh.z", "0 a/b"]);
}

#[test]
fn an_opaque_directory_is_marked_or_spelled_out() {
    let upper = || Tar::new().dir("d").file("d/.wh..wh..opq", "").file("d/new", "").file("d/kept", "");
    assert_eq!(diffed(upper(), &[]), ["5 d/", "0 d/.wh..wh..opq", "0 d/kept", "0 d/new"]);
    let base = layer(Tar::new().dir("d").file("d/x", "").file("d/y", "").file("d/kept", ""));
    let middle = layer(Tar::new().dir("d").file("d/.wh.x", "").file("d/z", ""));
    assert_eq!(diffed(upper(), &[&middle, &base]), ["5 d/", "0 d/.wh.y", "0 d/.wh.z", "0 d/kept", "0 d/new"]);
    let file = layer(Tar::new().file("d", "a file"));
    assert_eq!(diffed(upper(), &[&middle, &file, &base]), ["5 d/", "0 d/.wh.z", "0 d/kept", "0 d/new"]);
}

#[test]
fn below_an_opaque_directory_everything_is_spelled_out() {
    let base = layer(Tar::new().dir("d").dir("d/sub").file("d/sub/x", ""));
    let upper = Tar::new().dir("d").file("d/.wh..wh..opq", "").dir("d/sub").file("d/sub/y", "");
    assert_eq!(diffed(upper, &[&base]), ["5 d/", "5 d/sub/", "0 d/sub/.wh.x", "0 d/sub/y"]);
}

#[test]
fn what_only_this_overlay_can_read_is_refused() {
    let place = Place::new();
    fs::create_dir(place.root().join("d")).unwrap();
    let dir = fs::File::open(place.root().join("d")).unwrap();
    if let Err(error) = Holder::File(&dir).set(c"user.overlay.redirect", b"/e") {
        return eprintln!("skipped: no user attributes here: {error}");
    }
    let error = diff(&place.handle(), &[], Vec::new(), &plain()).unwrap_err();
    assert!(error.to_string().contains("redirect_dir=off"), "{error}");
}

#[test]
fn the_diff_of_an_unpacked_layer_applies_like_the_layer() {
    let base = Tar::new().dir("d").file("d/a", "").file("d/b", "").dir("e").file("e/x", "");
    let change =
        Tar::new().dir("d").file("d/.wh.a", "").file("d/c", "").dir("e").file("e/.wh..wh..opq", "").file("e/y", "");
    let (lower, upper) = (layer(base.clone()), layer(change.clone()));
    for lowers in [vec![], vec![lower.handle()]] {
        let mut out = Vec::new();
        diff(&upper.handle(), &lowers, &mut out, &plain()).unwrap();
        let (direct, through) = (Place::new(), Place::new());
        for place in [&direct, &through] {
            place.unpack_with(&base.clone().end(), &apply()).unwrap();
        }
        direct.unpack_with(&change.clone().end(), &apply()).unwrap();
        through.unpack_with(&out, &apply()).unwrap();
        assert_eq!(through.text(), direct.text());
    }
}

#[test]
fn devices_and_their_numbers_come_back() {
    if !is_root() {
        return eprintln!("skipped: making devices needs root");
    }
    let place = Place::new();
    at::make_node(place.handle(), c"null", FileType::CharacterDevice, Mode::from(0o666), at::makedev(1, 3)).unwrap();
    at::make_node(place.handle(), c"big", FileType::BlockDevice, Mode::from(0o600), at::makedev(4095, 70_000)).unwrap();
    let back = Place::new();
    back.unpack_with(&packed(&place, &plain()).0, &options()).unwrap();
    assert_eq!(back.text(), place.text());
}

#[test]
fn a_whiteout_packed_as_a_plain_tree_is_still_a_whiteout() {
    let place = layer(Tar::new().file(".wh.x", ""));
    let back = Place::new();
    let options = UnpackOptions { whiteouts: WhiteoutForm::OverlayUser, ..options() };
    back.unpack_with(&packed(&place, &plain()).0, &options).unwrap();
    assert_eq!(back.text(), "w x");
}
