//! The files of version 1 (kernel: admin-guide/cgroup-v1/).

use knarr_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxPids, LinuxThrottleDevice,
};

use super::{Line, convert::one_line, if_there, line};
use crate::{Error, layout::Version};

/// pids.rst
pub(super) fn pids(pids: &LinuxPids) -> Vec<Line> {
    vec![line("pids.max", super::v2::pids_max(pids))]
}

/// memory.rst; memory.kmem.limit_in_bytes is gone since Linux 5.16 and ignored by every runtime.
pub(super) fn memory(memory: &LinuxMemory) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::new();
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    // Unlimited memory under an old limit of memory and swap would still be limited.
    let swap = set(memory.swap()).map(|value| line("memory.memsw.limit_in_bytes", value));
    let free = || (memory.limit() == Some(-1)).then(|| if_there("memory.memsw.limit_in_bytes", -1));
    lines.extend(swap.or_else(free));
    lines.extend(set(memory.limit()).map(|value| line("memory.limit_in_bytes", value)));
    lines.extend(set(memory.reservation()).map(|value| line("memory.soft_limit_in_bytes", value)));
    lines.extend(set(memory.kernel_tcp()).map(|value| if_there("memory.kmem.tcp.limit_in_bytes", value)));
    lines.extend(swappiness(memory)?.map(|value| line("memory.swappiness", value)));
    lines.extend((memory.disable_oom_killer() == Some(true)).then(|| line("memory.oom_control", 1)));
    lines.extend((memory.use_hierarchy() == Some(true)).then(|| if_there("memory.use_hierarchy", 1)));
    Ok(lines)
}

/// Docker writes "unset" as -1.
pub(super) fn swappiness(memory: &LinuxMemory) -> Result<Option<u64>, Error> {
    match memory.swappiness() {
        None | Some(u64::MAX) => Ok(None),
        Some(value @ 0..=100) => Ok(Some(value)),
        Some(value) => Err(Error::Invalid {
            what: "linux.resources.memory.swappiness",
            value: value.to_string(),
            why: "is above 100",
        }),
    }
}

/// scheduler/sched-bwc.rst; real-time budgets before anything joins.
pub(super) fn cpu(cpu: &LinuxCpu) -> Vec<Line> {
    let mut lines = Vec::new();
    lines.extend(cpu.idle().map(|value| line("cpu.idle", value)));
    lines.extend(cpu.shares().filter(|value| *value != 0).map(|value| line("cpu.shares", value)));
    lines.extend(cpu.period().filter(|value| *value != 0).map(|value| line("cpu.cfs_period_us", value)));
    lines.extend(cpu.quota().filter(|value| *value != 0).map(|value| line("cpu.cfs_quota_us", value)));
    lines.extend(cpu.burst().map(|value| if_there("cpu.cfs_burst_us", value)));
    lines.extend(cpu.realtime_period().filter(|value| *value != 0).map(|value| line("cpu.rt_period_us", value)));
    lines.extend(cpu.realtime_runtime().filter(|value| *value != 0).map(|value| line("cpu.rt_runtime_us", value)));
    lines
}

/// cpusets.rst
pub(super) fn cpuset(cpu: &LinuxCpu) -> Vec<Line> {
    let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let cpus = set(cpu.cpus()).map(|value| line("cpuset.cpus", value));
    let mems = set(cpu.mems()).map(|value| line("cpuset.mems", value));
    cpus.into_iter().chain(mems).collect()
}

/// blkio-controller.rst; weights need the BFQ scheduler, or CFQ on kernels before 5.0.
pub(super) fn block_io(io: &LinuxBlockIo) -> Vec<Line> {
    let bfq = |file: &str, old: &str, value: String| line(file, &value).or(Version::V1, "blkio", line(old, &value));
    let mut lines = Vec::new();
    let weight = io.weight().filter(|weight| *weight != 0);
    lines.extend(weight.map(|weight| bfq("blkio.bfq.weight", "blkio.weight", weight.to_string())));
    lines.extend(io.leaf_weight().filter(|weight| *weight != 0).map(|weight| line("blkio.leaf_weight", weight)));
    for device in io.weight_device().iter().flatten() {
        let value = |weight| format!("{}:{} {weight}", device.major(), device.minor());
        let weight = device.weight().filter(|weight| *weight != 0).map(value);
        lines.extend(weight.map(|value| bfq("blkio.bfq.weight_device", "blkio.weight_device", value)));
        let leaf = device.leaf_weight().filter(|weight| *weight != 0).map(value);
        lines.extend(leaf.map(|value| line("blkio.leaf_weight_device", value)));
    }
    let mut throttle = |file: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        lines.extend(devices.iter().flatten().map(|d| line(file, format!("{}:{} {}", d.major(), d.minor(), d.rate()))));
    };
    throttle("blkio.throttle.read_bps_device", io.throttle_read_bps_device());
    throttle("blkio.throttle.write_bps_device", io.throttle_write_bps_device());
    throttle("blkio.throttle.read_iops_device", io.throttle_read_iops_device());
    throttle("blkio.throttle.write_iops_device", io.throttle_write_iops_device());
    lines
}

/// hugetlb.rst; reservations as well, where the kernel counts them (5.7).
pub(super) fn huge(limit: &LinuxHugepageLimit) -> Result<Vec<Line>, Error> {
    let size = limit.page_size();
    one_line("linux.resources.hugepageLimits.pageSize", size)?;
    Ok(vec![
        if_there(format!("hugetlb.{size}.rsvd.limit_in_bytes"), limit.limit()),
        line(format!("hugetlb.{size}.limit_in_bytes"), limit.limit()),
    ])
}

/// net_cls.rst
pub(super) fn network_class(network: &LinuxNetwork) -> Vec<Line> {
    network.class_id().filter(|id| *id != 0).map(|id| line("net_cls.classid", id)).into_iter().collect()
}

/// net_prio.rst
pub(super) fn network_priorities(network: &LinuxNetwork) -> Result<Vec<Line>, Error> {
    let priorities = network.priorities().iter().flatten();
    priorities
        .map(|priority| {
            one_line("linux.resources.network.priorities.name", priority.name())?;
            Ok(line("net_prio.ifpriomap", format!("{} {}", priority.name(), priority.priority())))
        })
        .collect()
}
