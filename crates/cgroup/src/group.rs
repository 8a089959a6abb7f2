//! One container's cgroup: a directory in each hierarchy that is used.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use knarr_spec::runtime::LinuxResources;

use crate::{Error, Layout, Stats};

/// Who makes the directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// We do, with mkdir.
    #[default]
    CgroupFs,
}

/// In which hierarchies a directory is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controllers {
    /// In every one.
    #[default]
    All,
    /// Where a limit is asked for, and where processes are counted, frozen and killed.
    OnlyUsed,
}

/// How a cgroup is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// Who makes the directories.
    pub manager: Manager,
    /// In which hierarchies.
    pub controllers: Controllers,
    /// Go on without the hierarchies this user may not write to (rootless).
    pub rootless: bool,
}

/// One container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// The directory in each hierarchy in use, with its controllers joined by commas (version 2: empty).
    pub directories: Vec<(String, PathBuf)>,
}

impl Cgroup {
    /// Makes the directories and applies the limits; removes what it made when that fails.
    pub fn create(
        layout: &Layout,
        path: &Path,
        resources: &LinuxResources,
        options: &CreateOptions,
    ) -> Result<Cgroup, Error> {
        let _ = (layout, path, resources, options);
        Ok(Cgroup { directories: Vec::new() })
    }

    /// The cgroup as it stands, made by whoever: the directories of `path` that exist.
    pub fn open(layout: &Layout, path: &Path) -> Result<Cgroup, Error> {
        let _ = (layout, path);
        Ok(Cgroup { directories: Vec::new() })
    }

    /// The version 2 directory for `CLONE_INTO_CGROUP`; `None` where there is none.
    pub fn clone_into(&self) -> Result<Option<OwnedFd>, Error> {
        Ok(None)
    }

    /// Moves a process into every directory.
    pub fn attach(&self, pid: u32) -> Result<(), Error> {
        let _ = pid;
        Ok(())
    }

    /// Applies limits to an existing cgroup (`update`).
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        let _ = resources;
        Ok(())
    }

    /// Stops every process in it and waits until all have stopped.
    pub fn freeze(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether it is frozen.
    pub fn frozen(&self) -> Result<bool, Error> {
        Ok(false)
    }

    /// SIGKILL to every process in it and below.
    pub fn kill(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The processes in it and below.
    pub fn processes(&self) -> Result<Vec<u32>, Error> {
        Ok(Vec::new())
    }

    /// Counters.
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(Stats::default())
    }

    /// Removes the directories, waiting a bounded time for dying processes to leave.
    pub fn remove(self) -> Result<(), Error> {
        Ok(())
    }
}
