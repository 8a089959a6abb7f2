//! What a cgroup has used.
//!
//! Law: a controller that is missing, and a file the kernel does not have, count as zero; nothing here fails because a container
//! ends meanwhile.

mod v1;
mod v2;

use std::{collections::BTreeMap, path::Path};

use crate::{Cgroup, Error, files::read_if_there, layout::Version};

/// Counters of one cgroup and all below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Where it may run.
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block devices.
    pub block: Block,
    /// Huge pages, by size as in `hugetlb.2MB.max`.
    pub huge: BTreeMap<String, Huge>,
    /// RDMA devices, by name.
    pub rdma: BTreeMap<String, Rdma>,
}

/// Processors and memory nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpuset {
    /// Processors.
    pub cpus: Vec<u32>,
    /// Memory nodes.
    pub mems: Vec<u32>,
    /// The other files of version 1, without their prefix.
    pub flags: BTreeMap<String, i64>,
}

/// The files of version 1 that hold a number.
const CPUSET_FLAGS: [&str; 9] = [
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
];
/// Beyond what any kernel is configured for.
const NUMBER_MAX: u32 = 1 << 16;

impl Cpuset {
    fn read(directory: &Path, cpus: &str, mems: &str) -> Result<Cpuset, Error> {
        let list =
            |file| Ok::<_, Error>(read_if_there(&directory.join(file))?.map(|text| numbers(&text)).unwrap_or_default());
        let mut flags = BTreeMap::new();
        for name in CPUSET_FLAGS {
            let text = read_if_there(&directory.join(format!("cpuset.{name}")))?;
            flags.extend(text.and_then(|text| Some((name.to_owned(), text.trim().parse().ok()?))));
        }
        Ok(Cpuset { cpus: list(cpus)?, mems: list(mems)?, flags })
    }
}

/// `0-3,7`
fn numbers(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u32>().ok()?..=last.trim().parse::<u32>().ok().filter(|last| *last < NUMBER_MAX)?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Processor time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    /// All of it.
    pub usage_ns: u64,
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
    /// By processor (version 1 only): all, in the kernel, in user mode.
    pub by_processor: Vec<(u64, u64, u64)>,
    /// What the quota held back.
    pub throttling: Throttling,
    /// Version 2 only.
    pub pressure: Option<Pressure>,
}

/// What a processor quota held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods that passed.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled: u64,
    /// Time spent waiting for the next.
    pub throttled_ns: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Memory.
    pub memory: MemoryUse,
    /// Memory and swap together.
    pub swap: MemoryUse,
    /// The kernel's own (version 1 only).
    pub kernel: MemoryUse,
    /// TCP buffers (version 1 only).
    pub kernel_tcp: MemoryUse,
    /// Page cache.
    pub cache_bytes: u64,
    /// Processes the out-of-memory killer ended.
    pub oom_kills: u64,
    /// `memory.stat`.
    pub raw: BTreeMap<String, u64>,
    /// Version 2 only.
    pub pressure: Option<Pressure>,
}

/// One kind of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Now.
    pub usage_bytes: u64,
    /// The most there ever was.
    pub max_bytes: u64,
    /// `u64::MAX`: none.
    pub limit_bytes: u64,
    /// How often the limit was hit.
    pub failures: u64,
}

/// Tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// `None`: no limit.
    pub limit: Option<u64>,
}

/// Block devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Bytes read and written.
    pub bytes: Vec<BlockEntry>,
    /// Operations.
    pub operations: Vec<BlockEntry>,
    /// Version 2 only.
    pub pressure: Option<Pressure>,
}

/// A counter of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockEntry {
    /// The device.
    pub major: u64,
    /// The device.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`.
    pub operation: String,
    /// The counter.
    pub value: u64,
}

/// Huge pages of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Huge {
    /// Now.
    pub usage_bytes: u64,
    /// The most there ever was (version 1 only).
    pub max_bytes: u64,
    /// How often the limit was hit.
    pub failures: u64,
}

/// An RDMA device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rdma {
    /// Handles now, and at most.
    pub handles: (u64, u64),
    /// Objects now, and at most.
    pub objects: (u64, u64),
}

/// Pressure stall information (kernel: accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Some task waited.
    pub some: PressureLine,
    /// All tasks waited.
    pub full: PressureLine,
}

/// Shares of time, in percent, and the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureLine {
    /// Of the last 10 seconds.
    pub avg10: f64,
    /// Of the last minute.
    pub avg60: f64,
    /// Of the last five minutes.
    pub avg300: f64,
    /// Microseconds.
    pub total_us: u64,
}

/// Reads them all.
pub(crate) fn stats(cgroup: &Cgroup) -> Result<Stats, Error> {
    let mut stats = Stats::default();
    for directory in &cgroup.directories {
        match directory.version {
            Version::V1 => v1::read(&directory.path, &directory.controllers, &mut stats)?,
            // In a hybrid layout only what is not counted by version 1 already.
            Version::V2 => v2::read(&directory.path, &directory.controllers, &mut stats)?,
        }
    }
    Ok(stats)
}

/// A file with one number; "max" is `u64::MAX`.
fn number(directory: &Path, file: &str) -> Result<Option<u64>, Error> {
    Ok(read_if_there(&directory.join(file))?.and_then(|text| value(text.trim())))
}

fn value(text: &str) -> Option<u64> {
    if text == "max" { Some(u64::MAX) } else { text.parse().ok() }
}

/// A file of lines `key value`.
fn keyed(directory: &Path, file: &str) -> Result<BTreeMap<String, u64>, Error> {
    Ok(read_if_there(&directory.join(file))?.map(|text| pairs(&text)).unwrap_or_default())
}

fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| line.split_once(' ').and_then(|(key, text)| Some((key.to_owned(), value(text.trim())?)));
    text.lines().filter_map(pair).collect()
}

/// `mlx5_0 hca_handle=2 hca_object=2000`, the same file in both versions.
fn rdma(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    for (file, limit) in [("rdma.current", false), ("rdma.max", true)] {
        let text = read_if_there(&directory.join(file))?.unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(device) = words.next() else { continue };
            let entry = stats.rdma.entry(device.into()).or_default();
            for (key, number) in words.filter_map(|word| word.split_once('=')) {
                let pair = if key == "hca_handle" { &mut entry.handles } else { &mut entry.objects };
                *(if limit { &mut pair.1 } else { &mut pair.0 }) = value(number).unwrap_or(0);
            }
        }
    }
    Ok(())
}

/// The page sizes of a directory's hugetlb files, by the file that ends in `suffix`.
fn huge_sizes(directory: &Path, suffix: &str) -> Vec<String> {
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let size = |name: std::ffi::OsString| {
        let size = name.to_str()?.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    names.filter_map(size).collect()
}

#[cfg(test)]
mod tests;
