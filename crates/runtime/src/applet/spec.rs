//! `spec`: a config.json to begin with.

use std::fs;

use serde_json::{Value, json};

use knarr_sys::credentials;

use super::{
    commands::{Context, Done},
    failure::{At, Failure},
    features::SPEC_VERSION,
};
use crate::Host;

/// Writes `config.json` into the bundle, unless there is one.
pub(crate) fn spec(context: &mut Context<'_>) -> Result<Done, Failure> {
    let path = context.path(context.given.value("bundle").unwrap_or("")).join("config.json");
    if fs::symlink_metadata(&path).is_ok() {
        return Err(Failure::ConfigExists(path));
    }
    let mut document = template();
    if Host::probe().cgroups.iter().any(|hierarchy| !hierarchy.version2) {
        without_cgroup_namespace(&mut document);
    }
    if context.given.has("rootless") {
        without_root(&mut document);
    }
    fs::write(&path, format!("{document:#}\n")).at("write", &path)?;
    Ok(Done::Quiet)
}

/// A shell in a terminal, with few privileges.
fn template() -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "knarr",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                { "type": "cgroup" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Control groups of version 1 are shown as they are, which is what runc writes where there are some.
fn without_cgroup_namespace(document: &mut Value) {
    if let Some(namespaces) = document["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
    }
}

/// An ordinary user: a user namespace with one id, no network of its own, nothing that needs a second id or a cgroup.
fn without_root(document: &mut Value) {
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let linux = &mut document["linux"];
    linux["uidMappings"] = map(credentials::effective_user());
    linux["gidMappings"] = map(credentials::effective_group());
    linux["namespaces"] = json!([{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" }, { "type": "user" }]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    let Some(mounts) = document["mounts"].as_array_mut() else { return };
    for mount in mounts.iter_mut() {
        match mount["destination"].as_str() {
            Some("/dev/pts") => {
                mount["options"] = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"])
            }
            // Without a network namespace of its own no new sysfs may be mounted.
            Some("/sys") => {
                *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
            }
            _ => {}
        }
    }
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateOptions, Host, plan};

    #[test]
    fn the_template_can_be_planned() {
        let options = CreateOptions { id: "x".into(), bundle: "/b".into(), ..CreateOptions::default() };
        let spec = serde_json::from_value(template()).unwrap();
        let host = Host { kernel: (6, 1), ..Host::default() };
        plan(&spec, &host, &options).unwrap();
    }

    #[test]
    fn so_can_the_one_of_an_ordinary_user() {
        let mut document = template();
        without_root(&mut document);
        let options = CreateOptions { id: "x".into(), bundle: "/b".into(), ..CreateOptions::default() };
        let host = Host { kernel: (6, 1), euid: 1000, egid: 1000, ..Host::default() };
        plan(&serde_json::from_value(document).unwrap(), &host, &options).unwrap();
    }
}
