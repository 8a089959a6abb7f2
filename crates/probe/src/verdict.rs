//! What is protected and what is not, as sentences about a [`Report`].
//!
//! Law: pure. A namespace counts as shared when its inode number is one the kernel gives to the initial namespaces
//! (`include/linux/proc_ns.h`, `include/uapi/linux/nsfs.h`); older kernels number the initial mount and network
//! namespaces freely, and there other signs decide.

use crate::proc::CAPABILITY_COUNT;
use crate::report::{PathState, Report, SeccompMode};

/// How a finding is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Closed to this process.
    Protected,
    /// Open, and an option closes it.
    Open,
}

/// One finding: a subject, what was seen, and the option of `knarr run` that would change an open one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Two or three words, the first column.
    pub subject: &'static str,
    /// What was seen.
    pub seen: String,
    /// How to read it.
    pub verdict: Verdict,
    /// Command line option that closes it; empty where there is none to name.
    pub option: &'static str,
}

/// Inode numbers of the initial namespaces.
const INITIAL: [(&str, u64); 8] = [
    ("mnt", 0xEFFF_FFF8),
    ("net", 0xEFFF_FFF9),
    ("time", 0xEFFF_FFFA),
    ("cgroup", 0xEFFF_FFFB),
    ("pid", 0xEFFF_FFFC),
    ("user", 0xEFFF_FFFD),
    ("uts", 0xEFFF_FFFE),
    ("ipc", 0xEFFF_FFFF),
];

/// Namespaces whose sharing matters, and what being in one's own means.
const SHARED: [(&str, &str, &str, &str); 6] = [
    ("pid", "processes", "sees only its own", ""),
    ("mnt", "mounts", "has its own mount table", ""),
    ("net", "network", "has its own network stack", "--network none"),
    ("ipc", "shared memory", "has its own IPC objects", ""),
    ("uts", "host name", "has its own", ""),
    ("cgroup", "cgroups", "sees only its own subtree", ""),
];

/// Judges everything a reader of `knarr run knarr/hello` wants to know, most important first.
pub fn findings(report: &Report) -> Vec<Finding> {
    let mut all: Vec<Finding> = SHARED.iter().map(|row| namespace(report, row)).collect();
    all.extend([
        users(report),
        capabilities(report),
        system_calls(report),
        privileges(report),
        kernel_files(report),
        root(report),
        limit("memory", report.cgroup.memory_bytes_max.map(bytes), "--memory 256m"),
        limit("processors", report.cgroup.cpus_max.map(|cpus| format!("at most {cpus}")), "--cpus 1"),
        limit("process count", report.cgroup.pids_max.map(|pids| format!("at most {pids}")), "--pids-limit 100"),
    ]);
    all
}

fn finding(subject: &'static str, protected: bool, seen: impl Into<String>, option: &'static str) -> Finding {
    let verdict = if protected { Verdict::Protected } else { Verdict::Open };
    Finding { subject, seen: seen.into(), verdict, option }
}

fn namespace(report: &Report, &(kind, subject, own, option): &(&str, &'static str, &str, &'static str)) -> Finding {
    let shared = is_initial(report, kind);
    let seen = match (kind, shared) {
        (_, true) => "shares the host's".to_string(),
        ("pid", _) => format!("{own} ({} visible, this one is pid {})", report.process.visible, report.process.pid),
        ("net", _) if report.interfaces == ["lo"] => "loopback only".to_string(),
        _ => own.to_string(),
    };
    finding(subject, !shared, seen, option)
}

fn is_initial(report: &Report, kind: &str) -> bool {
    let inode = report.namespaces.get(kind);
    INITIAL.iter().any(|(name, initial)| *name == kind && inode == Some(initial))
}

fn users(report: &Report) -> Finding {
    let user = &report.user;
    let name = user.name.as_deref().unwrap_or("no name");
    let outside = user
        .uid_map
        .iter()
        .find(|[inside, _, length]| (*inside..inside.saturating_add(*length)).contains(&u64::from(user.effective_uid)));
    let outside = outside.map(|[inside, outside, _]| outside + u64::from(user.effective_uid) - inside);
    match outside {
        Some(outside) if outside != u64::from(user.effective_uid) => {
            finding("user", true, format!("{name}, uid {} here and {outside} outside", user.effective_uid), "")
        }
        _ => finding("user", user.effective_uid != 0, format!("{name}, uid {}", user.effective_uid), "--user 65534"),
    }
}

fn capabilities(report: &Report) -> Finding {
    let held = report.capabilities.effective.len();
    let admin = report.capabilities.bounding.iter().any(|name| name == "CAP_SYS_ADMIN");
    finding("capabilities", !admin, format!("{held} of {CAPABILITY_COUNT} held"), "--cap-drop all")
}

fn system_calls(report: &Report) -> Finding {
    let filtered = report.security.seccomp != SeccompMode::Disabled;
    finding("system calls", filtered, if filtered { "filtered by seccomp" } else { "not filtered" }, "")
}

fn privileges(report: &Report) -> Finding {
    let closed = report.security.no_new_privs;
    let seen = if closed { "set-uid programs gain nothing" } else { "set-uid programs can gain capabilities" };
    finding("new privileges", closed, seen, "--security-opt no-new-privileges")
}

fn kernel_files(report: &Report) -> Finding {
    let count = |state| report.paths.values().filter(|seen| **seen == state).count();
    let open: Vec<&str> =
        report.paths.iter().filter(|(_, state)| **state == PathState::Open).map(|(path, _)| path.as_str()).collect();
    let seen = match open.as_slice() {
        [] => format!("{} masked, {} read-only", count(PathState::Masked), count(PathState::ReadOnly)),
        [one] => format!("{one} is open"),
        [first, rest @ ..] => format!("{first} and {} more are open", rest.len()),
    };
    finding("kernel files", open.is_empty(), seen, "")
}

fn root(report: &Report) -> Finding {
    let fstype = report.root.fstype.as_deref().unwrap_or("unknown");
    let mode = if report.root.read_only { "read-only" } else { "writable" };
    finding("root files", report.root.read_only, format!("{fstype}, {mode}"), "--read-only")
}

fn limit(subject: &'static str, limit: Option<String>, option: &'static str) -> Finding {
    let protected = limit.is_some();
    finding(subject, protected, limit.unwrap_or_else(|| "no limit".to_string()), option)
}

/// `268435456` as `at most 256 MiB`.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.checked_ilog2().unwrap_or(0) as usize / 10).min(UNITS.len() - 1);
    let value = bytes as f64 / (1u64 << (10 * unit)) as f64;
    let digits = if value.fract() == 0.0 { 0 } else { 1 };
    format!("at most {value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect;

    fn seen(report: &Report, subject: &str) -> Finding {
        findings(report).into_iter().find(|finding| finding.subject == subject).expect("a finding for every subject")
    }

    #[test]
    fn a_shared_pid_namespace_is_open() {
        let mut report = collect();
        report.namespaces.insert("pid".to_string(), 0xEFFF_FFFC);
        assert_eq!(seen(&report, "processes").verdict, Verdict::Open);
        report.namespaces.insert("pid".to_string(), 4026532000);
        assert_eq!(seen(&report, "processes").verdict, Verdict::Protected);
    }

    #[test]
    fn root_that_is_nobody_outside_is_protected() {
        let mut report = collect();
        report.user.effective_uid = 0;
        report.user.uid_map = vec![[0, 100000, 65536]];
        assert_eq!(seen(&report, "user").verdict, Verdict::Protected);
        assert!(seen(&report, "user").seen.ends_with("uid 0 here and 100000 outside"));
        report.user.uid_map = vec![[0, 0, u64::from(u32::MAX)]];
        assert_eq!(seen(&report, "user").verdict, Verdict::Open);
    }

    #[test]
    fn one_open_kernel_file_is_named() {
        let mut report = collect();
        report.paths.values_mut().for_each(|state| *state = PathState::Masked);
        assert_eq!(seen(&report, "kernel files").verdict, Verdict::Protected);
        report.paths.insert("/proc/kcore".to_string(), PathState::Open);
        assert_eq!(seen(&report, "kernel files").seen, "/proc/kcore is open");
    }

    #[test]
    fn bytes_are_written_in_the_unit_people_gave_them() {
        assert_eq!(bytes(256 << 20), "at most 256 MiB");
        assert_eq!(bytes(1536 << 20), "at most 1.5 GiB");
        assert_eq!(bytes(0), "at most 0 B");
    }
}
