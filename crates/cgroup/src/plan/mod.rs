//! From a resources document to the list of files to write. Pure.
//!
//! Spec: runtime-spec 1.3, config-linux.md "Control groups", the section of each controller. Zero and a missing field both mean
//! "leave as it is", as in runc; -1 means "no limit".
//! Not here: the device list (`devices`), writing (`group`).

mod convert;
mod v1;
mod v2;

pub(crate) use convert::swap_alone;
pub use convert::weight_of_shares;

use knarr_spec::runtime::LinuxResources;

use crate::{
    Error,
    layout::{Controller, Layout, Version},
};

/// One value for one file of a cgroup directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The hierarchy's interface.
    pub version: Version,
    /// The controller the file belongs to.
    pub controller: Controller,
    /// File name in the cgroup directory.
    pub file: String,
    /// The exact bytes to write.
    pub value: String,
    /// What to do where the kernel has no such file.
    pub absent: Absent,
    /// Refuse when this file holds more than `value`: the limit would kill at once.
    pub not_below: Option<&'static str>,
}

/// What to do where the kernel has no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Say so: the limit was asked for and cannot be had.
    Refuse,
    /// Nothing is lost.
    Skip,
    /// Write this instead.
    Instead(Box<Write>),
}

/// Which controllers can be used, and through which interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homes {
    /// On version 1.
    pub v1: Vec<Controller>,
    /// On version 2.
    pub v2: Vec<Controller>,
    /// Limits of these are silently left out (rootless: the caller reports it).
    pub left_out: Vec<Controller>,
}

impl Homes {
    /// What the machine has.
    pub fn of(layout: &Layout) -> Homes {
        let of = |version| {
            let hierarchies = layout.hierarchies.iter().filter(move |h| h.version == version);
            hierarchies.flat_map(|h| h.controllers.iter().cloned()).collect()
        };
        Homes { v1: of(Version::V1), v2: of(Version::V2), left_out: Vec::new() }
    }

    fn home(&self, controller: Pair) -> Option<Version> {
        let has = |list: &[Controller], name: &str| list.iter().any(|known| known == name);
        match () {
            () if has(&self.v1, controller.v1) => Some(Version::V1),
            () if has(&self.v2, controller.v2) => Some(Version::V2),
            () => None,
        }
    }

    fn leaves_out(&self, controller: Pair) -> bool {
        self.left_out.iter().any(|name| name == controller.v1 || name == controller.v2)
    }
}

/// A controller's name in version 1 and in version 2; empty where it has none.
#[derive(Clone, Copy)]
struct Pair {
    v1: &'static str,
    v2: &'static str,
}

const fn same(name: &'static str) -> Pair {
    Pair { v1: name, v2: name }
}

/// What to write for `resources`, in this order. Writes that fail because another comes first (period and quota, memory and
/// memory with swap) are meant to be tried again after the rest.
pub fn plan(resources: &LinuxResources, homes: &Homes) -> Result<Vec<Write>, Error> {
    let mut plan = Planner { homes, writes: Vec::new() };
    if let Some(pids) = resources.pids() {
        plan.add("linux.resources.pids", same("pids"), || Ok(v1::pids(pids)), || Ok(v2::pids(pids)))?;
    }
    if let Some(memory) = resources.memory() {
        plan.add("linux.resources.memory", same("memory"), || v1::memory(memory), || v2::memory(memory))?;
    }
    if let Some(cpu) = resources.cpu() {
        plan.add("linux.resources.cpu", same("cpu"), || Ok(v1::cpu(cpu)), || v2::cpu(cpu))?;
        plan.add("linux.resources.cpu.cpus", same("cpuset"), || Ok(v1::cpuset(cpu)), || Ok(v2::cpuset(cpu)))?;
    }
    if let Some(io) = resources.block_io() {
        let pair = Pair { v1: "blkio", v2: "io" };
        plan.add("linux.resources.blockIO", pair, || Ok(v1::block_io(io)), || v2::block_io(io))?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        plan.add("linux.resources.hugepageLimits", same("hugetlb"), || v1::huge(limit), || v2::huge(limit))?;
    }
    if let Some(network) = resources.network() {
        let (class, priority) = (Pair { v1: "net_cls", v2: "" }, Pair { v1: "net_prio", v2: "" });
        plan.add("linux.resources.network.classID", class, || Ok(v1::network_class(network)), || Ok(vec![]))?;
        plan.add("linux.resources.network.priorities", priority, || v1::network_priorities(network), || Ok(vec![]))?;
    }
    let mut rdma: Vec<_> = resources.rdma().iter().flatten().collect();
    rdma.sort_by_key(|(device, _)| *device);
    for (device, limit) in rdma {
        let writes = || convert::rdma(device, limit);
        plan.add("linux.resources.rdma", same("rdma"), writes, writes)?;
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        plan.writes.extend(v2::unified(file, value, homes)?);
    }
    Ok(plan.writes)
}

/// One line of a plan under construction: version and controller are filled in by the planner.
struct Line {
    file: String,
    value: String,
    absent: Absent,
    not_below: Option<&'static str>,
}

fn line(file: impl Into<String>, value: impl ToString) -> Line {
    Line { file: file.into(), value: value.to_string(), absent: Absent::Refuse, not_below: None }
}

fn if_there(file: impl Into<String>, value: impl ToString) -> Line {
    Line { absent: Absent::Skip, ..line(file, value) }
}

struct Planner<'a> {
    homes: &'a Homes,
    writes: Vec<Write>,
}

impl Planner<'_> {
    /// Adds the lines of the interface the controller has here. Asking for nothing needs no controller.
    fn add(
        &mut self,
        what: &'static str,
        controller: Pair,
        v1: impl Fn() -> Result<Vec<Line>, Error>,
        v2: impl Fn() -> Result<Vec<Line>, Error>,
    ) -> Result<(), Error> {
        let (version, lines) = match self.homes.home(controller) {
            _ if self.homes.leaves_out(controller) => return Ok(()),
            Some(Version::V2) => (Version::V2, v2()?),
            Some(Version::V1) => (Version::V1, v1()?),
            None if v1()?.is_empty() => return Ok(()),
            None => return Err(Error::Missing { what, controller: controller.v1 }),
        };
        let name = if version == Version::V1 { controller.v1 } else { controller.v2 };
        self.writes.extend(lines.into_iter().map(|line| line.home(version, name)));
        Ok(())
    }
}

impl Line {
    fn home(self, version: Version, controller: &str) -> Write {
        let Line { file, value, absent, not_below } = self;
        Write { version, controller: controller.into(), file, value, absent, not_below }
    }

    /// Where the kernel lacks this file, another of the same controller is written.
    fn or(self, version: Version, controller: &str, other: Line) -> Line {
        Line { absent: Absent::Instead(Box::new(other.home(version, controller))), ..self }
    }
}

#[cfg(test)]
mod tests;
