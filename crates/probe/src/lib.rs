//! What a process sees of the machine it runs in: identity, namespaces, capabilities, limits, mounts, open files.
//!
//! Spec: proc(5), namespaces(7), capabilities(7), cgroups(7); the fields follow runtime-spec's vocabulary where it has one.
//! Law: reads `/proc` and `/sys/fs/cgroup` and nothing else, changes nothing, never fails: what cannot be read is `None`
//! or empty, because a container without `/proc` is a case worth reporting on.
//! Not here: printing (the `probe` program and the command line do that), judging (the tests do).
#![forbid(unsafe_code)]

mod cgroup;
mod collect;
mod hello;
mod mountinfo;
mod proc;
mod report;
mod verdict;

pub use collect::collect;
pub use hello::hello;
pub use mountinfo::Mount;
pub use report::{
    Capabilities, Cgroup, Kernel, Limit, PathState, Process, Report, Root, SeccompMode, Security, Signals, User,
};
pub use verdict::{Finding, Verdict, findings};
