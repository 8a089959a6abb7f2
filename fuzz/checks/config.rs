//! From a document to a plan, whatever the document is.

use std::path::PathBuf;

use knarr_runtime::{CreateOptions, Gate, Host, HostCgroups, Joining, Namespace, OverlayRoot, RootSource};
use knarr_runtime::{plan, plan_exec, poststop, verify};
use knarr_spec::runtime::Spec;

/// A longer document is not read by anybody who could be hurt by it; the fuzzer would only be slower.
const BYTES_MAX: usize = 64 << 10;

/// Panics where a law is broken.
pub fn check(bytes: &[u8]) {
    if bytes.len() > BYTES_MAX {
        return;
    }
    let Ok(spec) = serde_json::from_slice::<Spec>(bytes) else { return };
    for host in [new_machine(), old_machine(), ordinary_user()] {
        for options in [directory(), overlay()] {
            one(&spec, &host, &options);
        }
    }
}

fn one(spec: &Spec, host: &Host, options: &CreateOptions) {
    match plan(spec, host, options) {
        Ok(plan) => {
            assert_eq!(verify(&plan), Ok(()), "{plan}");
            assert!(plan.to_string().contains("child"));
        }
        Err(problems) => assert!(!problems.0.is_empty() && !problems.to_string().is_empty()),
    }
    poststop(spec, host, options);
    let Some(process) = spec.process() else { return };
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let namespaces = &[Namespace::User, Namespace::Pid, Namespace::Mount];
    let joining = Joining { namespaces, seccomp, cgroup: true, ..Joining::default() };
    if let Ok(plan) = plan_exec(&joining, process, host, options) {
        assert_eq!(verify(&plan), Ok(()), "{plan}");
    }
}

fn directory() -> CreateOptions {
    CreateOptions { id: "fuzz".into(), bundle: "/bundle".into(), ..CreateOptions::default() }
}

fn overlay() -> CreateOptions {
    let overlay = OverlayRoot {
        base: "/store".into(),
        lower: vec!["2".into(), "1".into()],
        upper: Some("upper".into()),
        work: Some("work".into()),
        userxattr: true,
    };
    CreateOptions {
        root: RootSource::Overlay(overlay),
        pdeathsig: true,
        all_controllers: true,
        listen_fds: 2,
        gate: Gate::Socket("/run/gate".into()),
        ..directory()
    }
}

fn hierarchy(version2: bool, controllers: &[&str], mount_point: &str) -> HostCgroups {
    let controllers = controllers.iter().map(|name| name.to_string()).collect();
    HostCgroups { version2, controllers, mount_point: mount_point.into(), own: PathBuf::from("shell") }
}

fn new_machine() -> Host {
    let all = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
    let cgroups = vec![hierarchy(true, &all, "/sys/fs/cgroup")];
    Host { kernel: (6, 18), selinux: true, apparmor: true, cgroups, ..Host::default() }
}

fn old_machine() -> Host {
    let one = |name: &str| hierarchy(false, &[name], &format!("/sys/fs/cgroup/{name}"));
    let mut cgroups: Vec<HostCgroups> = ["memory", "cpu", "pids", "devices", "freezer", "blkio"].map(one).into();
    cgroups.push(hierarchy(false, &["name=systemd"], "/sys/fs/cgroup/systemd"));
    Host { kernel: (5, 4), cgroups, ..Host::default() }
}

fn ordinary_user() -> Host {
    Host { kernel: (6, 1), user_namespace: true, setgroups_denied: true, euid: 1000, egid: 1000, ..Host::default() }
}
