//! All other tests of this program on kernels that lack what is new, or behind filters that deny it: a filter of our own answers for them.
//!
//! ENOSYS is what an old kernel says, EPERM what a filter says that was written before the call existed. The same tests run as root, as root of a
//! user namespace (an ordinary user), and in one more; what has no older way must say so.

use std::process::Command;

use crate::support::MISSING_CALLS;

const ENOSYS: i32 = 38;
const EPERM: i32 = 1;

/// The calls that make mounts by descriptor since Linux 5.2, and change them since 5.12.
const MOUNTS: &str = "open_tree,move_mount,fsopen,fsconfig,fsmount,fspick,mount_setattr";

/// Runs every test but these again, in a process of their own, without `calls`.
fn check(calls: &str, errno: i32) {
    let missing = format!("{calls}:{errno}");
    let tests = std::env::current_exe().expect("this program");
    let mut command = Command::new(tests);
    command.args(["--skip", "fallbacks::", "--test-threads=2"]).env(MISSING_CALLS, &missing);
    let output = command.output().expect("the tests run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "without {missing}:\n{said}");
}

#[test]
fn without_openat2_paths_are_resolved_name_by_name() {
    check("openat2", ENOSYS);
    check("openat2", EPERM);
}

#[test]
fn without_clone3_there_is_clone() {
    check("clone3", ENOSYS);
    check("clone3", EPERM);
}

#[test]
fn without_mount_setattr_mounts_are_remounted() {
    check("mount_setattr", ENOSYS);
    check("mount_setattr", EPERM);
}

#[test]
fn without_the_new_mount_calls_there_is_mount() {
    check(MOUNTS, ENOSYS);
    check(MOUNTS, EPERM);
    check("open_tree", EPERM);
    check("fsopen", ENOSYS);
}

#[test]
fn without_statx_there_is_stat() {
    check("statx", ENOSYS);
    check("statx", EPERM);
}

#[test]
fn without_close_range_descriptors_are_marked_one_by_one() {
    check("close_range", ENOSYS);
    check("close_range", EPERM);
}

#[test]
fn without_pidfds_there_are_numbers() {
    check("pidfd_open", ENOSYS);
    check("pidfd_open", EPERM);
}

#[test]
fn without_execveat_there_is_execve() {
    check("execveat", ENOSYS);
    check("execveat", EPERM);
}

#[test]
fn without_all_of_them_there_are_containers() {
    let all = format!("openat2,clone3,statx,close_range,pidfd_open,execveat,{MOUNTS}");
    check(&all, ENOSYS);
    check(&all, EPERM);
}
