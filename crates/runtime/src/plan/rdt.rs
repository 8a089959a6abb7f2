//! The group of caches and memory bandwidth.
//!
//! Spec: config-linux.md "IntelRdt".

use knarr_spec::runtime::Linux;

use super::Build;
use super::step::ParentStep;
use crate::{Problem, resctrl};

pub(super) fn plan(build: &mut Build<'_>, linux: &Linux) {
    let Some(rdt) = linux.intel_rdt() else { return };
    let Some(root) = &build.host.resctrl else {
        let (at, value) = ("linux".into(), "intelRdt".into());
        build.problems.push(Problem::Host { at, value, needs: "a mounted resctrl file system" });
        return;
    };
    match resctrl::plan(rdt, &build.options.id, root) {
        Ok(rdt) => build.after_clone.push(ParentStep::JoinResctrl(Box::new(rdt))),
        Err(wrong) => {
            for (name, value, rule) in wrong {
                build.invalid(format!("linux.intelRdt.{name}"), value, rule);
            }
        }
    }
}
