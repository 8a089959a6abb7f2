//! Control groups.

use serde_json::json;

use crate::support::{behind, check, root_or_skip, sh, user_namespace};

#[test]
fn a_control_group_that_can_be_written_belongs_to_the_containers_user() {
    if !root_or_skip() {
        return;
    }
    let memberships = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if !memberships.lines().any(|line| line.starts_with("0::")) {
        eprintln!("skipped: no hierarchy of version 2");
        return;
    }
    let Some(mut bundle) =
        sh("cd /sys/fs/cgroup && stat -c %u . cgroup.procs cgroup.max.depth; mkdir mine && echo made")
    else {
        return;
    };
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/mkdir")).unwrap();
    user_namespace(&mut bundle);
    bundle.config["process"]["user"] = json!({ "uid": 5, "gid": 5 });
    bundle.add_mount(
        json!({ "destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup", "options": ["rw"] }),
    );
    let outcome = bundle.run();
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("5\n5\n65534\nmade\n", 0), "{}", outcome.stderr);
}

/// The runtime's own memory is not the container's: what is charged to it before the program runs must fit.
#[test]
fn half_a_mebibyte_of_memory_is_enough_to_start() {
    if !root_or_skip() {
        return;
    }
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let version2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !cgroups.contains(":memory:") && !version2.contains("memory") {
        return eprintln!("skipped: no memory controller");
    }
    check(
        "",
        |b| {
            b.config["process"]["args"] = json!(["true"]);
            b.config["linux"]["resources"] = json!({ "memory": { "limit": 512 * 1024 } });
        },
        "",
    );
}

/// A control group that can be made but not entered is none: without limits the container runs without it, and says so.
#[test]
fn a_directory_that_is_ours_below_one_that_is_not_is_no_control_group() {
    use std::os::unix::process::CommandExt;
    if !root_or_skip() {
        return;
    }
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let version2 = mountinfo.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let Some(top) = version2 else { return eprintln!("skipped: no version 2 hierarchy") };
    let Some(mut bundle) = sh("echo ran") else { return };
    let given = std::path::Path::new(top).join(format!("knarr-test-given-{}", std::process::id()));
    std::fs::create_dir(&given).unwrap();
    let user = 54321;
    for path in [given.clone(), given.join("cgroup.procs"), given.join("cgroup.subtree_control")] {
        std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    }
    bundle.options["cgroup"] = json!({ "path": format!("/{}/inner", given.file_name().unwrap().to_str().unwrap()) });
    bundle.give_to(user);
    let mut command = std::process::Command::new("unshare");
    let output = command.args(["-Urm", env!("CARGO_BIN_EXE_runtime-driver")]).args(behind()).arg(bundle.wanted());
    let output = output.uid(user).gid(user).current_dir("/").output().unwrap();
    let _ = std::fs::remove_dir(given.join("inner"));
    std::fs::remove_dir(&given).unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((stdout.as_ref(), output.status.code()), ("ran\n", Some(0)), "{stderr}");
    assert!(stderr.contains("note: the container has no control group of its own"), "{stderr}");
}
