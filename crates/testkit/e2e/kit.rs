//! The images every test may load, made once per run from the probe and busybox.
//!
//! | name | what |
//! |---|---|
//! | `probe` | `/bin/probe`, users root and alice, nothing else |
//! | `configured` | the same with every field of the config that `run` honours |
//! | `shell` | busybox with its usual names, and the probe |
//! | `debian` | a distribution in three layers, if it can be had: an OCI layout and a listing |
//! | `layers` | four layers over one another: whiteouts, opaque directories, links, replaced kinds |

use std::fs;
use std::io;
use std::path::Path;

use knarr_testkit::{Compression, ImageMaker, LayerTar};
use serde_json::json;

use crate::debian;

const BUSYBOX: &str = "/bin/busybox";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n";
const GROUP: &str = "root:x:0:\nalice:x:1000:\ncrew:x:2000:alice\n";

/// The names under which busybox is called.
const APPLETS: [&str; 16] = [
    "sh", "ash", "cat", "echo", "ls", "sleep", "true", "false", "kill", "id", "mount", "stty", "ps", "head", "dd",
    "touch",
];

/// Writes `KIT/images/NAME.tar`; `KIT/probe` must be there.
pub fn prepare(kit: &Path, cache: &Path) -> io::Result<()> {
    let images = kit.join("images");
    fs::create_dir_all(&images)?;
    fs::create_dir_all(cache)?;
    let probe = fs::read(kit.join("probe"))?;
    let plain = ImageMaker::new(json!({"Env": ["PATH=/bin", "CARGO=wool"], "Cmd": ["/bin/probe"]}), vec![base(&probe)]);
    plain.save(&images.join("probe.tar"), "probe:latest")?;
    configured(&probe).save(&images.join("configured.tar"), "configured:latest")?;
    layers(&probe).save(&images.join("layers.tar"), "layers:latest")?;
    plain.make().write_oci_archive(&images.join("probe-oci.tar"), "probe:latest")?;
    plain.make().write_layout(&images.join("probe-layout"), "v1")?;
    if Path::new(BUSYBOX).exists() {
        shell(&probe, &fs::read(BUSYBOX)?).save(&images.join("shell.tar"), "shell:latest")?;
    }
    match debian::prepare(cache) {
        Ok(made) => copy_tree(&made, &images.join("debian")),
        Err(why) => {
            println!("setup: no image of Debian: {why}");
            Ok(())
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The least a root file system needs for the probe and for names of users.
pub fn base(probe: &[u8]) -> Vec<u8> {
    let tar = LayerTar::new().dir("bin/", 0o755).file("bin/probe", 0o755, probe);
    let tar = tar.dir("etc/", 0o755).file("etc/passwd", 0o644, PASSWD).file("etc/group", 0o644, GROUP);
    let tar = tar.dir("home/", 0o755).dir_of("home/alice/", 0o700, (1000, 1000));
    tar.dir("root/", 0o700).dir("tmp/", 0o1777).finish()
}

fn configured(probe: &[u8]) -> ImageMaker {
    let data = LayerTar::new().dir_of("data/", 0o750, (1000, 1000)).file_of("data/seed", 0o640, (1000, 1000), "seed\n");
    let config = json!({
        "User": "alice",
        "WorkingDir": "/home/alice",
        "Entrypoint": ["/bin/probe"],
        "Cmd": ["echo", "from", "the", "image"],
        "Env": ["PATH=/bin", "CARGO=wool", "EMPTY="],
        "Labels": {"port": "bergen", "ship": "image"},
        "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGKILL",
    });
    ImageMaker::new(config, vec![base(probe), data.finish()])
}

fn shell(probe: &[u8], busybox: &[u8]) -> ImageMaker {
    let tar = LayerTar::new().dir("bin/", 0o755).file("bin/busybox", 0o755, busybox);
    let tar = APPLETS.iter().fold(tar, |tar, name| tar.symlink(&format!("bin/{name}"), "busybox"));
    ImageMaker::new(json!({"Env": ["PATH=/bin"], "Cmd": ["sh"]}), vec![base(probe), tar.finish()])
}

fn layers(probe: &[u8]) -> ImageMaker {
    let bottom = LayerTar::new()
        .dir("a/", 0o755)
        .file("a/gone", 0o644, "bottom")
        .file("a/kept", 0o644, "bottom")
        .file("a/changed", 0o644, "bottom")
        .dir("opaque/", 0o755)
        .file("opaque/hidden", 0o644, "bottom")
        .dir("becomes-file/", 0o755)
        .file("becomes-file/inside", 0o644, "bottom")
        .file("becomes-dir", 0o644, "bottom")
        .dir("deleted-tree/", 0o755)
        .file("deleted-tree/deep", 0o644, "bottom")
        .dir_of("implied/", 0o711, (1000, 1000))
        .file("set-uid", 0o4755, "bottom");
    let middle = LayerTar::new()
        .whiteout("a/gone")
        .file("a/changed", 0o600, "middle")
        .opaque("opaque")
        .file("opaque/fresh", 0o644, "middle")
        .file("becomes-file", 0o644, "middle")
        .dir("becomes-dir/", 0o755)
        .file("becomes-dir/inside", 0o644, "middle")
        .whiteout("deleted-tree")
        // Its directory is not in this layer: owner and mode must come from the layer below.
        .file("implied/child", 0o644, "middle");
    let top = LayerTar::new()
        .file("a/gone-again", 0o644, "top")
        .whiteout("a/kept")
        .file("a/gone", 0o644, "top")
        .dir("links/", 0o755)
        .file("links/one", 0o644, "linked")
        .hard_link("links/two", "links/one")
        .symlink("links/absolute", "/a/changed")
        .symlink("links/relative", "../a/changed")
        .fifo("links/pipe", 0o640);
    let packed = vec![
        (base(probe), Compression::Gzip),
        (bottom.finish(), Compression::Plain),
        (middle.finish(), Compression::Zstd),
        (top.finish(), Compression::Gzip),
    ];
    ImageMaker { layers: packed, ..ImageMaker::new(json!({"Env": ["PATH=/bin"], "Cmd": ["/bin/probe"]}), Vec::new()) }
}
