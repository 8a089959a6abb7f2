//! The report: plain data, one struct per subject, made to be compared in tests and printed as JSON.
//!
//! Law: no methods with opinions; a value that could not be read is `None`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Mount;

/// Everything one process sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who we are among processes.
    pub process: Process,
    /// Who we are among users.
    pub user: User,
    /// The host name of our UTS namespace.
    pub hostname: Option<String>,
    /// The kernel below us.
    pub kernel: Kernel,
    /// Inode numbers of our namespaces, by the names in `/proc/self/ns` (`pid`, `mnt`, `net`, …).
    pub namespaces: BTreeMap<String, u64>,
    /// Capability sets, by name.
    pub capabilities: Capabilities,
    /// Resource limits by their runtime-spec names (`RLIMIT_NOFILE`, …).
    pub rlimits: BTreeMap<String, Limit>,
    /// What the kernel forbids us beyond capabilities.
    pub security: Security,
    /// Signals blocked, ignored and caught.
    pub signals: Signals,
    /// Our cgroups and the limits they set.
    pub cgroup: Cgroup,
    /// Our root file system.
    pub root: Root,
    /// Every mount, in the kernel's order.
    pub mounts: Vec<Mount>,
    /// State of the paths that container engines mask or make read-only.
    pub paths: BTreeMap<String, PathState>,
    /// Network interfaces, by name.
    pub interfaces: Vec<String>,
    /// The environment; bytes that are not UTF-8 are replaced.
    pub env: BTreeMap<String, String>,
    /// Open file descriptors and what they point to.
    pub fds: BTreeMap<i32, String>,
}

/// Identity among processes, in our pid namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id; 1 in a fresh pid namespace without `--init`.
    pub pid: i32,
    /// Parent's process id; 0 when the parent is outside our namespace.
    pub parent_pid: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// Arguments, with the program's name first.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// File mode creation mask, in octal digits as the kernel prints it (`0022`).
    pub umask: Option<String>,
    /// Adjustment of the out-of-memory score.
    pub oom_score_adj: Option<i32>,
    /// Whether standard input, output and error are terminals.
    pub terminal: [bool; 3],
    /// Processes visible in `/proc`.
    pub visible: usize,
}

/// Identity among users.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Real and effective user id.
    pub uid: u32,
    /// Effective user id.
    pub effective_uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub effective_gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The user's name in this root's `/etc/passwd`.
    pub name: Option<String>,
    /// Lines of `uid_map`: inside, outside, length.
    pub uid_map: Vec<[u64; 3]>,
    /// Lines of `gid_map`: inside, outside, length.
    pub gid_map: Vec<[u64; 3]>,
}

/// The kernel, as uname(2) tells.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// `Linux`.
    pub name: Option<String>,
    /// `6.18.0`.
    pub release: Option<String>,
    /// `x86_64`.
    pub machine: String,
}

/// Capability sets; names in the spelling of runtime-spec (`CAP_CHOWN`), in the kernel's order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What permission checks use.
    pub effective: Vec<String>,
    /// What may be made effective.
    pub permitted: Vec<String>,
    /// What survives execve together with file capabilities.
    pub inheritable: Vec<String>,
    /// The ceiling for execve.
    pub bounding: Vec<String>,
    /// What survives execve of an ordinary program.
    pub ambient: Vec<String>,
}

/// A resource limit; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is enforced now.
    pub soft: Option<u64>,
    /// How far it may be raised.
    pub hard: Option<u64>,
}

/// Whether system calls are filtered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompMode {
    /// Every system call is allowed, or the kernel does not say.
    #[default]
    Disabled,
    /// Only read, write, exit and sigreturn.
    Strict,
    /// A filter decides.
    Filter,
}

/// What the kernel forbids beyond capabilities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Security {
    /// execve grants nothing new (set-uid, file capabilities).
    pub no_new_privs: bool,
    /// Mode of system call filtering.
    pub seccomp: SeccompMode,
    /// Number of filters stacked.
    pub seccomp_filters: u32,
    /// Label of the Linux security module, where there is one.
    pub label: Option<String>,
}

/// Signal sets as numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// Blocked.
    pub blocked: Vec<u32>,
    /// Ignored.
    pub ignored: Vec<u32>,
}

/// Membership in cgroups and the limits that hold there; `None` is no limit, or not visible from here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Lines of `/proc/self/cgroup`: controllers (empty for v2) to path.
    pub paths: BTreeMap<String, String>,
    /// Memory, in bytes.
    pub memory_bytes_max: Option<u64>,
    /// Swap beyond memory, in bytes (v2's meaning; computed for v1).
    pub swap_bytes_max: Option<u64>,
    /// Processors' worth of time: quota divided by period.
    pub cpus_max: Option<f64>,
    /// Processes and threads.
    pub pids_max: Option<u64>,
    /// Processors we may be scheduled on (`Cpus_allowed_list`).
    pub cpus_allowed: Option<String>,
}

/// The root file system.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Root {
    /// File system type, such as `overlay`.
    pub fstype: Option<String>,
    /// The mount or the file system below it is read-only.
    pub read_only: bool,
}

/// How a sensitive path presents itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathState {
    /// Nothing has this name.
    Absent,
    /// Covered by another file or an empty directory.
    Masked,
    /// Visible and mounted read-only.
    ReadOnly,
    /// As the kernel made it.
    Open,
}
