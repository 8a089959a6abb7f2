//! Control groups: where they are, what goes into them, what comes out.
//!
//! Spec: runtime-spec 1.3, config-linux.md "Control groups"; cgroups(7); the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/.
//! Law: mounts and controllers are read from `/proc/self/mountinfo` and `/proc/self/cgroup`, never assumed; what to write is
//! decided as data ([`plan`]) before anything is written; nothing is waited for without a limit.
//! Where systemd rules the groups, it is asked to make them ([`Cgroup::start_unit`]).
//! Not here: which limits a container gets (the engine), when it joins (the runtime).
#![forbid(unsafe_code)]

mod apply;
mod create;
mod delegate;
mod devices;
mod error;
mod files;
mod freeze;
mod group;
mod layout;
mod path;
mod plan;
mod processes;
mod remove;
mod stats;
mod systemd;
mod writable;

pub use error::Error;
pub use group::{Cgroup, Controllers, CreateOptions, Directory};
pub use layout::{Controller, Hierarchy, Kind, Layout, Version};
pub use plan::{Absent, Homes, Write, plan, weight_of_shares};
pub use stats::{
    Block, BlockEntry, Cpu, Cpuset, Huge, Memory, MemoryUse, Pids, Pressure, PressureLine, Rdma, Stats, Throttling,
};
pub use systemd::{Systemd, Unit, UnitName, UnitOptions, given_property, properties};
pub use writable::Writable;

pub use knarr_systemd::{Bus, Property};
