//! `events`: counters and out-of-memory events, one JSON document a line, as runc prints them.

use std::time::Duration;

use knarr_cgroup::{BlockEntry, Cpuset, MemoryUse, Pressure, Stats};
use serde_json::{Map, Value, json};

use super::{
    commands::{Context, Done},
    container::{Container, Record, Status},
    failure::Failure,
    init::Init,
    other_stats,
};

const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);

/// Once with `--stats`, else until the container ends.
pub(crate) fn events(context: &mut Context<'_>) -> Result<Done, Failure> {
    let container = Container::of(context)?;
    if container.status() == Status::Stopped {
        return Err(Failure::NotRunning);
    }
    let cgroup = container.record.cgroup.clone().unwrap_or_default();
    // runc's order, which its users match as text.
    let head = |kind: &str| format!("{{\"type\":\"{kind}\",\"id\":\"{}\"", container.id());
    let line = |kind: &str, data: Value| format!("{},\"data\":{data}}}\n", head(kind));
    if context.given.has("stats") {
        return Ok(Done::Text(line("stats", data(&cgroup.stats()?, &container.record))));
    }
    let interval = interval(context.given.value("interval"))?;
    let Some(init) = Init::open(&container)? else { return Err(Failure::NotRunning) };
    let mut kills = cgroup.stats()?.memory.oom_kills;
    loop {
        let ended = init.ended_within(interval);
        let stats = cgroup.stats()?;
        if stats.memory.oom_kills > kills {
            kills = stats.memory.oom_kills;
            (context.say)(&format!("{}}}\n", head("oom")));
        }
        if ended {
            return Ok(Done::Quiet);
        }
        (context.say)(&line("stats", data(&stats, &container.record)));
    }
}

/// Go's durations: `5s`, `500ms`, `1m`.
fn interval(text: Option<&str>) -> Result<Duration, Failure> {
    let Some(text) = text else { return Ok(INTERVAL_DEFAULT) };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = digits.parse::<f64>().unwrap_or(f64::NAN) * unit;
    let wrong = || Failure::Value { flag: "interval", value: text.into(), wants: "a duration such as 5s" };
    Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero()).ok_or_else(wrong)
}

fn data(stats: &Stats, record: &Record) -> Value {
    let cpu = &stats.cpu;
    let column = |of: fn(&(u64, u64, u64)) -> u64| cpu.by_processor.iter().map(of).collect::<Vec<u64>>();
    let mut memory = json!({
        "cache": stats.memory.cache_bytes,
        "usage": memory_use(&stats.memory.memory),
        "swap": memory_use(&stats.memory.swap),
        "kernel": memory_use(&stats.memory.kernel),
        "kernelTCP": memory_use(&stats.memory.kernel_tcp),
        "raw": stats.memory.raw,
    });
    let mut processor = json!({
        "usage": {
            "total": cpu.usage_ns, "kernel": cpu.system_ns, "user": cpu.user_ns,
            "percpu": column(|all| all.0), "percpu_kernel": column(|all| all.1), "percpu_user": column(|all| all.2),
        },
        "throttling": {
            "periods": cpu.throttling.periods,
            "throttledPeriods": cpu.throttling.throttled,
            "throttledTime": cpu.throttling.throttled_ns,
        },
    });
    let mut block = json!({
        "ioServiceBytesRecursive": entries(&stats.block.bytes),
        "ioServicedRecursive": entries(&stats.block.operations),
    });
    for (value, pressure) in
        [(&mut memory, stats.memory.pressure), (&mut processor, cpu.pressure), (&mut block, stats.block.pressure)]
    {
        if let Some(pressure) = pressure {
            value["psi"] = psi(&pressure);
        }
    }
    let huge = stats.huge.iter().map(|(size, huge)| {
        (size.clone(), json!({ "usage": huge.usage_bytes, "max": huge.max_bytes, "failcnt": huge.failures }))
    });
    json!({
        "cpu": processor,
        "cpuset": cpuset(&stats.cpuset),
        "memory": memory,
        // runc tells "no limit" as 0.
        "pids": { "current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0) },
        "blkio": block,
        "hugetlb": huge.collect::<Map<String, Value>>(),
        "intel_rdt": other_stats::rdt(record.rdt.as_ref()),
        "network_interfaces": other_stats::network(record.pid),
    })
}

/// The lists, and the numbers version 1 has beside them.
fn cpuset(cpuset: &Cpuset) -> Value {
    let mut all: Map<String, Value> = cpuset.flags.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    for (name, list) in [("cpus", &cpuset.cpus), ("mems", &cpuset.mems)] {
        if !list.is_empty() {
            all.insert(name.into(), json!(list));
        }
    }
    Value::Object(all)
}

fn memory_use(memory: &MemoryUse) -> Value {
    json!({ "usage": memory.usage_bytes, "max": memory.max_bytes, "limit": memory.limit_bytes, "failcnt": memory.failures })
}

fn entries(entries: &[BlockEntry]) -> Value {
    let entry = |e: &BlockEntry| json!({ "major": e.major, "minor": e.minor, "op": e.operation, "value": e.value });
    entries.iter().map(entry).collect()
}

fn psi(pressure: &Pressure) -> Value {
    let line = |line: knarr_cgroup::PressureLine| json!({ "avg10": line.avg10, "avg60": line.avg60, "avg300": line.avg300, "total": line.total_us });
    json!({ "some": line(pressure.some), "full": line(pressure.full) })
}

#[cfg(test)]
mod tests {
    use super::super::container::record;
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        assert_eq!(interval(Some("500ms")).unwrap(), Duration::from_millis(500));
        assert_eq!(interval(Some("1.5m")).unwrap(), Duration::from_secs(90));
        assert_eq!(interval(None).unwrap(), INTERVAL_DEFAULT);
        for text in ["", "5", "s", "-1s", "0s"] {
            assert!(interval(Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn stats_have_the_shape_containerd_reads() {
        let spec: knarr_spec::runtime::Spec = serde_json::from_str(r#"{"ociVersion":"1.3.0"}"#).unwrap();
        let record = record(&spec, &crate::CreateOptions::default(), "/".into(), String::new());
        let mut stats = Stats::default();
        stats.cpuset.cpus = vec![0, 1];
        stats.cpuset.flags.insert("cpu_exclusive".into(), 1);
        let value = data(&stats, &record);
        assert_eq!(value["cpuset"], json!({ "cpus": [0, 1], "cpu_exclusive": 1 }));
        assert_eq!((&value["intel_rdt"], &value["network_interfaces"]), (&json!({}), &Value::Null));
        assert_eq!(value["cpu"]["usage"]["total"], 0);
        assert_eq!(value["memory"]["usage"]["limit"], 0);
        assert_eq!(value["pids"]["limit"], 0);
    }
}
