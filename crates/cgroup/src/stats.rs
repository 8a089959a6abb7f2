//! What a cgroup has used.

/// Counters of one cgroup; zero where the controller is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time used, nanoseconds.
    pub cpu_usage_ns: u64,
    /// Memory in use, bytes.
    pub memory_usage_bytes: u64,
    /// Memory limit, bytes; `u64::MAX` without one.
    pub memory_limit_bytes: u64,
    /// Processes the out-of-memory killer ended here.
    pub oom_kills: u64,
    /// Tasks now.
    pub pids: u64,
}
