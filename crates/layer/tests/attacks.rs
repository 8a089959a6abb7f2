//! Layers that mean harm. Each is refused by name or stays inside the root; the support code checks after every unpack
//! that nothing beside the root changed.

mod support;

use std::fs;
use std::io::Write;

use knarr_layer::{Compression, Error, Limits, UnpackOptions, unpack};
use support::{Entry, Place, Tar, apply, is_root, options};

/// Unpacks onto an empty tree, in overlay form and applied, and expects this refusal.
fn refused(tar: Tar, expect: &str) {
    refused_bytes(&tar.end(), expect);
}

fn refused_bytes(tar: &[u8], expect: &str) {
    for options in [options(), apply()] {
        let error = Place::new().unpack_with(tar, &options).expect_err(expect);
        assert!(error.to_string().contains(expect), "{error}\nis not: {expect}");
    }
}

/// Unpacks and expects this tree.
fn stays_inside(tar: Tar, expect: &[&str]) {
    for options in [options(), apply()] {
        let place = Place::new();
        place.unpack_with(&tar.clone().end(), &options).unwrap();
        assert_eq!(place.text(), expect.join("\n"));
    }
}

fn limited(tar: &[u8], limits: Limits, field: &str) {
    let options = UnpackOptions { limits, ..options() };
    match Place::new().unpack_with(tar, &options).expect_err(field) {
        Error::Limit { field: found, .. } => assert_eq!(found, field),
        other => panic!("{other} is not the limit {field}"),
    }
}

#[test]
fn names_that_climb_out() {
    for name in ["../outside/x", "a/../../outside/x", "/../outside/x", "..", "./../outside/secret"] {
        refused(Tar::new().file(name, "x"), "its name climbs out of the layer");
        refused(Tar::new().pax(b'0', "x", &[("path", name.as_bytes())]), "its name climbs out of the layer");
        refused(Tar::new().raw_entry(b'L', "long", name.as_bytes()).file("x", ""), "its name climbs out of the layer");
    }
    refused(Tar::new().file("../outside/.wh.secret", ""), "its name climbs out");
    refused(Tar::new().file("../outside/.wh..wh..opq", ""), "its name climbs out");
}

#[test]
fn absolute_names_are_taken_inside() {
    let place = Place::new();
    let name = format!("{}/x", place.outside().display());
    place.unpack(Tar::new().pax(b'0', "x", &[("path", name.as_bytes())])).unwrap();
    assert!(place.root().join(&name[1..]).is_file());
}

#[test]
fn writing_through_a_symbolic_link() {
    let place = Place::new();
    let outside = place.outside().display().to_string();
    // The link's absolute target does not exist inside of the root, and a file under it is refused.
    let tar = Tar::new().symlink("link", &outside).file("link/x", "x").end();
    let error = place.unpack_with(&tar, &options()).unwrap_err();
    assert!(error.to_string().contains("\"link\" is not a directory"), "{error}");
    refused(Tar::new().symlink("link", "../outside").file("link/x", "x"), "\"link\" is not a directory");
    stays_inside(Tar::new().symlink("link", "/../../..").file("link/x", "x"), &["l link -> /../../..", "f644 x \"x\""]);
    stays_inside(
        Tar::new().dir("a").symlink("a/up", "../../../a").symlink("b", "a/up").file("b/x", "x"),
        &["d755 a", "l a/up -> ../../../a", "f644 a/x \"x\"", "l b -> a/up"],
    );
}

#[test]
fn overwriting_what_a_symbolic_link_leads_to() {
    stays_inside(
        Tar::new().file("kept", "kept").symlink("link", "kept").file("link", "new"),
        &["f644 kept \"kept\"", "f644 link \"new\""],
    );
    stays_inside(Tar::new().symlink("link", "../outside/secret").file("link", "new"), &["f644 link \"new\""]);
    stays_inside(
        Tar::new().symlink("dir", "../outside").dir("dir").file("dir/x", ""),
        &["d755 dir", "f644 dir/x \"\""],
    );
}

#[test]
fn a_parent_swapped_for_a_link_after_it_was_opened() {
    let tar = Tar::new().dir("a").file("a/1", "").symlink("a", "../outside").file("a/2", "");
    refused(tar, "\"a\" is not a directory");
    stays_inside(
        Tar::new().dir("a").file("a/1", "").dir("b").symlink("a", "b").file("a/2", ""),
        &["l a -> b", "d755 b", "f644 b/2 \"\""],
    );
}

#[test]
fn hard_links_to_the_outside() {
    refused(Tar::new().hard_link("x", "../outside/secret"), "its name climbs out");
    refused(Tar::new().hard_link("x", "/etc/passwd"), "hard link to \"/etc/passwd\", which this layer does not hold");
    refused(Tar::new().symlink("out", "../outside").hard_link("x", "out/secret"), "which this layer does not hold");
    // A link to a link is another link, and writing it again replaces it.
    stays_inside(
        Tar::new().symlink("s", "../outside/secret").hard_link("h", "s").file("h", "new"),
        &["f644 h \"new\"", "l s -> ../outside/secret"],
    );
}

#[test]
fn hard_links_to_directories_and_to_nothing() {
    refused(Tar::new().dir("d").hard_link("x", "d"), "hard link to \"d\", which is a directory");
    refused(Tar::new().hard_link("x", "x"), "which this layer does not hold");
    refused(Tar::new().hard_link("x", ""), "");
    let whited_out = Tar::new().file(".wh.gone", "").hard_link("x", "gone").end();
    assert!(Place::new().unpack_with(&whited_out, &options()).is_err());
}

#[test]
fn loops_of_links_in_a_parent() {
    refused(Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", ""), "\"a\" is not a directory");
    refused(Tar::new().symlink("a", "a/a").file("a/a/x", ""), "is not a directory");
}

#[test]
fn whiteouts_of_dot_and_dot_dot() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..", "d/.wh..."] {
        refused(Tar::new().dir("d").file(name, ""), "a whiteout must name what it hides");
    }
    refused(Tar::new().file(".wh.d/x", ""), "a whiteout has nothing below it");
}

#[test]
fn whiteouts_through_links_remove_nothing_outside() {
    for name in ["link/.wh.secret", "link/.wh..wh..opq", ".wh.link"] {
        let tar = Tar::new().symlink("link", "../outside").file(name, "").end();
        for options in [options(), apply()] {
            let _refused_or_inside = Place::new().unpack_with(&tar, &options);
        }
    }
    let place = Place::new();
    place.unpack_with(&Tar::new().symlink("link", "../outside").end(), &apply()).unwrap();
    place.unpack_with(&Tar::new().file(".wh.link", "").end(), &apply()).unwrap();
    assert_eq!(place.text(), "");
}

#[test]
fn the_root_as_anything_but_a_directory() {
    for name in ["./", "/", ".", "a/.."] {
        refused(Tar::new().symlink(name, "../outside"), "the root of a layer can only be a directory");
        refused(Tar::new().file(name, "x"), "the root of a layer can only be a directory");
    }
}

#[test]
fn files_under_files() {
    refused(Tar::new().file("a", "").file("a/b", ""), "\"a\" is not a directory");
    refused(Tar::new().file("a", "").dir("a/b"), "\"a\" is not a directory");
    let whiteout = Place::new().unpack(Tar::new().file("a", "").file("a/.wh.b", ""));
    assert!(whiteout.unwrap_err().to_string().contains("\"a\" is not a directory"));
}

#[test]
fn pax_size_and_header_size_that_disagree() {
    // TARmageddon: a reader that believes the header takes the hidden entry for one of this archive.
    let hidden = Tar::new().file("hidden", "x").0;
    let mut tar = Tar::new().pax(b'0', "file", &[("size", hidden.len().to_string().as_bytes())]);
    tar = tar.padded(&hidden);
    let size = hidden.len();
    stays_inside(tar, &[&format!("f644 file {size} bytes")]);
}

#[test]
fn data_on_entries_that_have_none() {
    let mut tar = Tar::new();
    tar.0.extend(support::header(&Entry::new(b'5', "dir"), 512));
    stays_inside(tar.file("inside", "x"), &["d755 dir", "f644 inside \"x\""]);
}

#[test]
fn archives_cut_off_anywhere() {
    let whole = Tar::new().dir("d").pax(b'0', "d/f", &[("SCHILY.xattr.user.k", b"v")]).file("d/g", "data").end();
    let (mut refused, mut accepted) = (0, 0);
    for bytes in (0..whole.len() - 1024).step_by(7) {
        match unpack(&whole[..bytes], &Place::new().handle(), &options()) {
            Ok(_) => accepted += 1,
            Err(Error::Header { .. }) => refused += 1,
            Err(other) => panic!("{bytes} bytes: {other}"),
        }
    }
    // Whole entries are an archive without an end; the padding of the last one may be missing.
    assert!(accepted < 4 + 512 / 7 && refused > 300, "{accepted} accepted, {refused} refused");
}

#[test]
fn headers_that_are_none() {
    refused_bytes(&[b'x'; 1024], "checksum");
    refused_bytes(b"<html>not found</html>", "HTML");
    refused_bytes(b"short", "cut off");
    let mut damaged = Tar::new().file("a", "").end();
    damaged[0] = b'b';
    refused_bytes(&damaged, "this is no tar or it is damaged");
    let mut lone_zeros = vec![0; 512];
    lone_zeros.extend(Tar::new().file("a", "").0);
    refused_bytes(&lone_zeros, "checksum");
    for kind in [b'M', b'V', b'D', b'Z', b'!', 0xff] {
        refused(Tar::new().raw_entry(kind, "x", b""), "is not one a layer can hold");
    }
}

#[test]
fn numbers_out_of_range() {
    let with = |from: usize, bytes: &[u8]| {
        let mut block = support::header(&Entry::new(b'0', "x"), 0);
        block[from..from + bytes.len()].copy_from_slice(bytes);
        support::checksum(&mut block);
        [&block[..], &[0; 1024]].concat()
    };
    refused_bytes(&with(124, &[0xff; 12]), "field size is no number");
    refused_bytes(&with(108, &[0xff; 8]), "field uid is no number");
    refused_bytes(&with(124, b"88888888888\0"), "field size is no number");
    refused_bytes(&with(124, &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), "cut off");
    refused(Tar::new().pax(b'0', "x", &[("size", b"18446744073709551615")]), "field size is no number");
    refused(Tar::new().pax(b'0', "x", &[("size", b"-1")]), "pax record size");
    refused(Tar::new().pax(b'0', "x", &[("uid", b"4294967296")]), "uid 4294967296");
}

#[test]
fn sparse_maps_that_lie() {
    let map = |map: &'static str, size: &'static str| {
        let pax: Vec<(&str, &[u8])> = vec![("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", map.as_bytes())];
        Tar::new().entry(Entry { pax, data: b"hello", ..Entry::new(b'0', "x") })
    };
    refused(map("0,5,3,0", "100"), "overlap");
    refused(map("0,4", "100"), "its pieces are not the data that follows");
    refused(map("0,6", "100"), "its pieces are not the data that follows");
    refused(map("98,5", "100"), "a piece ends behind the file");
    refused(map("18446744073709551615,5", "100"), "beyond all numbers");
    refused(map("0,5", "18446744073709551615"), "a piece ends behind the file");
    refused(map("0,5,7", "100"), "an offset without a length");
    refused(map("0,x", "100"), "pax record");
    refused(
        Tar::new().entry(Entry {
            pax: vec![("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")],
            data: b"999999999\n",
            ..Entry::new(b'0', "x")
        }),
        "sparse",
    );
}

#[test]
fn names_longer_than_the_kernel_takes() {
    let limits = || Limits::default();
    let long = "d/".repeat(2100);
    limited(&Tar::new().pax(b'0', "x", &[("path", long.as_bytes())]).end(), limits(), "path_bytes_max");
    limited(&Tar::new().raw_entry(b'K', "k", long.as_bytes()).symlink("x", "y").end(), limits(), "path_bytes_max");
    refused(Tar::new().pax(b'0', "x", &[("path", "n".repeat(300).as_bytes())]), "layer entry");
}

#[test]
fn limits_are_named() {
    let default = Limits::default;
    let tar = Tar::new().file("a", "12345").file("b", "").pax(b'0', "c", &[("SCHILY.xattr.user.k", &[7; 100])]).end();
    limited(&tar, Limits { entries_max: 2, ..default() }, "entries_max");
    limited(&tar, Limits { tar_bytes_max: 1000, ..default() }, "tar_bytes_max");
    limited(&tar, Limits { xattr_bytes_max: 99, ..default() }, "xattr_bytes_max");
    limited(&tar, Limits { extended_header_bytes_max: 100, ..default() }, "extended_header_bytes_max");
    let mut sparse = b"9\n".to_vec();
    sparse.resize(512, 0);
    let pax: Vec<(&str, &[u8])> =
        vec![("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    let sparse = Tar::new().entry(Entry { pax, data: &sparse, ..Entry::new(b'0', "x") }).end();
    limited(&sparse, Limits { sparse_pieces_max: 8, ..default() }, "sparse_pieces_max");
    let huge = Tar::new().raw_entry(b'x', "pax", &vec![0; 2 << 20]).end();
    limited(&huge, default(), "extended_header_bytes_max");
}

#[test]
fn a_bomb_of_zeros() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut tar = support::header(&Entry::new(b'0', "bomb"), 64 << 20).to_vec();
    tar.resize((64 << 20) + 1536, 0);
    gzip.write_all(&tar).unwrap();
    let limits = Limits { expansion_free_bytes: 1 << 20, expansion_max: 500, ..Limits::default() };
    limited(&gzip.finish().unwrap(), limits, "expansion_max");
}

#[test]
fn a_zstd_frame_that_asks_for_too_much_memory() {
    // A frame header with a window of 2^41 bytes.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00];
    let options = UnpackOptions { compression: Some(Compression::Zstd), ..options() };
    let error = Place::new().unpack_with(&frame, &options).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
}

#[test]
fn a_deep_tree_built_through_links() {
    // Each round goes a hundred levels deeper through a link, far beyond what one path can name.
    let hundred = "d/".repeat(100);
    let mut tar = Tar::new().dir("l0");
    for round in 0..20 {
        let link = format!("l{round}");
        let deep = format!("{link}/{hundred}x");
        tar = tar.pax(b'5', "x", &[("path", deep.as_bytes())]);
        tar = tar.symlink(&format!("l{}", round + 1), &deep[..deep.len() - 1]);
    }
    for options in [options(), apply()] {
        let place = Place::new();
        let _as_far_as_links_are_followed = place.unpack_with(&tar.clone().end(), &options);
        place.unpack_with(&Tar::new().file(".wh..wh..opq", "").end(), &apply()).unwrap();
        assert_eq!(place.text(), "");
    }
}

#[test]
fn reserved_attributes_do_not_reach_the_overlay() {
    let place = Place::new();
    let keys = ["redirect", "metacopy", "origin", "opaque", "whiteout", "data"];
    let keys: Vec<String> = keys
        .iter()
        .flat_map(|key| ["trusted", "user"].map(|space| format!("SCHILY.xattr.{space}.overlay.{key}")))
        .collect();
    let pax: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), &b"y"[..])).collect();
    let unpacked = place.unpack(Tar::new().pax(b'0', "x", &pax)).unwrap();
    assert_eq!(unpacked.skipped.len(), keys.len());
    if is_root() {
        let file = fs::File::open(place.root().join("x")).unwrap();
        assert!(
            knarr_sys::xattr::Holder::File(&file).list().unwrap().iter().all(|name| !name.to_bytes().contains(&b'.'))
        );
    }
}
