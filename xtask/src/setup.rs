//! Installs what the tests need from Debian, and says so.
//!
//! Law: idempotent, and quick when all is there: a package counts as present when the file the tests use is. Without
//! root nothing is installed; the tests that miss something then skip and say what.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, shell};

/// Package, the file of it that tests use, and what for.
const PACKAGES: [(&str, &str, &str); 12] = [
    ("busybox-static", "/bin/busybox", "images with a shell"),
    ("crun", "/usr/bin/crun", "another runtime under cgroup v2"),
    ("debootstrap", "/usr/sbin/debootstrap", "an image of several layers with a real distribution in it"),
    ("docker-registry", "/usr/bin/docker-registry", "a registry to pull from"),
    ("e2fsprogs", "/sbin/mkfs.ext4", "the disk of user-mode Linux"),
    ("kmod", "/sbin/modprobe", "modules inside user-mode Linux"),
    ("openssl", "/usr/bin/openssl", "certificates for the registry"),
    ("runc", "/usr/sbin/runc", "another runtime for --runtime"),
    ("runsc", "/usr/bin/runsc", "a runtime with a kernel of its own for --runtime"),
    ("uidmap", "/usr/bin/newuidmap", "rootless containers"),
    ("user-mode-linux", "/usr/bin/linux.uml", "a kernel with cgroup v2"),
    ("xz-utils", "/usr/bin/xz", "unpacking Debian packages"),
];

/// Installs what is missing.
pub fn run() -> Outcome {
    let missing: Vec<_> = PACKAGES.iter().filter(|(_, file, _)| !Path::new(file).exists()).collect();
    if missing.is_empty() {
        println!("setup: everything the tests need is installed");
        return Ok(());
    }
    for (package, _, purpose) in &missing {
        println!("setup: missing {package}: {purpose}");
    }
    let names: Vec<&str> = missing.iter().map(|(package, ..)| *package).collect();
    if !shell::is_root() || !Path::new("/usr/bin/apt-get").exists() {
        println!("setup: to have them, run as root: apt-get install {}", names.join(" "));
        return Ok(());
    }
    install(&names)
}

fn install(names: &[&str]) -> Outcome {
    println!("setup: apt-get install {}", names.join(" "));
    shell::run(Command::new("apt-get").args(["update", "--quiet", "--quiet"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet", "--quiet", "--no-install-recommends"]).args(names);
    // Nothing may start a daemon here: the tests start what they need, on ports of their own.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    shell::run(&mut install)
}
