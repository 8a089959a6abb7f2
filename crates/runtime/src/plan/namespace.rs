//! Namespaces: which are new, which are joined, and who does it.
//!
//! Spec: config-linux.md "Namespaces", "User namespace mappings", "Offset for Time Namespace".
//!
//! A new user namespace owns the other new ones, so clone3 makes them together. What is joined beside it is entered by the
//! parent around the clone, while it still has the privileges; so is a process namespace, which only children enter. A
//! user namespace that is joined comes first, and the new ones after it are made by the child. Where the
//! parent could not come back (its user namespace does not own its process namespace), the child clones once more.

use std::collections::HashMap;
use std::ffi::CString;

use knarr_spec::runtime::{Linux, LinuxNamespaceType, LinuxTimeOffset, Spec};

use super::Build;
use super::step::{IdMapWriter, IdMaps, IdRange, Namespace, ParentStep, Step, Sync};
use crate::Problem;

fn kind(typ: LinuxNamespaceType) -> Namespace {
    match typ {
        LinuxNamespaceType::Mount => Namespace::Mount,
        LinuxNamespaceType::Cgroup => Namespace::Cgroup,
        LinuxNamespaceType::Uts => Namespace::Uts,
        LinuxNamespaceType::Ipc => Namespace::Ipc,
        LinuxNamespaceType::User => Namespace::User,
        LinuxNamespaceType::Pid => Namespace::Pid,
        LinuxNamespaceType::Network => Namespace::Network,
        LinuxNamespaceType::Time => Namespace::Time,
    }
}

/// Up to the point where the child is root of its user namespace and stands in what it joins.
pub(super) fn begin(build: &mut Build<'_>, linux: &Linux) {
    collect(build, linux);
    user_maps(build, linux);
    let joins_user = build.joins(Namespace::User);
    // Clocks get their offsets before anybody enters, and the root of a cgroup namespace is the group it is made in.
    let later = [Namespace::Cgroup, Namespace::Time];
    if !joins_user {
        build.cloned = build.new.iter().copied().filter(|n| !later.contains(n)).collect();
    }
    let entered_by_parent =
        |n: &Namespace| *n == Namespace::Pid || build.new_user_namespace() && *n != Namespace::Mount;
    build.around = build.joined.iter().copied().filter(|n| entered_by_parent(n) && !(joins_user)).collect();
    let by_child: Vec<_> = build.joined.iter().copied().filter(|n| !build.around.contains(n)).collect();
    if joins_user {
        // Mounts are joined later, when all that is to be taken along was opened.
        let others = |n: &Namespace| !matches!(n, Namespace::User | Namespace::Mount);
        let others: Vec<_> = by_child.iter().copied().filter(others).collect();
        build.child.extend((!others.is_empty()).then_some(Step::JoinWhatCanBe(others)));
    }
    build.child.extend(by_child.into_iter().filter(|n| *n != Namespace::Mount).map(Step::JoinNamespace));
    if joins_user {
        let made_here = |n: &Namespace| !later.contains(n) && *n != Namespace::Pid;
        let new: Vec<_> = build.new.iter().copied().filter(made_here).collect();
        build.child.extend((!new.is_empty()).then_some(Step::NewNamespaces(new)));
    }
    let joined_by_child = build.joins(Namespace::Pid) && !build.around.contains(&Namespace::Pid);
    if joined_by_child || joins_user && build.has_new(Namespace::Pid) {
        build.child.push(Step::CloneIntoPidNamespace { new: build.has_new(Namespace::Pid) });
        build.after_clone.push(ParentStep::AdoptGrandchild);
    }
    // After the last clone: only a session's leader can take a controlling terminal.
    build.child.push(Step::NewSession);
    if build.new_user_namespace() {
        map_ids(build, linux);
    } else {
        clocks(build, linux.time_offsets().as_ref());
        build.child.extend(joins_user.then_some(Step::BecomeRoot));
    }
}

fn collect(build: &mut Build<'_>, linux: &Linux) {
    let mut seen: HashMap<Namespace, Option<std::path::PathBuf>> = HashMap::new();
    for namespace in linux.namespaces().as_deref().unwrap_or_default() {
        let kind = kind(namespace.typ());
        let path = namespace.path().clone().filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = &path
            && !path.is_absolute()
        {
            build.invalid("linux.namespaces", path.to_string_lossy(), "must be an absolute path");
        }
        if seen.insert(kind, path).is_some() {
            build.problems.push(Problem::Duplicate { at: "linux.namespaces".into(), value: kind.name().into() });
        }
    }
    for kind in Namespace::ALL {
        match seen.remove(&kind) {
            Some(Some(path)) => {
                build.joined.push(kind);
                build.before_clone.push(ParentStep::OpenNamespace { kind, path });
            }
            Some(None) => build.new.push(kind),
            None => {}
        }
    }
}

fn user_maps(build: &mut Build<'_>, linux: &Linux) {
    let maps = IdMaps {
        users: super::id_ranges(linux.uid_mappings().as_deref()),
        groups: super::id_ranges(linux.gid_mappings().as_deref()),
    };
    let given = !maps.users.is_empty() || !maps.groups.is_empty();
    if given && !build.own(Namespace::User) {
        let value = "uidMappings, gidMappings".into();
        build.problems.push(Problem::Needs { at: "linux".into(), value, needs: "a user namespace" });
    }
    if build.new_user_namespace() && (maps.users.is_empty() || maps.groups.is_empty()) {
        build.problems.push(Problem::Missing { at: "linux.uidMappings and linux.gidMappings".into() });
    }
    if given {
        build.ids = Some(maps);
    }
}

fn map_ids(build: &mut Build<'_>, linux: &Linux) {
    let maps = build.ids.clone().unwrap_or_default();
    let writer = writer(build, &maps);
    build.groups_denied |= writer == IdMapWriter::DirectWithoutGroups;
    let root = |ranges: &[IdRange]| ranges.iter().any(|r| r.inside == 0 && r.count > 0);
    let has_root = root(&maps.users) && root(&maps.groups);
    build.after_clone.push(ParentStep::MapIds { maps, writer });
    build.after_clone.push(ParentStep::Say(Sync::IdsMapped));
    build.child.push(Step::Wait(Sync::IdsMapped));
    // Files in /proc of a process that changes its ids belong to the machine's root: their offsets are set before.
    clocks(build, linux.time_offsets().as_ref());
    if has_root {
        build.child.push(Step::BecomeRoot);
    }
}

/// The unprivileged may map their own id and nothing more; `newuidmap` knows the ranges given to them.
fn writer(build: &Build<'_>, maps: &IdMaps) -> IdMapWriter {
    let only = |ranges: &[IdRange], id| matches!(ranges, [range] if range.outside == id && range.count == 1);
    if build.host.euid == 0 {
        return IdMapWriter::Direct;
    }
    match only(&maps.users, build.host.euid) && only(&maps.groups, build.host.egid) {
        true => IdMapWriter::DirectWithoutGroups,
        false => IdMapWriter::Helpers,
    }
}

/// The namespaces that have to be made after the control group was entered, and what belongs to each.
pub(super) fn enter(build: &mut Build<'_>) {
    if build.has_new(Namespace::Cgroup) {
        build.child.push(Step::NewNamespaces(vec![Namespace::Cgroup]));
    }
    if build.has_new(Namespace::Network) {
        build.child.push(Step::LoopbackUp);
    }
}

fn clocks(build: &mut Build<'_>, offsets: Option<&HashMap<String, LinuxTimeOffset>>) {
    let mut lines = String::new();
    let mut named: Vec<_> = offsets.into_iter().flatten().collect();
    named.sort_by_key(|(clock, _)| clock.as_str());
    for (clock, offset) in named {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            build.invalid("linux.timeOffsets", clock, "must be monotonic or boottime");
        }
        lines += &format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
    }
    if !build.has_new(Namespace::Time) {
        if !lines.is_empty() {
            let (at, value) = ("linux".into(), "timeOffsets".into());
            build.problems.push(Problem::Needs { at, value, needs: "a new time namespace" });
        }
        return;
    }
    if let Some(offsets) = build.c_string("linux.timeOffsets", lines.as_ref()) {
        build.child.push(Step::NewClocks { offsets });
    }
}

/// Spec: config.md "Hostname", "Domainname".
pub(super) fn names(build: &mut Build<'_>, spec: &Spec) {
    name(build, "hostname", spec.hostname(), Step::HostName);
    name(build, "domainname", spec.domainname(), Step::DomainName);
}

fn name(build: &mut Build<'_>, at: &str, name: &Option<String>, step: fn(CString) -> Step) {
    let Some(name) = name.clone().filter(|name| !name.is_empty()) else { return };
    if !build.own(Namespace::Uts) {
        build.problems.push(Problem::Needs { at: at.into(), value: name.clone(), needs: "a uts namespace" });
    }
    if let Some(name) = build.c_string(at, name.as_ref()) {
        build.child.push(step(name));
    }
}
