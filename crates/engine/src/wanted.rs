//! What a user wants of a container: validated, typed, nothing done yet.
//!
//! Law: pure. Every text form docker accepts is parsed here, once; a face only calls the parsers and fills the struct.
//! Not here: defaults that depend on the image or the host (`policy`).

mod capability;
mod device;
mod env;
mod mount;
mod name;
mod parse_error;
mod security;
mod signal;
mod size;
mod ulimit;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use capability::{CapabilitySet, all_capabilities};
pub use device::DeviceWanted;
pub use env::{apply_env, env_file};
pub use mount::{BindOptions, MountKind, MountWanted, Propagation};
pub use name::{check_container_name, check_hostname};
pub use parse_error::ParseError;
pub use security::{SeccompChoice, Security};
pub use signal::{parse_signal, signal_name, signal_names};
pub use size::{parse_cpus, parse_size};
pub use ulimit::Ulimit;

/// Everything that may be asked of a container, whether for `run` or `create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// The image as the user wrote it.
    pub image: String,
    /// Command and arguments; empty takes the image's.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint; `Some` of nothing removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Name of the container; `None` invents one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `NAME=value` sets, `NAME` alone removes what the image sets.
    pub env: Vec<String>,
    /// Current directory of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// `user[:group]`, names or numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Supplementary groups, names or numbers.
    pub group_add: Vec<String>,
    /// Host name inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// NIS domain name inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the runtime document.
    pub annotations: BTreeMap<String, String>,
    /// Allocate a terminal.
    pub terminal: bool,
    /// Keep standard input open.
    pub interactive: bool,
    /// Close it when the first client that attached it leaves.
    pub stdin_once: bool,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// Mount the root file system read-only.
    pub read_only: bool,
    /// Put our reaper in as process 1.
    pub init: bool,
    /// All capabilities, all devices, no masks, no seccomp.
    pub privileged: bool,
    /// From `-v`, `--mount` and `--tmpfs`, in the order given.
    pub mounts: Vec<MountWanted>,
    /// Host devices.
    pub devices: Vec<DeviceWanted>,
    /// Which namespaces are shared with the host.
    pub namespaces: Namespaces,
    /// Limits.
    pub resources: ResourcesWanted,
    /// Capabilities to add: names without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, likewise.
    pub cap_drop: Vec<String>,
    /// `--security-opt`.
    pub security: Security,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Name servers, search domains and options that replace the host's.
    pub dns: Dns,
    /// Extra lines of `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Signal that asks the process to end; `None` takes the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout_s: Option<u32>,
    /// Where the output goes.
    pub log: LogWanted,
    /// Another OCI runtime to run the container with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<PathBuf>,
    /// When to pull the image.
    pub pull: PullPolicy,
    /// The platform of the image, `os/arch[/variant]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Write the container's id into this new file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidfile: Option<PathBuf>,
}

/// When a name is fetched although it may be here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// Every time.
    Always,
    /// When it is not here.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

impl std::str::FromStr for PullPolicy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<PullPolicy, ParseError> {
        match text {
            "always" => Ok(PullPolicy::Always),
            "missing" => Ok(PullPolicy::Missing),
            "never" => Ok(PullPolicy::Never),
            _ => Err(ParseError::new("pull", text, "expected always, missing or never")),
        }
    }
}

/// Which network a container stands in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Nothing was said: until there is a bridge, a private namespace with the loopback interface, as `None`.
    #[default]
    Default,
    /// A private namespace with the loopback interface only.
    None,
    /// The host's.
    Host,
}

impl Network {
    /// As `inspect` and `ps` print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Network::Default | Network::None => "none",
            Network::Host => "host",
        }
    }
}

impl std::str::FromStr for Network {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Network, ParseError> {
        match text {
            "default" => Ok(Network::Default),
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            _ => Err(ParseError::new("network", text, "not supported yet: expected none or host")),
        }
    }
}

/// Which namespaces are shared with the host; all false is docker's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// `--network`.
    pub network: Network,
    /// `--pid=host`.
    pub pid_host: bool,
    /// `--ipc=host`.
    pub ipc_host: bool,
    /// `--uts=host`.
    pub uts_host: bool,
    /// `--cgroupns=host`.
    pub cgroup_host: bool,
}

/// Limits; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourcesWanted {
    /// Memory limit in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,
    /// Soft memory limit in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation_bytes: Option<i64>,
    /// Memory and swap together in bytes; -1 is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap_bytes: Option<i64>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<u64>,
    /// Do not kill when out of memory.
    pub oom_kill_disable: bool,
    /// -1000 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Processors in billionths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<i64>,
    /// Relative weight, 2 to 262144.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Microseconds per period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota_us: Option<i64>,
    /// Length of a period in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period_us: Option<u64>,
    /// Processors to run on, as `0-3,5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// Processes and threads; -1 is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    /// 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blkio_weight: Option<u16>,
    /// Size of `/dev/shm` in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size_bytes: Option<i64>,
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Parent cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
}

/// Resolver settings that replace the host's; empty lists take the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses.
    pub servers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

/// Where output is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogWanted {
    /// `--log-driver=none`.
    pub none: bool,
    /// Rotate above this size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size_bytes: Option<u64>,
    /// Files to keep, the current one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_file: Option<u32>,
}

impl LogWanted {
    /// From `--log-driver` and `--log-opt` as given.
    pub fn parse(driver: Option<&str>, options: &[String]) -> Result<LogWanted, ParseError> {
        let mut log = LogWanted { none: false, ..LogWanted::default() };
        match driver {
            None | Some("json-file" | "local" | "k8s-file") => {}
            Some("none") => log.none = true,
            Some(other) => {
                return Err(ParseError::new("log-driver", other, "not supported yet: expected json-file or none"));
            }
        }
        for option in options {
            match option.split_once('=') {
                Some(("max-size", size)) => log.max_size_bytes = Some(parse_size("log-opt max-size", size)? as u64),
                Some(("max-file", count)) => {
                    let count = count.parse().ok().filter(|count| *count > 0);
                    let wrong = || ParseError::new("log-opt", option, "max-file must be a number above 0");
                    log.max_file = Some(count.ok_or_else(wrong)?);
                }
                _ => return Err(ParseError::new("log-opt", option, "expected max-size=SIZE or max-file=NUMBER")),
            }
        }
        Ok(log)
    }
}
