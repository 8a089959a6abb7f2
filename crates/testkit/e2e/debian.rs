//! An image of a real distribution in three layers, made once with debootstrap and kept between runs.
//!
//! Bottom: a minimal Debian, as a pax archive with sub-second times. Middle: the files of one more package, exactly as dpkg
//! carries them. Top: whiteouts and a replaced file. Beside the layout stands `listing`, what find(1) says of the tree that
//! dpkg and rm(1) make of the same three steps: the oracle for our layers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use knarr_testkit::{Compression, ImageMaker, LayerTar};
use serde_json::json;

/// The release; old enough to stay as it is.
const RELEASE: &str = "bookworm";

/// A small package that stands for "one more layer".
const PACKAGE: &str = "hello";

/// Deleted by the top layer.
const DELETED: [&str; 2] = ["usr/share/doc/base-files", "usr/bin/hello"];

/// Replaced by the top layer.
const REPLACED: (&str, &str) = ("etc/motd", "ahoy\n");

/// What find prints of each entry: a directory's time and size are the file system's own business.
pub const FIND: [&str; 9] =
    ["(", "-type", "d", "-printf", "%P %y %m %U:%G\\n", ")", "-o", "-printf", "%P %y %m %U:%G %s %T@ %n %l\\n"];

/// Makes `cache/debian` if it is not there; without root, debootstrap or a network there will be none.
pub fn prepare(cache: &Path) -> io::Result<PathBuf> {
    let finished = cache.join("debian");
    if finished.exists() {
        return Ok(finished);
    }
    println!("setup: debootstrap {RELEASE}, an image of a real distribution (once)");
    let work = tempfile::tempdir_in(cache)?;
    let tree = work.path().join("tree");
    run(Command::new("debootstrap").args(["--variant=minbase", RELEASE]).arg(&tree))?;
    for directory in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        fs::remove_dir_all(tree.join(directory))?;
    }
    let bottom = run(Command::new("tar").args(TAR).arg("-C").arg(&tree).args(["-cf", "-", "."]))?;
    run(Command::new("apt-get").args(["download", "-q", PACKAGE]).current_dir(work.path()))?;
    let package = package_file(work.path())?;
    let middle = run(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package))?;
    let top = DELETED.iter().fold(LayerTar::new(), |tar, path| tar.whiteout(path)).file(REPLACED.0, 0o600, REPLACED.1);
    let layers = vec![(bottom, Compression::Gzip), (middle, Compression::Zstd), (top.finish(), Compression::Gzip)];
    let config = json!({"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/bash"]});
    let made = work.path().join("made");
    ImageMaker { layers, ..ImageMaker::new(config, Vec::new()) }.make().write_layout(&made, "v1")?;
    fs::write(made.join("listing"), listing(&tree, &package)?)?;
    fs::rename(&made, &finished)?;
    Ok(finished)
}

/// Options of tar for the bottom layer.
const TAR: [&str; 5] =
    ["--numeric-owner", "--sort=name", "--one-file-system", "--format=posix", "--pax-option=delete=atime,delete=ctime"];

/// The same three steps without layers.
fn listing(tree: &Path, package: &Path) -> io::Result<String> {
    run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(tree))?;
    DELETED.iter().try_for_each(|path| run(Command::new("rm").arg("-r").arg(tree.join(path))).map(drop))?;
    fs::remove_file(tree.join(REPLACED.0))?;
    fs::write(tree.join(REPLACED.0), REPLACED.1)?;
    run(Command::new("chmod").arg("600").arg(tree.join(REPLACED.0)))?;
    run(Command::new("touch").args(["-d", "2024-01-01T00:00:00Z"]).arg(tree.join(REPLACED.0)))?;
    Ok(sorted(&run(Command::new("find").arg(tree).args(FIND))?))
}

/// The lines of a listing in one order, without what every container mounts or replaces.
pub fn sorted(listing: &[u8]) -> String {
    let text = String::from_utf8_lossy(listing);
    let tops = |path: &str, tops: &[&str]| tops.iter().any(|top| path == *top || path.starts_with(&format!("{top}/")));
    let own = |line: &&str| {
        let path = line.split(' ').next().unwrap_or("");
        !path.is_empty()
            && !tops(
                path,
                &["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"],
            )
    };
    let mut lines: Vec<&str> = text.lines().filter(own).collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn package_file(directory: &Path) -> io::Result<PathBuf> {
    let files = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let mut packages = files.filter(|path| path.extension().is_some_and(|ending| ending == "deb"));
    packages.next().ok_or_else(|| io::Error::other("apt-get download gave no package"))
}

fn run(command: &mut Command) -> io::Result<Vec<u8>> {
    let output = command.output().map_err(|why| io::Error::other(format!("{command:?}: {why}")))?;
    let why = || io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
    if output.status.success() { Ok(output.stdout) } else { Err(why()) }
}
