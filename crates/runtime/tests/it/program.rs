//! The program: what it is called with, how it is found, how it ends.

use serde_json::json;

use crate::support::{Bundle, check, check_error, is_root, root_or_skip, sh};

#[test]
fn a_container_has_its_own_name_and_processes() {
    check("hostname; echo $$; set -- /proc/[0-9]*; echo $#", |_| {}, "knarr\n1\n1");
}

#[test]
fn the_code_of_the_program_is_passed_on() {
    let Some(bundle) = sh("exit 42") else { return };
    assert_eq!(bundle.run().code, 42);
}

#[test]
fn a_program_killed_by_a_signal_gives_128_and_its_number() {
    let Some(mut bundle) = sh("kill -9 $$") else { return };
    // An init of a pid namespace cannot be killed from inside.
    bundle.drop_namespace("pid");
    bundle.config["mounts"][0]["options"] = json!(["nosuid"]);
    if is_root() {
        assert_eq!(bundle.run().code, 137);
    }
}

#[test]
fn a_program_that_is_missing_gives_127() {
    check_error(
        "",
        |b| b.config["process"]["args"] = json!(["nosuch"]),
        127,
        "exec: \"nosuch\": executable file not found in $PATH",
    );
    check_error("", |b| b.config["process"]["args"] = json!(["/bin/nosuch"]), 127, "no such file or directory");
}

#[test]
fn a_program_that_cannot_be_executed_gives_126() {
    check_error("", |b| b.config["process"]["args"] = json!(["/bin"]), 126, "is a directory");
    check_error(
        "",
        |b| {
            std::fs::write(b.rootfs().join("bin/data"), "no program").unwrap();
            b.config["process"]["args"] = json!(["data"]);
        },
        126,
        "permission denied",
    );
}

#[test]
fn a_failed_step_is_told_with_its_number_and_a_hint() {
    let mount = json!({ "destination": "/x", "source": "/nonexistent", "options": ["rbind"] });
    check_error(
        "true",
        |b| b.add_mount(mount.clone()),
        125,
        "rbind /nonexistent on /x (rbind): no such file or directory",
    );
    check_error("true", |b| b.add_mount(mount), 125, "hint: make the source of the mount first");
}

#[test]
fn the_working_directory_is_made() {
    check("pwd", |b| b.config["process"]["cwd"] = json!("/not/there/yet"), "/not/there/yet");
}

#[test]
fn a_terminal_has_the_size_asked_for_and_is_the_console() {
    check(
        "tty; stty size; test -c /dev/console && echo console",
        |b| {
            b.config["process"]["terminal"] = json!(true);
            b.config["process"]["consoleSize"] = json!({ "height": 33, "width": 99 });
        },
        "/dev/pts/0\r\n33 99\r\nconsole",
    );
}

#[test]
fn limits_are_set() {
    let limits = json!([{ "type": "RLIMIT_NOFILE", "soft": 50, "hard": 60 }]);
    check("ulimit -n; ulimit -Hn", |b| b.config["process"]["rlimits"] = limits, "50\n60");
}

#[test]
fn no_descriptor_of_ours_reaches_the_program() {
    // 3 is the directory ls reads.
    check("ls /proc/self/fd", |_| {}, "0\n1\n2\n3");
}

#[test]
fn another_process_starts_it_through_a_socket() {
    check("echo started", |b| b.options["gate"] = json!({ "socket": b.path().join("start") }), "started");
}

#[test]
fn a_program_that_cannot_be_executed_is_told_through_the_socket() {
    let change = |b: &mut Bundle| {
        b.options["gate"] = json!({ "socket": b.path().join("start") });
        std::fs::write(b.rootfs().join("bin/data"), "no program").unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(b.rootfs().join("bin/data"), std::fs::Permissions::from_mode(0o755)).unwrap();
        b.config["process"]["args"] = json!(["data"]);
    };
    check_error("", change, 126, "exec data: exec format error");
}

#[test]
fn home_is_what_the_containers_own_list_of_users_says() {
    let list = "root:x:0:0::/root:/bin/sh\nother:x:7:7::/home/other:/bin/sh\n";
    let home = |change: fn(&mut Bundle), expect| {
        let write = |b: &mut Bundle| {
            std::fs::create_dir_all(b.rootfs().join("etc")).unwrap();
            std::fs::write(b.rootfs().join("etc/passwd"), list).unwrap();
            change(b);
        };
        check("echo $HOME", write, expect);
    };
    home(|_| {}, "/root");
    home(|b| b.config["process"]["env"] = json!(["PATH=/bin", "HOME="]), "/root");
    home(|b| b.config["process"]["env"] = json!(["PATH=/bin", "HOME=/mine"]), "/mine");
    if is_root() {
        home(|b| b.config["process"]["user"] = json!({ "uid": 7, "gid": 7 }), "/home/other");
        home(|b| b.config["process"]["user"] = json!({ "uid": 8, "gid": 8 }), "/");
    }
    check("echo $HOME", |_| {}, "/");
}

#[test]
fn of_two_variables_of_one_name_the_later_counts() {
    let variables = json!(["ONE=two", "PATH=/bin", "ONE=three"]);
    check("grep -az ONE /proc/self/environ", |b| b.config["process"]["env"] = variables, "ONE=three\0");
}

#[test]
fn what_our_caller_was_pinned_to_does_not_bind_the_container() {
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 || !root_or_skip() {
        eprintln!("skipped: needs two processors");
        return;
    }
    let Some(bundle) = sh("grep -c 'Cpus_allowed_list:.0$' /proc/self/status") else { return };
    let outcome = bundle.run_by(&["taskset", "-c", "0"]);
    assert_eq!(outcome.stdout.trim(), "0", "{}", outcome.stderr);
}
