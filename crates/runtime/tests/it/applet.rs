//! The command line of runc, seen from outside: what engines call, what they read back.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::support::{Bundle, driver, root_or_skip, sh};
use serde_json::{Value, json};

/// A bundle, and a directory of containers that is emptied at the end.
struct Runtime {
    bundle: Bundle,
    root: PathBuf,
    id: String,
}

impl Runtime {
    /// `None`, saying so, where this machine cannot.
    fn new(script: &str) -> Option<Runtime> {
        if !root_or_skip() {
            return None;
        }
        let mut bundle = sh(script)?;
        let id = bundle.options["id"].as_str().expect("an id").to_owned();
        bundle.config["linux"]["cgroupsPath"] = json!(format!("/knarr-test/{id}"));
        let root = bundle.path().join("containers");
        Some(Runtime { bundle, root, id })
    }

    fn command(&self, words: &[&str]) -> Command {
        fs::write(self.bundle.path().join("config.json"), self.bundle.config.to_string()).unwrap();
        let mut command = driver();
        command.arg("runtime").arg("--root").arg(&self.root).args(words).current_dir(self.bundle.path());
        command.stdin(Stdio::null());
        command
    }

    /// Into files, new ones for each call: what `create` leaves running holds its output open, and may write to it.
    fn call(&self, words: &[&str]) -> (i32, String, String) {
        let (out, err) = (self.bundle.path().join("out"), self.bundle.path().join("err"));
        [&out, &err].into_iter().for_each(|file| drop(fs::remove_file(file)));
        let (out_file, err_file) = (fs::File::create(&out).unwrap(), fs::File::create(&err).unwrap());
        let status = self.command(words).stdout(out_file).stderr(err_file).status().unwrap();
        (status.code().unwrap_or(-1), fs::read_to_string(out).unwrap(), fs::read_to_string(err).unwrap())
    }

    #[track_caller]
    fn good(&self, words: &[&str]) -> String {
        let (code, out, err) = self.call(words);
        assert_eq!(code, 0, "{words:?}: {err}");
        out
    }

    #[track_caller]
    fn bad(&self, words: &[&str], expect: &str) {
        let (code, _, err) = self.call(words);
        assert_ne!(code, 0, "{words:?}");
        assert!(err.contains(expect), "{words:?}: {err}");
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.good(&["state", &self.id])).unwrap()
    }

    /// A killed init ends soon, and `state` is what tells.
    fn until_stopped(&self) {
        while self.state()["status"] != "stopped" {
            std::thread::yield_now();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", &self.id]).status();
    }
}

#[test]
fn run_passes_output_and_exit_code_on_and_leaves_nothing() {
    let Some(runtime) = Runtime::new("echo hello; exit 7") else { return };
    let (code, out, err) = runtime.call(&["run", &runtime.id]);
    assert_eq!((code, out.as_str(), err.as_str()), (7, "hello\n", ""));
    assert_eq!(fs::read_dir(&runtime.root).unwrap().count(), 0);
}

#[test]
fn a_container_lives_from_create_to_delete() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    runtime.good(&["create", "--pid-file", "pid", id]);
    let state = runtime.state();
    assert_eq!(state["status"], "created");
    assert_eq!(fs::read_to_string(runtime.bundle.path().join("pid")).unwrap(), state["pid"].to_string());
    assert_eq!(state["bundle"], runtime.bundle.path().to_str().unwrap());
    runtime.bad(&["create", id], "already exists");
    runtime.good(&["start", id]);
    assert_eq!(runtime.state()["status"], "running");
    runtime.bad(&["start", id], "cannot start an already running container");
    runtime.bad(&["delete", id], "is not stopped");
    runtime.good(&["kill", id, "KILL"]);
    runtime.until_stopped();
    assert_eq!(runtime.state()["pid"], 0);
    runtime.bad(&["kill", id], "container not running");
    runtime.bad(&["start", id], "cannot start a container that has stopped");
    runtime.bad(&["exec", id, "true"], "cannot exec in a stopped container");
    runtime.good(&["delete", id]);
    runtime.bad(&["state", id], "container does not exist");
    runtime.bad(&["delete", id], "container does not exist");
    runtime.good(&["delete", "--force", id]);
}

#[test]
fn a_program_that_is_missing_is_told_as_runc_tells_it_and_leaves_nothing() {
    let Some(mut runtime) = Runtime::new("") else { return };
    runtime.bundle.config["process"]["args"] = json!(["nosuch"]);
    runtime.bad(
        &["--log", "log.json", "--log-format", "json", "create", &runtime.id],
        "executable file not found in $PATH",
    );
    let log = fs::read_to_string(runtime.bundle.path().join("log.json")).unwrap();
    let line: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("executable file not found in $PATH"), "{line}");
    runtime.bad(&["state", &runtime.id], "container does not exist");
}

#[test]
fn exec_joins_with_its_own_code_directory_and_variables() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    runtime.good(&["run", "--detach", id]);
    let (code, out, _) = runtime.call(&[
        "exec",
        "--cwd",
        "/bin",
        "-e",
        "A=b",
        "--user",
        "5:6",
        id,
        "sh",
        "-c",
        "pwd; echo $A; id -g; exit 4",
    ]);
    assert_eq!((code, out.as_str()), (4, "/bin\nb\n6\n"));
    let process = json!({ "args": ["echo", "from a file"], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
    fs::write(runtime.bundle.path().join("process.json"), process.to_string()).unwrap();
    assert_eq!(runtime.good(&["exec", "--process", "process.json", id]), "from a file\n");
    runtime.bad(&["exec", id, "nosuch"], "executable file not found in $PATH");
}

#[test]
fn the_memory_policy_holds_for_the_program_and_for_one_that_joins() {
    let Some(mut runtime) = Runtime::new("sleep 60") else { return };
    runtime.bundle.config["linux"]["memoryPolicy"] =
        json!({ "mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"] });
    let id = runtime.id.as_str();
    if fs::metadata("/proc/self/numa_maps").is_err() {
        return eprintln!("skipped: this kernel has no memory policies (CONFIG_NUMA)");
    }
    runtime.good(&["run", "--detach", id]);
    for process in ["1", "self"] {
        let first = runtime.good(&["exec", id, "head", "-n1", &format!("/proc/{process}/numa_maps")]);
        assert!(first.contains(" prefer=relative:0 "), "{process}: {first}");
    }
}

#[test]
fn pause_stops_and_resume_continues() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    runtime.good(&["run", "--detach", id]);
    runtime.bad(&["resume", id], "container not paused");
    runtime.good(&["pause", id]);
    assert_eq!(runtime.state()["status"], "paused");
    runtime.bad(&["exec", id, "true"], "cannot exec in a paused container");
    runtime.good(&["resume", id]);
    assert_eq!(runtime.state()["status"], "running");
}

#[test]
fn processes_and_counters_are_told_as_json() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    runtime.good(&["run", "--detach", id]);
    let pids: Vec<u64> = serde_json::from_str(&runtime.good(&["ps", "--format", "json", id])).unwrap();
    assert_eq!(pids, [runtime.state()["pid"].as_u64().unwrap()]);
    let event: Value = serde_json::from_str(&runtime.good(&["events", "--stats", id])).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(id)));
    assert!(event["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    let list: Value = serde_json::from_str(&runtime.good(&["list", "--format", "json"])).unwrap();
    assert_eq!(list[0]["id"], id);
    assert_eq!(runtime.good(&["list", "--quiet"]), format!("{id}\n"));
}

#[test]
fn update_changes_limits_and_remembers_them() {
    let Some(mut runtime) = Runtime::new("sleep 60") else { return };
    let layout = knarr_cgroup_layout();
    if !layout.contains("pids") {
        return eprintln!("skipped: no pids controller here");
    }
    runtime.bundle.config["linux"]["resources"] = json!({ "pids": { "limit": 50 } });
    let id = runtime.id.clone();
    runtime.good(&["run", "--detach", &id]);
    runtime.good(&["update", "--pids-limit", "77", &id]);
    let kept: Value = serde_json::from_slice(&fs::read(runtime.root.join(&id).join("config.json")).unwrap()).unwrap();
    assert_eq!(kept["linux"]["resources"]["pids"]["limit"], 77);
    let event: Value = serde_json::from_str(&runtime.good(&["events", "--stats", &id])).unwrap();
    assert_eq!(event["data"]["pids"]["limit"], 77);
}

fn knarr_cgroup_layout() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
        + &fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default()
}

#[test]
fn a_directory_longer_than_a_sockets_address_will_do() {
    let Some(mut runtime) = Runtime::new("sleep 60") else { return };
    runtime.root = runtime.bundle.path().join("r".repeat(120));
    let id = runtime.id.clone();
    runtime.good(&["create", &id]);
    runtime.good(&["start", &id]);
    assert_eq!(runtime.state()["status"], "running");
}

#[test]
fn preserved_descriptors_must_be_there() {
    let Some(runtime) = Runtime::new("true") else { return };
    runtime.bad(&["run", "--preserve-fds", "200", &runtime.id], "unable to stat preserved-fd");
    runtime.bad(&["state", &runtime.id], "container does not exist");
}

#[test]
fn exec_leaves_out_a_capability_that_nobody_knows() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    runtime.good(&["run", "--detach", id]);
    let out = runtime.good(&["exec", "--cap", "CAP_FLY", "--cap", "kill", id, "grep", "CapEff", "/proc/self/status"]);
    assert_eq!(out.trim_end(), "CapEff:\t00000000000004e1");
}

/// Found by runc's own suite: the init moves itself to another group, and somebody removes the one it was made in.
#[test]
fn exec_follows_an_init_that_was_moved_to_another_group() {
    let Some(mut runtime) = Runtime::new("") else { return };
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let version2 = mountinfo.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let Some(top) = version2 else { return eprintln!("skipped: no version 2 hierarchy") };
    runtime.bundle.config["process"]["args"] = json!(["sleep", "60"]);
    let id = runtime.id.clone();
    runtime.good(&["run", "--detach", &id]);
    let groups = PathBuf::from(top).join("knarr-test");
    let other = groups.join(format!("{id}-other"));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("cgroup.procs"), runtime.state()["pid"].to_string()).unwrap();
    fs::remove_dir(groups.join(&id)).unwrap();
    let joined = runtime.call(&["exec", &id, "grep", "0::", "/proc/self/cgroup"]);
    runtime.good(&["delete", "--force", &id]);
    fs::remove_dir(&other).unwrap();
    assert_eq!((joined.0, joined.2.as_str()), (0, ""));
}

#[test]
fn a_failed_poststart_hook_stops_the_container_and_removes_it() {
    let Some(mut runtime) = Runtime::new("sleep 60") else { return };
    runtime.bundle.config["hooks"] = json!({ "poststart": [{ "path": "/bin/false" }] });
    let id = runtime.id.clone();
    runtime.good(&["create", &id]);
    runtime.bad(&["start", &id], "error running poststart hook #0: /bin/false");
    runtime.bad(&["state", &id], "container does not exist");
}

#[test]
fn a_poststop_hook_runs_after_the_directory_is_gone() {
    let Some(mut runtime) = Runtime::new("true") else { return };
    let told = runtime.bundle.path().join("told");
    let script = format!("cat > {}", told.display());
    runtime.bundle.config["hooks"] = json!({ "poststop": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    let id = runtime.id.clone();
    runtime.good(&["run", &id]);
    let state: Value = serde_json::from_slice(&fs::read(told).unwrap()).unwrap();
    assert_eq!(state["status"], "stopped");
}

#[test]
fn features_and_version_are_what_engines_parse() {
    let Output { stdout, .. } = driver().args(["runtime", "features"]).output().unwrap();
    let features: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(features["linux"]["seccomp"]["archs"].as_array().unwrap().len(), 23);
    assert!(features["mountOptions"].as_array().unwrap().contains(&json!("rro")));
    let Output { stdout, .. } = driver().args(["runtime", "--version"]).output().unwrap();
    assert!(String::from_utf8(stdout).unwrap().contains(" version "));
}

#[test]
fn an_ordinary_user_runs_what_spec_writes_for_him() {
    let Some(runtime) = Runtime::new("true") else { return };
    if !Command::new("unshare").args(["-Ur", "true"]).status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: no user namespaces");
    }
    let id = runtime.id.as_str();
    fs::remove_file(runtime.bundle.path().join("config.json")).ok();
    let made = driver().args(["runtime", "spec", "--rootless"]).current_dir(runtime.bundle.path()).status();
    assert!(made.unwrap().success());
    let again = driver().args(["runtime", "spec"]).current_dir(runtime.bundle.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists. Remove it first"));
    let config = runtime.bundle.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"terminal\": true", "\"terminal\": false").replace("\"sh\"", "\"true\""))
        .unwrap();
    let mut command = driver();
    command.args(["runtime", "--root"]).arg(&runtime.root).args(["run", id]).current_dir(runtime.bundle.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_container_without_a_process_can_be_made_but_not_started() {
    let Some(mut runtime) = Runtime::new("") else { return };
    runtime.bundle.config.as_object_mut().unwrap().remove("process");
    let id = runtime.id.as_str();
    runtime.good(&["create", id]);
    assert_eq!(runtime.state()["status"], "created");
    runtime.bad(&["start", id], "process: is required by start");
    assert_eq!(runtime.state()["status"], "created");
    runtime.good(&["delete", "--force", id]);
    runtime.bad(&["run", id], "process: is required by start");
}

#[test]
fn an_unknown_capability_is_a_warning_in_the_log() {
    let Some(mut runtime) = Runtime::new("echo ran") else { return };
    runtime.bundle.config["process"]["capabilities"]["bounding"] = json!(["CAP_FLY"]);
    assert_eq!(runtime.good(&["--log", "log", "run", &runtime.id]), "ran\n");
    let log = fs::read_to_string(runtime.bundle.path().join("log")).unwrap();
    assert!(log.contains("level=warning") && log.contains("CAP_FLY"), "{log}");
}

#[test]
fn debug_tells_every_step() {
    let Some(runtime) = Runtime::new("true") else { return };
    runtime.good(&["--debug", "--log", "log", "--log-format", "json", "run", &runtime.id]);
    let log = fs::read_to_string(runtime.bundle.path().join("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["level"] == "debug"), "{log}");
    assert!(lines.iter().any(|line| line["msg"].as_str().unwrap().ends_with("execute the program")), "{log}");
}

#[test]
fn several_are_deleted_by_an_expression() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.clone();
    let other = format!("{id}-b");
    runtime.bundle.config["linux"]["cgroupsPath"].as_str().unwrap();
    runtime.good(&["create", &id]);
    let listed = || runtime.good(&["list", "--quiet"]);
    assert_eq!(listed(), format!("{id}\n"));
    runtime.good(&["delete", "--force", "--regex", "^no-such"]);
    runtime.bad(&["delete", "--regex", "("], "regcomp");
    assert_eq!(listed(), format!("{id}\n"));
    runtime.good(&["--cgroup-manager", "disabled", "create", &other]);
    runtime.good(&["kill", "--regex", "^no-such", "KILL"]);
    assert_eq!(listed(), format!("{id}\n{other}\n"));
    runtime.good(&["kill", "--regex", &format!("^{id}"), "KILL"]);
    runtime.until_stopped();
    runtime.good(&["delete", "--force", "--regex", &format!("^{id}")]);
    assert_eq!(listed(), "");
}

#[test]
fn without_control_groups_limits_are_left_out_with_a_warning() {
    let Some(mut runtime) = Runtime::new("echo ran") else { return };
    runtime.bundle.config["linux"]["resources"] = json!({ "pids": { "limit": 5 } });
    let log = ["--cgroup-manager=disabled", "--log", "log", "run", &runtime.id];
    assert_eq!(runtime.good(&log), "ran\n");
    let log = fs::read_to_string(runtime.bundle.path().join("log")).unwrap();
    assert!(log.contains("nothing is limited"), "{log}");
}

#[test]
fn annotations_that_change_something_are_named() {
    let Some(runtime) = Runtime::new("") else { return };
    let features: Value = serde_json::from_str(&runtime.good(&["features"])).unwrap();
    let unsafe_ones = features["potentiallyUnsafeConfigAnnotations"].as_array().unwrap();
    for name in ["run.oci.hooks.stdout", "run.oci.handler", "org.criu.config", "org.systemd.property."] {
        assert!(unsafe_ones.iter().any(|one| one == name), "{name}");
    }
}

/// Whether criu is there and can work on this kernel; says so otherwise.
fn criu_works() -> bool {
    match Command::new("criu").arg("check").output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => eprintln!("skipped: criu check: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(_) => eprintln!("skipped: criu is missing (apt-get install criu)"),
    }
    false
}

#[test]
fn a_container_goes_on_from_its_checkpoint() {
    if !root_or_skip() || !criu_works() {
        return;
    }
    let Some(runtime) = Runtime::new("i=0; while true; do i=$((i + 1)); echo $i > /count; sleep 0.05; done") else {
        return;
    };
    let id = runtime.id.as_str();
    let count =
        || fs::read_to_string(runtime.bundle.rootfs().join("count")).unwrap_or_default().trim().parse().unwrap_or(0);
    let until = |least: u64| {
        while count() < least {
            std::thread::yield_now();
        }
    };
    // What its output goes to must be a file it has itself, or a pipe.
    let detached =
        |words: &[&str]| runtime.command(words).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(detached(&["run", "--detach", id]).success());
    until(3);
    runtime.good(&["checkpoint", "--leave-running", "--image-path", "first", id]);
    assert_eq!(runtime.state()["status"], "running");
    runtime.good(&["checkpoint", "--image-path", "images", "--work-path", "work", id]);
    runtime.bad(&["state", id], "container does not exist");
    let before = count();
    let words = [
        "--log",
        "log",
        "restore",
        "--detach",
        "--image-path",
        "images",
        "--work-path",
        "work",
        "--pid-file",
        "pid",
        id,
    ];
    let log = || fs::read_to_string(runtime.bundle.path().join("log")).unwrap_or_default();
    assert!(detached(&words).success(), "{}", log());
    let state = runtime.state();
    assert_eq!(state["status"], "running");
    assert_eq!(fs::read_to_string(runtime.bundle.path().join("pid")).unwrap(), state["pid"].to_string());
    until(before + 3);
    assert!(fs::read_to_string("/proc/self/mountinfo").unwrap().lines().all(|line| !line.contains("criu-root")));
    runtime.good(&["kill", id, "KILL"]);
    runtime.until_stopped();
    runtime.good(&["delete", id]);
}

#[test]
fn binds_behind_a_link_and_below_another_bind_come_back() {
    if !root_or_skip() || !criu_works() {
        return;
    }
    let Some(mut runtime) = Runtime::new("while true; do sleep 0.05; done") else { return };
    let (id, rootfs) = (runtime.id.clone(), runtime.bundle.rootfs());
    fs::create_dir_all(rootfs.join("real/conf")).unwrap();
    std::os::unix::fs::symlink("/real/conf", rootfs.join("conf")).unwrap();
    for (source, destination) in [("linked", "/conf"), ("above", "/test"), ("below", "/test/for/nested")] {
        fs::create_dir(runtime.bundle.path().join(source)).unwrap();
        fs::write(runtime.bundle.path().join(source).join("name"), source).unwrap();
        runtime.bundle.add_mount(json!({ "source": source, "destination": destination, "options": ["bind"] }));
    }
    let quiet = |words: &[&str]| runtime.command(words).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(quiet(&["run", "--detach", &id]).success());
    runtime.good(&["checkpoint", "--image-path", "images", &id]);
    fs::remove_dir_all(runtime.bundle.path().join("above/for")).unwrap();
    let restored = quiet(&["--log", "log", "restore", "--detach", "--image-path", "images", &id]);
    assert!(restored.success(), "{:?}", fs::read_to_string(runtime.bundle.path().join("log")));
    let names = runtime.good(&["exec", &id, "cat", "/real/conf/name", "/test/name", "/test/for/nested/name"]);
    assert_eq!(names, "linkedabovebelow");
    let left = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!left.contains(rootfs.to_str().unwrap()), "{left}");
}

#[test]
fn what_cannot_be_checkpointed_is_told() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    runtime.good(&["create", id]);
    runtime.bad(&["checkpoint", id], "Container cannot be checkpointed in created state");
    runtime.good(&["start", id]);
    runtime.bad(&["--criu", "/nonexistent/criu", "checkpoint", id], "install the package criu");
    assert_eq!(runtime.state()["status"], "running");
    runtime.bad(&["restore", "--image-path", "nothing", "no-such"], "");
}

#[test]
fn features_say_what_there_is() {
    let Some(runtime) = Runtime::new("") else { return };
    let features: Value = serde_json::from_str(&runtime.good(&["features"])).unwrap();
    let linux = &features["linux"];
    assert_eq!(linux["cgroup"]["systemd"], true);
    assert_eq!(linux["intelRdt"], json!({ "enabled": true, "schemata": true, "monitoring": true }));
    assert_eq!(linux["netDevices"], json!({ "enabled": true }));
    for option in ["rro", "idmap", "copy-symlink", "src-nofollow"] {
        assert!(features["mountOptions"].as_array().unwrap().iter().any(|known| known == option), "{option}");
    }
}

#[test]
fn what_this_machine_lacks_is_told_in_runcs_words() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    if !std::path::Path::new("/run/systemd/system").exists() {
        let words = "systemd cgroup flag passed, but systemd support for managing cgroups is not available";
        runtime.bad(&["--systemd-cgroup", "run", id], words);
    }
    if !std::path::Path::new("/run/systemd/journal/socket").exists() {
        runtime.bad(&["--log", "journald:web", "list"], "open the log /run/systemd/journal/socket");
    }
    if !std::path::Path::new("/sys/fs/resctrl/info").exists() {
        runtime.good(&["run", "--detach", id]);
        runtime.bad(&["update", "--l3-cache-schema", "L3:0=f", id], "Intel RDT/CAT: l3 cache schema is not enabled");
    }
}

#[test]
fn network_devices_of_the_container_are_counted() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    runtime.good(&["run", "--detach", id]);
    let stats: Value = serde_json::from_str(&runtime.good(&["events", "--stats", id])).unwrap();
    assert_eq!(stats["data"]["network_interfaces"], Value::Null, "there is only lo");
    assert!(stats["data"]["cpuset"].is_object());
}

/// The following were found by runc's own suite.
#[test]
fn an_init_that_waits_holds_nothing_of_its_caller_and_ends_when_asked() {
    let Some(runtime) = Runtime::new("true") else { return };
    runtime.good(&["create", &runtime.id]);
    let pid = runtime.state()["pid"].as_u64().unwrap();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let entry = entry.unwrap();
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(entry.path()).unwrap();
        let ours = target.to_string_lossy().starts_with("socket:");
        assert!(number < 3 || ours, "{number} is {}", target.display());
    }
    runtime.good(&["kill", &runtime.id, "TERM"]);
    runtime.until_stopped();
}

#[test]
fn an_exec_that_cannot_be_done_ends_with_255_and_a_program_with_its_own_code() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    runtime.good(&["run", "--detach", id]);
    assert_eq!(runtime.call(&["exec", id, "false"]).0, 1);
    for (words, expect) in [
        (
            &["exec", id, "nosuch"][..],
            "exec failed: unable to start container process: exec: \"nosuch\": executable file",
        ),
        (&["exec", "--cgroup", "..", id, "true"], "bad sub cgroup path"),
        (&["exec", "--cgroup", "nosuch", id, "true"], "adding pid 0 to cgroups"),
        (&["exec", "--cgroup", "nosuch:/", id, "true"], "unknown controller nosuch"),
    ] {
        let (code, _, err) = runtime.call(words);
        assert_eq!(code, 255, "{words:?}");
        assert!(err.contains(expect), "{words:?}: {err}");
    }
    let process = runtime.bundle.path().join("process.json");
    fs::write(&process, r#"{"args":["/bin/sh","-c","echo $HOME"],"cwd":"/"}"#).unwrap();
    assert_eq!(runtime.good(&["exec", "--process", process.to_str().unwrap(), id]), "/\n");
}

#[test]
fn states_and_events_begin_as_runcs_do() {
    let Some(runtime) = Runtime::new("sleep 60") else { return };
    let id = runtime.id.as_str();
    runtime.good(&["run", "--detach", id]);
    let list = runtime.good(&["list", "--format", "json"]);
    assert!(list.starts_with(&format!("[{{\"ociVersion\":\"1.3.0\",\"id\":\"{id}\",\"pid\":")), "{list}");
    let events = runtime.good(&["events", "--stats", id]);
    assert!(events.starts_with(&format!("{{\"type\":\"stats\",\"id\":\"{id}\",\"data\":{{")), "{events}");
}

#[test]
fn the_debug_log_tells_each_step() {
    let Some(runtime) = Runtime::new("echo hello") else { return };
    let (code, out, err) = runtime.call(&["--debug", "run", &runtime.id]);
    assert_eq!((code, out.as_str()), (0, "hello\n"));
    assert!(err.lines().all(|line| line.contains("level=debug")), "{err}");
    assert!(err.contains("nsexec container setup: clone") && err.contains("child: execute the program"), "{err}");
}

#[test]
fn a_program_the_kernel_refuses_is_told_as_execve_tells_it() {
    let Some(mut runtime) = Runtime::new("") else { return };
    use std::os::unix::fs::PermissionsExt;
    let script = runtime.bundle.rootfs().join("run.sh");
    fs::write(&script, "#!/nosuch\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    runtime.bundle.config["process"]["args"] = json!(["/run.sh"]);
    let (code, _, err) = runtime.call(&["run", &runtime.id]);
    assert_eq!((code, err.as_str()), (1, "exec /run.sh: no such file or directory\n"));
}

#[test]
fn help_has_the_form_of_runcs() {
    let Some(runtime) = Runtime::new("") else { return };
    let name = "runtime-driver";
    let help = runtime.good(&["--help"]);
    assert!(help.starts_with(&format!("NAME:\n   {name} - Open Container Initiative runtime\n")), "{help}");
    let help = runtime.good(&["create", "-h"]);
    assert!(help.starts_with(&format!("NAME:\n   {name} create - ")), "{help}");
    runtime.bad(&["frob", "-h"], "No help topic for 'frob'");
}

#[test]
fn an_agent_hears_of_its_filter_while_the_container_is_created() {
    let Some(mut runtime) = Runtime::new("mkdir /x 2>&1; echo $?") else { return };
    std::os::unix::fs::symlink("busybox", runtime.bundle.rootfs().join("bin/mkdir")).unwrap();
    let path = runtime.bundle.path().join("agent");
    let agent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    runtime.bundle.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }] });
    runtime.good(&["create", &runtime.id]);
    // It has been told before anybody starts the container; otherwise this would wait for ever.
    agent.set_nonblocking(true).unwrap();
    let (connection, _) = agent.accept().unwrap();
    let mut bytes = [0; 4096];
    let (length, listener) = knarr_sys::scm_rights::receive(&connection, &mut bytes).unwrap();
    let told: Value = serde_json::from_slice(&bytes[..length]).unwrap();
    assert_eq!((&told["pid"], &told["state"]["id"]), (&runtime.state()["pid"], &json!(runtime.id)));
    // To close the listener answers every notified call with ENOSYS.
    drop(listener);
    runtime.good(&["start", &runtime.id]);
    runtime.until_stopped();
    runtime.good(&["delete", &runtime.id]);
}
