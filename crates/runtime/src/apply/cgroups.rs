//! `type: cgroup` on machines with version 1 hierarchies: a small tmpfs with a directory for each.
//!
//! ```text
//! /sys/fs/cgroup            tmpfs
//! ├── cpu,cpuacct           the hierarchy, beginning at the container's group
//! ├── cpu -> cpu,cpuacct
//! └── systemd               a named hierarchy
//! ```

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use knarr_sys::fs::{self, Mode, OFlags};
use knarr_sys::mount::{MountAttr, MountAttrFlags};
use knarr_sys::{Errno, mounting};

use super::child::Child;
use super::tree;
use super::wire::Trouble;
use crate::plan::mount::{CgroupMount, bits};

const SAFE: u64 = bits::NOSUID | bits::NODEV | bits::NOEXEC;

pub(crate) fn mount(
    child: &Child<'_>,
    target: BorrowedFd<'_>,
    hierarchies: &[CgroupMount],
    namespace: bool,
    read_only: bool,
) -> Result<(), Trouble> {
    let top = tree::fresh(c"tmpfs", c"tmpfs", &[], MountAttrFlags::from_bits_retain(SAFE as u32))?;
    fs::fchmod(fs::openat(&top, c".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, DIR_MODE)?;
    mounting::attach(top.as_fd(), target)?;
    // Where the container has no group of its own it would see, and could change, that of its starter.
    let own = |hierarchy: &&CgroupMount| child.prepared.cgroup_dirs.iter().any(|(name, _)| same(name, &hierarchy.name));
    for hierarchy in hierarchies.iter().filter(own) {
        let place = make_place(&top, hierarchy)?;
        // A hierarchy that cannot be shown is left out: nothing a program may rely on is there for a user namespace.
        let Ok(made) = hierarchy_mount(child, hierarchy, namespace) else { continue };
        let set = SAFE | if read_only { bits::RDONLY } else { 0 };
        mounting::set(made.as_fd(), false, &MountAttr { set, ..MountAttr::default() })?;
        mounting::attach(made.as_fd(), place.as_fd())?;
    }
    if read_only {
        mounting::set(top.as_fd(), false, &MountAttr { set: bits::RDONLY, ..MountAttr::default() })?;
    }
    Ok(())
}

const DIR_MODE: Mode = Mode::from_raw_mode(0o755);

fn make_place(top: &OwnedFd, hierarchy: &CgroupMount) -> Result<OwnedFd, Errno> {
    let name = tree::os(&hierarchy.name);
    fs::mkdirat(top, name, DIR_MODE)?;
    if hierarchy.options.len() > 1 && hierarchy.options.iter().all(|option| option.value.is_none()) {
        for controller in &hierarchy.options {
            fs::symlinkat(name, top, tree::os(&controller.key))?;
        }
    }
    fs::openat(top, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn hierarchy_mount(child: &Child<'_>, hierarchy: &CgroupMount, namespace: bool) -> Result<OwnedFd, Trouble> {
    if namespace {
        return tree::fresh(c"cgroup", c"cgroup", &hierarchy.options, MountAttrFlags::from_bits_retain(SAFE as u32));
    }
    let joined = child.prepared.cgroup_dirs.iter().find(|(name, _)| same(name, &hierarchy.name));
    let path: &CStr = joined.map_or(&hierarchy.outside, |(_, path)| path);
    let outside = fs::openat(fs::CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(mounting::tree(outside.as_fd(), false)?)
}

fn same(controllers: &CStr, name: &CStr) -> bool {
    let bytes = controllers.to_bytes();
    bytes.strip_prefix(b"name=").unwrap_or(bytes) == name.to_bytes()
}
