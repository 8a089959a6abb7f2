//! What changed in a tree, packed and put on the old tree again, is the new tree; owners that cannot be set are written down.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use knarr_layer::{Compression, Index, Owners, PackOptions, UnpackOptions, WhiteoutForm, pack_chosen, unpack};
use proptest::prelude::*;
use support::{Entry, Place, Tar, apply, facts, options};

fn plain() -> PackOptions {
    PackOptions { compression: Compression::None, ids: options().ids, ..PackOptions::default() }
}

/// One thing done to a tree.
#[derive(Debug, Clone)]
enum Act {
    Write(usize, String),
    Mode(usize, u32),
    Remove(usize),
    Dir(usize),
    Symlink(usize),
    HardLink(usize, usize),
    Rename(usize, usize),
}

const NAMES: [&str; 10] = ["a", "a/b", "a/b/c", "d", "d/e", "odd \n name", "d/.hidden", "ünï", "a/b/x y", "z"];

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let name = 0..NAMES.len();
    let act = prop_oneof![
        (name.clone(), "[a-z]{0,6}").prop_map(|(at, text)| Act::Write(at, text)),
        (name.clone(), 0o600_u32..0o777).prop_map(|(at, mode)| Act::Mode(at, mode | 0o600)),
        name.clone().prop_map(Act::Remove),
        name.clone().prop_map(Act::Dir),
        name.clone().prop_map(Act::Symlink),
        (name.clone(), name.clone()).prop_map(|(at, to)| Act::HardLink(at, to)),
        (name.clone(), name).prop_map(|(at, to)| Act::Rename(at, to)),
    ];
    prop::collection::vec(act, 0..14)
}

/// Does it; what cannot be done is left.
fn act(root: &Path, act: &Act) {
    let path = |at: &usize| root.join(NAMES[*at]);
    let _ = match act {
        Act::Write(at, text) => fs::write(path(at), text),
        Act::Mode(at, mode) => match fs::symlink_metadata(path(at)) {
            Ok(metadata) if !metadata.is_symlink() => {
                let execute = if metadata.is_dir() { 0o100 } else { 0 };
                fs::set_permissions(path(at), fs::Permissions::from_mode(*mode | execute))
            }
            _ => Ok(()),
        },
        Act::Remove(at) => match fs::symlink_metadata(path(at)) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path(at)),
            _ => fs::remove_file(path(at)),
        },
        Act::Dir(at) => fs::create_dir(path(at)),
        Act::Symlink(at) => symlink("somewhere", path(at)),
        Act::HardLink(at, to) => fs::hard_link(path(at), path(to)),
        Act::Rename(at, to) => fs::rename(path(at), path(to)),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_on_top_of_the_old_tree_make_the_new_one(before in acts(), after in acts()) {
        let (new, old) = (Place::new(), Place::new());
        before.iter().for_each(|one| act(&new.root(), one));
        let everything = Index::of(&new.handle()).unwrap();
        let mut tar = Vec::new();
        let all: BTreeSet<Vec<u8>> = everything.0.keys().cloned().collect();
        pack_chosen(&new.handle(), &all, &BTreeSet::new(), &mut tar, &plain()).unwrap();
        unpack(&tar[..], &old.handle(), &apply()).unwrap();
        prop_assert_eq!(facts(&old.root()), facts(&new.root()));

        let text = everything.to_text();
        let parsed = Index::parse(&text);
        prop_assert_eq!(parsed.as_ref(), Some(&everything));
        after.iter().for_each(|one| act(&new.root(), one));
        let now = Index::of(&new.handle()).unwrap();
        let difference = everything.to(&now, |old, new| old == new);
        let changed: BTreeSet<Vec<u8>> = difference.added.iter().chain(&difference.modified).cloned().collect();
        let mut tar = Vec::new();
        pack_chosen(&new.handle(), &changed, &difference.removed, &mut tar, &plain()).unwrap();
        unpack(&tar[..], &old.handle(), &apply()).unwrap();
        prop_assert_eq!(facts(&old.root()), facts(&new.root()));
    }
}

#[test]
fn a_link_that_got_another_name_is_changed_under_the_old_one_too() {
    let place = Place::new();
    symlink("somewhere", place.root().join("old")).unwrap();
    let index = Index::of(&place.handle()).unwrap();
    fs::hard_link(place.root().join("old"), place.root().join("new")).unwrap();
    let difference = index.to(&Index::of(&place.handle()).unwrap(), |old, new| old == new);
    assert!(difference.added.contains(&b"new"[..]) && difference.modified.contains(&b"old"[..]), "{difference:?}");
}

#[test]
fn a_tree_nobody_touched_has_no_changes() {
    let place = Place::new();
    fs::create_dir(place.root().join("d")).unwrap();
    fs::write(place.root().join("d/f"), "x").unwrap();
    let index = Index::of(&place.handle()).unwrap();
    let difference = index.to(&Index::of(&place.handle()).unwrap(), |old, new| old == new);
    assert_eq!(difference, Default::default());
}

#[test]
fn a_file_that_got_its_size_and_time_back_is_changed_all_the_same() {
    let place = Place::new();
    let path = place.root().join("f");
    fs::write(&path, "one").unwrap();
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let index = Index::of(&place.handle()).unwrap();
    // The clock of status changes ticks every few milliseconds.
    loop {
        fs::write(&path, "two").unwrap();
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
        let difference = index.to(&Index::of(&place.handle()).unwrap(), |old, new| old == new);
        if !difference.modified.is_empty() {
            return;
        }
    }
}

#[test]
fn owners_that_are_written_down_come_back() {
    let place = Place::new();
    let tar = Tar::new()
        .dir("./")
        .entry(Entry { uid: 1000, gid: 100, data: b"x", ..Entry::new(b'0', "file") })
        .entry(Entry { uid: 0, gid: 42, ..Entry::new(b'5', "dir/") })
        .end();
    let recording = UnpackOptions { owners: Owners::Record, whiteouts: WhiteoutForm::Apply, ..options() };
    if unpack(&tar[..], &place.handle(), &recording).unwrap().skipped.iter().any(|left| left.what.starts_with("user."))
    {
        return eprintln!("skipped: this file system has no user attributes");
    }
    let packing = PackOptions { recorded_owners: true, ..plain() };
    let mut packed = Vec::new();
    knarr_layer::pack(&place.handle(), &mut packed, &packing).unwrap();
    let mut archive = tar::Archive::new(&packed[..]);
    let mut owners: Vec<(String, u64, u64)> = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let (uid, gid) = (entry.header().uid().unwrap(), entry.header().gid().unwrap());
        owners.push((entry.path().unwrap().display().to_string(), uid, gid));
    }
    assert_eq!(owners[1..], [("dir/".to_owned(), 0, 42), ("file".to_owned(), 1000, 100)]);
    assert!(!String::from_utf8_lossy(&packed).contains("rootlesscontainers"), "the attribute is not packed");
}

#[test]
fn an_archive_of_files_knows_no_whiteouts_and_replaces_no_directory() {
    let place = Place::new();
    fs::create_dir(place.root().join("d")).unwrap();
    fs::write(place.root().join("kept"), "x").unwrap();
    let literal = UnpackOptions { whiteouts: WhiteoutForm::Literal, ..options() };
    unpack(&Tar::new().file(".wh.kept", "y").end()[..], &place.handle(), &literal).unwrap();
    assert!(place.root().join("kept").exists() && place.root().join(".wh.kept").exists());
    assert!(unpack(&Tar::new().file("d", "y").end()[..], &place.handle(), &literal).is_err());
    assert!(unpack(&Tar::new().dir("kept/").end()[..], &place.handle(), &literal).is_err());
    assert!(place.root().join("d").is_dir());
}
