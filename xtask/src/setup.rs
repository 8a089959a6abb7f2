//! Installs what the tests need from Debian, and says so.
//!
//! Law: idempotent, and quick when all is there: a package counts as present when the file the tests use is. Without
//! root nothing is installed; the tests that miss something then skip and say what.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, shell};

/// Package, the file of it that tests use, and what for.
const PACKAGES: [(&str, &str, &str); 20] = [
    ("apache2-utils", "/usr/bin/htpasswd", "a registry that asks for a password"),
    ("busybox-static", "/bin/busybox", "images with a shell"),
    ("chromium", "/usr/bin/chromium", "a browser for the registry's page"),
    ("crun", "/usr/bin/crun", "another runtime under cgroup v2"),
    ("debootstrap", "/usr/sbin/debootstrap", "an image of several layers with a real distribution in it"),
    ("docker-registry", "/usr/bin/docker-registry", "a registry to pull from"),
    ("e2fsprogs", "/sbin/mkfs.ext4", "the disk of user-mode Linux"),
    ("gnupg", "/usr/bin/gpg", "keys and signatures for policies"),
    ("gpgv", "/usr/bin/gpgv", "checking OpenPGP signatures of images"),
    ("kmod", "/sbin/modprobe", "modules inside user-mode Linux"),
    ("openssl", "/usr/bin/openssl", "certificates for the registry"),
    ("postgresql-15", "/usr/lib/postgresql/15/bin/postgres", "a database server for several registries over one store"),
    ("python3-seccomp", "/usr/share/doc/python3-seccomp", "libseccomp's answers beside ours"),
    ("python3-venv", "/usr/share/doc/python3-venv", "an S3 server for the registry's blobs"),
    ("runc", "/usr/sbin/runc", "another runtime for --runtime"),
    ("runsc", "/usr/bin/runsc", "a runtime with a kernel of its own for --runtime"),
    ("uidmap", "/usr/bin/newuidmap", "rootless containers"),
    ("umoci", "/usr/bin/umoci", "layers that another tool unpacks and packs"),
    ("user-mode-linux", "/usr/bin/linux.uml", "a kernel with cgroup v2"),
    ("xz-utils", "/usr/bin/xz", "unpacking Debian packages"),
];

/// What becomes an S3 server from PyPI, in an environment of its own below the cache.
const S3_PACKAGES: [&str; 3] = ["moto[s3]", "flask", "flask-cors"];

/// What becomes an Azure blob server from npm, in a directory of its own below the cache.
const AZURE_PACKAGE: &str = "azurite@3";

/// Installs what is missing.
pub fn run() -> Outcome {
    from_debian()?;
    s3_server()?;
    azure_server()
}

fn azure_server() -> Outcome {
    let Some(home) = std::env::var_os("HOME") else { return Ok(()) };
    let directory = Path::new(&home).join(".cache/knarr-tests/azurite");
    if directory.join("node_modules/.bin/azurite-blob").exists() {
        return Ok(());
    }
    println!("setup: missing azurite: an Azure server for the registry's blobs");
    println!("setup: npm install --prefix {} {AZURE_PACKAGE}", directory.display());
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&directory);
    if shell::run(install.arg(AZURE_PACKAGE)).is_err() {
        println!("setup: without it (it needs npm) the tests that need an Azure server skip");
    }
    Ok(())
}

fn s3_server() -> Outcome {
    let Some(home) = std::env::var_os("HOME") else { return Ok(()) };
    let directory = Path::new(&home).join(".cache/knarr-tests/moto");
    if directory.join("bin/moto_server").exists() {
        return Ok(());
    }
    println!("setup: missing moto: an S3 server for the registry's blobs");
    println!("setup: python3 -m venv {} and pip install {}", directory.display(), S3_PACKAGES.join(" "));
    let made = shell::run(Command::new("python3").args(["-m", "venv"]).arg(&directory)).and_then(|()| {
        shell::run(Command::new(directory.join("bin/pip")).args(["install", "--quiet"]).args(S3_PACKAGES))
    });
    if made.is_err() {
        println!("setup: without it the tests that need an S3 server skip");
    }
    Ok(())
}

fn from_debian() -> Outcome {
    let missing: Vec<_> = PACKAGES.iter().filter(|(_, file, _)| !Path::new(file).exists()).collect();
    if missing.is_empty() {
        println!("setup: every package the tests need is installed");
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
