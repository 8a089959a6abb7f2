//! What a user may limit, before anything is tried: for a clear note instead of a failed container.

use std::{
    fs,
    path::{Path, PathBuf},
};

use knarr_sys::access;

use crate::{
    Error, Layout,
    files::read,
    layout::{Controller, Hierarchy, Version, words},
    path::CgroupPath,
};

/// Which controllers this process may use for a container's cgroup, and which not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writable {
    /// A limit of these will be applied.
    pub usable: Vec<Controller>,
    /// These exist on the machine but are not delegated to this user.
    pub denied: Vec<Controller>,
    /// At least one directory can be made, so the container can be frozen, counted or killed as a whole.
    pub any: bool,
}

impl Layout {
    /// The hierarchies in which this process can make a cgroup at `path` and move processes into it. With a directory that is ours below
    /// one that is not (systemd's delegation, seen from outside of it), the first can be done without the second.
    pub fn enterable(&self, path: &Path) -> Result<Layout, Error> {
        let path = CgroupPath::parse(path)?;
        let mut layout = Layout::default();
        for hierarchy in &self.hierarchies {
            if usable(hierarchy, &path)?.is_some() {
                layout.hierarchies.push(hierarchy.clone());
            }
        }
        Ok(layout)
    }

    /// Which controllers could be used for a container at `path` (as in `linux.cgroupsPath`). Looks, changes nothing.
    pub fn writable(&self, path: &Path) -> Result<Writable, Error> {
        let path = CgroupPath::parse(path)?;
        let mut all = Writable::default();
        for hierarchy in &self.hierarchies {
            let usable = usable(hierarchy, &path)?;
            all.any |= usable.is_some();
            let usable = usable.unwrap_or_default();
            all.denied.extend(hierarchy.controllers.iter().filter(|name| !usable.contains(name)).cloned());
            all.usable.extend(usable);
        }
        Ok(all)
    }
}

/// The controllers a new directory at `path` would have; `None` when it cannot be made, or not be entered from here.
fn usable(hierarchy: &Hierarchy, path: &CgroupPath) -> Result<Option<Vec<Controller>>, Error> {
    let ground = ground(&path.in_hierarchy(hierarchy));
    if !access::writable(&ground) {
        return Ok(None);
    }
    if hierarchy.version == Version::V1 {
        return Ok(Some(hierarchy.controllers.clone()));
    }
    // Moving a process needs `cgroup.procs` of the nearest cgroup above both places.
    let common = common(&hierarchy.mount_point.join(&hierarchy.own), &ground);
    if !access::writable(&common.join("cgroup.procs")) {
        return Ok(None);
    }
    let control = ground.join("cgroup.subtree_control");
    let list = if access::writable(&control) { ground.join("cgroup.controllers") } else { control };
    Ok(Some(words(&read(&list)?)))
}

/// The nearest directory above `path` that is there.
fn ground(path: &Path) -> PathBuf {
    let there = path.ancestors().skip(1).find(|path| fs::symlink_metadata(path).is_ok());
    there.unwrap_or(Path::new("/")).to_owned()
}

/// The longest path both begin with.
fn common(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}
