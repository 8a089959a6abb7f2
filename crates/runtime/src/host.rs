//! The facts about the machine that a plan depends on.

use std::path::{Path, PathBuf};

use knarr_cgroup::{Hierarchy, Layout, Version};
use knarr_sys::{capabilities, credentials, uts};
use serde::{Deserialize, Serialize};

use crate::resctrl;

/// A mounted hierarchy of control groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostCgroups {
    /// Version 2.
    pub version2: bool,
    /// Its controllers.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Our own group, relative to that.
    pub own: PathBuf,
}

impl HostCgroups {
    /// All of them as the cgroup crate has them.
    pub(crate) fn layout(hierarchies: &[HostCgroups]) -> Layout {
        let hierarchy = |h: &HostCgroups| Hierarchy {
            version: if h.version2 { Version::V2 } else { Version::V1 },
            controllers: h.controllers.clone(),
            mount_point: h.mount_point.clone(),
            own: h.own.clone(),
        };
        Layout { hierarchies: hierarchies.iter().map(hierarchy).collect() }
    }
}

/// What the planner must know; golden tests write it by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Major and minor of the kernel's version.
    pub kernel: (u32, u32),
    /// We are in a user namespace that is not the machine's first: no device nodes, locked mount flags.
    pub user_namespace: bool,
    /// That user namespace denies `setgroups`.
    pub setgroups_denied: bool,
    /// The capabilities we can give, one bit each; `None`: not known.
    pub capabilities: Option<u64>,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// SELinux is enabled.
    pub selinux: bool,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// Where resctrl is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<PathBuf>,
    /// Hierarchies of control groups.
    pub cgroups: Vec<HostCgroups>,
}

impl Host {
    /// Looks at the machine we are on. What cannot be read counts as not there.
    pub fn probe() -> Host {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let user_namespace = !maps_everything(&read("/proc/self/uid_map"));
        Host {
            kernel: uts::kernel_version(),
            user_namespace,
            setgroups_denied: user_namespace && read("/proc/self/setgroups").trim() == "deny",
            capabilities: capabilities::get().ok().map(|sets| sets.permitted),
            euid: credentials::effective_user(),
            egid: credentials::effective_group(),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            apparmor: read("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
            // The kernel makes the directory where the processor has something to offer, wherever it is mounted then.
            resctrl: match Path::new("/sys/fs/resctrl").exists() {
                true => resctrl::find(&read("/proc/self/mountinfo")),
                false => None,
            },
            cgroups: Layout::discover().map(|layout| cgroups(&layout)).unwrap_or_default(),
        }
    }
}

/// Whether we are in a user namespace that is not the machine's first.
pub(crate) fn in_user_namespace() -> bool {
    !maps_everything(&std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
}

/// The first user namespace maps every id to itself.
fn maps_everything(uid_map: &str) -> bool {
    uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

fn cgroups(layout: &Layout) -> Vec<HostCgroups> {
    let hierarchies = layout.hierarchies.iter();
    hierarchies
        .map(|h| HostCgroups {
            version2: h.version == Version::V2,
            controllers: h.controllers.clone(),
            mount_point: h.mount_point.clone(),
            own: h.own.clone(),
        })
        .collect()
}
