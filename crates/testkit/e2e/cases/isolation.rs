//! What a container may not see or do, by default and when asked for more or less.

use std::collections::BTreeSet;

use knarr_probe::{PathState, Report, SeccompMode};
use knarr_testkit::Lab;

cases!["isolation":
    it_is_process_one_and_sees_nobody_else,
    every_namespace_is_its_own,
    capabilities_are_at_most_dockers,
    an_ordinary_user_has_no_capability,
    cap_drop_all_leaves_none,
    cap_add_and_cap_drop_by_either_spelling,
    an_unknown_capability_is_refused,
    system_calls_are_filtered_unless_asked_otherwise,
    no_new_privileges_can_be_asked_for,
    set_uid_works_unless_forbidden,
    kernel_files_are_masked_or_read_only,
    cgroups_are_read_only,
    privileged_has_everything_the_caller_has,
    a_host_name_is_the_short_id_or_the_one_given,
    network_none_has_only_loopback,
    network_host_is_the_callers,
    nothing_of_the_caller_is_inherited_as_a_descriptor,
    dev_has_the_usual_nodes_and_no_others,
    host_devices_cannot_be_opened,
    hosts_and_resolv_conf_are_there,
    a_read_only_root_cannot_be_written,
    what_was_written_is_gone_with_the_container,
    the_default_umask_is_usual,
    ulimits_are_set,
    root_inside_cannot_mount,
];

/// Docker's default set.
const DOCKERS: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn it_is_process_one_and_sees_nobody_else(lab: &Lab) {
    lab.load("probe");
    let process = lab.probe(&[]).process;
    assert_eq!((process.pid, process.parent_pid, process.visible), (1, 0, 1));
    assert_eq!((process.group, process.session), (1, 1));
}

fn every_namespace_is_its_own(lab: &Lab) {
    lab.load("probe");
    let (ours, theirs) = (knarr_probe::collect().namespaces, lab.probe(&["--network", "none"]).namespaces);
    for kind in ["mnt", "pid", "ipc", "uts", "cgroup", "net"] {
        assert_ne!(ours.get(kind), theirs.get(kind), "the {kind} namespace is shared");
    }
    assert_eq!(ours.get("user") == theirs.get("user"), lab.is_root(), "rootless and only rootless has its own users");
}

fn set(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

fn capabilities_are_at_most_dockers(lab: &Lab) {
    lab.load("probe");
    let capabilities = lab.probe(&[]).capabilities;
    let dockers: BTreeSet<&str> = DOCKERS.into();
    for held in [&capabilities.effective, &capabilities.permitted, &capabilities.bounding] {
        assert!(set(held).is_subset(&dockers), "more than docker gives: {held:?}");
        assert!(set(held).contains("CAP_CHOWN"), "less than usual programs need: {held:?}");
    }
    assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty(), "CVE-2022-24769: {capabilities:?}");
}

fn an_ordinary_user_has_no_capability(lab: &Lab) {
    lab.load("probe");
    let capabilities = lab.probe(&["-u", "alice"]).capabilities;
    assert!(capabilities.effective.is_empty() && capabilities.permitted.is_empty(), "{capabilities:?}");
}

fn cap_drop_all_leaves_none(lab: &Lab) {
    lab.load("probe");
    let capabilities = lab.probe(&["--cap-drop", "all"]).capabilities;
    assert!(capabilities.effective.is_empty() && capabilities.bounding.is_empty(), "{capabilities:?}");
}

fn cap_add_and_cap_drop_by_either_spelling(lab: &Lab) {
    lab.load("probe");
    let capabilities = lab.probe(&["--cap-drop=ALL", "--cap-add=chown", "--cap-add", "CAP_SYS_PTRACE"]).capabilities;
    assert_eq!(capabilities.effective, ["CAP_CHOWN", "CAP_SYS_PTRACE"]);
    let capabilities = lab.probe(&["--cap-drop", "Mknod"]).capabilities;
    assert!(!set(&capabilities.bounding).contains("CAP_MKNOD"));
}

fn an_unknown_capability_is_refused(lab: &Lab) {
    lab.load("probe");
    let done = lab.knarr(["run", "--rm", "--cap-add", "fly", "probe", "probe", "true"]).exits(125);
    assert!(done.stderr.to_lowercase().contains("fly"), "{done}");
}

fn system_calls_are_filtered_unless_asked_otherwise(lab: &Lab) {
    lab.load("probe");
    assert_eq!(lab.probe(&[]).security.seccomp, SeccompMode::Filter);
    let open = lab.probe(&["--security-opt", "seccomp=unconfined"]).security;
    assert_eq!(open.seccomp, knarr_probe::collect().security.seccomp);
}

fn no_new_privileges_can_be_asked_for(lab: &Lab) {
    lab.load("probe");
    assert!(!lab.probe(&[]).security.no_new_privs);
    assert!(lab.probe(&["--security-opt", "no-new-privileges"]).security.no_new_privs);
    assert!(lab.probe(&["--security-opt=no-new-privileges:true"]).security.no_new_privs);
}

fn set_uid_works_unless_forbidden(lab: &Lab) {
    lab.load("layers");
    lab.knarr(["run", "--rm", "layers", "probe", "stat", "/set-uid"]).ok().shows("file 4755 0:0");
}

fn kernel_files_are_masked_or_read_only(lab: &Lab) {
    lab.load("probe");
    let paths = lab.probe(&[]).paths;
    // Above the cgroup mounts, which have a test of their own, stands a tmpfs that may be written.
    let open = paths.iter().filter(|(path, state)| **state == PathState::Open && *path != "/sys/fs/cgroup");
    let open: Vec<_> = open.collect();
    assert!(open.is_empty(), "open: {open:?}");
    for path in ["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq"] {
        assert!(matches!(paths[path], PathState::ReadOnly | PathState::Absent), "{path}: {:?}", paths[path]);
    }
    lab.knarr(["run", "--rm", "probe", "probe", "try-write", "/proc/sys/kernel/domainname"]).exits(13);
}

fn cgroups_are_read_only(lab: &Lab) {
    lab.load("probe");
    assert!(
        lab.probe(&[]).mounts.iter().filter(|mount| mount.fstype.starts_with("cgroup")).all(|mount| mount.read_only())
    );
}

fn privileged_has_everything_the_caller_has(lab: &Lab) {
    lab.load("probe");
    let report = lab.probe(&["--privileged"]);
    assert_eq!(report.security.seccomp, SeccompMode::Disabled);
    assert_eq!(report.paths["/proc/sys"], PathState::Open);
    if lab.is_root() {
        assert_eq!(report.capabilities.effective, knarr_probe::collect().capabilities.bounding);
    } else {
        assert!(set(&report.capabilities.effective).contains("CAP_SYS_ADMIN"));
    }
}

fn a_host_name_is_the_short_id_or_the_one_given(lab: &Lab) {
    lab.load("probe");
    let name = lab.probe(&[]).hostname.expect("a host name");
    assert!(name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    assert_eq!(lab.probe(&["-h", "drakkar"]).hostname.as_deref(), Some("drakkar"));
}

fn network_none_has_only_loopback(lab: &Lab) {
    lab.load("probe");
    assert_eq!(lab.probe(&["--network", "none"]).interfaces, ["lo"]);
    assert_eq!(lab.probe(&["--net=none"]).interfaces, ["lo"]);
}

fn network_host_is_the_callers(lab: &Lab) {
    lab.load("probe");
    let (ours, theirs) = (knarr_probe::collect(), lab.probe(&["--network", "host"]));
    assert_eq!(theirs.namespaces["net"], ours.namespaces["net"]);
    assert_eq!(theirs.hostname, ours.hostname, "with the host's network goes the host's name");
}

fn nothing_of_the_caller_is_inherited_as_a_descriptor(lab: &Lab) {
    lab.load("probe");
    let fds: Vec<i32> = lab.probe(&[]).fds.into_keys().collect();
    assert_eq!(fds, [0, 1, 2]);
}

fn dev_has_the_usual_nodes_and_no_others(lab: &Lab) {
    lab.load("probe");
    let done = lab.knarr(["run", "--rm", "probe", "probe", "list", "/dev"]).ok();
    let expected = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
        "zero",
    ];
    // `core` leads to /proc/kcore, which not every kernel has.
    assert_eq!(done.stdout.lines().filter(|name| *name != "core").collect::<Vec<_>>(), expected);
    lab.knarr(["run", "--rm", "probe", "probe", "stat", "/dev/null"]).ok().shows("character-device 0666");
    lab.knarr(["run", "--rm", "-u", "alice", "probe", "probe", "try-write", "/dev/null"]).ok();
    lab.knarr(["run", "--rm", "-u", "alice", "probe", "probe", "try-write", "/dev/shm/x"]).ok();
}

fn host_devices_cannot_be_opened(lab: &Lab) {
    lab.needs_root();
    lab.load("shell");
    // Making the node may be allowed (docker gives the capability); opening it never is, by the device cgroup.
    let script = "(busybox mknod /x b 254 0 && dd if=/x of=/dev/null count=1) 2>&1; true";
    let done = lab.knarr(["run", "--rm", "shell", "sh", "-c", script]).ok();
    assert!(done.stdout.contains("not permitted") || done.stdout.contains("denied"), "{done}");
}

fn hosts_and_resolv_conf_are_there(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "-h", "drakkar", "probe", "probe", "cat", "/etc/hosts"]).ok().shows("localhost");
    lab.knarr(["run", "--rm", "-h", "drakkar", "probe", "probe", "cat", "/etc/hostname"]).ok().prints("drakkar\n");
    lab.knarr(["run", "--rm", "probe", "probe", "try-read", "/etc/resolv.conf"]).ok();
}

fn a_read_only_root_cannot_be_written(lab: &Lab) {
    lab.load("probe");
    let report: Report = lab.probe(&["--read-only"]);
    assert!(report.root.read_only);
    lab.knarr(["run", "--rm", "--read-only", "probe", "probe", "try-write", "/x"]).exits(13).shows("Read-only");
    lab.knarr(["run", "--rm", "--read-only", "probe", "probe", "try-write", "/dev/shm/x"]).ok();
    lab.knarr(["run", "--rm", "probe", "probe", "try-write", "/x"]).ok();
}

fn what_was_written_is_gone_with_the_container(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "probe", "write", "/etc/passwd", "changed"]).ok();
    lab.knarr(["run", "--rm", "probe", "probe", "cat", "/etc/passwd"]).ok().shows("alice");
}

fn the_default_umask_is_usual(lab: &Lab) {
    lab.load("probe");
    assert_eq!(lab.probe(&[]).process.umask.as_deref(), Some("0022"));
}

fn ulimits_are_set(lab: &Lab) {
    lab.load("probe");
    let rlimits = lab.probe(&["--ulimit", "nofile=100:200", "--ulimit", "core=0"]).rlimits;
    assert_eq!((rlimits["RLIMIT_NOFILE"].soft, rlimits["RLIMIT_NOFILE"].hard), (Some(100), Some(200)));
    assert_eq!(rlimits["RLIMIT_CORE"].hard, Some(0));
    lab.knarr(["run", "--rm", "--ulimit", "nofile=200:100", "probe", "probe", "true"]).exits(125);
}

fn root_inside_cannot_mount(lab: &Lab) {
    lab.load("shell");
    let done = lab.knarr(["run", "--rm", "shell", "mount", "-t", "tmpfs", "none", "/tmp"]);
    assert!(done.code.is_some_and(|code| code != 0), "{done}");
}
