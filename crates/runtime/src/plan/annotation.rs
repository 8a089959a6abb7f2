//! crun's annotations, the ones people rely on. What an annotation asks for and cannot be had is refused, not passed over.
//!
//! Law: pure. `pidfd_receiver`, `systemd.*`, `delegate-cgroup` and `org.criu.config` are read by who does them (applet).

use std::collections::HashMap;
use std::ffi::CString;
use std::path::PathBuf;

use base64::Engine;

use super::Build;
use crate::Problem;

/// Every annotation that changes what is done; an engine must not pass them on from an image (features.md).
#[rustfmt::skip]
pub const READ: &[&str] = &[
    "module.wasm.image/variant", "org.criu.config", "org.systemd.property.", "run.oci.delegate-cgroup", "run.oci.handler",
    "run.oci.hooks.stderr", "run.oci.hooks.stdout", "run.oci.keep_original_groups", "run.oci.mount_context_type",
    "run.oci.pidfd_receiver", "run.oci.seccomp.plugins", "run.oci.seccomp.receiver", "run.oci.seccomp_bpf_data",
    "run.oci.seccomp_fail_unknown_syscall", "run.oci.systemd.force_cgroup_v1", "run.oci.systemd.subgroup",
];

/// Those that need something this runtime does not have, and what.
const REFUSED: &[(&str, &str)] = &[
    ("module.wasm.image/variant", "a WebAssembly engine"),
    ("run.oci.handler", "libkrun or a WebAssembly engine"),
    ("run.oci.seccomp.plugins", "crun's seccomp plugins"),
    ("run.oci.systemd.force_cgroup_v1", "crun's mount of a version 1 hierarchy"),
];

const LABEL_OPTIONS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];
/// `struct sock_filter`.
const INSTRUCTION_BYTES: usize = 8;

/// What the planner makes of them.
#[derive(Clone, Debug)]
pub(crate) struct Annotations {
    /// `run.oci.keep_original_groups`.
    pub keep_groups: bool,
    /// `run.oci.mount_context_type`: the option a mount's label is given by.
    pub label_option: String,
    /// `run.oci.seccomp.receiver`: an agent instead of the document's.
    pub seccomp_agent: Option<PathBuf>,
    /// `run.oci.seccomp_bpf_data`: a filter instead of the document's profile.
    pub seccomp_filter: Option<Vec<u64>>,
    /// `run.oci.seccomp_fail_unknown_syscall`.
    pub seccomp_strict: bool,
    /// `run.oci.hooks.stdout` and `stderr`.
    pub hook_output: [Option<CString>; 2],
}

impl Default for Annotations {
    fn default() -> Annotations {
        Annotations {
            keep_groups: false,
            label_option: LABEL_OPTIONS[0].into(),
            seccomp_agent: None,
            seccomp_filter: None,
            seccomp_strict: false,
            hook_output: [None, None],
        }
    }
}

/// Reads them; what is wrong with one is a problem of the build.
pub(super) fn read(build: &mut Build<'_>, annotations: &HashMap<String, String>) -> Annotations {
    let get = |name: &str| annotations.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let at = |name: &str| format!("annotations[{name}]");
    for (name, needs) in REFUSED {
        if let Some(value) = get(name) {
            build.problems.push(Problem::Needs { at: at(name), value: value.into(), needs });
        }
    }
    let mut read = Annotations {
        keep_groups: annotations.contains_key("run.oci.keep_original_groups"),
        seccomp_strict: annotations.contains_key("run.oci.seccomp_fail_unknown_syscall"),
        seccomp_agent: get("run.oci.seccomp.receiver").map(PathBuf::from),
        ..Annotations::default()
    };
    if let Some(path) = read.seccomp_agent.as_ref().filter(|path| !path.is_absolute()) {
        build.invalid(at("run.oci.seccomp.receiver"), path.to_string_lossy(), "must be absolute");
    }
    if let Some(option) = get("run.oci.mount_context_type") {
        match LABEL_OPTIONS.contains(&option) {
            true => read.label_option = option.into(),
            false => build.invalid(
                at("run.oci.mount_context_type"),
                option,
                "must be context, fscontext, defcontext or rootcontext",
            ),
        }
    }
    if let Some(text) = get("run.oci.seccomp_bpf_data") {
        read.seccomp_filter = filter(text);
        if read.seccomp_filter.is_none() {
            build.invalid(at("run.oci.seccomp_bpf_data"), text, "is no filter in base64");
        }
    }
    for (into, name) in read.hook_output.iter_mut().zip(["run.oci.hooks.stdout", "run.oci.hooks.stderr"]) {
        *into = get(name).and_then(|path| build.c_string(&at(name), path.as_ref()));
    }
    read
}

fn filter(text: &str) -> Option<Vec<u64>> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()?;
    let (instructions, rest) = bytes.as_chunks::<INSTRUCTION_BYTES>();
    let fits = (1..=knarr_seccomp::limits::INSTRUCTIONS_MAX).contains(&instructions.len());
    (rest.is_empty() && fits).then(|| instructions.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect())
}
