//! Network devices that go from our namespace to the container's.
//!
//! Spec: config-linux.md "Network Devices". Nobody moves them back: when the namespace ends, the kernel does, or they end with it.

use std::collections::HashSet;

use knarr_spec::runtime::Linux;

use super::Build;
use super::step::{Namespace, ParentStep, Step, Sync};
use crate::Problem;

/// `IFNAMSIZ`, the 0 at its end counted.
const NAME_BYTES_MAX: usize = 16;
/// The kernel puts the first number here that is free.
const NUMBERED: &str = "%d";

/// After the network namespace exists and before its parameters are set, which may name the devices.
pub(super) fn plan(build: &mut Build<'_>, linux: &Linux) {
    let mut given: Vec<_> = linux.net_devices().iter().flatten().collect();
    given.sort_by_key(|(name, _)| name.as_str());
    if given.is_empty() {
        return;
    }
    if !build.own(Namespace::Network) {
        let (at, value) = ("linux".into(), "netDevices".into());
        build.problems.push(Problem::Needs { at, value, needs: "a network namespace of the container's own" });
    }
    build.child.extend([Step::Say(Sync::NetworkReady), Step::Wait(Sync::DevicesMoved)]);
    build.after_clone.push(ParentStep::Wait(Sync::NetworkReady));
    let mut taken = HashSet::new();
    for (name, device) in given {
        let at = format!("linux.netDevices[{name}]");
        let to = device.name().as_ref().filter(|to| !to.is_empty()).unwrap_or(name);
        for (place, wrong) in [(at.clone(), check(name, false)), (format!("{at}.name"), check(to, true))] {
            if let Some(rule) = wrong {
                build.invalid(place, if rule == RULE_PATTERN { to } else { name }, rule);
            }
        }
        if !to.contains(NUMBERED) && !taken.insert(to.clone()) {
            build.problems.push(Problem::Duplicate { at: format!("{at}.name"), value: to.clone() });
        }
        build.after_clone.push(ParentStep::MoveNetDevice { name: name.clone(), to: to.clone() });
    }
    build.after_clone.push(ParentStep::Say(Sync::DevicesMoved));
}

const RULE: &str = "is no name of a network device";
const RULE_PATTERN: &str = "is no name of a network device, which may have one %d";

/// The kernel's own rule (`dev_valid_name`).
fn check(name: &str, pattern: bool) -> Option<&'static str> {
    let rest = if pattern { name.replacen(NUMBERED, "", 1) } else { name.to_owned() };
    let odd = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c == '\0';
    let wrong = name.is_empty() || name.len() >= NAME_BYTES_MAX || name == "." || name == ".." || rest.contains(odd);
    wrong.then_some(if pattern { RULE_PATTERN } else { RULE })
}
