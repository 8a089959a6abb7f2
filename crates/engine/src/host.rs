//! What `info` tells of the machine.

use knarr_cgroup::{Kind, Layout};

/// A few numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostDescription {
    /// `1` or `2`, as docker counts: controllers on version 1 are version 1.
    pub cgroup_version: &'static str,
    /// Processors.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// Looks at the machine.
pub fn describe() -> HostDescription {
    let kind = Layout::discover().map(|layout| layout.kind()).unwrap_or(Kind::None);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes =
        meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    HostDescription {
        cgroup_version: match kind {
            Kind::V2 => "2",
            Kind::V1 | Kind::Hybrid => "1",
            Kind::None => "",
        },
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: kilobytes.unwrap_or(0u64) * 1024,
    }
}
