//! Looking at the host: what the pure policy must know of it. Only what a wish makes necessary is looked up.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use knarr_sys::fs::{major, minor};

use crate::policy::linux::default_cgroup_parent;

use crate::policy::{HostDevice, HostFacts};
use crate::wanted::{DeviceWanted, Network, Wanted};
use crate::{Context, Error, Result};

/// Docker leaves these out of `--privileged`: they are file systems of their own, or a container's.
const DEV_SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts"];

pub(super) fn host_facts(context: &Context, wanted: &Wanted) -> HostFacts {
    let needs_name = wanted.namespaces.uts_host || wanted.namespaces.network == Network::Host;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    HostFacts {
        rootless: context.rootless(),
        gid_max: context.gid_max,
        hostname: if needs_name { read("/proc/sys/kernel/hostname").trim().to_owned() } else { String::new() },
        cpus: thermal_cpus(),
        apparmor: None,
        no_cgroup: context.rootless() && !delegated(context, wanted),
        devices: if wanted.privileged && !context.rootless() { all_devices(Path::new("/dev")) } else { Vec::new() },
    }
}

/// Whether an ordinary user may limit anything at the container's place; limits that will be ignored are noted.
fn delegated(context: &Context, wanted: &Wanted) -> bool {
    let layout = knarr_cgroup::Layout::discover().unwrap_or_default();
    let parent = wanted.resources.cgroup_parent.as_deref();
    let path = Path::new(parent.unwrap_or(default_cgroup_parent(context.rootless())));
    if layout.writable(path).is_ok_and(|writable| !writable.usable.is_empty()) {
        return true;
    }
    let limits = &wanted.resources;
    let asked = limits.memory_bytes.is_some() || limits.nano_cpus.is_some() || limits.pids_limit.is_some();
    if asked || limits.cpu_quota_us.is_some() || limits.cpu_shares.is_some() || limits.cpuset_cpus.is_some() {
        context.note("limits are ignored: no control group is delegated to you (under systemd a login session has one with cgroup v2)");
    }
    false
}

/// How many processors have thermal counters to hide; few machines have any, and then it costs one stat.
fn thermal_cpus() -> u32 {
    if !Path::new("/sys/devices/system/cpu/cpu0/thermal_throttle").exists() {
        return 0;
    }
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = possible.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<u32>().ok());
    last.map_or(1, |last| last + 1)
}

/// `--device`: one node, or every node of a directory.
pub(super) fn devices(wanted: &[DeviceWanted]) -> Result<Vec<HostDevice>> {
    let mut list = Vec::new();
    for wish in wanted {
        let path = Path::new(&wish.host);
        let wrong = |why: &str| Error::Device { path: wish.host.clone(), why: why.to_owned() };
        let metadata = path.metadata().map_err(|_| wrong("no such file or directory"))?;
        if metadata.is_dir() {
            let inside = all_devices(path).into_iter().map(|device| {
                let rest = device.path.strip_prefix(path).map(Path::to_path_buf).unwrap_or_default();
                HostDevice { path: Path::new(&wish.container).join(rest), access: wish.access.clone(), ..device }
            });
            list.extend(inside);
        } else {
            let device = device(&metadata, PathBuf::from(&wish.container), &wish.access);
            list.push(device.ok_or_else(|| wrong("not a device node"))?);
        }
    }
    Ok(list)
}

fn all_devices(dir: &Path) -> Vec<HostDevice> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            if !DEV_SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                list.extend(all_devices(&path));
            }
        } else if entry.file_name() != "console" {
            list.extend(device(&metadata, path, "rwm"));
        }
    }
    list.sort_by(|a, b| a.path.cmp(&b.path));
    list
}

fn device(metadata: &std::fs::Metadata, path: PathBuf, access: &str) -> Option<HostDevice> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => return None,
    };
    Some(HostDevice {
        path,
        kind,
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    })
}
