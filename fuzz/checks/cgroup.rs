//! What the kernel, or whoever can mount things or write files in its place, shows of control groups.

use std::fs;
use std::path::{Component, Path};

use knarr_cgroup::{Cgroup, Directory, Layout, Version};

/// The files of a version 1 and of a version 2 group that are read, in the order of the input's parts.
const FILES: [(Version, &str); 24] = [
    (Version::V2, "cpu.stat"),
    (Version::V2, "memory.stat"),
    (Version::V2, "memory.current"),
    (Version::V2, "memory.max"),
    (Version::V2, "memory.events"),
    (Version::V2, "io.stat"),
    (Version::V2, "pids.current"),
    (Version::V2, "pids.max"),
    (Version::V2, "cpu.pressure"),
    (Version::V2, "cgroup.events"),
    (Version::V2, "cgroup.procs"),
    (Version::V2, "cgroup.freeze"),
    (Version::V2, "hugetlb.2MB.current"),
    (Version::V2, "hugetlb.2MB.events"),
    (Version::V2, "rdma.current"),
    (Version::V1, "memory.stat"),
    (Version::V1, "memory.usage_in_bytes"),
    (Version::V1, "memory.oom_control"),
    (Version::V1, "cpuacct.usage_percpu"),
    (Version::V1, "cpuacct.stat"),
    (Version::V1, "cpu.stat"),
    (Version::V1, "blkio.throttle.io_service_bytes_recursive"),
    (Version::V1, "pids.max"),
    (Version::V1, "rdma.max"),
];

/// What separates the parts: no such byte is in any of these files.
const SEPARATOR: u8 = 0xff;

/// Panics where a law is broken. `place` is an empty directory of the caller's.
pub fn check(bytes: &[u8], place: &Path) {
    let mut parts = bytes.split(|byte| *byte == SEPARATOR);
    let (mountinfo, membership) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    for hierarchy in Layout::parse(mountinfo, membership).hierarchies {
        assert!(hierarchy.own.is_relative(), "{hierarchy:?}");
        assert!(!hierarchy.own.components().any(|part| part == Component::ParentDir), "{hierarchy:?}");
    }
    let (v1, v2) = (place.join("v1"), place.join("v2"));
    for directory in [&v1, &v2] {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir(directory).expect("an empty directory");
    }
    for (part, (version, name)) in parts.zip(FILES) {
        fs::write(if version == Version::V1 { v1.join(name) } else { v2.join(name) }, part).expect("written");
    }
    let all = "cpuset cpu cpuacct io blkio memory hugetlb pids rdma freezer devices";
    let controllers: Vec<String> = all.split(' ').map(str::to_owned).collect();
    let directory = |version, path| Directory { version, controllers: controllers.clone(), path };
    let both = [directory(Version::V2, v2.clone()), directory(Version::V1, v1.clone())];
    for directory in both {
        let cgroup = Cgroup { directories: vec![directory], ..Cgroup::default() };
        let _ = cgroup.stats();
        let _ = cgroup.frozen();
        let _ = cgroup.processes();
    }
}
