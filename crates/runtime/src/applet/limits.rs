//! `pause`, `resume` and `update`.

use std::{fs, io::Read};

use knarr_cgroup::Cgroup;
use knarr_spec::runtime::{LinuxBlockIoBuilder, LinuxPidsBuilder, LinuxResources, Spec};

use super::{
    argv::Given,
    commands::{Context, Done},
    container::{Container, Status},
    failure::{At, Failure},
    log,
};
use crate::{plan::cgroup::zero_tasks_is_unset, resctrl};

/// A resources document is a page; larger is a mistake.
const RESOURCES_BYTES_MAX: u64 = 1 << 20;

fn cgroup(container: &Container) -> Result<&Cgroup, Failure> {
    container.record.cgroup.as_ref().ok_or(Failure::Cgroup(knarr_cgroup::Error::NoFreezer))
}

pub(crate) fn pause(context: &mut Context<'_>) -> Result<Done, Failure> {
    let container = Container::of(context)?;
    match container.status() {
        Status::Running | Status::Created => cgroup(&container)?.freeze()?,
        Status::Paused => {}
        Status::Stopped => return Err(Failure::NotRunning),
    }
    Ok(Done::Quiet)
}

pub(crate) fn resume(context: &mut Context<'_>) -> Result<Done, Failure> {
    let container = Container::of(context)?;
    if container.status() != Status::Paused {
        return Err(Failure::NotPaused);
    }
    cgroup(&container)?.thaw()?;
    Ok(Done::Quiet)
}

/// New limits over those the container has: swap without memory or a period without a quota mean what they meant before.
pub(crate) fn update(context: &mut Context<'_>) -> Result<Done, Failure> {
    let mut container = Container::of(context)?;
    if container.status() == Status::Stopped {
        return Err(Failure::NotRunning);
    }
    if context.given.value("kernel-memory").or(context.given.value("kernel-memory-tcp")).is_some() {
        log::warning(context.globals, "Kernel memory settings are ignored and will be removed");
    }
    let wanted = match context.given.value("resources").filter(|path| !path.is_empty()) {
        Some("-") => document(std::io::stdin(), "standard input")?,
        Some(path) => document(fs::File::open(context.path(path)).at("open", context.path(path))?, path)?,
        None => from_flags(context.given)?,
    };
    let mut spec = container.spec()?;
    let mut now = merge(&spec, wanted.clone());
    lift_swap(&mut now, &wanted);
    let merged = now.clone();
    keep_idle(&mut now, &wanted);
    // The list of devices is not ours to change, and writing it anew would deny all for a moment in version 1.
    now.set_devices(None);
    let zero = now.pids().as_ref().is_some_and(|pids| pids.limit() == 0);
    if zero && zero_tasks_is_unset(&container.record.oci_version) {
        now.set_pids(None);
    }
    cgroup(&container)?.update(&now)?;
    caches(&mut container, &mut spec, context.given)?;
    remember(&container, &mut spec, merged)?;
    Ok(Done::Quiet)
}

/// `--l3-cache-schema` and `--mem-bw-schema`: a container without a group gets one of its own.
fn caches(container: &mut Container, spec: &mut Spec, given: &Given) -> Result<(), Failure> {
    const FLAGS: [(&str, &str); 2] = [
        ("l3-cache-schema", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("mem-bw-schema", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ];
    let schema = |flag: &str| given.value(flag).filter(|schema| !schema.is_empty()).map(str::to_owned);
    let root = resctrl::find(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()).unwrap_or_default();
    let abilities = resctrl::Abilities::of(&root);
    for ((flag, needs), able) in FLAGS.into_iter().zip([abilities.l3, abilities.bandwidth]) {
        if schema(flag).is_some() && !able {
            return Err(Failure::IntelRdt { flag, needs });
        }
    }
    let (cache, bandwidth) = (schema(FLAGS[0].0), schema(FLAGS[1].0));
    if cache.is_none() && bandwidth.is_none() {
        return Ok(());
    }
    let mut linux = spec.linux().clone().unwrap_or_default();
    let mut wanted = linux.intel_rdt().clone().unwrap_or_default();
    wanted.set_l3_cache_schema(cache.or_else(|| wanted.l3_cache_schema().clone()));
    wanted.set_mem_bw_schema(bandwidth.or_else(|| wanted.mem_bw_schema().clone()));
    let wrong = |_| Failure::IntelRdt { flag: FLAGS[0].0, needs: "the schema is none" };
    let rdt = resctrl::plan(&wanted, container.id(), &root).map_err(wrong)?;
    match container.record.rdt.is_some() {
        true => rdt.apply()?,
        false => rdt.join(container.record.pid)?,
    }
    container.record.rdt = Some(rdt);
    container.save()?;
    linux.set_intel_rdt(Some(wanted));
    spec.set_linux(Some(linux));
    Ok(())
}

/// Memory without a limit and swap with one would contradict each other; runc lifts both.
fn lift_swap(now: &mut LinuxResources, wanted: &LinuxResources) {
    let asked = wanted.memory().unwrap_or_default();
    if let Some(mut memory) = *now.memory()
        && asked.limit() == Some(-1)
        && asked.swap().is_none()
        && memory.swap().is_some()
    {
        memory.set_swap(Some(-1));
        now.set_memory(Some(memory));
    }
}

/// The kernel refuses shares for a group that is idle, and shares make it busy: each is written only when it is asked for.
fn keep_idle(now: &mut LinuxResources, wanted: &LinuxResources) {
    let asked = wanted.cpu().clone().unwrap_or_default();
    if let Some(mut cpu) = now.cpu().clone() {
        cpu.set_shares(asked.shares());
        cpu.set_idle(asked.idle());
        now.set_cpu(Some(cpu));
    }
}

fn document(from: impl Read, name: &str) -> Result<LinuxResources, Failure> {
    let mut text = String::new();
    from.take(RESOURCES_BYTES_MAX).read_to_string(&mut text).at("read", name)?;
    serde_json::from_str(&text).map_err(|source| Failure::Json { what: format!("read {name}"), source })
}

/// The fields of `wanted` over those of the container.
fn merge(spec: &Spec, wanted: LinuxResources) -> LinuxResources {
    let had = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let mut value = serde_json::to_value(had).expect("resources have string keys only");
    lay_over(&mut value, serde_json::to_value(wanted).expect("resources have string keys only"));
    serde_json::from_value(value).expect("both parts were resources")
}

fn lay_over(base: &mut serde_json::Value, over: serde_json::Value) {
    use serde_json::Value::Object;
    match (base, over) {
        (Object(base), Object(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// What `update` set is what the next one begins with.
fn remember(container: &Container, spec: &mut Spec, resources: LinuxResources) -> Result<(), Failure> {
    let mut linux = spec.linux().clone().unwrap_or_default();
    linux.set_resources(Some(resources));
    spec.set_linux(Some(linux));
    let (path, new) = (container.directory.join("config.json"), container.directory.join(".config.json"));
    fs::write(&new, serde_json::to_vec(spec).expect("a document has string keys only")).at("write", &new)?;
    fs::rename(&new, &path).at("write", &path)
}

fn from_flags(given: &Given) -> Result<LinuxResources, Failure> {
    let mut resources = LinuxResources::default();
    let mut memory = knarr_spec::runtime::LinuxMemory::default();
    memory.set_limit(bytes(given, "memory")?);
    memory.set_swap(bytes(given, "memory-swap")?);
    memory.set_reservation(bytes(given, "memory-reservation")?);
    let mut cpu = knarr_spec::runtime::LinuxCpu::default();
    cpu.set_period(given.number("cpu-period")?);
    cpu.set_quota(given.number("cpu-quota")?);
    cpu.set_burst(given.number("cpu-burst")?);
    cpu.set_shares(given.number("cpu-share")?.or(given.number("cpu-shares")?));
    cpu.set_realtime_period(given.number("cpu-rt-period")?);
    cpu.set_realtime_runtime(given.number("cpu-rt-runtime")?);
    cpu.set_idle(given.number("cpu-idle")?);
    cpu.set_cpus(given.value("cpuset-cpus").map(str::to_owned));
    cpu.set_mems(given.value("cpuset-mems").map(str::to_owned));
    resources.set_memory(Some(memory));
    resources.set_cpu(Some(cpu));
    if let Some(limit) = given.number::<i64>("pids-limit")? {
        resources.set_pids(LinuxPidsBuilder::default().limit(limit).build().ok());
    }
    if let Some(weight) = given.number::<u16>("blkio-weight")? {
        resources.set_block_io(LinuxBlockIoBuilder::default().weight(weight).build().ok());
    }
    Ok(resources)
}

/// `-1`, `1024`, `512m`, `1.5GiB`: units are powers of 1024.
fn bytes(given: &Given, flag: &'static str) -> Result<Option<i64>, Failure> {
    let Some(text) = given.value(flag).filter(|text| !text.is_empty()) else { return Ok(None) };
    parse_bytes(text).map(Some).ok_or_else(|| Failure::Value { flag, value: text.into(), wants: "a number of bytes" })
}

fn parse_bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = lower[digits.len()..].trim().trim_end_matches('b').trim_end_matches('i');
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
    Some((number * 1024f64.powi(power)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        for (text, expect) in [
            ("-1", Some(-1)),
            ("1024", Some(1024)),
            ("512m", Some(512 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("2KB", Some(2048)),
            ("1 g", Some(1 << 30)),
            ("-2", None),
            ("x", None),
            ("1x", None),
            ("", None),
        ] {
            assert_eq!(parse_bytes(text), expect, "{text}");
        }
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let spec: Spec = serde_json::from_str(
            r#"{"ociVersion":"1.0.0","linux":{"resources":{"memory":{"limit":100,"swap":200},"cpu":{"quota":5,"period":10}}}}"#,
        )
        .unwrap();
        let wanted = serde_json::from_str(r#"{"memory":{"swap":300},"pids":{"limit":7}}"#).unwrap();
        let merged = serde_json::to_value(merge(&spec, wanted)).unwrap();
        let expect =
            serde_json::json!({"memory":{"limit":100,"swap":300},"cpu":{"quota":5,"period":10},"pids":{"limit":7}});
        assert_eq!(merged, expect);
    }
}
