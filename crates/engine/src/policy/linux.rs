//! The `linux` object: namespaces, cgroup, devices, seccomp, masks.

use std::collections::HashMap;

use knarr_spec::runtime::{
    Capability, Linux, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxSeccomp,
};

use super::process::capabilities_of;
use super::resources::resources;
use super::{Basis, HostDevice, PolicyError};
use crate::wanted::{CapabilitySet, MountKind, Network, Propagation, SeccompChoice, Wanted};

/// What tells about the host or changes it, hidden. Docker's list.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// What may be read but not written. Docker's list.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn linux(basis: &Basis) -> Result<Linux, PolicyError> {
    let wanted = basis.wanted;
    let mut linux = Linux::default();
    linux.set_namespaces(Some(namespaces(wanted)));
    let resources = resources(basis)?;
    linux.set_resources((!basis.host.no_cgroup).then_some(resources));
    linux.set_cgroups_path((!basis.host.no_cgroup).then(|| cgroups_path(basis)));
    linux.set_sysctl(Some(sysctls(basis)).filter(|map| !map.is_empty()));
    linux.set_seccomp(seccomp(wanted)?);
    linux.set_devices(devices(basis));
    linux.set_rootfs_propagation(rootfs_propagation(basis));
    let open = wanted.privileged || wanted.security.systempaths_unconfined;
    linux.set_masked_paths(Some(if open { Vec::new() } else { masked_paths(basis.host.cpus) }));
    linux.set_readonly_paths(Some(if open { Vec::new() } else { READ_ONLY.map(str::to_owned).to_vec() }));
    Ok(linux)
}

fn namespaces(wanted: &Wanted) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network as Net, Pid, Uts};
    let shared = &wanted.namespaces;
    let kinds = [
        (Mount, false),
        (Net, shared.network == Network::Host),
        (Uts, shared.uts_host),
        (Pid, shared.pid_host),
        (Ipc, shared.ipc_host),
        (Cgroup, shared.cgroup_host),
    ];
    let private = kinds.into_iter().filter(|(_, shared)| !shared);
    private
        .map(|(kind, _)| LinuxNamespaceBuilder::default().typ(kind).build().expect("every field has a default"))
        .collect()
}

/// Root's containers stand below `/knarr`; an ordinary user's beside the control group the user is in, which is the one
/// that may have been delegated.
pub fn default_cgroup_parent(rootless: bool) -> &'static str {
    if rootless { "knarr" } else { "/knarr" }
}

fn cgroups_path(basis: &Basis) -> std::path::PathBuf {
    let parent = basis.wanted.resources.cgroup_parent.as_deref().unwrap_or(default_cgroup_parent(basis.host.rootless));
    std::path::Path::new(parent).join(basis.id)
}

/// A private network lets unprivileged programs bind low ports and ping, as docker's does: no other network sees it.
fn sysctls(basis: &Basis) -> HashMap<String, String> {
    let mut map = HashMap::new();
    if basis.wanted.namespaces.network != Network::Host {
        map.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        if !basis.host.rootless {
            map.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        }
    }
    map.extend(basis.wanted.sysctls.clone());
    map
}

fn seccomp(wanted: &Wanted) -> Result<Option<LinuxSeccomp>, PolicyError> {
    match &wanted.security.seccomp {
        SeccompChoice::Unconfined => Ok(None),
        SeccompChoice::Default if wanted.privileged => Ok(None),
        SeccompChoice::Default => {
            let granted = CapabilitySet::docker_default().adjusted(&wanted.cap_add, &wanted.cap_drop)?;
            let granted: Vec<Capability> = capabilities_of(granted).collect();
            Ok(knarr_seccomp::native().map(|arch| knarr_seccomp::default_profile(&granted, arch)))
        }
        SeccompChoice::Profile(text) => Ok(Some(serde_json::from_str(text).map_err(PolicyError::Seccomp)?)),
    }
}

fn devices(basis: &Basis) -> Option<Vec<LinuxDevice>> {
    // In a user namespace no node can be made; the runtime binds the standard ones, and mounts carry the rest.
    let host: &[HostDevice] = if basis.wanted.privileged && !basis.host.rootless { &basis.host.devices } else { &[] };
    let list: Vec<LinuxDevice> = host.iter().chain(basis.devices).map(device).collect();
    Some(list).filter(|list| !list.is_empty())
}

fn device(device: &HostDevice) -> LinuxDevice {
    let kind = if device.kind == 'b' { LinuxDeviceType::B } else { LinuxDeviceType::C };
    let builder = LinuxDeviceBuilder::default().path(device.path.clone()).typ(kind);
    let builder = builder.major(i64::from(device.major)).minor(i64::from(device.minor)).file_mode(device.mode);
    builder.uid(device.uid).gid(device.gid).build().expect("every field has a default")
}

/// Mounts can only pass into a container whose root receives them.
fn rootfs_propagation(basis: &Basis) -> Option<String> {
    let propagations = basis.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind(options) => Some(options.propagation),
        _ => None,
    });
    let mut result = None;
    for propagation in propagations {
        match propagation {
            Propagation::Shared | Propagation::Rshared => return Some("rshared".to_owned()),
            Propagation::Slave | Propagation::Rslave => result = Some("rslave".to_owned()),
            Propagation::Private | Propagation::Rprivate => {}
        }
    }
    result
}

fn masked_paths(cpus: u32) -> Vec<String> {
    let thermal = (0..cpus).map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"));
    MASKED.iter().map(|path| (*path).to_owned()).chain(thermal).collect()
}
