//! Checks a plan against itself.
//!
//! Law: says nothing about the configuration; whatever is found here is a mistake of the planner.

use crate::Plan;
use crate::plan::mount::MountKind;
use crate::plan::step::Namespace;
use crate::plan::{ParentStep, Step, Sync};

/// Something out of order in a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lint {
    /// A step that must come later or earlier.
    #[error("{step:?} must come after {after}")]
    Order {
        /// The step in words.
        step: String,
        /// What it waits for.
        after: &'static str,
    },
    /// One side waits for something the other never says, or not in this order.
    #[error("the {waiting} waits for {sync}, which the other side does not say then")]
    Unanswered {
        /// `parent` or `child`.
        waiting: &'static str,
        /// The sync point.
        sync: &'static str,
    },
    /// A step that must be there.
    #[error("there is no step to {0}")]
    Missing(&'static str),
}

/// What must not come before what: no step that answers the first question may follow one that answers the second.
struct Rule {
    early: fn(&Step) -> bool,
    late: fn(&Step) -> bool,
    words: &'static str,
}

const RULES: &[Rule] = &[
    // The root of a cgroup namespace is the group it is made in.
    Rule { early: enters_cgroup, late: makes_cgroup_namespace, words: "entering the cgroup" },
    // What is mounted must not be seen outside.
    Rule { early: |s| matches!(s, Step::Propagation { .. }), late: mounts, words: "cutting propagation" },
    Rule { early: makes_root, late: mounts, words: "making the root" },
    // Sources of binds and the real /dev/null are found on the old root.
    Rule { early: mounts, late: changes_root, words: "mounts and masks" },
    Rule { early: |s| matches!(s, Step::Mount(_)), late: hides, words: "the mounts that are hidden" },
    Rule { early: changes_root, late: |s| matches!(s, Step::WorkingDirectory(_)), words: "changing the root" },
    // A descriptor that is not closed on execve could be the working directory (CVE-2024-21626).
    Rule {
        early: |s| matches!(s, Step::CloseDescriptors { .. }),
        late: |s| matches!(s, Step::WorkingDirectory(_) | Step::Execute),
        words: "closing descriptors",
    },
    // A change of user forgets it.
    Rule { early: |s| matches!(s, Step::User { .. }), late: |s| matches!(s, Step::DieWithParent), words: "the user" },
    Rule { early: |s| matches!(s, Step::User { .. }), late: |s| matches!(s, Step::FindProgram), words: "the user" },
    Rule { early: needs_privilege, late: |s| matches!(s, Step::Capabilities { .. }), words: "what needs privilege" },
    Rule { early: |s| !matches!(s, Step::Execute), late: |s| matches!(s, Step::Execute), words: "all else" },
];

fn enters_cgroup(step: &Step) -> bool {
    matches!(step, Step::EnterCgroup | Step::Wait(Sync::CgroupReady))
}

fn makes_cgroup_namespace(step: &Step) -> bool {
    matches!(step, Step::NewNamespaces(kinds) if kinds.contains(&Namespace::Cgroup))
}

fn makes_root(step: &Step) -> bool {
    matches!(step, Step::OverlayRoot(_) | Step::DirectoryRoot(_) | Step::OpenedRoot { .. } | Step::PlainRoot(_))
}

fn mounts(step: &Step) -> bool {
    matches!(step, Step::Mount(_) | Step::Device(_) | Step::Link { .. } | Step::Seal(_)) || hides(step)
}

fn hides(step: &Step) -> bool {
    matches!(step, Step::Mask(_) | Step::ReadOnly(_))
}

fn changes_root(step: &Step) -> bool {
    matches!(step, Step::PivotRoot | Step::MoveRoot | Step::Chroot)
}

fn needs_privilege(step: &Step) -> bool {
    mounts(step) || changes_root(step) || matches!(step, Step::User { .. } | Step::Limit { .. } | Step::HostName(_))
}

/// Checks the order of the steps, and that both sides have the same sync points.
pub fn verify(plan: &Plan) -> Result<(), Vec<Lint>> {
    let mut lints: Vec<Lint> = RULES.iter().filter_map(|rule| broken(rule, &plan.child)).collect();
    lints.extend(filter_order(&plan.child));
    lints.extend(syncs(plan));
    if !plan.child.contains(&Step::Execute) {
        lints.push(Lint::Missing("execute the program"));
    }
    if !plan.parent.iter().any(|step| matches!(step, ParentStep::Clone { .. })) {
        lints.push(Lint::Missing("clone"));
    }
    if lints.is_empty() { Ok(()) } else { Err(lints) }
}

fn broken(rule: &Rule, steps: &[Step]) -> Option<Lint> {
    let last_early = steps.iter().rposition(rule.early)?;
    let late = steps[..last_early].iter().find(|step| (rule.late)(step))?;
    Some(Lint::Order { step: late.to_string(), after: rule.words })
}

/// Without no_new_privs the filter needs a capability; with it, it comes after.
fn filter_order(steps: &[Step]) -> Option<Lint> {
    let at = |is: fn(&Step) -> bool| steps.iter().position(is);
    let filter = at(|s| matches!(s, Step::Seccomp(_)))?;
    let capabilities = at(|s| matches!(s, Step::Capabilities { .. }))?;
    let order = |step: usize, after| Some(Lint::Order { step: steps[step].to_string(), after });
    match at(|s| matches!(s, Step::NoNewPrivileges)) {
        Some(forbidden) if forbidden > filter => order(filter, "forbidding new privileges"),
        None if capabilities < filter => order(capabilities, "the filter"),
        _ => None,
    }
}

/// Each side's waits must be the other's words, in the same order. The start is said by somebody else, later.
fn syncs(plan: &Plan) -> Option<Lint> {
    let mapped =
        |step: &Step| matches!(step, Step::Mount(mount) if matches!(mount.kind, MountKind::Bind { mapped: true, .. }));
    let parent_says = plan.parent.iter().filter_map(|step| match step {
        ParentStep::Say(sync) => Some(*sync),
        ParentStep::MapMount { .. } => Some(Sync::MountMapped),
        _ => None,
    });
    let parent_waits = plan.parent.iter().filter_map(|step| match step {
        ParentStep::Wait(sync) => Some(*sync),
        ParentStep::MapMount { .. } => Some(Sync::MountFound),
        _ => None,
    });
    let child_says = plan.child.iter().filter_map(|step| match step {
        Step::Say(sync) => Some(*sync),
        step => mapped(step).then_some(Sync::MountFound),
    });
    let child_waits = plan.child.iter().filter_map(|step| match step {
        Step::Wait(sync) => Some(*sync),
        step => mapped(step).then_some(Sync::MountMapped),
    });
    let parent_says = parent_says.chain([Sync::Start]);
    unanswered("child", child_waits, parent_says).or_else(|| unanswered("parent", parent_waits, child_says))
}

fn unanswered(
    waiting: &'static str,
    waits: impl Iterator<Item = Sync>,
    says: impl Iterator<Item = Sync>,
) -> Option<Lint> {
    let (waits, says): (Vec<_>, Vec<_>) = (waits.collect(), says.collect());
    let differs = |index: &usize| waits.get(*index) != says.get(*index);
    let index = (0..waits.len().max(says.len())).find(differs)?;
    let sync = waits.get(index).or(says.get(index))?.name();
    Some(Lint::Unanswered { waiting, sync })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Plan {
        Plan {
            parent: vec![ParentStep::Clone { new: vec![], around: vec![] }, ParentStep::Wait(Sync::Ready)],
            child: vec![
                Step::CloseDescriptors { keep: 0 },
                Step::WorkingDirectory(c"/".into()),
                Step::User { uid: 0, gid: 0, groups: None, umask: None },
                Step::FindProgram,
                Step::Say(Sync::Ready),
                Step::Wait(Sync::Start),
                Step::Execute,
            ],
            ..Plan::default()
        }
    }

    fn check(change: impl FnOnce(&mut Plan), expect: &str) {
        let mut plan = base();
        change(&mut plan);
        let found = verify(&plan).map_or_else(|lints| lints[0].to_string(), |()| String::new());
        assert_eq!(found, expect);
    }

    #[test]
    fn a_plan_in_order_passes() {
        check(|_| {}, "");
    }

    #[test]
    fn a_mount_before_the_root_is_found() {
        check(
            |plan| {
                plan.child.insert(0, Step::Mask(knarr_sys::InRoot::top()));
                plan.child.insert(1, Step::PlainRoot(c"/".into()));
            },
            "\"mask /.\" must come after making the root",
        );
    }

    #[test]
    fn a_mask_after_the_pivot_is_found() {
        check(
            |plan| {
                plan.child.insert(0, Step::PivotRoot);
                plan.child.insert(1, Step::Mask(knarr_sys::InRoot::top()));
            },
            "\"pivot to the root\" must come after mounts and masks",
        );
    }

    #[test]
    fn a_working_directory_with_open_descriptors_is_found() {
        check(|plan| plan.child.swap(0, 1), "\"chdir to / and check where it is\" must come after closing descriptors");
    }

    #[test]
    fn a_wait_that_nobody_answers_is_found() {
        check(
            |plan| plan.child.insert(0, Step::Wait(Sync::IdsMapped)),
            "the child waits for ids-mapped, which the other side does not say then",
        );
        check(
            |plan| plan.parent.insert(1, ParentStep::Wait(Sync::NamespacesReady)),
            "the parent waits for namespaces-ready, which the other side does not say then",
        );
    }

    #[test]
    fn a_plan_that_never_executes_is_found() {
        check(|plan| drop(plan.child.pop()), "there is no step to execute the program");
    }
}
