//! The facts about the machine that a plan depends on.

use serde::{Deserialize, Serialize};

/// What the planner must know; golden tests write it by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Major and minor of the kernel's version.
    pub kernel: (u32, u32),
    /// We are in a user namespace that is not the machine's first: no device nodes, locked mount flags.
    pub user_namespace: bool,
    /// Effective user id.
    pub euid: u32,
    /// SELinux is enabled.
    pub selinux: bool,
    /// AppArmor is enabled.
    pub apparmor: bool,
}

impl Host {
    /// Looks at the machine we are on.
    pub fn probe() -> Host {
        Host::default()
    }
}
