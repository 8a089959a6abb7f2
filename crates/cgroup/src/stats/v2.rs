//! The counters of version 2.

use std::path::Path;

use super::{BlockEntry, Cpuset, Huge, MemoryUse, Pressure, PressureLine, Stats, huge_sizes, keyed, number, rdma};
use crate::{Error, files::read_if_there};

/// The files of the controllers in this directory. Processor time is counted without any controller.
pub(super) fn read(directory: &Path, controllers: &[String], stats: &mut Stats) -> Result<(), Error> {
    if stats.cpu.usage_ns == 0 {
        cpu(directory, stats)?;
    }
    stats.cpu.pressure = pressure(directory, "cpu.pressure")?;
    stats.memory.pressure = pressure(directory, "memory.pressure")?;
    stats.block.pressure = pressure(directory, "io.pressure")?;
    for controller in controllers {
        match controller.as_str() {
            "memory" => memory(directory, stats)?,
            "pids" => {
                stats.pids.current = number(directory, "pids.current")?.unwrap_or(0);
                stats.pids.limit = number(directory, "pids.max")?.filter(|limit| *limit != u64::MAX);
            }
            "io" => block(&read_if_there(&directory.join("io.stat"))?.unwrap_or_default(), stats),
            "hugetlb" => huge(directory, stats)?,
            "rdma" => rdma(directory, stats)?,
            "cpuset" => {
                stats.cpuset = Cpuset::read(directory, "cpuset.cpus.effective", "cpuset.mems.effective")?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn cpu(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let stat = keyed(directory, "cpu.stat")?;
    let get = |key| stat.get(key).copied().unwrap_or(0);
    let cpu = &mut stats.cpu;
    (cpu.usage_ns, cpu.user_ns) = (get("usage_usec") * 1000, get("user_usec") * 1000);
    cpu.system_ns = get("system_usec") * 1000;
    if let Some(periods) = stat.get("nr_periods") {
        cpu.throttling.periods = *periods;
        cpu.throttling.throttled = get("nr_throttled");
        cpu.throttling.throttled_ns = get("throttled_usec") * 1000;
    }
    Ok(())
}

fn memory(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let memory = &mut stats.memory;
    memory.raw = keyed(directory, "memory.stat")?;
    memory.cache_bytes = memory.raw.get("file").copied().unwrap_or(0);
    memory.oom_kills = keyed(directory, "memory.events")?.get("oom_kill").copied().unwrap_or(0);
    memory.memory = kind(directory, "memory")?;
    let swap = kind(directory, "memory.swap")?;
    // Told as version 1 does: together. A sum with "no limit" has none, and two peaks do not add up.
    memory.swap = MemoryUse {
        usage_bytes: swap.usage_bytes.saturating_add(memory.memory.usage_bytes),
        limit_bytes: swap.limit_bytes.saturating_add(memory.memory.limit_bytes),
        max_bytes: 0,
        failures: swap.failures,
    };
    Ok(())
}

fn kind(directory: &Path, prefix: &str) -> Result<MemoryUse, Error> {
    let get = |file: &str| number(directory, &format!("{prefix}.{file}"));
    Ok(MemoryUse {
        usage_bytes: get("current")?.unwrap_or(0),
        max_bytes: get("peak")?.unwrap_or(0),
        limit_bytes: get("max")?.unwrap_or(0),
        failures: keyed(directory, &format!("{prefix}.events"))?.get("max").copied().unwrap_or(0),
    })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`, under version 1's names.
pub(super) fn block(text: &str, stats: &mut Stats) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|word| word.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else { continue };
        for (key, number) in words.filter_map(|word| word.split_once('=')) {
            let (bytes, operation) = match key {
                "rbytes" => (true, "Read"),
                "wbytes" => (true, "Write"),
                "dbytes" => (true, "Discard"),
                "rios" => (false, "Read"),
                "wios" => (false, "Write"),
                "dios" => (false, "Discard"),
                _ => continue,
            };
            let entry = BlockEntry { major, minor, operation: operation.into(), value: number.parse().unwrap_or(0) };
            if bytes { stats.block.bytes.push(entry) } else { stats.block.operations.push(entry) }
        }
    }
}

fn huge(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    for size in huge_sizes(directory, ".max") {
        let huge = Huge {
            usage_bytes: number(directory, &format!("hugetlb.{size}.current"))?.unwrap_or(0),
            max_bytes: 0,
            failures: keyed(directory, &format!("hugetlb.{size}.events"))?.get("max").copied().unwrap_or(0),
        };
        stats.huge.insert(size, huge);
    }
    Ok(())
}

/// The kernel may be without, or have it turned off (EOPNOTSUPP).
fn pressure(directory: &Path, file: &str) -> Result<Option<Pressure>, Error> {
    match read_if_there(&directory.join(file)) {
        Err(Error::Read { .. }) => Ok(None),
        other => Ok(other?.map(|text| parse_pressure(&text))),
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`
pub(super) fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut parsed = PressureLine::default();
        for (key, number) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => parsed.avg10 = number.parse().unwrap_or(0.0),
                "avg60" => parsed.avg60 = number.parse().unwrap_or(0.0),
                "avg300" => parsed.avg300 = number.parse().unwrap_or(0.0),
                "total" => parsed.total_us = number.parse().unwrap_or(0),
                _ => {}
            }
        }
        match line.split_whitespace().next() {
            Some("some") => pressure.some = parsed,
            Some("full") => pressure.full = parsed,
            _ => {}
        }
    }
    pressure
}
