//! The limits of our cgroups, as far as they can be seen from here.
//!
//! Spec: cgroups(7); kernel cgroup-v2.rst, and cgroup-v1/{memory,cpuacct,pids}.rst.
//! Law: hierarchies are found in the mount table and paths in `/proc/self/cgroup`, never assumed. Inside a cgroup
//! namespace our own group is the mount's root; without one the path leads there if the mount shows it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Mount;
use crate::report::Cgroup;

/// Version 1 writes "no limit" as the largest multiple of the page size; anything near it is none.
const V1_UNLIMITED_MIN: u64 = 1 << 60;

pub(crate) fn collect(membership: &str, mounts: &[Mount], cpus_allowed: Option<String>) -> Cgroup {
    let paths = parse_membership(membership);
    let groups = Groups { paths: &paths, mounts };
    Cgroup {
        memory_bytes_max: groups.memory_bytes_max(),
        swap_bytes_max: groups.swap_bytes_max(),
        cpus_max: groups.cpus_max(),
        pids_max: groups.number("pids", "pids.max", "pids.max"),
        cpus_allowed,
        paths,
    }
}

/// `hierarchy:controllers:path` lines; the v2 line has no controllers.
fn parse_membership(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?.to_string(), fields.next()?.to_string()))
    };
    text.lines().filter_map(line).collect()
}

struct Groups<'a> {
    paths: &'a BTreeMap<String, String>,
    mounts: &'a [Mount],
}

impl Groups<'_> {
    fn memory_bytes_max(&self) -> Option<u64> {
        self.number("memory", "memory.max", "memory.limit_in_bytes")
    }

    fn swap_bytes_max(&self) -> Option<u64> {
        if let Some(text) = self.read_v2("memory.swap.max") {
            return text.parse().ok();
        }
        let both = limited(self.read_v1("memory", "memory.memsw.limit_in_bytes")?.parse().ok()?)?;
        Some(both.saturating_sub(self.memory_bytes_max().unwrap_or(0)))
    }

    fn cpus_max(&self) -> Option<f64> {
        let (quota, period) = match self.read_v2("cpu.max") {
            Some(text) => text.split_once(' ').map(|(quota, period)| (quota.to_string(), period.to_string()))?,
            None => (self.read_v1("cpu", "cpu.cfs_quota_us")?, self.read_v1("cpu", "cpu.cfs_period_us")?),
        };
        let quota = quota.parse::<f64>().ok().filter(|quota| *quota > 0.0)?;
        Some(quota / period.parse::<f64>().ok().filter(|period| *period > 0.0)?)
    }

    fn number(&self, controller: &str, v2: &str, v1: &str) -> Option<u64> {
        let text = self.read_v2(v2).or_else(|| self.read_v1(controller, v1))?;
        text.parse().ok().and_then(limited)
    }

    fn read_v2(&self, file: &str) -> Option<String> {
        let mount = self.mounts.iter().rev().find(|mount| mount.fstype == "cgroup2")?;
        read(&directory(mount, self.paths.get("")?).join(file))
    }

    fn read_v1(&self, controller: &str, file: &str) -> Option<String> {
        let has = |list: &[String]| list.iter().any(|option| option == controller);
        let mount = self.mounts.iter().rev().find(|mount| mount.fstype == "cgroup" && has(&mount.super_options))?;
        let path = self.paths.iter().find(|(names, _)| names.split(',').any(|name| name == controller))?.1;
        read(&directory(mount, path).join(file))
    }
}

/// Where the group `path` is visible below `mount`: the part of `path` beyond the mount's own root, if it is there.
fn directory(mount: &Mount, path: &str) -> PathBuf {
    let top = Path::new(&mount.target);
    let beyond = Path::new(path).strip_prefix(&mount.root).map(|rest| top.join(rest)).ok();
    beyond.filter(|directory| directory.is_dir()).unwrap_or_else(|| top.to_path_buf())
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

fn limited(value: u64) -> Option<u64> {
    (value < V1_UNLIMITED_MIN).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_membership_keeps_each_hierarchy_apart() {
        let paths = parse_membership("9:name=systemd:/\n3:cpu,cpuacct:/a\n0::/b:c\n");
        assert_eq!(paths["cpu,cpuacct"], "/a");
        assert_eq!(paths[""], "/b:c", "a colon in a path belongs to the path");
    }

    #[test]
    fn version_one_writes_no_limit_as_a_huge_number() {
        assert_eq!(limited(9223372036854771712), None);
        assert_eq!(limited(1 << 30), Some(1 << 30));
    }
}
