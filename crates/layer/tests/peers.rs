//! The same layer unpacked by others and by us is the same tree. Needs root, and the peers in `PATH`: each that is missing
//! is skipped by name.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use knarr_layer::unpack;
use support::{Entry, Place, Tar, facts, is_root, options};

/// What everybody reads alike: no sparse files, no whiteouts, every directory described.
fn layer() -> Vec<u8> {
    let long = "n".repeat(180);
    let record: &[u8] = b"1600000000.123456789";
    let capability: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    Tar::new()
        .dir("./")
        .dir("bin/")
        .entry(Entry { mode: 0o4755, data: b"su", ..Entry::new(b'0', "bin/su") })
        .pax(b'0', "bin/ping", &[("SCHILY.xattr.security.capability", capability), ("mtime", record)])
        .pax(b'0', "x", &[("path", long.as_bytes()), ("SCHILY.xattr.user.k", b"a\nb")])
        .entry(Entry { mode: 0o1777, ..Entry::new(b'5', "tmp/") })
        .symlink("lib", "usr/lib")
        .dir("usr/")
        .dir("usr/lib/")
        .file("usr/lib/so", &"library".repeat(10_000))
        .hard_link("usr/lib/so.1", "usr/lib/so")
        .entry(Entry { uid: 1000, gid: 100, ..Entry::new(b'5', "home/") })
        .entry(Entry { device: (1, 3), mode: 0o666, ..Entry::new(b'3', "null") })
        .entry(Entry::new(b'6', "fifo"))
        .file("again", "first")
        .file("again", "second")
        .end()
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> Option<()> {
    match Command::new(program).args(arguments).current_dir(directory).output() {
        Ok(output) => {
            assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(())
        }
        Err(error) => {
            eprintln!("skipped: no {program} to compare with: {error}");
            None
        }
    }
}

/// Unpacks with `theirs` (which gets the directory that holds `layer.tar` and says where its tree is) and compares.
fn check(theirs: impl Fn(&Path) -> Option<std::path::PathBuf>) {
    if !is_root() {
        return eprintln!("skipped: unpacking devices and owners needs root");
    }
    let (place, work) = (Place::new(), tempfile::tempdir().unwrap());
    let tar = layer();
    fs::write(work.path().join("layer.tar"), &tar).unwrap();
    let Some(tree) = theirs(work.path()) else { return };
    unpack(&tar[..], &place.handle(), &options()).unwrap();
    assert_eq!(facts(&place.root()), facts(&tree));
}

#[test]
fn gnu_tar_makes_the_same_tree() {
    check(|work| {
        let tree = work.join("tree");
        fs::create_dir(&tree).unwrap();
        let arguments = ["-xpf", "../layer.tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner"];
        run("tar", &arguments, &tree).map(|()| tree)
    });
}

#[test]
fn umoci_makes_the_same_tree() {
    check(|work| {
        run("umoci", &["init", "--layout", "image"], work)?;
        run("umoci", &["new", "--image", "image:tag"], work)?;
        run("umoci", &["raw", "add-layer", "--image", "image:tag", "layer.tar"], work)?;
        run("umoci", &["unpack", "--image", "image:tag", "bundle"], work)?;
        Some(work.join("bundle/rootfs"))
    });
}
