//! What honest layers become.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use knarr_layer::{Error, IdMap, IdRange, Refusal, Skipped, UnpackOptions, WhiteoutForm};
use knarr_spec::Digest;
use knarr_sys::xattr::Holder;
use support::{Entry, Place, Tar, apply, is_root, is_some_root, options};

/// Unpacks in overlay form and compares the tree's text.
fn check(tar: Tar, expect: &[&str]) -> Place {
    let place = Place::new();
    place.unpack(tar).unwrap();
    assert_eq!(place.text(), expect.join("\n"));
    place
}

/// Applies one layer after the other onto one tree.
fn check_applied(layers: &[Tar], expect: &[&str]) -> Place {
    let place = Place::new();
    for layer in layers {
        place.unpack_with(&layer.clone().end(), &apply()).unwrap();
    }
    assert_eq!(place.text(), expect.join("\n"));
    place
}

fn xattr(place: &Place, name: &str, key: &std::ffi::CStr) -> Option<Vec<u8>> {
    Holder::File(fs::File::open(place.root().join(name)).unwrap()).get(key).unwrap()
}

#[test]
fn files_directories_links_and_fifos_are_made() {
    let place = check(
        Tar::new()
            .dir("etc/")
            .file("etc/passwd", "root")
            .symlink("link", "/etc/passwd")
            .hard_link("etc/again", "etc/passwd")
            .entry(Entry::new(b'6', "fifo")),
        &["d755 etc", "f644 etc/again \"root\"", "f644 etc/passwd \"root\"", "p644 fifo", "l link -> /etc/passwd"],
    );
    assert_eq!(place.stat("etc/again").ino(), place.stat("etc/passwd").ino());
    for name in ["etc", "etc/passwd", "link", "fifo"] {
        assert_eq!(place.stat(name).mtime(), 1_000_000, "{name}");
    }
}

#[test]
fn the_report_counts_and_the_digest_covers_what_follows_the_end() {
    let place = Place::new();
    let mut tar = Tar::new().dir("a").file("a/b", "12345").end();
    tar.extend([7; 5000]);
    let unpacked = place.unpack_with(&tar, &options()).unwrap();
    assert_eq!(unpacked.diff_id.0, Digest::sha256_of(&tar));
    assert_eq!((unpacked.tar_bytes, unpacked.entries, unpacked.tree_bytes), (tar.len() as u64, 2, 5));
}

#[test]
fn an_empty_tar_and_no_bytes_at_all_are_empty_layers() {
    for bytes in [&[0; 1024][..], &[], &[0; 10240]] {
        let unpacked = Place::new().unpack_with(bytes, &options()).unwrap();
        assert_eq!((unpacked.entries, unpacked.diff_id.0), (0, Digest::sha256_of(bytes)));
    }
}

#[test]
fn a_directory_nobody_described_is_reported_until_somebody_does() {
    let place = Place::new();
    let implied = |tar: Tar| {
        let unpacked = Place::new().unpack(tar).unwrap();
        unpacked.implied_dirs.iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(implied(Tar::new().file("a/b/c", "").dir("a")), [".", "a/b"]);
    assert_eq!(implied(Tar::new().dir("./").dir("a").file("a/c", "")), Vec::<String>::new());
    place.unpack(Tar::new().file("a/b", "")).unwrap();
    assert_eq!((place.stat("a").mtime(), place.stat("a").mode() & 0o7777), (0, 0o755));
    assert_eq!(place.stat(".").mtime(), 0);
}

#[test]
fn the_times_of_a_directory_outlast_what_is_put_into_it_later() {
    let place = check(
        Tar::new().dir("a").dir("a/b").file("a/b/x", "").file("a/y", ""),
        &["d755 a", "d755 a/b", "f644 a/b/x \"\"", "f644 a/y \"\""],
    );
    assert_eq!((place.stat("a").mtime(), place.stat("a/b").mtime()), (1_000_000, 1_000_000));
}

#[test]
fn times_have_nanoseconds_and_may_lie_before_the_epoch() {
    let place = Place::new();
    let time: &[u8] = b"1350244992.023960108";
    place
        .unpack(
            Tar::new()
                .pax(b'0', "file", &[("mtime", time)])
                .pax(b'2', "link", &[("mtime", time), ("linkpath", b"x")])
                .pax(b'5', "dir", &[("mtime", b"-1.5"), ("atime", b"7.25")]),
        )
        .unwrap();
    for name in ["file", "link"] {
        assert_eq!((place.stat(name).mtime(), place.stat(name).mtime_nsec()), (1_350_244_992, 23_960_108));
    }
    assert_eq!((place.stat("dir").mtime(), place.stat("dir").mtime_nsec()), (-2, 500_000_000));
    assert_eq!((place.stat("dir").atime(), place.stat("dir").atime_nsec()), (7, 250_000_000));
}

#[test]
fn set_id_and_sticky_bits_survive_the_change_of_owner() {
    let mode = |kind, name, mode| Entry { mode, ..Entry::new(kind, name) };
    check(
        Tar::new()
            .entry(mode(b'0', "su", 0o4755))
            .entry(mode(b'0', "sg", 0o2755))
            .entry(mode(b'5', "tmp", 0o1777))
            .entry(mode(b'5', "all", 0o7777))
            .entry(mode(b'0', "none", 0o400)),
        &["d7777 all", "f400 none \"\"", "f2755 sg \"\"", "f4755 su \"\"", "d1777 tmp"],
    );
}

#[test]
fn long_names_of_pax_gnu_and_the_ustar_prefix_are_joined() {
    let long = "n".repeat(200);
    let deep = format!("{}/{}", "d".repeat(150), "n".repeat(90));
    let mut prefixed = support::header(&Entry::new(b'0', &"n".repeat(90)), 0);
    prefixed[345..495].fill(b'd');
    support::checksum(&mut prefixed);
    let place = Place::new();
    let mut tar = Tar::new()
        .pax(b'0', "short", &[("path", format!("pax-{long}").as_bytes())])
        .raw_entry(b'L', "././@LongLink", format!("gnu-{long}\0").as_bytes())
        .file("short", "gnu")
        .raw_entry(b'K', "././@LongLink", format!("gnu-{long}\0").as_bytes())
        .raw_entry(b'L', "././@LongLink", b"long-link\0")
        .symlink("short", "short");
    tar.0.extend(prefixed);
    place.unpack(tar).unwrap();
    assert!(place.stat(&format!("pax-{long}")).is_file());
    assert_eq!(fs::read_to_string(place.root().join("long-link")).unwrap(), "gnu");
    assert!(place.stat(&deep).is_file());
}

#[test]
fn names_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let tar =
        Tar::new().entry(Entry { name: b"\xff\xfe", ..Entry::new(b'0', "") }).pax(b'0', "x", &[("path", b"\xc3(")]);
    place.unpack(tar).unwrap();
    for name in [&b"\xff\xfe"[..], b"\xc3("] {
        assert!(place.root().join(std::ffi::OsStr::from_bytes(name)).exists());
    }
}

#[test]
fn the_last_of_several_entries_of_a_name_wins() {
    check(Tar::new().file("a", "one").file("a", "two"), &["f644 a \"two\""]);
    check(Tar::new().dir("a").file("a/b", "").file("a", "file"), &["f644 a \"file\""]);
    check(Tar::new().symlink("a", "x").dir("a").file("a/b", ""), &["d755 a", "f644 a/b \"\""]);
    check(Tar::new().dir("a").file("a/b", "").symlink("a", "x"), &["l a -> x"]);
    check(Tar::new().file("a", "").entry(Entry::new(b'6', "a")), &["p644 a"]);
}

#[test]
fn a_directory_named_twice_keeps_what_it_holds() {
    let again = Entry { mode: 0o700, ..Entry::new(b'5', "a") };
    check(Tar::new().dir("a").file("a/b", "").entry(again), &["d700 a", "f644 a/b \"\""]);
}

#[test]
fn a_link_in_a_parent_is_followed_inside_the_layer() {
    check(
        Tar::new().dir("usr").dir("usr/lib").symlink("lib", "usr/lib").file("lib/so", "x").hard_link("so", "lib/so"),
        &["l lib -> usr/lib", "f644 so \"x\"", "d755 usr", "d755 usr/lib", "f644 usr/lib/so \"x\""],
    );
}

#[test]
fn hard_links_reach_entries_that_are_replaced_later() {
    check(
        Tar::new().file("a", "old").hard_link("b", "./a").hard_link("c", "/b").file("a", "new"),
        &["f644 a \"new\"", "f644 b \"old\"", "f644 c \"old\""],
    );
    check(
        Tar::new().file("a", "x").hard_link("a", "a").file("b", "y").hard_link("b", "a"),
        &["f644 a \"x\"", "f644 b \"x\""],
    );
    check(Tar::new().symlink("a", "nowhere").hard_link("b", "a"), &["l a -> nowhere", "l b -> nowhere"]);
}

#[test]
fn a_hard_link_to_itself_through_a_symbolic_link_removes_nothing() {
    check(
        Tar::new().dir("d").file("d/a", "x").symlink("s", "d").hard_link("s/a", "d/a"),
        &["d755 d", "f644 d/a \"x\"", "l s -> d"],
    );
}

#[test]
fn whiteouts_become_devices_and_opaque_directories_a_mark() {
    let place = check(
        Tar::new().dir("a").file("a/.wh.gone", "").file(".wh.top", "").dir("b").file("b/.wh..wh..opq", ""),
        &["d755 a", "w a/gone", "d755 b", "w top"],
    );
    assert!(place.is_opaque("b") && !place.is_opaque("a"));
}

#[test]
fn an_opaque_root_is_reported() {
    let opaque = |tar: Tar| Place::new().unpack(tar).unwrap().opaque_root;
    assert!(opaque(Tar::new().file(".wh..wh..opq", "").file("a", "")));
    assert!(!opaque(Tar::new().file("a/.wh..wh..opq", "").file("a/b", "")));
}

#[test]
fn whiteout_does_not_hide_a_file_added_by_the_same_layer() {
    let file = ["f644 a \"new\""];
    check(Tar::new().file(".wh.a", "").file("a", "new"), &file);
    check(Tar::new().file("a", "new").file(".wh.a", ""), &file);
    check_applied(&[Tar::new().file("a", "old"), Tar::new().file(".wh.a", "").file("a", "new")], &file);
    check_applied(&[Tar::new().file("a", "old"), Tar::new().file("a", "new").file(".wh.a", "")], &file);
}

#[test]
fn a_directory_added_beside_its_whiteout_is_opaque() {
    for tar in [
        Tar::new().file(".wh.a", "").dir("a").file("a/b", ""),
        Tar::new().dir("a").file("a/b", "").file(".wh.a", ""),
        Tar::new().file(".wh.a", "").file("a/b", ""),
        Tar::new().file("a/b", "").file(".wh.a", ""),
        Tar::new().file("a", "").dir("a").file("a/b", ""),
    ] {
        let place = check(tar, &["d755 a", "f644 a/b \"\""]);
        assert!(place.is_opaque("a"));
    }
    let unpacked = Place::new().unpack(Tar::new().file(".wh.a", "").file("a/b", "")).unwrap();
    assert_eq!(unpacked.implied_dirs, [std::path::PathBuf::from(".")], "nothing below describes it");
}

#[test]
fn applied_whiteouts_remove_what_the_layers_below_had() {
    let base = Tar::new().dir("d").file("d/a", "").dir("d/sub").file("d/sub/x", "").file("b", "");
    check_applied(&[base.clone(), Tar::new().file("d/.wh.sub", "").file(".wh.b", "")], &["d755 d", "f644 d/a \"\""]);
    check_applied(
        &[base.clone(), Tar::new().file(".wh.missing", "").file("no/.wh.x", "")],
        &["f644 b \"\"", "d755 d", "f644 d/a \"\"", "d755 d/sub", "f644 d/sub/x \"\""],
    );
    let opaque = ["f644 b \"\"", "d755 d", "f644 d/new \"\"", "d755 d/sub", "f644 d/sub/y \"\""];
    let mark = |tar: Tar| tar.file("d/.wh..wh..opq", "");
    check_applied(&[base.clone(), mark(Tar::new()).file("d/new", "").file("d/sub/y", "")], &opaque);
    check_applied(&[base.clone(), mark(Tar::new().file("d/new", "").file("d/sub/y", ""))], &opaque);
    check_applied(
        &[base.clone(), Tar::new().dir("d").file("d/new", "").file(".wh.d", "")],
        &["f644 b \"\"", "d755 d", "f644 d/new \"\""],
    );
    check_applied(&[base, Tar::new().file(".wh..wh..opq", "").file("z", "")], &["f644 z \"\""]);
}

#[test]
fn an_applied_layer_leaves_the_times_of_directories_it_does_not_describe() {
    let place = check_applied(
        &[Tar::new().dir("d").file("d/a", ""), Tar::new().file("d/b", "").file("d/.wh.a", "")],
        &["d755 d", "f644 d/b \"\""],
    );
    assert_eq!(place.stat("d").mtime(), 1_000_000);
}

#[test]
fn aufs_bookkeeping_is_passed_over() {
    check(
        Tar::new().dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", "x").file(".wh..wh.aufs", "").file("a", ""),
        &["f644 a \"\""],
    );
}

#[test]
fn attributes_are_set_whatever_bytes_they_hold() {
    let place = Place::new();
    let value: &[u8] = b"a\n12 path=x\n\0\xff";
    let tar = Tar::new().pax(b'0', "file", &[("SCHILY.xattr.user.k", value), ("SCHILY.xattr.user.empty", b"")]).pax(
        b'5',
        "dir",
        &[("LIBARCHIVE.xattr.user.k", b"aGVsbG8")],
    );
    let unpacked = place.unpack(tar).unwrap();
    if !unpacked.skipped.is_empty() {
        eprintln!("skipped: no user attributes on this file system: {:?}", unpacked.skipped);
        return;
    }
    assert_eq!(xattr(&place, "file", c"user.k").as_deref(), Some(value));
    assert_eq!(xattr(&place, "file", c"user.empty").as_deref(), Some(&b""[..]));
    assert_eq!(xattr(&place, "dir", c"user.k").as_deref(), Some(&b"hello"[..]));
}

/// `cap_net_raw+ep`, version 2.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn capabilities_survive_writing_and_the_change_of_owner() {
    if !is_some_root() {
        return eprintln!("skipped: setting capabilities needs root of some user namespace");
    }
    let place = Place::new();
    let pax: Vec<(&str, &[u8])> = vec![("SCHILY.xattr.security.capability", CAPABILITY)];
    place.unpack(Tar::new().entry(Entry { data: b"x", uid: 7, pax, ..Entry::new(b'0', "ping") })).unwrap();
    assert_eq!(xattr(&place, "ping", c"security.capability").as_deref(), Some(CAPABILITY));
}

#[test]
fn acls_come_in_binary_and_in_text() {
    let place = Place::new();
    let text: &[u8] = b"user::rwx,user:lisa:rw-:0,group::r-x,mask::rwx,other::---";
    let binary = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x06\0\0\0\0\0\x04\0\x05\0\xff\xff\xff\xff\
        \x10\0\x07\0\xff\xff\xff\xff\x20\0\x00\0\xff\xff\xff\xff";
    let file = |name, key, value| Entry { mode: 0o770, pax: vec![(key, value)], ..Entry::new(b'0', name) };
    let tar = Tar::new()
        .entry(file("text", "SCHILY.acl.access", text))
        .entry(file("binary", "SCHILY.xattr.system.posix_acl_access", binary))
        .pax(b'5', "dir", &[("SCHILY.acl.default", text)]);
    let unpacked = place.unpack(tar).unwrap();
    if !unpacked.skipped.is_empty() {
        return eprintln!("skipped: no ACLs on this file system: {:?}", unpacked.skipped);
    }
    assert_eq!(xattr(&place, "text", c"system.posix_acl_access"), xattr(&place, "binary", c"system.posix_acl_access"));
    assert!(xattr(&place, "dir", c"system.posix_acl_default").is_some());
    if is_root() {
        assert_eq!(xattr(&place, "text", c"system.posix_acl_access").as_deref(), Some(&binary[..]));
    }
}

#[test]
fn overlays_own_attributes_are_left_out_and_reported() {
    let place = Place::new();
    let tar = Tar::new().pax(
        b'5',
        "d",
        &[("SCHILY.xattr.trusted.overlay.redirect", b"/etc"), ("SCHILY.xattr.user.overlay.opaque", b"y")],
    );
    let unpacked = place.unpack(tar).unwrap();
    let left_out = |what: &str| Skipped { path: "d".into(), what: what.into() };
    assert_eq!(unpacked.skipped, [left_out("trusted.overlay.redirect"), left_out("user.overlay.opaque")]);
    assert!(!place.is_opaque("d"));
}

#[test]
fn a_device_0_0_is_a_whiteout_as_every_overlay_has_it() {
    check(Tar::new().entry(Entry::new(b'3', "x")), &["w x"]);
    check_applied(&[Tar::new().file("x", ""), Tar::new().entry(Entry::new(b'3', "x"))], &[]);
}

#[test]
fn devices_are_made_by_root_and_reported_by_others() {
    let tar = Tar::new()
        .entry(Entry { device: (1, 3), mode: 0o666, ..Entry::new(b'3', "null") })
        .entry(Entry { device: (7, 300), mode: 0o660, ..Entry::new(b'4', "loop") })
        .hard_link("again", "null")
        .end();
    let place = Place::new();
    if is_root() {
        place.unpack_with(&tar, &options()).unwrap();
        assert_eq!(place.text(), "dev666 again 103\ndev660 loop 10072c\ndev666 null 103");
    }
    let place = Place::new();
    let unpacked = place.unpack_with(&tar, &UnpackOptions { rootless: true, ..options() }).unwrap();
    let names: Vec<_> = unpacked.skipped.iter().map(|skipped| skipped.path.to_str().unwrap()).collect();
    assert_eq!(names, ["null", "loop", "again"]);
    assert_eq!(place.text(), "");
}

#[test]
fn owners_beyond_two_million_come_in_pax_and_in_base_256() {
    if !is_root() {
        return eprintln!("skipped: giving files away needs root");
    }
    let place = Place::new();
    let mut block = support::header(&Entry::new(b'0', "binary"), 0);
    block[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0xf0, 0, 0, 1]);
    support::checksum(&mut block);
    let mut tar = Tar::new().pax(b'0', "pax", &[("uid", b"4000000000"), ("gid", b"3000000")]);
    tar.0.extend(block);
    place.unpack(tar).unwrap();
    assert_eq!((place.stat("pax").uid(), place.stat("pax").gid()), (4_000_000_000, 3_000_000));
    assert_eq!(place.stat("binary").uid(), 0xf000_0001);
}

#[test]
fn an_owner_outside_of_the_mapped_ids_is_named() {
    let range = IdRange { layer: 0, here: 0, count: 65536 };
    let ids = IdMap { uids: vec![range], gids: vec![range] };
    let tar = Tar::new().entry(Entry { uid: 70000, ..Entry::new(b'0', "x") }).end();
    let options = UnpackOptions { ids, ..options() };
    let place = Place::new();
    let error = if is_root() { place.unpack_with(&tar, &options) } else { return };
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer tar: entry \"x\": the layer owns it by uid 70000, outside of the 65536 ids mapped: 0-65535"
    );
    assert!(error.hint().unwrap().contains("/etc/subuid"));
    let minus_one = Tar::new().pax(b'0', "x", &[("uid", b"4294967295")]);
    let error = Place::new().unpack(minus_one).unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::UnmappedOwner { .. }, .. }), "{error}");
}

/// 3 KiB with data at 0..5 and at 2048..2053.
fn sparse_file(place: &Place, name: &str) {
    let data = fs::read(place.root().join(name)).unwrap();
    let mut expect = vec![0; 3072];
    expect[..5].copy_from_slice(b"first");
    expect[2048..2053].copy_from_slice(b"last!");
    assert_eq!(data, expect, "{name}");
}

#[test]
fn sparse_files_of_all_four_forms_are_kept() {
    let data: &[u8] = b"firstlast!";
    let size: &[u8] = b"3072";
    let form = |name, pax, data| Entry { pax, data, ..Entry::new(b'0', name) };
    let mut map_1_0 = b"2\n0\n5\n2048\n5\n".to_vec();
    map_1_0.resize(512, 0);
    map_1_0.extend(data);
    let mut old = support::header(&Entry::new(b'S', "old"), 10);
    old[257..265].copy_from_slice(b"ustar  \0");
    old[386..398].copy_from_slice(b"00000000000\0");
    old[398..410].copy_from_slice(b"00000000005\0");
    old[482] = 1;
    old[410..422].copy_from_slice(b"00000004000\0");
    old[422..434].copy_from_slice(b"00000000004\0");
    old[434..446].copy_from_slice(b"00000004004\0");
    old[446..458].copy_from_slice(b"00000000001\0");
    old[458..470].copy_from_slice(b"00000006000\0");
    old[470..482].copy_from_slice(b"00000000000\0");
    old[483..495].copy_from_slice(b"00000006000\0");
    support::checksum(&mut old);
    let mut tar = Tar::new()
        .entry(form(
            "v00",
            vec![
                ("GNU.sparse.size", size),
                ("GNU.sparse.offset", b"0"),
                ("GNU.sparse.numbytes", b"5"),
                ("GNU.sparse.offset", b"2048"),
                ("GNU.sparse.numbytes", b"5"),
            ],
            data,
        ))
        .entry(form(
            "GNUSparseFile.1/x",
            vec![("GNU.sparse.size", size), ("GNU.sparse.name", b"v01"), ("GNU.sparse.map", b"0,5,2048,5")],
            data,
        ))
        .entry(form(
            "GNUSparseFile.2/x",
            vec![
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"v10"),
                ("GNU.sparse.realsize", size),
            ],
            &map_1_0,
        ));
    tar.0.extend(old);
    tar.0.extend([0; 512]);
    let place = Place::new();
    place.unpack(tar.padded(data).file("after", "x")).unwrap();
    for name in ["v00", "v01", "v10", "old"] {
        sparse_file(&place, name);
    }
    assert!(place.stat("after").is_file());
}

#[test]
fn a_hole_takes_no_room() {
    let place = Place::new();
    let pax: Vec<(&str, &[u8])> = vec![("GNU.sparse.size", b"1073741824"), ("GNU.sparse.map", b"536870912,5")];
    place.unpack(Tar::new().entry(Entry { pax, data: b"hello", ..Entry::new(b'0', "big") })).unwrap();
    let stat = place.stat("big");
    assert_eq!(stat.size(), 1 << 30);
    assert!(stat.blocks() < 1000, "{} blocks", stat.blocks());
}

#[test]
fn compressed_layers_have_the_same_digest() {
    let tar = Tar::new().dir("a").file("a/b", &"data ".repeat(10_000)).end();
    let diff_id = Digest::sha256_of(&tar);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    for bytes in [gzip.finish().unwrap(), zstd::encode_all(&tar[..], 3).unwrap()] {
        let place = Place::new();
        let unpacked = place.unpack_with(&bytes, &options()).unwrap();
        assert_eq!(unpacked.diff_id.0, diff_id);
        assert_eq!(place.text(), "d755 a\nf644 a/b 50000 bytes");
    }
}

#[test]
fn whiteouts_in_user_form_carry_the_user_mark() {
    let place = Place::new();
    let options = UnpackOptions { whiteouts: WhiteoutForm::OverlayUser, ..options() };
    place.unpack_with(&Tar::new().dir("b").file("b/.wh..wh..opq", "").end(), &options).unwrap();
    assert_eq!(xattr(&place, "b", c"user.overlay.opaque").as_deref(), Some(&b"y"[..]));
}
