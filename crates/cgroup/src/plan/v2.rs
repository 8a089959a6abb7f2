//! The files of version 2 (kernel: admin-guide/cgroup-v2.rst).

use knarr_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxPids, LinuxThrottleDevice};

use super::{
    Absent, Homes, Line, Write,
    convert::{bytes, io_weight, one_line, swap_alone, weight_of_shares},
    if_there, line, v1,
};
use crate::{Error, layout::Version};

/// The file's default, for a period without a quota.
const QUOTA_NONE: &str = "max";

/// "PID"
pub(super) fn pids(pids: &LinuxPids) -> Vec<Line> {
    vec![line("pids.max", pids_max(pids))]
}

/// 0 is a valid limit: no process but the first. The first is counted too, so the kernel is told 1.
pub(super) fn pids_max(pids: &LinuxPids) -> String {
    match pids.limit() {
        ..0 => "max".into(),
        0 => "1".into(),
        limit => limit.to_string(),
    }
}

/// "Memory"
pub(super) fn memory(memory: &LinuxMemory) -> Result<Vec<Line>, Error> {
    if memory.disable_oom_killer() == Some(true) {
        return Err(Error::Unsupported { what: "linux.resources.memory.disableOOMKiller", version: 2 });
    }
    if v1::swappiness(memory)?.is_some() {
        return Err(Error::Unsupported { what: "linux.resources.memory.swappiness", version: 2 });
    }
    let mut lines = Vec::new();
    match swap_alone(memory.limit().unwrap_or(0), memory.swap().unwrap_or(0))? {
        None => {}
        // Where the kernel does not account swap, there is none to limit.
        Some(-1) => lines.push(if_there("memory.swap.max", "max")),
        Some(0) => lines.push(if_there("memory.swap.max", 0)),
        Some(swap) => lines.push(line("memory.swap.max", swap)),
    }
    if let Some(limit) = bytes("linux.resources.memory.limit", memory.limit())? {
        let guard = memory.check_before_update() == Some(true) && limit != "max";
        lines.push(Line { not_below: guard.then_some("memory.current"), ..line("memory.max", limit) });
    }
    let reservation = bytes("linux.resources.memory.reservation", memory.reservation())?;
    lines.extend(reservation.map(|value| line("memory.low", value)));
    Ok(lines)
}

/// "CPU"
pub(super) fn cpu(cpu: &LinuxCpu) -> Result<Vec<Line>, Error> {
    if cpu.realtime_runtime().is_some_and(|value| value != 0) || cpu.realtime_period().is_some_and(|value| value != 0) {
        return Err(Error::Unsupported { what: "linux.resources.cpu.realtimeRuntime", version: 2 });
    }
    let mut lines = Vec::new();
    lines.extend(cpu.idle().map(|value| line("cpu.idle", value)));
    let shares = cpu.shares().filter(|value| *value != 0);
    lines.extend(shares.map(|shares| line("cpu.weight", weight_of_shares(shares))));
    let quota = cpu.quota().filter(|value| *value != 0);
    let quota = quota.map(|value| if value < 0 { QUOTA_NONE.to_owned() } else { value.to_string() });
    match (quota, cpu.period().filter(|value| *value != 0)) {
        (None, None) => {}
        (quota, Some(period)) => {
            lines.push(line("cpu.max", format!("{} {period}", quota.as_deref().unwrap_or(QUOTA_NONE))));
        }
        (Some(quota), None) => lines.push(line("cpu.max", quota)),
    }
    lines.extend(cpu.burst().map(|value| line("cpu.max.burst", value)));
    Ok(lines)
}

/// "Cpuset"
pub(super) fn cpuset(cpu: &LinuxCpu) -> Vec<Line> {
    v1::cpuset(cpu)
}

/// "IO"
pub(super) fn block_io(io: &LinuxBlockIo) -> Result<Vec<Line>, Error> {
    let devices = || io.weight_device().iter().flatten();
    if io.leaf_weight().is_some_and(|weight| weight != 0) || devices().any(|d| d.leaf_weight().is_some_and(|w| w != 0))
    {
        return Err(Error::Unsupported { what: "linux.resources.blockIO.leafWeight", version: 2 });
    }
    let mut lines = Vec::new();
    let weight = io.weight().filter(|weight| *weight != 0);
    lines.extend(weight.map(|weight| {
        line("io.bfq.weight", weight).or(Version::V2, "io", line("io.weight", format!("default {}", io_weight(weight))))
    }));
    for device in devices() {
        let Some(weight) = device.weight().filter(|weight| *weight != 0) else { continue };
        let value = |weight: u64| format!("{}:{} {weight}", device.major(), device.minor());
        let plain = line("io.weight", value(io_weight(weight)));
        lines.push(line("io.bfq.weight", value(weight.into())).or(Version::V2, "io", plain));
    }
    let mut throttle = |key: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        lines.extend(devices.iter().flatten().map(|device| {
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            line("io.max", format!("{}:{} {key}={rate}", device.major(), device.minor()))
        }));
    };
    throttle("rbps", io.throttle_read_bps_device());
    throttle("wbps", io.throttle_write_bps_device());
    throttle("riops", io.throttle_read_iops_device());
    throttle("wiops", io.throttle_write_iops_device());
    Ok(lines)
}

/// "HugeTLB"
pub(super) fn huge(limit: &LinuxHugepageLimit) -> Result<Vec<Line>, Error> {
    let size = limit.page_size();
    one_line("linux.resources.hugepageLimits.pageSize", size)?;
    let value = if limit.limit() < 0 { "max".to_owned() } else { limit.limit().to_string() };
    Ok(vec![if_there(format!("hugetlb.{size}.rsvd.max"), &value), line(format!("hugetlb.{size}.max"), &value)])
}

/// `linux.resources.unified`: any file by its name; a value of several lines is written line by line.
pub(super) fn unified(file: &str, value: &str, homes: &Homes) -> Result<Vec<Write>, Error> {
    let wrong = || Error::UnifiedKey { file: file.into() };
    let (controller, rest) = file.split_once('.').ok_or_else(wrong)?;
    if controller.is_empty() || rest.is_empty() || file.contains(['/', '\0']) {
        return Err(wrong());
    }
    if homes.left_out.iter().any(|name| name == controller) {
        return Ok(Vec::new());
    }
    let in_version_1 = homes.v1.iter().any(|name| name == controller);
    if in_version_1 && !homes.v2.iter().any(|name| name == controller) {
        return Err(Error::UnifiedInVersion1 { file: file.into(), controller: controller.into() });
    }
    let write = |value: &str| Write {
        version: Version::V2,
        controller: controller.into(),
        file: file.into(),
        value: value.into(),
        absent: Absent::Refuse,
        not_below: None,
    };
    Ok(value.lines().map(write).collect())
}
