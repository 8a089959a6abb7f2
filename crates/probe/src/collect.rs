//! Collects a [`Report`] from `/proc/self`.
//!
//! Law: reading only; no descriptor stays open, so the list of descriptors shows what was inherited and nothing of ours.

use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::proc::{self, Status};
use crate::report::*;
use crate::{Mount, cgroup, mountinfo};

/// Paths that container engines hide or make read-only, because they name or change the host.
const SENSITIVE: [&str; 18] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/interrupts",
    "/proc/irq",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/cgroup",
];

/// Reports what the calling process sees.
pub fn collect() -> Report {
    let fds = open_descriptors();
    let status_text = text("/proc/self/status");
    let status = Status::parse(&status_text);
    let mounts = mountinfo::parse(&text("/proc/self/mountinfo"));
    Report {
        process: process(&status),
        user: user(&status),
        hostname: line("/proc/sys/kernel/hostname"),
        kernel: kernel(),
        namespaces: namespaces(),
        capabilities: capabilities(&status),
        rlimits: proc::limits(&text("/proc/self/limits")),
        security: security(&status),
        signals: Signals { blocked: status.signals("SigBlk"), ignored: status.signals("SigIgn") },
        cgroup: cgroup::collect(
            &text("/proc/self/cgroup"),
            &mounts,
            status.text("Cpus_allowed_list").map(str::to_string),
        ),
        root: root(&mounts),
        paths: SENSITIVE.iter().map(|path| (path.to_string(), path_state(path, &mounts))).collect(),
        interfaces: proc::interfaces(&text("/proc/self/net/dev")),
        env: environment(),
        fds,
        mounts,
    }
}

fn process(status: &Status) -> Process {
    let args = fs::read("/proc/self/cmdline").unwrap_or_default();
    Process {
        pid: std::process::id() as i32,
        parent_pid: std::os::unix::process::parent_id() as i32,
        group: status.numbers("NSpgid").last().copied().unwrap_or(0),
        session: status.numbers("NSsid").last().copied().unwrap_or(0),
        args: proc::nul_separated(&args),
        cwd: link("/proc/self/cwd"),
        umask: status.text("Umask").map(str::to_string),
        oom_score_adj: line("/proc/self/oom_score_adj").and_then(|text| text.parse().ok()),
        terminal: [std::io::stdin().is_terminal(), std::io::stdout().is_terminal(), std::io::stderr().is_terminal()],
        visible: names("/proc").iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).count(),
    }
}

fn user(status: &Status) -> User {
    let (uids, gids) = (status.numbers("Uid"), status.numbers("Gid"));
    let at = |ids: &[u32], index: usize| ids.get(index).copied().unwrap_or(u32::MAX);
    User {
        uid: at(&uids, 0),
        effective_uid: at(&uids, 1),
        gid: at(&gids, 0),
        effective_gid: at(&gids, 1),
        groups: status.numbers("Groups"),
        name: proc::user_name(&text("/etc/passwd"), at(&uids, 1)),
        uid_map: proc::id_map(&text("/proc/self/uid_map")),
        gid_map: proc::id_map(&text("/proc/self/gid_map")),
    }
}

fn kernel() -> Kernel {
    Kernel {
        name: line("/proc/sys/kernel/ostype"),
        release: line("/proc/sys/kernel/osrelease"),
        machine: std::env::consts::ARCH.to_string(),
    }
}

/// `/proc/self/ns/net` is a link to `net:[4026531840]`.
fn namespaces() -> BTreeMap<String, u64> {
    let inode = |name: String| {
        let target = link(&format!("/proc/self/ns/{name}"))?;
        let number = target.split_once('[')?.1.strip_suffix(']')?.parse().ok()?;
        Some((name, number))
    };
    names("/proc/self/ns").into_iter().filter_map(inode).collect()
}

fn capabilities(status: &Status) -> Capabilities {
    Capabilities {
        effective: status.capabilities("CapEff"),
        permitted: status.capabilities("CapPrm"),
        inheritable: status.capabilities("CapInh"),
        bounding: status.capabilities("CapBnd"),
        ambient: status.capabilities("CapAmb"),
    }
}

fn security(status: &Status) -> Security {
    Security {
        no_new_privs: status.number::<u8>("NoNewPrivs") == Some(1),
        seccomp: match status.number::<u8>("Seccomp") {
            Some(1) => SeccompMode::Strict,
            Some(2) => SeccompMode::Filter,
            _ => SeccompMode::Disabled,
        },
        seccomp_filters: status.number("Seccomp_filters").unwrap_or(0),
        label: line("/proc/self/attr/current").filter(|label| !label.is_empty()),
    }
}

fn root(mounts: &[Mount]) -> Root {
    let mount = mounts.iter().rev().find(|mount| mount.target == "/");
    Root { fstype: mount.map(|mount| mount.fstype.clone()), read_only: mount.is_some_and(Mount::read_only) }
}

/// A masked directory is an empty mount of another type; a masked file is the null device.
fn path_state(path: &str, mounts: &[Mount]) -> PathState {
    let Ok(metadata) = fs::metadata(path) else { return PathState::Absent };
    match mounts.iter().rev().find(|mount| mount.target == path) {
        Some(mount) if mount.fstype == "tmpfs" && names(path).is_empty() => PathState::Masked,
        Some(_) if is_null(&metadata) => PathState::Masked,
        _ if covering(path, mounts).is_some_and(Mount::read_only) => PathState::ReadOnly,
        _ => PathState::Open,
    }
}

/// The mount that `path` stands on: the last one with the longest target that is a prefix of it.
fn covering<'a>(path: &str, mounts: &'a [Mount]) -> Option<&'a Mount> {
    let holds = |mount: &&Mount| Path::new(path).starts_with(&mount.target);
    mounts.iter().filter(holds).max_by_key(|mount| mount.target.len())
}

/// `/dev/null` is character device 1:3 on Linux.
fn is_null(metadata: &fs::Metadata) -> bool {
    metadata.rdev() == 0x103
}

fn environment() -> BTreeMap<String, String> {
    let variables = proc::nul_separated(&fs::read("/proc/self/environ").unwrap_or_default());
    let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_string(), value.to_string()));
    variables.iter().filter_map(pair).collect()
}

/// The descriptor through which the directory is read shows itself in it; its link is gone when it is looked at.
fn open_descriptors() -> BTreeMap<i32, String> {
    let target = |name: String| Some((name.parse().ok()?, link(&format!("/proc/self/fd/{name}"))?));
    names("/proc/self/fd").into_iter().filter_map(target).collect()
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn link(path: &str) -> Option<String> {
    fs::read_link(path).ok().map(|target| target.to_string_lossy().into_owned())
}

fn text(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().trim_end_matches('\0').to_string())
}
