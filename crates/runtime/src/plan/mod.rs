//! Turns a runtime-spec document into an ordered list of steps.
//!
//! Spec: runtime-spec 1.3, config.md and config-linux.md; the section is cited at each step.
//! Law: reads no file, calls no syscall, never fails halfway: a complete `Plan`, or every problem found.
//! Not here: doing the steps (`apply`), checking their order (`verify`).

mod annotation;
mod build;
pub(crate) mod cgroup;
mod device;
mod exec;
mod hook;
mod idmap;
pub(crate) mod mount;
mod namespace;
mod net_device;
mod process;
mod rdt;
mod root;
pub(crate) mod step;
mod sysctl;
pub(crate) mod words;

use std::collections::HashMap;
use std::ffi::CString;
use std::path::PathBuf;

use knarr_spec::runtime::{Process, Spec};

pub use annotation::READ as ANNOTATIONS_READ;
pub(crate) use build::{Build, id_ranges};
pub use exec::{Joining, plan_exec};
pub use hook::poststop;
pub use mount::option_names;
pub use process::{capability_names, capability_number};
pub use step::{HookKind, HookStep, Namespace, ParentStep, Step, Sync};

use crate::{CreateOptions, Gate, Host, Problem, Problems};

/// The program the container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// As in the document, for messages.
    pub name: String,
    /// Where it is looked for, in order.
    pub candidates: Vec<CString>,
    /// Its arguments; the first is its name.
    pub arguments: Vec<CString>,
    /// Its environment.
    pub environment: Vec<CString>,
    /// Which of them is the `HOME` that the container's `/etc/passwd` is asked for, because the document has none.
    pub home: Option<usize>,
}

/// What hooks, agents and `state` are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `ociVersion`.
    pub version: String,
    /// The bundle.
    pub bundle: PathBuf,
    /// The container's annotations.
    pub annotations: HashMap<String, String>,
    /// `listenerMetadata`.
    pub seccomp_metadata: String,
}

/// What will be done, by whom and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The container's id; for a process that joins, empty.
    pub id: String,
    /// The program gets a pseudoterminal; its master is handed to the caller.
    pub terminal: bool,
    /// The parent's steps.
    pub parent: Vec<ParentStep>,
    /// The child's steps.
    pub child: Vec<Step>,
    /// Hooks in our own namespaces after the program runs.
    pub poststart: Vec<HookStep>,
    /// The program.
    pub program: Program,
    /// What others are told.
    pub identity: Identity,
    /// The state of the container, for a process that joins it.
    pub container: Option<crate::State>,
    /// What the configuration asks for that will be left out, in sentences.
    pub notes: Vec<String>,
    /// The same, of what is left out by every runtime: for those who look closely.
    pub details: Vec<String>,
}

/// Versions of the document this code was written for: 1.0.0 up to before this one.
const VERSION_AFTER: (u64, u64) = (1, 4);

/// The plan of a container's init.
pub fn plan(spec: &Spec, host: &Host, options: &CreateOptions) -> Result<Plan, Problems> {
    let mut build = Build::new(host, options);
    check_version(&mut build, spec.version());
    check_id(&mut build, &options.id);
    let empty = Default::default();
    let linux = spec.linux().as_ref().unwrap_or(&empty);
    let nothing = nothing_to_run();
    let process = spec.process().as_ref().unwrap_or(&nothing);
    build.identity(spec, linux);
    build.annotations = annotation::read(&mut build, spec.annotations().as_ref().unwrap_or(&HashMap::new()));

    // First, while the child still has our ids: later it might lack the right to move.
    cgroup::join(&mut build, spec, linux);
    build.child.push(Step::AnyProcessor);
    namespace::begin(&mut build, linux);
    namespace::enter(&mut build);
    cgroup::descend(&mut build, spec, linux);
    cgroup::devices(&mut build);
    net_device::plan(&mut build, linux);
    rdt::plan(&mut build, linux);
    build.keyring(options);
    process::oom_score(&mut build, process);
    namespace::names(&mut build, spec);
    sysctl::plan(&mut build, linux, spec.domainname().as_deref());
    root::mounts(&mut build, spec, linux, process);
    hook::before_pivot(&mut build, spec);
    root::pivot(&mut build, spec, linux);
    process::attributes(&mut build, process);
    process::memory_policy(&mut build, linux.memory_policy().as_ref());
    process::personality(&mut build, linux.personality().as_ref());
    if spec.process().is_some() {
        build.program(process);
    }
    process::become_user(&mut build, process);
    match linux.seccomp().as_ref().filter(|profile| process::asks_agent(profile)) {
        None => {
            build.gate();
            process::confine(&mut build, process, linux.seccomp().as_ref());
        }
        // An agent hears of its filter while the container is created, as from other runtimes: whoever starts it may wait for that.
        Some(profile) => {
            build.after_clone.push(ParentStep::Say(Sync::StateTold));
            build.child.push(Step::Wait(Sync::StateTold));
            process::confine(&mut build, process, Some(profile));
            build.gate();
        }
    }
    hook::start_container(&mut build, spec);
    build.child.push(Step::Execute);
    build.finish(process.terminal().unwrap_or(false))
}

/// Spec: config.md "Process": required when `start` is called. Until then the init needs somewhere to stand; it has no program, so that
/// executing it fails.
fn nothing_to_run() -> Process {
    let mut process = Process::default();
    process.set_args(None).set_env(None).set_cwd("/".into()).set_capabilities(None).set_rlimits(None);
    process
}

/// Spec: config.md "Specification version"; SemVer, so any 1.x up to what is known.
fn check_version(build: &mut Build<'_>, version: &str) {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<Option<u64>> = core.split('.').map(|n| n.parse().ok()).collect();
    let known = matches!(numbers[..], [Some(1), Some(minor), Some(_)] if (1, minor) < VERSION_AFTER);
    if !known {
        let rule = "must be a version from 1.0.0 to 1.3";
        build.problems.push(Problem::Invalid { at: "ociVersion".into(), value: version.into(), rule });
    }
}

/// The longest id: it becomes a file name.
const ID_BYTES_MAX: usize = 255;

fn check_id(build: &mut Build<'_>, id: &str) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || id.len() > ID_BYTES_MAX || !id.chars().all(allowed) {
        let rule = "must be 1 to 255 of the characters A-Z a-z 0-9 _ + - . and not . or ..";
        build.problems.push(Problem::Invalid { at: "id".into(), value: id.into(), rule });
    }
}

impl Build<'_> {
    fn identity(&mut self, spec: &Spec, linux: &knarr_spec::runtime::Linux) {
        self.plan.id = self.options.id.clone();
        self.plan.identity = Identity {
            version: spec.version().clone(),
            bundle: self.options.bundle.clone(),
            annotations: spec.annotations().clone().unwrap_or_default(),
            seccomp_metadata: linux.seccomp().as_ref().and_then(|s| s.listener_metadata().clone()).unwrap_or_default(),
        };
        self.label = linux.mount_label().clone().filter(|label| !label.is_empty());
    }

    fn keyring(&mut self, options: &CreateOptions) {
        if !options.no_new_keyring
            && let Some(name) = self.c_string("id", format!("_ses.{}", options.id).as_ref())
        {
            self.child.push(Step::SessionKeyring(name));
        }
    }

    /// The start may come from another process, through a socket.
    fn gate(&mut self) {
        if let Gate::Socket(path) = &self.options.gate {
            self.before_clone.push(ParentStep::BindGate { path: path.clone() });
        }
        self.child.push(Step::Say(Sync::Ready));
        self.after_clone.push(ParentStep::Wait(Sync::Ready));
        self.child.push(Step::Wait(Sync::Start));
    }
}
