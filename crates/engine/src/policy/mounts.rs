//! The `mounts` list: the file systems every container has, the three files, then what was asked, parents before children.

use std::path::{Path, PathBuf};

use knarr_spec::image::ContainerConfig;
use knarr_spec::runtime::{Mount, MountBuilder};

use super::{Basis, ResolvedMount};
use crate::wanted::{MountKind, MountWanted, Network};

/// Where `--init` puts our binary: on the /dev tmpfs, so that no file appears in the image.
pub const INIT_PATH: &str = "/dev/knarr-init";

/// Docker's default size of `/dev/shm`.
const SHM_BYTES: i64 = 64 << 20;

pub(super) fn mounts(basis: &Basis) -> Vec<Mount> {
    let mut list = base(basis);
    let mut asked: Vec<Mount> = basis.mounts.iter().map(user_mount).collect();
    asked.sort_by_key(|mount| depth(mount.destination()));
    // A user's mount on the same place takes the place of ours.
    list.retain(|ours| !asked.iter().any(|theirs| clean(theirs.destination()) == *ours.destination()));
    list.extend(asked);
    if let Some(binary) = &basis.init_binary {
        list.push(bind(binary, INIT_PATH, &["bind", "ro", "nosuid", "nodev"]));
    }
    list
}

/// The volumes the image declares, where the user mounts nothing on the same path.
pub fn image_volumes(image: &ContainerConfig, wanted: &[MountWanted]) -> Vec<MountWanted> {
    let taken = |path: &str| wanted.iter().any(|mount| clean(Path::new(&mount.target)) == clean(Path::new(path)));
    let paths = image.volumes.keys().filter(|path| path.starts_with('/') && !taken(path));
    let volume = |path: &String| MountWanted {
        target: path.clone(),
        read_only: false,
        kind: MountKind::Volume { name: None, nocopy: false },
    };
    paths.map(volume).collect()
}

fn base(basis: &Basis) -> Vec<Mount> {
    let (wanted, host) = (basis.wanted, basis.host);
    let namespaces = &wanted.namespaces;
    let mut list = Vec::with_capacity(12);
    // A process in a user namespace may mount neither proc of a pid namespace nor sysfs of a network namespace it does not own.
    if host.rootless && namespaces.pid_host {
        list.push(bind(Path::new("/proc"), "/proc", &["rbind", "nosuid", "noexec", "nodev"]));
    } else {
        list.push(mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]));
    }
    list.push(mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]));
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if !host.rootless || host.gid_max >= 5 {
        pts.push("gid=5");
    }
    list.push(mount("/dev/pts", "devpts", "devpts", &pts));
    let write = if wanted.privileged { "rw" } else { "ro" };
    if host.rootless && namespaces.network == Network::Host {
        list.push(bind(Path::new("/sys"), "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]));
    } else {
        list.push(mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", write]));
    }
    list.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", write]));
    if namespaces.ipc_host {
        list.push(bind(Path::new("/dev/mqueue"), "/dev/mqueue", &["rbind", "nosuid", "noexec", "nodev"]));
        list.push(bind(Path::new("/dev/shm"), "/dev/shm", &["rbind", "nosuid", "noexec", "nodev"]));
    } else {
        list.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
        let size = format!("size={}", wanted.resources.shm_size_bytes.unwrap_or(SHM_BYTES));
        list.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
    }
    for (file, target) in [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")]
    {
        let options: &[&str] = if wanted.read_only { &["bind", "rprivate", "ro"] } else { &["bind", "rprivate"] };
        list.push(bind(&basis.dir.join(file), target, options));
    }
    list
}

/// A bind that may be written says nothing about it: naming an attribute clears those of the source that are not named.
fn user_mount(wish: &ResolvedMount) -> Mount {
    let read_only = wish.read_only.then_some("ro");
    let bound = |options: [&str; 2]| {
        let options: Vec<&str> = options.into_iter().chain(read_only).collect();
        bind(&wish.source, &wish.target, &options)
    };
    match &wish.kind {
        MountKind::Bind(options) => {
            let recursion = if options.non_recursive { "bind" } else { "rbind" };
            bound([recursion, options.propagation.as_str()])
        }
        MountKind::Volume { .. } => bound(["rbind", "rprivate"]),
        MountKind::Tmpfs { options } => {
            let mut all = vec!["noexec", "nosuid", "nodev"];
            all.extend(options.iter().map(String::as_str));
            all.push(read_only.unwrap_or("rw"));
            mount(&wish.target, "tmpfs", "tmpfs", &all)
        }
    }
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

fn clean(path: &Path) -> PathBuf {
    path.components().collect()
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Mount {
    build(target, "bind", source, options)
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    build(target, kind, Path::new(source), options)
}

fn build(target: &str, kind: &str, source: &Path, options: &[&str]) -> Mount {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    let builder = MountBuilder::default().destination(target).typ(kind).source(source).options(options);
    builder.build().expect("no id mappings are set")
}
