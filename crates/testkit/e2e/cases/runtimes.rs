//! `--runtime PATH`: the same container with another OCI runtime.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use knarr_probe::Report;
use knarr_testkit::Lab;
use knarr_testkit::lab::finish;

cases!["runtimes":
    runc_runs_a_container,
    runc_keeps_the_restrictions,
    runc_can_be_stopped_and_removed,
    runsc_runs_a_container,
    crun_runs_a_container,
    a_runtime_that_is_not_there_is_named,
    the_runtime_applet_answers,
];

const RUNC: [&str; 2] = ["/usr/sbin/runc", "/usr/bin/runc"];

fn runc(lab: &Lab) -> &'static str {
    lab.needs_root();
    RUNC.into_iter().find(|path| Path::new(path).exists()).unwrap_or_else(|| lab.skip("runc is not installed"))
}

fn runc_runs_a_container(lab: &Lab) {
    let runc = runc(lab);
    lab.load("probe");
    lab.knarr(["run", "--rm", "--runtime", runc, "probe", "probe", "exit", "7"]).exits(7);
    lab.knarr(["run", "--rm", "--runtime", runc, "probe", "probe", "echo", "x"]).ok().prints("x\n");
    lab.knarr(["run", "--rm", "--runtime", runc, "probe", "no-such-program"]).exits(127);
}

fn runc_keeps_the_restrictions(lab: &Lab) {
    let runc = runc(lab);
    lab.load("probe");
    let (own, other) = (lab.probe(&["-m", "64m"]), lab.probe(&["-m", "64m", "--runtime", runc]));
    assert_eq!(own.capabilities, other.capabilities);
    let masks = |report: &Report| {
        report
            .paths
            .iter()
            .filter(|(path, _)| *path != "/sys/fs/cgroup")
            .map(|(path, state)| (path.clone(), *state))
            .collect::<Vec<_>>()
    };
    assert_eq!(masks(&own), masks(&other));
    assert_eq!(own.cgroup.memory_bytes_max, other.cgroup.memory_bytes_max);
    // Go raises its own soft limit of open files, and the runc of Debian 12 hands that on to the container.
    let limits = |report: &Report| {
        let mut limits = report.rlimits.clone();
        limits.get_mut("RLIMIT_NOFILE").unwrap().soft = None;
        limits
    };
    assert_eq!(limits(&own), limits(&other));
}

fn runc_can_be_stopped_and_removed(lab: &Lab) {
    let runc = runc(lab);
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "--runtime", runc, "probe", "probe", "sleep"]).ok();
    lab.knarr(["exec", "boat", "probe", "exit", "3"]).exits(3);
    lab.knarr(["stop", "-t", "0", "boat"]).ok();
    lab.knarr(["rm", "boat"]).ok();
}

/// A kernel in user space: what it has in common with runc is the command line. Through a script, as its own network needs
/// namespaces it recognises.
fn runsc_runs_a_container(lab: &Lab) {
    lab.needs_root();
    lab.needs("/usr/bin/runsc", "runsc");
    if std::fs::read_to_string("/proc/cpuinfo").unwrap().contains("User Mode Linux") {
        lab.skip("runsc traces programs as user-mode Linux does, and hangs in it");
    }
    let script = lab.path("runsc-without-network");
    std::fs::write(&script, "#!/bin/sh\nexec /usr/bin/runsc --network=none --ignore-cgroups \"$@\"\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    lives_with(lab, script.to_str().unwrap());
}

/// crun knows version 2 of control groups only, which the tests see in user-mode Linux.
fn crun_runs_a_container(lab: &Lab) {
    lab.needs_root();
    lab.needs("/usr/bin/crun", "crun");
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        lab.skip("crun needs cgroup v2 alone");
    }
    lives_with(lab, "/usr/bin/crun");
}

/// One container's whole life with `runtime`.
fn lives_with(lab: &Lab, runtime: &str) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "--runtime", runtime, "probe", "probe", "echo", "x"]).ok().prints("x\n");
    lab.knarr(["run", "--rm", "--runtime", runtime, "probe", "probe", "exit", "7"]).exits(7);
    lab.knarr(["run", "-d", "--name", "boat", "--runtime", runtime, "probe", "probe", "sleep"]).ok();
    lab.knarr(["exec", "boat", "probe", "exit", "3"]).exits(3);
    lab.knarr(["stop", "-t", "0", "boat"]).ok();
    lab.knarr(["rm", "boat"]).ok();
}

fn a_runtime_that_is_not_there_is_named(lab: &Lab) {
    lab.load("probe");
    let done = lab.knarr(["run", "--rm", "--runtime", "/no/such/runtime", "probe", "probe", "true"]);
    done.exits(125).says("/no/such/runtime");
}

fn the_runtime_applet_answers(lab: &Lab) {
    let mut command = std::process::Command::new(lab.kit.join("knarr"));
    finish(command.args(["runtime", "--version"]), "knarr runtime --version", b"").ok().shows("spec");
}
