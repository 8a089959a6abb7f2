//! Random layers become the same tree with us, umoci and podman: hard links, attributes, holes, odd names, and whiteouts over
//! everything.
//!
//! A hard link says the same of its file as the entry it is a link of, as every writer of tars does; the time of the root
//! directory is left out, which umoci does not set.
//!
//! `KNARR_E2E_TREES` asks for more images than the few of an ordinary run, `KNARR_E2E_SEED` for others. Every directory that a
//! layer touches is an entry of that layer, so that nobody has to make up its time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use knarr_testkit::lab::finish;
use knarr_testkit::{ImageMaker, Lab, LayerTar};
use serde_json::json;

use super::peers::{peer, tree};
use super::storm::{Random, number};

cases!["random_trees":
    umoci_makes_the_same_tree,
    podman_makes_the_same_tree,
    our_layers_of_a_tree_make_it_again_with_umoci,
];

const TREES: u64 = 6;

/// Entries of one layer.
const ENTRIES_MAX: u64 = 40;

const NAMES: [&str; 14] = [
    "a",
    "b",
    "c",
    "d",
    "with space",
    "-dash",
    "tab\there",
    "new\nline",
    "quote\"'",
    "back\\slash",
    "ünïcode",
    "...",
    "whx",
    "~",
];

/// Prints what is in a tree, a line for each path: everything a layer can say about it.
const FACTS: &str = r#"
import hashlib, os, stat, sys
top, first = os.fsencode(sys.argv[1]), {}
def line(path):
    s = os.lstat(path)
    kind = stat.S_IFMT(s.st_mode)
    said = [oct(s.st_mode), s.st_uid, s.st_gid, int(s.st_mtime)]
    if kind == stat.S_IFREG:
        said += [s.st_size, hashlib.sha256(open(path, 'rb').read()).hexdigest()[:16]]
    if kind == stat.S_IFLNK: said.append(os.readlink(path))
    if kind in (stat.S_IFCHR, stat.S_IFBLK): said.append(s.st_rdev)
    if kind != stat.S_IFDIR: said.append(first.setdefault(s.st_ino, os.path.relpath(path, top)))
    if kind != stat.S_IFLNK: said.append(sorted((k, os.getxattr(path, k)) for k in os.listxattr(path)))
    print(os.path.relpath(path, top), said)
def walk(path):
    line(path)
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for name in sorted(os.listdir(path)): walk(os.path.join(path, name))
for name in sorted(os.listdir(top)): walk(os.path.join(top, name))
"#;

fn facts(lab: &Lab, tree: &Path) -> String {
    lab.needs("/usr/bin/python3", "python3");
    let mut command = Command::new("/usr/bin/python3");
    finish(command.args(["-c", FACTS]).arg(tree), "facts", b"").ok().stdout
}

/// What the layers so far make: path and whether it is a directory or a file.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Dir,
    File,
    Other,
}

struct Maker {
    random: Random,
    tree: BTreeMap<String, Kind>,
}

impl Maker {
    fn pick(&mut self, kind: Option<Kind>) -> Option<String> {
        let all: Vec<String> = self
            .tree
            .iter()
            .filter(|(_, k)| kind.is_none_or(|kind| **k == kind))
            .map(|(path, _)| path.clone())
            .collect();
        (!all.is_empty()).then(|| all[self.random.below(all.len() as u64) as usize].clone())
    }

    /// A path in some directory, there or not.
    fn place(&mut self) -> String {
        let dir = if self.random.below(3) == 0 { None } else { self.pick(Some(Kind::Dir)) };
        let name = NAMES[self.random.below(NAMES.len() as u64) as usize];
        dir.map_or(name.to_owned(), |dir| format!("{dir}/{name}"))
    }

    fn content(&mut self) -> Vec<u8> {
        let bytes = self.random.below(5000);
        (0..bytes).map(|_| self.random.below(256) as u8).collect()
    }

    fn remove(&mut self, path: &str) {
        self.tree.retain(|other, _| other != path && !other.starts_with(&format!("{path}/")));
    }

    /// One layer over those before it. What it hides is nothing of its own, and nothing is said twice.
    fn layer(&mut self) -> Vec<u8> {
        let below = self.tree.clone();
        let mut files: Vec<(String, u32, (u64, u64))> = Vec::new();
        let mut said: BTreeMap<String, Kind> = BTreeMap::new();
        let mut hidden: Vec<String> = Vec::new();
        let mut tar = LayerTar::new().dir("./", 0o755);
        for _ in 0..self.random.below(ENTRIES_MAX) {
            let path = self.place();
            let taken = said.keys().any(|other| *other == path || other.starts_with(&format!("{path}/")));
            let in_hidden = hidden.iter().any(|other| path == *other || path.starts_with(&format!("{other}/")));
            if taken || in_hidden || path.len() > 90 {
                continue;
            }
            tar = self.with_parents(tar, &path, &mut said);
            let was = self.tree.get(&path).copied();
            let (owner, mode) =
                ((self.random.below(3) * 1000, self.random.below(3)), 0o400 + self.random.below(0o400) as u32);
            let kind = self.random.below(12);
            let can_be = match kind {
                0 => below.contains_key(&path),
                3 => below.get(&path) == Some(&Kind::Dir),
                7 => !files.is_empty(),
                _ => true,
            };
            if !can_be {
                continue;
            }
            let goes_on = matches!(kind, 1 | 2) && was == Some(Kind::Dir);
            if !goes_on {
                self.remove(&path);
            }
            let said_as = match kind {
                0 => None,
                1..=3 => Some(Kind::Dir),
                4..=6 => Some(Kind::Other),
                _ => Some(Kind::File),
            };
            if let Some(kind) = said_as {
                self.note(&path, kind, &mut said);
            }
            let directory = format!("{path}/");
            tar = match kind {
                0 => {
                    hidden.push(path.clone());
                    tar.whiteout(&path)
                }
                1 | 2 => tar.dir_of(&directory, mode | 0o700, owner),
                3 => tar.dir_of(&directory, mode | 0o700, owner).opaque(&path),
                4 => tar.symlink(&path, "a/../b c"),
                5 => tar.fifo(&path, 0o640),
                6 => tar.device(&path, 1, 3),
                7 => {
                    let (target, mode, owner) = files[self.random.below(files.len() as u64) as usize].clone();
                    tar.entry(&path, tar::EntryType::Link, mode, owner, &target, b"")
                }
                8 => {
                    let attributes: [(&str, &[u8]); 2] = [("user.k", b"v\n\0w"), ("security.capability", CAPABILITY)];
                    tar.file_with_xattrs(&path, 0o644, &self.content(), &attributes)
                }
                9 => tar.sparse_file(&path, 0o600, 200_000, &[(8192, &self.content()), (150_000, b"end")]),
                _ => {
                    files.push((path.clone(), mode, owner));
                    tar.file_of(&path, mode, owner, self.content())
                }
            };
        }
        tar.finish()
    }

    /// Notes what the layer says of `path` from here on.
    fn note(&mut self, path: &str, kind: Kind, said: &mut BTreeMap<String, Kind>) {
        said.insert(path.to_owned(), kind);
        self.tree.insert(path.to_owned(), kind);
    }

    /// The directories above, where the layer did not say them yet.
    fn with_parents(&mut self, mut tar: LayerTar, path: &str, said: &mut BTreeMap<String, Kind>) -> LayerTar {
        for (at, _) in path.match_indices('/') {
            let dir = &path[..at];
            if said.insert(dir.to_owned(), Kind::Dir).is_none() {
                tar = tar.dir(&format!("{dir}/"), 0o751);
            }
        }
        tar
    }
}

/// `cap_net_raw+ep`, version 2.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Makes images `image-N:v1` as layouts and hands each to `check` with our tree of it.
fn each_image(lab: &Lab, check: impl Fn(&str, &str)) {
    lab.needs_root();
    for at in 0..number("KNARR_E2E_TREES", TREES) {
        let random =
            Random(number("KNARR_E2E_SEED", 0x5eed_0002).wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        let mut maker = Maker { random, tree: BTreeMap::new() };
        let layers = (0..4).map(|_| maker.layer()).collect();
        let name = format!("image-{at}");
        let image = ImageMaker::new(json!({"Cmd": ["x"]}), layers).make();
        image.write_layout(&lab.path(&name), "v1").expect("written");
        lab.knarr(["image", "unpack", "--image", &format!("{name}:v1"), &format!("{name}-ours")]).ok();
        let ours = facts(lab, &lab.path(&format!("{name}-ours/rootfs")));
        assert_eq!(ours.lines().count(), maker.tree.len(), "{name}: {ours}");
        check(&name, &ours);
    }
}

fn same(name: &str, ours: &str, theirs: &str) {
    let differ = |one: &str, other: &str| -> String {
        one.lines().filter(|line| !other.lines().any(|o| o == *line)).map(|line| format!("  {line}\n")).collect()
    };
    assert!(ours == theirs, "{name}: ours\n{}theirs\n{}", differ(ours, theirs), differ(theirs, ours));
}

fn umoci_makes_the_same_tree(lab: &Lab) {
    tree(lab, "umoci");
    each_image(lab, |name, ours| {
        peer(lab, &["umoci", "unpack", "--image", &format!("{name}:v1"), &format!("{name}-theirs")]).ok();
        same(name, ours, &facts(lab, &lab.path(&format!("{name}-theirs/rootfs"))));
    });
}

fn podman_makes_the_same_tree(lab: &Lab) {
    tree(lab, "podman");
    let script = "podman='podman --root /here/podman --runroot /here/podman-run --storage-driver vfs'
        id=$($podman pull -q oci:/here/$0:v1)
        cp -a \"$($podman image mount $id)\" $0-theirs
        $podman image unmount $id >/dev/null";
    each_image(lab, |name, ours| {
        peer(lab, &["sh", "-euc", script, name]).ok();
        same(name, ours, &facts(lab, &lab.path(&format!("{name}-theirs"))));
    });
}

/// We change a tree, and the layer of the change makes the same tree with umoci.
fn our_layers_of_a_tree_make_it_again_with_umoci(lab: &Lab) {
    tree(lab, "umoci");
    each_image(lab, |name, _| {
        let bundle = format!("{name}-ours");
        let root = lab.path(&format!("{bundle}/rootfs"));
        // The change: another image's tree in the place of every second top directory.
        for (at, entry) in fs::read_dir(&root).expect("a tree").flatten().enumerate() {
            let path = entry.path();
            match (at % 2, path.symlink_metadata().expect("there").is_dir()) {
                (0, true) => fs::remove_dir_all(&path).expect("removed"),
                (0, false) => fs::remove_file(&path).expect("removed"),
                (_, true) => fs::write(path.join("added"), "by us").expect("written"),
                (_, false) => fs::rename(&path, root.join(format!("moved-{at}"))).expect("renamed"),
            }
        }
        lab.knarr(["image", "repack", "--image", &format!("{name}:v2"), &bundle]).ok();
        let ours = facts(lab, &root);
        peer(lab, &["umoci", "unpack", "--image", &format!("{name}:v2"), &format!("{name}-again")]).ok();
        same(name, &ours, &facts(lab, &lab.path(&format!("{name}-again/rootfs"))));
    });
}
