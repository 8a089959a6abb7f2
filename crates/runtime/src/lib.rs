//! The OCI runtime: plan, verify, apply.
//!
//! Spec: runtime-spec 1.3, for Linux.
//! Law: [`plan`] is pure; [`verify`] checks the plan against itself; only [`create`] and [`exec`] touch the machine. One
//! thread, but for the moment in which a network namespace is made beside the plan; no store, no network.
//! Not here: the supervision of the process afterwards (monitor), what an image or an engine wants (engine).
#![forbid(unsafe_code)]

mod applet;
mod apply;
mod error;
mod host;
mod options;
mod plan;
mod problem;
pub mod resctrl;
mod verify;

pub use applet::{CommandHelp, Flag, applet, command_help, container_ids};
pub use apply::{
    Created, ExecTarget, NewNetwork, Running, State, Status, Stdio, create, create_meanwhile, exec, exec_plan,
    exec_planned, run_hooks, start_at,
};
pub use error::Error;
pub use host::{Host, HostCgroups};
pub use knarr_sys::pidfd::Exit;
pub use options::{CgroupChoice, CreateOptions, Gate, OverlayRoot, RootSource};
pub use plan::{
    ANNOTATIONS_READ, HookKind, HookStep, Joining, Namespace, ParentStep, Plan, Step, capability_names,
    capability_number, option_names, plan, plan_exec, poststop,
};
pub use problem::{Problem, Problems};
pub use verify::{Lint, verify};
