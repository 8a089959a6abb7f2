//! The counters of version 1.

use std::path::Path;

use super::{BlockEntry, Cpuset, Huge, MemoryUse, Stats, huge_sizes, keyed, number, rdma};
use crate::{Error, files::read_if_there};

/// `USER_HZ`, in which cpuacct.stat counts.
const TICK_NS: u64 = 10_000_000;

/// The files of the controllers in this directory.
pub(super) fn read(directory: &Path, controllers: &[String], stats: &mut Stats) -> Result<(), Error> {
    for controller in controllers {
        match controller.as_str() {
            "cpu" => throttling(directory, stats)?,
            "cpuacct" => cpu(directory, stats)?,
            "memory" => memory(directory, stats)?,
            "pids" => {
                stats.pids.current = number(directory, "pids.current")?.unwrap_or(0);
                stats.pids.limit = number(directory, "pids.max")?.filter(|limit| *limit != u64::MAX);
            }
            "blkio" => block(directory, stats)?,
            "hugetlb" => huge(directory, stats)?,
            "rdma" => rdma(directory, stats)?,
            "cpuset" => stats.cpuset = Cpuset::read(directory, "cpuset.cpus", "cpuset.mems")?,
            _ => {}
        }
    }
    Ok(())
}

fn throttling(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let stat = keyed(directory, "cpu.stat")?;
    let get = |key| stat.get(key).copied().unwrap_or(0);
    let throttling = &mut stats.cpu.throttling;
    (throttling.periods, throttling.throttled) = (get("nr_periods"), get("nr_throttled"));
    throttling.throttled_ns = get("throttled_time");
    Ok(())
}

fn cpu(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let ticks = keyed(directory, "cpuacct.stat")?;
    let get = |key| ticks.get(key).copied().unwrap_or(0) * TICK_NS;
    stats.cpu.usage_ns = number(directory, "cpuacct.usage")?.unwrap_or(0);
    (stats.cpu.user_ns, stats.cpu.system_ns) = (get("user"), get("system"));
    let table = read_if_there(&directory.join("cpuacct.usage_all"))?.unwrap_or_default();
    stats.cpu.by_processor = table.lines().skip(1).filter_map(processor).collect();
    Ok(())
}

/// `cpu user system`, in nanoseconds.
fn processor(line: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = line.split_whitespace().skip(1).map(|word| word.parse::<u64>().ok());
    let (user, system) = (numbers.next()??, numbers.next()??);
    Some((user + system, system, user))
}

fn memory(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let memory = &mut stats.memory;
    memory.raw = keyed(directory, "memory.stat")?;
    memory.cache_bytes = memory.raw.get("cache").copied().unwrap_or(0);
    memory.oom_kills = keyed(directory, "memory.oom_control")?.get("oom_kill").copied().unwrap_or(0);
    memory.memory = kind(directory, "memory")?;
    memory.swap = kind(directory, "memory.memsw")?;
    memory.kernel = kind(directory, "memory.kmem")?;
    memory.kernel_tcp = kind(directory, "memory.kmem.tcp")?;
    Ok(())
}

fn kind(directory: &Path, prefix: &str) -> Result<MemoryUse, Error> {
    let get = |file: &str| Ok::<u64, Error>(number(directory, &format!("{prefix}.{file}"))?.unwrap_or(0));
    Ok(MemoryUse {
        usage_bytes: get("usage_in_bytes")?,
        max_bytes: get("max_usage_in_bytes")?,
        limit_bytes: get("limit_in_bytes")?,
        failures: get("failcnt")?,
    })
}

/// The BFQ scheduler's counters, or else those of the throttling layer.
fn block(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let first = |files: [&str; 2]| -> Result<Vec<BlockEntry>, Error> {
        for file in files {
            let entries = entries(&read_if_there(&directory.join(file))?.unwrap_or_default());
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    };
    stats.block.bytes = first(["blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"])?;
    stats.block.operations = first(["blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"])?;
    Ok(())
}

/// `8:0 Read 4096` per device and operation, and a last line `Total 4096`.
pub(super) fn entries(text: &str) -> Vec<BlockEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        Some(BlockEntry { major, minor, operation: words.next()?.into(), value: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

fn huge(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    for size in huge_sizes(directory, ".limit_in_bytes") {
        let get = |file: &str| Ok::<u64, Error>(number(directory, &format!("hugetlb.{size}.{file}"))?.unwrap_or(0));
        let huge = Huge {
            usage_bytes: get("usage_in_bytes")?,
            max_bytes: get("max_usage_in_bytes")?,
            failures: get("failcnt")?,
        };
        stats.huge.insert(size, huge);
    }
    Ok(())
}
