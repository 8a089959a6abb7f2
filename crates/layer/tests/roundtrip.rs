//! Random trees survive packing and unpacking, and random damage to tars ends in an error or inside the root.

mod support;

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use knarr_layer::{Compression, Limits, PackOptions, UnpackOptions, diff, pack, unpack};
use knarr_sys::at::{self, FileType, Mode, Timespec};
use knarr_sys::xattr::Holder;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::{Entry, Place, Tar, facts, options};

/// One thing to make in a tree; indices choose among what is there already.
#[derive(Debug, Clone)]
enum Make {
    Dir { parent: usize, name: Vec<u8>, mode: u32 },
    File { parent: usize, name: Vec<u8>, mode: u32, data: Vec<u8>, hole: u32, xattr: Option<(String, Vec<u8>)> },
    Link { parent: usize, name: Vec<u8>, target: Vec<u8> },
    HardLink { parent: usize, name: Vec<u8>, target: usize },
    Fifo { parent: usize, name: Vec<u8> },
    Whiteout { parent: usize, name: Vec<u8> },
    Opaque { dir: usize },
    Time { path: usize, seconds: i64, nanoseconds: i64 },
}

/// Names of one to a few hundred bytes, most of them odd; never a whiteout's.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = (1_u8..=255).prop_filter("no slash", |byte| *byte != b'/');
    let odd = proptest::collection::vec(byte, 1..40);
    let long = proptest::collection::vec(b'a'..=b'z', 90..255);
    let short = proptest::collection::vec(b'a'..=b'd', 1..3);
    prop_oneof![2 => odd, 1 => long, 3 => short]
        .prop_filter("a plain name", |name| !matches!(&name[..], b"." | b"..") && !name.starts_with(b".wh."))
}

fn make() -> impl Strategy<Value = Make> {
    let at = 0..1000_usize;
    let mode = 0..0o10000_u32;
    let xattr = proptest::option::of(("[a-z]{1,8}", proptest::collection::vec(any::<u8>(), 0..50)));
    let data = proptest::collection::vec(any::<u8>(), 0..2000);
    prop_oneof![
        3 => (at.clone(), name(), mode.clone()).prop_map(|(parent, name, mode)| Make::Dir { parent, name, mode }),
        4 => (at.clone(), name(), mode, data, prop_oneof![Just(0), 0..500_000_u32], xattr)
            .prop_map(|(parent, name, mode, data, hole, xattr)| Make::File { parent, name, mode, data, hole, xattr }),
        2 => (at.clone(), name(), name()).prop_map(|(parent, name, target)| Make::Link { parent, name, target }),
        2 => (at.clone(), name(), at.clone()).prop_map(|(parent, name, target)| Make::HardLink { parent, name, target }),
        1 => (at.clone(), name()).prop_map(|(parent, name)| Make::Fifo { parent, name }),
        2 => (at.clone(), name()).prop_map(|(parent, name)| Make::Whiteout { parent, name }),
        1 => at.clone().prop_map(|dir| Make::Opaque { dir }),
        3 => (at, -100_000_i64..4_000_000_000, 0..1_000_000_000_i64)
            .prop_map(|(path, seconds, nanoseconds)| Make::Time { path, seconds, nanoseconds }),
    ]
}

/// Makes the tree; what cannot be made because the name is taken is left out.
fn build(root: &Path, makes: &[Make], overlay: bool) {
    let mut dirs = vec![root.to_path_buf()];
    let mut others: Vec<PathBuf> = Vec::new();
    let handle = |path: &Path| fs::File::open(path).unwrap();
    for make in makes {
        let child = |parent: &usize, name: &[u8]| dirs[parent % dirs.len()].join(OsStr::from_bytes(name));
        match make {
            Make::Dir { parent, name, mode } => {
                let path = child(parent, name);
                // Whoever is not root must be able to look into what he made.
                if fs::create_dir(&path).is_ok() {
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o700)).unwrap();
                    dirs.push(path);
                }
            }
            Make::File { parent, name, mode, data, hole, xattr } => {
                let path = child(parent, name);
                let Ok(file) = fs::File::create_new(&path) else { continue };
                file.write_all_at(data, u64::from(*hole)).unwrap();
                file.set_len(u64::from(*hole) * 2 + data.len() as u64).unwrap();
                if let Some((key, value)) = xattr {
                    let key = CString::new(format!("user.{key}")).unwrap();
                    let _unsupported_here = Holder::File(&file).set(&key, value);
                }
                fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o400)).unwrap();
                others.push(path);
            }
            Make::Link { parent, name, target } => {
                let path = child(parent, name);
                others.extend(symlink(OsStr::from_bytes(target), &path).is_ok().then_some(path));
            }
            Make::HardLink { parent, name, target } if !others.is_empty() => {
                let path = child(parent, name);
                let target = &others[target % others.len()];
                others.extend(fs::hard_link(target, &path).is_ok().then_some(path));
            }
            Make::Fifo { parent, name } => {
                let name = CString::new(&name[..]).unwrap();
                let dir = handle(&dirs[parent % dirs.len()]);
                let _taken = at::make_node(&dir, &name, FileType::Fifo, Mode::from(0o644), 0);
            }
            Make::Whiteout { parent, name } if overlay => {
                let name = CString::new(&name[..]).unwrap();
                let dir = handle(&dirs[parent % dirs.len()]);
                let _taken = at::make_node(&dir, &name, FileType::CharacterDevice, Mode::empty(), 0);
            }
            Make::Opaque { dir } if overlay && dir % dirs.len() > 0 => {
                let trusted = support::is_root();
                let key = if trusted { c"trusted.overlay.opaque" } else { c"user.overlay.opaque" };
                Holder::File(handle(&dirs[dir % dirs.len()])).set(key, b"y").unwrap();
            }
            Make::Time { path, seconds, nanoseconds } => {
                let all: Vec<&PathBuf> = dirs[1..].iter().chain(&others).collect();
                let Some(path) = (!all.is_empty()).then(|| all[path % all.len()]) else { continue };
                let name = CString::new(path.file_name().unwrap().as_bytes()).unwrap();
                let time = Timespec { tv_sec: *seconds, tv_nsec: *nanoseconds };
                at::set_times(handle(path.parent().unwrap()), &name, time, time).unwrap();
            }
            Make::HardLink { .. } | Make::Whiteout { .. } | Make::Opaque { .. } => {}
        }
    }
}

/// An opaque directory hides everything, so whiteouts in it say nothing and are not packed.
fn without_hidden(facts: &BTreeMap<PathBuf, String>) -> BTreeMap<PathBuf, String> {
    let opaque = |dir: &Path| facts.get(dir).is_some_and(|line| line.contains("overlay.opaque"));
    let says_nothing = |path: &Path, line: &str| line == "whiteout" && path.parent().is_some_and(opaque);
    facts
        .iter()
        .filter(|(path, line)| !says_nothing(path, line))
        .map(|(path, line)| (path.clone(), line.clone()))
        .collect()
}

fn cases(default: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn pack_options(sparse: bool, compression: Compression) -> PackOptions {
    PackOptions { sparse, compression, ids: options().ids, level: Some(1), ..PackOptions::default() }
}

#[test]
fn random_trees_come_back_as_they_were() {
    let mut runner = TestRunner::new(cases(48));
    let compression = prop_oneof![Just(Compression::None), Just(Compression::Gzip), Just(Compression::Zstd)];
    let strategy = (proptest::collection::vec(make(), 0..60), any::<bool>(), compression);
    let property = |(makes, sparse, compression): (Vec<Make>, bool, Compression)| {
        let (place, back) = (Place::new(), Place::new());
        build(&place.root(), &makes, false);
        let mut blob = Vec::new();
        let options_of_pack = pack_options(sparse, compression);
        let packed = pack(&place.handle(), &mut blob, &options_of_pack).unwrap();
        let unpacked = unpack(&blob[..], &back.handle(), &options()).unwrap();
        prop_assert_eq!(&unpacked.diff_id, &packed.diff_id);
        prop_assert_eq!(facts(&back.root()), facts(&place.root()));
        let again = pack(&back.handle(), std::io::sink(), &options_of_pack).unwrap();
        if !sparse {
            prop_assert_eq!(again, packed);
        }
        Ok(())
    };
    runner.run(&strategy, property).unwrap();
}

#[test]
fn random_overlay_changes_come_back_as_they_were() {
    let mut runner = TestRunner::new(cases(48));
    let property = |makes: Vec<Make>| {
        let (place, back) = (Place::new(), Place::new());
        build(&place.root(), &makes, true);
        let mut blob = Vec::new();
        let packed = diff(&place.handle(), &[], &mut blob, &pack_options(false, Compression::None)).unwrap();
        let unpacked = unpack(&blob[..], &back.handle(), &options()).unwrap();
        prop_assert_eq!(&unpacked.diff_id, &packed.diff_id);
        prop_assert_eq!(without_hidden(&facts(&back.root())), without_hidden(&facts(&place.root())));
        Ok(())
    };
    runner.run(&proptest::collection::vec(make(), 0..60), property).unwrap();
}

/// What a fuzzer calls: whatever the bytes, unpacking ends, and nothing beside the root changes.
pub fn fuzz_unpack(place: &Place, data: &[u8]) {
    let limits =
        Limits { tar_bytes_max: 1 << 20, entries_max: 1000, expansion_free_bytes: 1 << 18, ..Limits::default() };
    for options in [options(), support::apply()] {
        let options = UnpackOptions { limits: limits.clone(), ..options };
        let _error_or_tree = unpack(data, &place.handle(), &options);
    }
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 2, "something was put beside the root");
    assert_eq!(fs::read_to_string(place.outside().join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(place.outside()).unwrap().count(), 1, "something was put outside of the root");
}

/// Tars with everything a layer can hold, to be damaged.
fn seeds() -> Vec<Vec<u8>> {
    let mut gnu = support::header(&Entry::new(b'S', "old"), 5);
    gnu[257..265].copy_from_slice(b"ustar  \0");
    gnu[386..410].copy_from_slice(b"00000000010\x0000000000005\0");
    gnu[483..495].copy_from_slice(b"00000000100\0");
    support::checksum(&mut gnu);
    let sparse: Vec<(&str, &[u8])> = vec![("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"7,5")];
    let mut tar = Tar::new()
        .dir("d")
        .file("d/f", "data")
        .symlink("up", "../outside")
        .symlink("l", "d")
        .hard_link("l/h", "d/f")
        .hard_link("x", "up/secret")
        .file("d/.wh.gone", "")
        .dir("d/e")
        .file("d/e/.wh..wh..opq", "")
        .pax(b'0', "p", &[("path", b"d/../d/pax"), ("mtime", b"1.5"), ("SCHILY.xattr.user.k", b"v")])
        .raw_entry(b'L', "././@LongLink", &[b'n'; 150])
        .file("long", "x")
        .entry(Entry { pax: sparse, data: b"hello", ..Entry::new(b'0', "s") })
        .entry(Entry::new(b'6', "fifo"))
        .dir("d");
    tar.0.extend(gnu);
    let tar = tar.padded(b"piece").file("last", "x").end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    vec![tar.clone(), gzip.finish().unwrap(), zstd::encode_all(&tar[..], 1).unwrap()]
}

/// One damage to the bytes of a seed.
#[derive(Debug, Clone)]
enum Damage {
    Byte { at: usize, value: u8 },
    Text { at: usize, text: &'static [u8] },
    Drop { at: usize, bytes: usize },
    Repeat { at: usize, bytes: usize },
    SwapBlocks { one: usize, other: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    let texts: Vec<&'static [u8]> = vec![
        b"../outside/secret",
        b"up/x",
        b"up/../x",
        b"/",
        b"..",
        b".wh.",
        b".wh..wh..opq",
        b"\0",
        b"77777777777",
        b"\xff\xff\xff\xff",
        b"\x80\0\0\0\0\0\0\x10",
        b"9999 path=",
        b"GNU.sparse.major=1\n",
        b"l/l/l",
        b"1",
        b"2",
        b"3",
        b"5",
        b"S",
        b"x",
        b"L",
        b"K",
    ];
    let at = 0..1_000_000_usize;
    prop_oneof![
        3 => (at.clone(), any::<u8>()).prop_map(|(at, value)| Damage::Byte { at, value }),
        4 => (at.clone(), proptest::sample::select(texts)).prop_map(|(at, text)| Damage::Text { at, text }),
        1 => (at.clone(), 1..2000_usize).prop_map(|(at, bytes)| Damage::Drop { at, bytes }),
        1 => (at.clone(), 1..2000_usize).prop_map(|(at, bytes)| Damage::Repeat { at, bytes }),
        2 => (at.clone(), at).prop_map(|(one, other)| Damage::SwapBlocks { one, other }),
    ]
}

/// Names, links, types and numbers stand in the first bytes of a block; half of the damage goes there.
fn aim(at: usize, length: usize) -> usize {
    let fields = [0, 0, 100, 108, 124, 136, 156, 157, 257, 329, 345, 386, 482];
    let block = (at / 26) % (length / 512).max(1) * 512;
    let place = if at.is_multiple_of(2) { block + fields[at / 2 % fields.len()] } else { at };
    place % length.max(1)
}

fn apply_damage(bytes: &mut Vec<u8>, damage: &Damage) {
    let length = bytes.len();
    match damage {
        Damage::Byte { at, value } => bytes[aim(*at, length)] = *value,
        Damage::Text { at, text } => {
            let at = aim(*at, length);
            let end = (at + text.len()).min(length);
            bytes[at..end].copy_from_slice(&text[..end - at]);
        }
        Damage::Drop { at, bytes: count } if length > 4096 => {
            let at = aim(*at, length);
            bytes.drain(at..(at + count).min(length));
        }
        Damage::Repeat { at, bytes: count } => {
            let at = aim(*at, length);
            let copy = bytes[at..(at + count).min(length)].to_vec();
            bytes.splice(at..at, copy);
        }
        Damage::SwapBlocks { one, other } if length > 1024 => {
            let blocks = length / 512;
            let (one, other) = (one % blocks * 512, other % blocks * 512);
            for byte in 0..512 {
                bytes.swap(one + byte, other + byte);
            }
        }
        Damage::Drop { .. } | Damage::SwapBlocks { .. } => {}
    }
}

/// Most damage would end at the checksum; this makes headers of damaged blocks good again.
fn mend_checksums(bytes: &mut [u8]) {
    for block in bytes.as_chunks_mut::<512>().0 {
        if &block[257..262] == b"ustar" {
            support::checksum(block);
        }
    }
}

#[test]
fn random_damage_ends_in_an_error_or_inside() {
    let seeds = seeds();
    let mut runner = TestRunner::new(cases(400));
    let strategy = (0..4_usize, proptest::collection::vec(damage(), 1..6), any::<bool>());
    let property = |(seed, damages, mend): (usize, Vec<Damage>, bool)| {
        let mut bytes = seeds[seed.saturating_sub(1)].clone();
        for damage in &damages {
            apply_damage(&mut bytes, damage);
        }
        if mend && seed < 2 {
            mend_checksums(&mut bytes);
        }
        let place = Place::new();
        fuzz_unpack(&place, &bytes);
        Ok(())
    };
    runner.run(&strategy, property).unwrap();
}
