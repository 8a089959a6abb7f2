//! The control group.
//!
//! Spec: config-linux.md "Control groups".

use std::path::PathBuf;

use knarr_spec::runtime::{Linux, LinuxResources};

use super::Build;
use super::step::{ParentStep, Step};
use crate::{CgroupChoice, Problem};

pub(super) fn join(build: &mut Build<'_>, linux: &Linux) {
    let mut resources = linux.resources().clone().unwrap_or_default();
    if build.host.user_namespace {
        // No device can be made here, and the kernel lets nobody in a user namespace change these rules.
        resources.set_devices(None);
    }
    let zero = resources.pids().as_ref().is_some_and(|pids| pids.limit() == 0);
    if zero && zero_tasks_is_unset(&build.plan.identity.version) {
        resources.set_pids(None);
    }
    let limits = resources != LinuxResources::default();
    let path = match &build.options.cgroup {
        CgroupChoice::Caller if limits => {
            let (at, value) = ("linux".into(), "resources".into());
            build.problems.push(Problem::Needs { at, value, needs: "a control group of the container's own" });
            return;
        }
        CgroupChoice::Caller => return,
        CgroupChoice::Path(path) => path.clone(),
        CgroupChoice::Spec => match linux.cgroups_path() {
            Some(path) if !path.as_os_str().is_empty() => path.clone(),
            _ => PathBuf::from("/knarr").join(&build.options.id),
        },
    };
    let required = limits || (linux.cgroups_path().is_some() && !build.host.user_namespace);
    let (resources, all_controllers) = (Box::new(resources), build.options.all_controllers);
    build.before_clone.push(ParentStep::MakeCgroup { path, resources, required, all_controllers });
    build.child.push(Step::EnterCgroup);
}

/// A limit of 0 tasks is a limit since version 1.3; to those who write older documents, podman among them, it means "none".
pub(crate) fn zero_tasks_is_unset(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map(|number| number.parse::<u64>().unwrap_or(0));
    (numbers.next(), numbers.next()) < (Some(1), Some(3))
}
