//! The control group.
//!
//! Spec: config-linux.md "Control groups".

use std::path::PathBuf;

use knarr_cgroup::{Bus, UnitName, given_property};
use knarr_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Mount, Spec};

use super::Build;
use super::step::{ParentStep, Step, Sync, UnitStep};
use crate::host::HostCgroups;
use crate::{CgroupChoice, Problem};

pub(super) fn join(build: &mut Build<'_>, spec: &Spec, linux: &Linux) {
    let mut resources = linux.resources().clone().unwrap_or_default();
    if build.host.user_namespace {
        // No device can be made here, and the kernel lets nobody in a user namespace change these rules.
        resources.set_devices(None);
    }
    let zero = resources.pids().as_ref().is_some_and(|pids| pids.limit() == 0);
    if zero && zero_tasks_is_unset(&build.plan.identity.version) {
        resources.set_pids(None);
    }
    forgotten(build, &resources);
    let limits = resources != LinuxResources::default();
    if let CgroupChoice::Systemd(bus) = &build.options.cgroup {
        return unit(build, spec, linux, bus, resources, limits);
    }
    let path = match &build.options.cgroup {
        CgroupChoice::Caller if limits => {
            let (at, value) = ("linux".into(), "resources".into());
            build.problems.push(Problem::Needs { at, value, needs: "a control group of the container's own" });
            return;
        }
        CgroupChoice::Caller => return,
        CgroupChoice::None => {
            if limits {
                build.plan.notes.push("linux.resources: nothing is limited, for control groups are turned off".into());
            }
            return;
        }
        CgroupChoice::Path(path) => path.clone(),
        CgroupChoice::Systemd(_) => return,
        CgroupChoice::Spec => match linux.cgroups_path() {
            Some(path) if !path.as_os_str().is_empty() => path.clone(),
            _ => PathBuf::from("/knarr").join(&build.options.id),
        },
    };
    let devices_later = resources.devices().is_some() && !build.host.cgroups.iter().any(lists_devices_in_files);
    let required = match build.options.rootless {
        Some(rootless) => limits || !rootless,
        None => limits || (linux.cgroups_path().is_some() && !build.host.user_namespace),
    };
    let owner = owner(build, spec, linux);
    let (resources, all_controllers) = (Box::new(resources), build.options.all_controllers);
    let hierarchies = build.host.cgroups.clone();
    if devices_later {
        build.devices = Some(resources.clone());
    }
    build.before_clone.push(ParentStep::MakeCgroup {
        path,
        resources,
        required,
        all_controllers,
        hierarchies,
        owner,
        devices_later,
    });
    build.child.push(Step::EnterCgroup);
}

/// What the kernel no longer has, and what only version 1 had: no error in any runtime, but worth a word.
fn forgotten(build: &mut Build<'_>, resources: &LinuxResources) {
    let Some(memory) = resources.memory() else { return };
    let version1 = build.host.cgroups.iter().any(|h| !h.version2 && h.controllers.iter().any(|name| name == "memory"));
    let set = |value: Option<i64>| value.is_some_and(|value| value != 0);
    let mut left_out = Vec::new();
    left_out.extend(set(memory.kernel()).then_some("kernel"));
    if !version1 {
        left_out.extend(set(memory.kernel_tcp()).then_some("kernelTCP"));
        left_out.extend((memory.use_hierarchy() == Some(true)).then_some("useHierarchy"));
    }
    let notes =
        left_out.into_iter().map(|name| format!("linux.resources.memory.{name}: this kernel has no such limit"));
    build.plan.notes.extend(notes);
}

/// A scope cannot be without a process, so the child comes first and waits until it is in it.
fn unit(build: &mut Build<'_>, spec: &Spec, linux: &Linux, bus: &Bus, resources: LinuxResources, limits: bool) {
    let path = linux.cgroups_path().clone().unwrap_or_default();
    let name = match UnitName::parse(&path, &build.options.id, bus.user) {
        Ok(name) => name,
        Err(_) => {
            let rule = "must be of form \"slice:prefix:name\" for systemd cgroups";
            return build.invalid("linux.cgroupsPath", path.to_string_lossy(), rule);
        }
    };
    let annotations = spec.annotations().clone().unwrap_or_default();
    let mut properties = Vec::new();
    let mut given: Vec<_> = annotations.iter().collect();
    given.sort();
    for (key, text) in given {
        let Some(property) = key.strip_prefix("org.systemd.property.") else { continue };
        match given_property(property, text) {
            Some(property) => properties.push(property),
            None => build.invalid(format!("annotations[{key}]"), text, "is no property of a unit"),
        }
    }
    let subgroup = annotations.get("run.oci.systemd.subgroup").cloned().unwrap_or_default();
    let plain = |part: &str| !part.is_empty() && !matches!(part, "." | "..");
    if !subgroup.is_empty() && !subgroup.split('/').all(plain) {
        build.invalid("annotations[run.oci.systemd.subgroup]", &subgroup, "is no group below the unit's");
    }
    let rootless = match build.options.rootless {
        Some(rootless) => rootless && !limits,
        None => bus.user && !limits,
    };
    let owner = owner(build, spec, linux);
    let unit = UnitStep { bus: bus.clone(), name, resources, properties, subgroup, rootless, owner };
    build.after_clone.extend([ParentStep::StartUnit(Box::new(unit)), ParentStep::Say(Sync::CgroupReady)]);
    build.child.push(Step::Wait(Sync::CgroupReady));
}

/// crun's `run.oci.delegate-cgroup`: after the namespace of control groups was made, so that the group above is its root.
pub(super) fn descend(build: &mut Build<'_>, spec: &Spec, linux: &Linux) {
    let given = |name: &str| spec.annotations().as_ref().and_then(|all| all.get(name)).filter(|text| !text.is_empty());
    let Some(to) = given("run.oci.delegate-cgroup").cloned() else { return };
    let at = "annotations[run.oci.delegate-cgroup]";
    let version1 = build.host.cgroups.iter().any(|h| !h.version2 && h.controllers.iter().any(|name| name == "memory"));
    let needs = match (&build.options.cgroup, given("run.oci.systemd.subgroup")) {
        _ if version1 => Some("cgroup version 2"),
        (CgroupChoice::Systemd(_), Some(_)) => None,
        _ => Some("the systemd cgroup manager and run.oci.systemd.subgroup"),
    };
    if let Some(needs) = needs {
        build.problems.push(Problem::Needs { at: at.into(), value: to.clone(), needs });
    }
    if to.contains('/') || to == "." || to == ".." {
        build.invalid(at, &to, "is no name of a group");
    }
    let owner = owner(build, spec, linux);
    build.child.extend([Step::Say(Sync::CgroupEntered), Step::Wait(Sync::CgroupDelegated)]);
    build.after_clone.extend([
        ParentStep::Wait(Sync::CgroupEntered),
        ParentStep::Descend { to, owner },
        ParentStep::Say(Sync::CgroupDelegated),
    ]);
}

/// Version 1 takes a list rule by rule, "none" first: a child that made its devices meanwhile would be denied. Version 2 takes
/// a program, whole.
fn lists_devices_in_files(hierarchy: &HostCgroups) -> bool {
    !hierarchy.version2 && hierarchy.controllers.iter().any(|name| name == "devices")
}

/// The device list, behind what the child waits for first, and before any hook runs in the group.
pub(super) fn devices(build: &mut Build<'_>) {
    build.after_clone.extend(build.devices.take().map(|resources| ParentStep::AllowDevices { resources }));
}

/// Spec: config-linux.md "Cgroup ownership": with a cgroup namespace of its own and a cgroup file system it can write to, the group is
/// the program's user's, who may then divide it. Without a user namespace that is root, and so it is already.
fn owner(build: &Build<'_>, spec: &Spec, linux: &Linux) -> Option<u32> {
    let kinds = linux.namespaces().as_deref().unwrap_or_default();
    let new = |kind| kinds.iter().any(|n| n.typ() == kind && n.path().is_none());
    let version2 = build.host.cgroups.iter().any(|hierarchy| hierarchy.version2);
    if !new(LinuxNamespaceType::Cgroup) || !version2 || !spec.mounts().iter().flatten().any(is_writable_cgroup) {
        return None;
    }
    let ranges = super::id_ranges(linux.uid_mappings().as_deref());
    let user = spec.process().as_ref().map_or(0, |process| process.user().uid());
    super::idmap::moved(user, &ranges)
}

fn is_writable_cgroup(mount: &Mount) -> bool {
    let read_only = mount.options().iter().flatten().any(|option| option == "ro" || option == "rro");
    matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2")) && !read_only
}

/// A limit of 0 tasks is a limit since version 1.3; to those who write older documents, podman among them, it means "none".
pub(crate) fn zero_tasks_is_unset(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map(|number| number.parse::<u64>().unwrap_or(0));
    (numbers.next(), numbers.next()) < (Some(1), Some(3))
}
