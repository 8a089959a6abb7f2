//! Making a container's directories.
//!
//! The order in each hierarchy: the directories from the mount point down, in version 2 with the controllers handed on at each
//! step, in version 1 with the cpuset copied from the parent; then, over all hierarchies, the limits. What was made is removed
//! again when a later step fails.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use knarr_spec::runtime::LinuxResources;

use crate::{
    Cgroup, Controllers, CreateOptions, Directory, Error, Homes, Layout, apply, devices,
    files::{denied, read, read_if_there, try_write, write},
    layout::{Controller, Hierarchy, Version, words},
    path::CgroupPath,
    plan,
    processes::{in_directory, until_ended},
};

/// Makes it.
pub(crate) fn create(
    layout: &Layout,
    path: &CgroupPath,
    resources: &LinuxResources,
    options: &CreateOptions,
) -> Result<Cgroup, Error> {
    // Everything that can be known to be wrong is, before anything is made.
    let homes = Homes { left_out: if options.rootless { foreign(layout) } else { vec![] }, ..Homes::of(layout) };
    let wanted = used(&plan(resources, &homes)?, resources)?;
    let mut made = Made::default();
    let mut cgroup = Cgroup::default();
    for hierarchy in chosen(layout, options.controllers, &wanted) {
        let controllers = match options.controllers {
            Controllers::All => hierarchy.controllers.clone(),
            Controllers::OnlyUsed => {
                hierarchy.controllers.iter().filter(|name| wanted.contains(name)).cloned().collect()
            }
        };
        match directory(hierarchy, path, &controllers, options.occupied, &mut made) {
            Ok(directory) => {
                if options.rootless {
                    let missing = controllers.iter().filter(|name| !directory.controllers.contains(name));
                    cgroup.left_out.extend(missing.cloned());
                }
                cgroup.directories.push(directory);
            }
            Err(Error::Make { source, .. }) if options.rootless && denied(&source) => {
                cgroup.left_out.extend(controllers);
            }
            Err(error) => return Err(error),
        }
    }
    apply::limits(&cgroup, resources)?;
    if !options.devices_later {
        apply::devices(&cgroup, resources)?;
    }
    made.keep();
    Ok(cgroup)
}

/// Controllers with a limit; `devices` stands for a device list.
fn used(writes: &[crate::Write], resources: &LinuxResources) -> Result<Vec<Controller>, Error> {
    let mut names: Vec<Controller> = writes.iter().map(|write| write.controller.clone()).collect();
    if let Some(list) = resources.devices() {
        devices::rules(list)?;
        names.push("devices".into());
    }
    Ok(names)
}

/// Controllers a rootless plan must not insist on: there may be none at all.
fn foreign(layout: &Layout) -> Vec<Controller> {
    let all = ["memory", "cpu", "cpuset", "pids", "blkio", "io", "hugetlb", "net_cls", "net_prio", "rdma"];
    let has = |name: &str| layout.hierarchies.iter().any(|h| h.controllers.iter().any(|known| known == name));
    all.into_iter().filter(|name| !has(name)).map(str::to_owned).collect()
}

/// The hierarchies to make a directory in. With `OnlyUsed`: version 2, which freezes and kills, or else the freezer's; and those
/// of the controllers in use.
fn chosen<'a>(layout: &'a Layout, controllers: Controllers, used: &[Controller]) -> Vec<&'a Hierarchy> {
    let has_v2 = layout.hierarchies.iter().any(|h| h.version == Version::V2);
    let keeps = |h: &&Hierarchy| {
        let carries = |name: &str| h.controllers.iter().any(|known| known == name);
        let base = if has_v2 { h.version == Version::V2 } else { carries("freezer") };
        controllers == Controllers::All || base || used.iter().any(|name| carries(name))
    };
    layout.hierarchies.iter().filter(keeps).collect()
}

/// One hierarchy's directory and all above it.
fn directory(
    hierarchy: &Hierarchy,
    path: &CgroupPath,
    controllers: &[Controller],
    occupied: bool,
    made: &mut Made,
) -> Result<Directory, Error> {
    let mut at = hierarchy.mount_point.clone();
    let mut new = false;
    for name in path.below(hierarchy) {
        if hierarchy.version == Version::V2 {
            hand_on(&at, controllers)?;
        }
        at.push(name);
        new = made.directory(&at)?;
        if hierarchy.version == Version::V1 && controllers.iter().any(|name| name == "cpuset") {
            inherit_cpuset(&at)?;
        }
    }
    if !new && !occupied {
        must_be_empty(&at)?;
        must_not_be_frozen(&at)?;
    }
    let controllers = match hierarchy.version {
        Version::V1 => hierarchy.controllers.clone(),
        Version::V2 => words(&read(&at.join("cgroup.controllers"))?),
    };
    Ok(Directory { version: hierarchy.version, controllers, path: at })
}

/// Version 2: lets the children of `parent` have these controllers, as far as it has them itself. One that cannot be handed on is
/// missed only where a limit needs it, and told there.
fn hand_on(parent: &Path, controllers: &[Controller]) -> Result<(), Error> {
    if controllers.is_empty() {
        return Ok(());
    }
    let file = parent.join("cgroup.subtree_control");
    let on = words(&read(&file)?);
    if controllers.iter().all(|name| on.contains(name)) {
        return Ok(());
    }
    let has = words(&read(&parent.join("cgroup.controllers"))?);
    let missing: Vec<String> = controllers
        .iter()
        .filter(|name| has.contains(name) && !on.contains(name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() || try_write(&file, &missing.join(" ")).is_ok() {
        return Ok(());
    }
    for one in missing {
        let _ = try_write(&file, &one);
    }
    Ok(())
}

/// Version 1: a new cpuset has no processors and no memory, and takes no process before it has.
fn inherit_cpuset(directory: &Path) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(file);
        let Some(value) = read_if_there(&own)? else { continue };
        if value.trim().is_empty() {
            let parent = read(&directory.parent().unwrap_or(directory).join(file))?;
            write(&own, String::from_utf8_lossy(&parent).trim())?;
        }
    }
    Ok(())
}

/// How long a group that is not empty is given: who was killed a moment ago leaves it at its end.
const DYING_MAX: Duration = Duration::from_secs(1);

/// A directory that was there may be used only when nobody is in it.
fn must_be_empty(directory: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + DYING_MAX;
    loop {
        let pids = in_directory(directory)?;
        let left = deadline.saturating_duration_since(Instant::now());
        match pids.first() {
            None => return Ok(()),
            Some(_) if left.is_zero() => return Err(Error::NotEmpty { path: directory.into(), pids }),
            Some(first) => until_ended(*first, left),
        }
    }
}

/// … and only when whoever enters it can go on.
fn must_not_be_frozen(directory: &Path) -> Result<(), Error> {
    let says = |file: &str, thawed: &str| -> Result<bool, Error> {
        Ok(read_if_there(&directory.join(file))?.is_some_and(|state| state.trim() != thawed))
    };
    match says("freezer.state", "THAWED")? || says("cgroup.freeze", "0")? {
        true => Err(Error::Frozen { path: directory.into() }),
        false => Ok(()),
    }
}

/// Directories made so far; removed again, last first, unless kept.
#[derive(Default)]
struct Made {
    directories: Vec<PathBuf>,
}

impl Made {
    /// Makes one; whether it was not there before.
    fn directory(&mut self, path: &Path) -> Result<bool, Error> {
        match fs::create_dir(path) {
            Ok(()) => {
                self.directories.push(path.into());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            // A read-only mount says so even for a directory that is there.
            Err(_) if path.is_dir() => Ok(false),
            Err(source) => Err(Error::Make { path: path.into(), source }),
        }
    }

    fn keep(mut self) {
        self.directories.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for directory in self.directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}
