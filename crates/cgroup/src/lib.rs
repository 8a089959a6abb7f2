//! Control groups: where they are, what goes into them, what comes out.
//!
//! Spec: runtime-spec 1.3, config-linux.md "Control groups"; cgroups(7); the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/.
//! Law: mounts and controllers are read from `/proc/self/mountinfo` and `/proc/self/cgroup`, never assumed; what to write is
//! decided as data ([`plan`]) before anything is written.
//! Not here: which limits a container gets (the engine), when it joins (the runtime).
#![forbid(unsafe_code)]

mod error;
mod group;
mod layout;
mod plan;
mod stats;

pub use error::Error;
pub use group::{Cgroup, Controllers, CreateOptions, Manager};
pub use layout::{Controller, Hierarchy, Kind, Layout, Version, Writable};
pub use plan::{Write, plan};
pub use stats::Stats;
