//! What one `run` costs, in calls: counted by strace, because milliseconds depend on the machine and what else it does.
//!
//! SPECIFICATION.md states the figures; a bound here is the figure and a tenth. The document is what `runc spec` writes, with a filter.

#[allow(dead_code, reason = "each file of tests uses its part")]
mod support;

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;
use support::{root_or_skip, sh};

/// System calls of the runtime and the container's init until that executes its program, with cgroup v2.
const CALLS_MAX: usize = 580;

/// Calls by name and by process, up to the execution of the program in the second.
fn count(trace: &str) -> (usize, HashMap<String, usize>) {
    let (mut all, mut names, mut program) = (0, HashMap::new(), None);
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let (pid, call) = (pid.trim(), call.trim_start());
        let Some((name, _)) = call.split_once('(').filter(|_| !call.starts_with(['<', '+', '-'])) else { continue };
        // A debug build's own question, whether what it closes is open.
        if call.contains("F_GETFD)") {
            continue;
        }
        if program.as_deref() == Some(pid) {
            continue;
        }
        all += 1;
        *names.entry(name.to_owned()).or_insert(0) += 1;
        if name == "execve" && call.contains("\"/bin/true\"") {
            program = Some(pid.to_owned());
        }
    }
    (all, names)
}

#[test]
fn a_run_is_one_process_one_thread_three_executions_and_few_hundred_calls() {
    if !root_or_skip() {
        return;
    }
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return eprintln!("skipped: strace is missing");
    }
    let Some(mut bundle) = sh("") else { return };
    bundle.config["process"]["args"] = json!(["/bin/true"]);
    bundle.config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }]);
    bundle.config["linux"]["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    bundle.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }] });
    bundle.add_mount(json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue" }));
    bundle
        .add_mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"] }));
    fs::write(bundle.path().join("config.json"), bundle.config.to_string()).unwrap();
    let (trace, state) = (bundle.path().join("trace"), bundle.path().join("state"));
    let id = bundle.options["id"].as_str().unwrap();
    // A view of version 2 alone, so that the number does not depend on how many hierarchies the machine has.
    let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec strace -f -o \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_runtime-driver"))
        .args(["runtime", "--root", state.to_str().unwrap(), "run", "--bundle", bundle.path().to_str().unwrap(), id])
        .output()
        .unwrap();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("mount:") || said.contains("ptrace"), "{said}");
        return eprintln!("skipped: {said}");
    }
    let (all, names) = count(&fs::read_to_string(&trace).unwrap());
    let of = |wanted: &[&str]| wanted.iter().map(|name| names.get(*name).copied().unwrap_or(0)).sum::<usize>();
    // Who waits for an answer that is on its way asks until it is there.
    let all = all - 2 * of(&["sched_yield"]);
    println!("{all} calls: {names:?}");
    assert_eq!(
        of(&["clone", "clone3", "fork", "vfork"]),
        2,
        "the init, and the thread that makes its network: {names:?}"
    );
    assert_eq!(of(&["execve", "execveat"]), 3, "the command, itself once more, the program: {names:?}");
    assert!(all <= CALLS_MAX, "{all} calls: {names:?}");
}
