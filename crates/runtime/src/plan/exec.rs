//! The plan of one more process in a container.
//!
//! Spec: config.md "Process", with `execCPUAffinity`, which counts only here.

use std::collections::HashMap;

use knarr_spec::runtime::{LinuxMemoryPolicy, LinuxPersonality, LinuxSeccomp, Process};

use super::step::{Namespace, ParentStep, Step, Sync};
use super::{Build, Plan, process};
use crate::resctrl::Rdt;
use crate::{CreateOptions, Host, Problems};

/// What a joining process shares with its container.
#[derive(Clone, Debug, Default)]
pub struct Joining<'a> {
    /// The namespaces of the container that are not ours.
    pub namespaces: &'a [Namespace],
    /// The container's profile.
    pub seccomp: Option<&'a LinuxSeccomp>,
    /// The container's personality.
    pub personality: Option<&'a LinuxPersonality>,
    /// The container's memory policy, which a process gets from its parent and we are not its parent.
    pub memory_policy: Option<&'a LinuxMemoryPolicy>,
    /// It has a control group to enter.
    pub cgroup: bool,
    /// The unit of a user's systemd it belongs to: only that can move a process there.
    pub unit: Option<knarr_cgroup::Unit>,
    /// The container's group of caches and memory bandwidth: who joins is no child of those who are in it.
    pub rdt: Option<Rdt>,
    /// The container's annotations.
    pub annotations: HashMap<String, String>,
}

/// The plan of a process that joins a container.
pub fn plan_exec(
    joining: &Joining<'_>,
    process: &Process,
    host: &Host,
    options: &CreateOptions,
) -> Result<Plan, Problems> {
    let mut build = Build::new(host, options);
    build.joined = joining.namespaces.to_vec();
    build.annotations = super::annotation::read(&mut build, &joining.annotations);
    let metadata = joining.seccomp.and_then(|profile| profile.listener_metadata().clone());
    build.plan.identity.seccomp_metadata = metadata.unwrap_or_default();
    let pinned = process.exec_cpu_affinity().as_ref();
    affinity(&mut build, "initial", pinned.and_then(|affinity| affinity.initial().as_ref()));
    match &joining.unit {
        Some(unit) => {
            let enter = ParentStep::EnterUnit(Box::new(unit.clone()));
            build.after_clone.extend([enter, ParentStep::Say(Sync::CgroupReady)]);
            build.child.push(Step::Wait(Sync::CgroupReady));
        }
        None if joining.cgroup => build.child.push(Step::EnterCgroup),
        None => {}
    }
    match pinned {
        None => build.child.push(Step::AnyProcessor),
        Some(pinned) => affinity(&mut build, "final", pinned.cpu_affinity_final().as_ref()),
    }
    join(&mut build);
    let rdt = joining.rdt.clone().map(|rdt| ParentStep::EnterResctrl(Box::new(rdt)));
    build.after_clone.extend(rdt);
    // After the last clone: only a session's leader can take a controlling terminal.
    build.child.push(Step::NewSession);
    process::oom_score(&mut build, process);
    if process.terminal().unwrap_or(false) {
        build.child.push(Step::Terminal { size: super::root::size(process), console: false });
    }
    process::attributes(&mut build, process);
    process::memory_policy(&mut build, joining.memory_policy);
    process::personality(&mut build, joining.personality);
    build.program(process);
    process::become_user(&mut build, process);
    build.child.extend([Step::Say(Sync::Ready), Step::Wait(Sync::Start)]);
    build.after_clone.push(ParentStep::Wait(Sync::Ready));
    process::confine(&mut build, process, joining.seccomp);
    build.child.push(Step::Execute);
    build.finish(process.terminal().unwrap_or(false))
}

/// A process namespace counts for children only: the parent enters it around the clone. Where it could not come back from there
/// (it stands in a user namespace that does not own its process namespace), or the container has a user namespace of its own to
/// be joined first, the child clones once more.
fn join(build: &mut Build<'_>) {
    let joins_pid = build.joins(Namespace::Pid);
    let clones_twice = joins_pid && (build.joins(Namespace::User) || build.host.user_namespace);
    if joins_pid && !clones_twice {
        build.around.push(Namespace::Pid);
    }
    let kinds: Vec<_> = build.joined.iter().copied().filter(|n| clones_twice || *n != Namespace::Pid).collect();
    let own_root = kinds.contains(&Namespace::Mount);
    if !kinds.is_empty() {
        build.child.push(Step::JoinContainer { kinds });
    }
    if !own_root {
        build.child.push(Step::ContainerRoot);
    }
    if clones_twice {
        build.child.push(Step::CloneIntoPidNamespace { new: false });
        build.after_clone.push(ParentStep::AdoptGrandchild);
    }
    if build.joins(Namespace::User) {
        build.child.push(Step::BecomeRoot);
    }
}

fn affinity(build: &mut Build<'_>, which: &str, list: Option<&String>) {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return };
    match process::mask(list) {
        Some(mask) => build.child.push(Step::Affinity { list: list.clone(), mask }),
        None => {
            let at = format!("process.execCPUAffinity.{which}");
            build.invalid(at, list, "is no list of processors as 0-3,7");
        }
    }
}
