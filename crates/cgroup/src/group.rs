//! One container's cgroup: a directory in each hierarchy that is used.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use knarr_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Layout, Stats, create,
    files::try_write,
    freeze,
    layout::{Controller, Hierarchy, Version},
    path::CgroupPath,
    processes, remove, stats,
    systemd::Unit,
};

/// In which hierarchies a directory is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controllers {
    /// In every one.
    #[default]
    All,
    /// Where a limit is asked for, and where processes are frozen and killed. Counters of the others stay at zero. Each version 1
    /// hierarchy that is left out saves a mkdir, an rmdir and the most costly of all, a move.
    OnlyUsed,
}

/// How a cgroup is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// In which hierarchies.
    pub controllers: Controllers,
    /// Go on without the hierarchies and controllers this user may not use; [`Cgroup::left_out`] says which.
    pub rootless: bool,
    /// The group may hold processes already.
    pub occupied: bool,
    /// Leave the device list to [`Cgroup::allow_devices`]: half a millisecond in which the container's first process can work.
    pub devices_later: bool,
}

/// A cgroup's directory in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// The hierarchy's interface.
    pub version: Version,
    /// The controllers that act here.
    pub controllers: Vec<Controller>,
    /// Where it is.
    pub path: PathBuf,
}

/// One container's cgroup. Serialized, it can be found again by another process, which may stand in another cgroup itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// One for each hierarchy in use; empty where a rootless container may have none.
    pub directories: Vec<Directory>,
    /// Controllers that rootless creation had to do without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Controller>,
    /// The unit it belongs to, where systemd made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Cgroup {
    /// Makes the directories and applies the limits; removes what it made when that fails.
    pub fn create(
        layout: &Layout,
        path: &Path,
        resources: &LinuxResources,
        options: &CreateOptions,
    ) -> Result<Cgroup, Error> {
        create::create(layout, &CgroupPath::parse(path)?, resources, options)
    }

    /// The cgroup as it stands, made by whoever: the directories of `path` that exist.
    pub fn open(layout: &Layout, path: &Path) -> Result<Cgroup, Error> {
        let path = CgroupPath::parse(path)?;
        let mut directories = Cgroup::directories(layout, &path);
        directories.retain(|directory| directory.path.is_dir());
        Ok(Cgroup { directories, ..Cgroup::default() })
    }

    /// The directories a path will have, whether they are there or not.
    pub fn expect(layout: &Layout, path: &Path) -> Result<Vec<Directory>, Error> {
        Ok(Cgroup::directories(layout, &CgroupPath::parse(path)?))
    }

    fn directories(layout: &Layout, path: &CgroupPath) -> Vec<Directory> {
        let one = |hierarchy: &Hierarchy| {
            let (version, controllers) = (hierarchy.version, hierarchy.controllers.clone());
            Directory { version, controllers, path: path.in_hierarchy(hierarchy) }
        };
        layout.hierarchies.iter().map(one).collect()
    }

    /// The version 2 directory.
    pub fn v2(&self) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.version == Version::V2)
    }

    /// The directory a controller acts in; version 2 names of version 1 controllers are not translated.
    pub fn directory(&self, controller: &str) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.controllers.iter().any(|name| name == controller))
    }

    /// The version 2 directory for `CLONE_INTO_CGROUP`; `None` where there is none.
    pub fn clone_into(&self) -> Result<Option<OwnedFd>, Error> {
        let Some(directory) = self.v2() else { return Ok(None) };
        let open = File::open(&directory.path);
        open.map(|file| Some(file.into())).map_err(|source| Error::Read { path: directory.path.clone(), source })
    }

    /// Moves a process into every directory.
    pub fn attach(&self, pid: u32) -> Result<(), Error> {
        self.directories.iter().try_for_each(|directory| attach(directory, pid))
    }

    /// Moves a process that was cloned into [`Cgroup::clone_into`] into the other directories.
    pub fn attach_cloned(&self, pid: u32) -> Result<(), Error> {
        self.directories.iter().filter(|d| d.version == Version::V1).try_for_each(|directory| attach(directory, pid))
    }

    /// Applies limits to an existing cgroup. Fields that are missing or zero stay as they are.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        if let Some(unit) = &self.unit {
            // systemd would not ask whether the new limit kills.
            crate::apply::check(self, resources)?;
            unit.update(resources)?;
        }
        crate::apply::apply(self, resources)
    }

    /// Applies the device list alone.
    pub fn allow_devices(&self, resources: &LinuxResources) -> Result<(), Error> {
        crate::apply::devices(self, resources)
    }

    /// Gives the cgroup to the user of a container with its own cgroup namespace, as far as the kernel means it to be given away
    /// (version 2 only).
    pub fn delegate(&self, uid: u32) -> Result<(), Error> {
        self.v2().map_or(Ok(()), |directory| crate::delegate::delegate(&directory.path, uid))
    }

    /// Makes a group below (version 2 only), gives it away, and moves a process there. Limits stay where they are, above.
    pub fn descend(&self, to: &str, pid: u32, owner: Option<u32>) -> Result<(), Error> {
        let Some(directory) = self.v2() else { return Ok(()) };
        let path = directory.path.join(to);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.map_err(|source| Error::Make { path: path.clone(), source })?,
        }
        owner.map_or(Ok(()), |owner| crate::delegate::delegate(&path, owner))?;
        attach(&Directory { path, ..directory.clone() }, pid)
    }

    /// Stops every process in it and waits until all have stopped.
    pub fn freeze(&self) -> Result<(), Error> {
        freeze::freeze(self)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        freeze::thaw(self)
    }

    /// Whether it is frozen, or about to be.
    pub fn frozen(&self) -> Result<bool, Error> {
        freeze::frozen(self)
    }

    /// SIGKILL to every process in it and below, those that are being forked included.
    pub fn kill(&self) -> Result<(), Error> {
        processes::kill(self)
    }

    /// A signal to every process in it and below that was there when it was asked for.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        processes::signal(self, signal)
    }

    /// The processes in it and below, as this process numbers them, in ascending order.
    pub fn processes(&self) -> Result<Vec<u32>, Error> {
        processes::processes(self)
    }

    /// Counters.
    pub fn stats(&self) -> Result<Stats, Error> {
        stats::stats(self)
    }

    /// Whether the directories are still there.
    pub fn exists(&self) -> bool {
        self.directories.iter().any(|directory| directory.path.is_dir())
    }

    /// Removes the directories and all below them, waiting a bounded time for dying processes to leave. Every directory is tried;
    /// the first error is told.
    pub fn remove(self) -> Result<(), Error> {
        let stopped = self.unit.as_ref().map_or(Ok(()), Unit::stop);
        stopped.and(remove::remove(&self))
    }
}

/// One move. A process that ended meanwhile is told by ESRCH; that is the caller's to judge.
fn attach(directory: &Directory, pid: u32) -> Result<(), Error> {
    let path = directory.path.join("cgroup.procs");
    let value = pid.to_string();
    match try_write(&path, &value) {
        // A cgroup of threads only takes threads.
        Err(error) if error.raw_os_error() == Some(95) => {
            let path = directory.path.join("cgroup.threads");
            try_write(&path, &value).map_err(|source| Error::Write { path, value, source })
        }
        Err(source) => Err(Error::Write { path, value, source }),
        Ok(()) => Ok(()),
    }
}
