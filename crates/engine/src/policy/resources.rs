//! The `linux.resources` object: limits, and which devices may be opened.

use knarr_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemory,
    LinuxPidsBuilder, LinuxResources,
};

use super::{Basis, HostDevice, PolicyError};
use crate::wanted::ResourcesWanted;

/// Docker's: below this no process can be started in the cgroup.
const MEMORY_BYTES_MIN: i64 = 6 << 20;
/// The kernel's default period, which `--cpus` is counted in.
const CPU_PERIOD_US: u64 = 100_000;

/// Character devices every container may use: null, zero, full, random, urandom, tty, ptmx and the pseudoterminals.
const DEVICES: [(i64, Option<i64>); 8] =
    [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];

pub(super) fn resources(basis: &Basis) -> Result<LinuxResources, PolicyError> {
    let asked = &basis.wanted.resources;
    let mut resources = LinuxResources::default();
    resources.set_memory(memory(asked)?);
    resources.set_cpu(cpu(asked));
    if let Some(limit) = asked.pids_limit {
        // Docker: zero and below are unlimited.
        let limit = if limit <= 0 { -1 } else { limit };
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build().expect("every field has a default")));
    }
    if let Some(weight) = asked.blkio_weight {
        let block_io = LinuxBlockIoBuilder::default().weight(weight).build().expect("every field has a default");
        resources.set_block_io(Some(block_io));
    }
    if !basis.host.rootless {
        resources.set_devices(Some(device_rules(basis.wanted.privileged, basis.devices)));
    }
    Ok(resources)
}

fn memory(asked: &ResourcesWanted) -> Result<Option<LinuxMemory>, PolicyError> {
    if let Some(limit) = asked.memory_bytes.filter(|limit| (1..MEMORY_BYTES_MIN).contains(limit)) {
        return Err(PolicyError::MemoryTooSmall(limit));
    }
    let mut memory = LinuxMemory::default();
    let limit = asked.memory_bytes.filter(|limit| *limit > 0);
    memory.set_limit(limit);
    memory.set_reservation(asked.memory_reservation_bytes);
    // Docker: as much swap as memory unless something else is said.
    memory.set_swap(asked.memory_swap_bytes.filter(|swap| *swap != 0).or(limit.and_then(|limit| limit.checked_mul(2))));
    memory.set_swappiness(asked.memory_swappiness);
    memory.set_disable_oom_killer(asked.oom_kill_disable.then_some(true));
    Ok(Some(memory).filter(|memory| *memory != LinuxMemory::default()))
}

fn cpu(asked: &ResourcesWanted) -> Option<LinuxCpu> {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(asked.cpu_shares.filter(|shares| *shares != 0));
    cpu.set_period(asked.cpu_period_us.filter(|period| *period != 0));
    cpu.set_quota(asked.cpu_quota_us.filter(|quota| *quota != 0));
    if let Some(nano) = asked.nano_cpus {
        cpu.set_period(Some(CPU_PERIOD_US));
        cpu.set_quota(Some(nano / 1_000_000_000 * CPU_PERIOD_US as i64 + nano % 1_000_000_000 / 10_000));
    }
    cpu.set_cpus(asked.cpuset_cpus.clone());
    cpu.set_mems(asked.cpuset_mems.clone());
    Some(cpu).filter(|cpu| *cpu != LinuxCpu::default())
}

fn device_rules(privileged: bool, devices: &[HostDevice]) -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{A, B, C};
    if privileged {
        return vec![rule(true, A, None, None, "rwm")];
    }
    let mut rules =
        vec![rule(false, A, None, None, "rwm"), rule(true, C, None, None, "m"), rule(true, B, None, None, "m")];
    rules.extend(DEVICES.iter().map(|(major, minor)| rule(true, C, Some(*major), *minor, "rwm")));
    rules.extend(devices.iter().map(|device| {
        let kind = if device.kind == 'b' { B } else { C };
        rule(true, kind, Some(device.major.into()), Some(device.minor.into()), &device.access)
    }));
    rules
}

fn rule(allow: bool, kind: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access).build().expect("defaults");
    rule.set_major(major);
    rule.set_minor(minor);
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(nano_cpus: i64) -> Option<i64> {
        cpu(&ResourcesWanted { nano_cpus: Some(nano_cpus), ..Default::default() })?.quota()
    }

    #[test]
    fn processors_become_a_quota_of_a_tenth_of_a_second() {
        assert_eq!(quota(1_500_000_000), Some(150_000));
        assert_eq!(quota(10_000_000), Some(1_000));
    }

    fn limits(asked: ResourcesWanted) -> Option<(Option<i64>, Option<i64>)> {
        memory(&asked).ok().map(|memory| memory.map_or((None, None), |m| (m.limit(), m.swap())))
    }

    #[test]
    fn swap_is_as_much_again_unless_said_otherwise() {
        let asked = ResourcesWanted { memory_bytes: Some(64 << 20), ..Default::default() };
        assert_eq!(limits(asked.clone()), Some((Some(64 << 20), Some(128 << 20))));
        let unlimited = ResourcesWanted { memory_swap_bytes: Some(-1), ..asked };
        assert_eq!(limits(unlimited), Some((Some(64 << 20), Some(-1))));
    }

    #[test]
    fn a_limit_nothing_can_start_in_is_refused() {
        assert_eq!(limits(ResourcesWanted { memory_bytes: Some(4 << 20), ..Default::default() }), None);
    }
}
