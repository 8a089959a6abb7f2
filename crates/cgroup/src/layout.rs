//! Which hierarchies this machine has, which controllers each carries, and where this process stands in them.

use std::path::{Path, PathBuf};

use crate::Error;

/// What the machine as a whole looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Version 1 only.
    V1,
    /// Controllers on version 1, with a version 2 hierarchy beside them.
    Hybrid,
    /// Version 2 only.
    V2,
    /// No cgroup file system is mounted.
    None,
}

/// The interface of one hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `cgroup`.
    V1,
    /// `cgroup2`.
    V2,
}

/// A controller's name as the kernel writes it (`memory`, `cpu`, `io`, `name=systemd`).
pub type Controller = String;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Version 1 or 2.
    pub version: Version,
    /// Version 1: those mounted together. Version 2: the contents of `cgroup.controllers` at the mount point.
    pub controllers: Vec<Controller>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// This process's cgroup, relative to the mount point, without a leading slash; empty at the top.
    pub own: PathBuf,
}

/// Every hierarchy that is mounted and that this process is a member of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// In the order of the mount table.
    pub hierarchies: Vec<Hierarchy>,
}

/// Which controllers this process may use under a cgroup path, and which not; for a clear note to the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writable {
    /// A limit of these will be applied.
    pub usable: Vec<Controller>,
    /// These exist on the machine but are not delegated to this user.
    pub denied: Vec<Controller>,
}

impl Layout {
    /// Reads `/proc/self/mountinfo`, `/proc/self/cgroup` and `cgroup.controllers`.
    pub fn discover() -> Result<Layout, Error> {
        Ok(Layout::default())
    }

    /// The pure part: mount table and membership as text; version 2 controllers are left empty.
    pub fn parse(mountinfo: &[u8], membership: &[u8]) -> Layout {
        let _ = (mountinfo, membership);
        Layout::default()
    }

    /// What the machine as a whole looks like.
    pub fn kind(&self) -> Kind {
        Kind::None
    }

    /// Which controllers could be used for a container at `path` (as in `linux.cgroupsPath`).
    pub fn writable(&self, path: &Path) -> Writable {
        let _ = path;
        Writable::default()
    }
}
