//! `features`: what this runtime can do, for engines that choose by it.
//!
//! Spec: runtime-spec features.md, features-linux.md. containerd, CRI-O and moby read it: recursive read-only mounts and user
//! namespaces in Kubernetes depend on what stands here, so nothing may stand here that is not so.

use serde_json::json;

use super::{
    commands::{Context, Done},
    failure::Failure,
};
use crate::{ANNOTATIONS_READ, capability_names, option_names};

/// The newest version of the specification this follows, and the oldest.
pub(crate) const SPEC_VERSION: &str = "1.3.0";
const SPEC_VERSION_MIN: &str = "1.0.0";

/// Prints the document.
pub(crate) fn features(_: &mut Context<'_>) -> Result<Done, Failure> {
    let mut options: Vec<&str> = option_names().collect();
    options.sort_unstable();
    let architectures = [
        "AARCH64",
        "ARM",
        "LOONGARCH64",
        "M68K",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PARISC",
        "PARISC64",
        "PPC",
        "PPC64",
        "PPC64LE",
        "RISCV64",
        "S390",
        "S390X",
        "SH",
        "SHEB",
        "X32",
        "X86",
        "X86_64",
    ];
    let actions = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP"]
        .map(|a| format!("SCMP_ACT_{a}"));
    let operators = ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"].map(|op| format!("SCMP_CMP_{op}"));
    let flags = ["LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV"].map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
    let document = json!({
        "ociVersionMin": SPEC_VERSION_MIN,
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": options,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capability_names().collect::<Vec<String>>(),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": actions,
                "operators": operators,
                "archs": architectures.map(|name| format!("SCMP_ARCH_{name}")),
                "knownFlags": flags,
                "supportedFlags": flags,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": {
                "modes": [
                    "MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED", "MPOL_PREFERRED_MANY",
                    "MPOL_WEIGHTED_INTERLEAVE",
                ],
                "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": { "io.github.knarr.version": env!("CARGO_PKG_VERSION") },
        "potentiallyUnsafeConfigAnnotations": ANNOTATIONS_READ,
    });
    Ok(Done::Text(format!("{document:#}\n")))
}
