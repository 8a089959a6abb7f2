//! Hooks: their order, their state, their failures.

use serde_json::json;

use crate::support::{check_error, sh};

#[test]
fn hooks_read_the_state_in_their_order() {
    let Some(mut bundle) = sh("echo program") else { return };
    let log = bundle.path().join("log");
    let hook = |kind: &str| {
        let script = format!("read -r state; echo {kind} $state >> {}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    bundle.config["hooks"] = json!({ "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"), "poststart": hook("poststart") });
    let outcome = bundle.run();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let log = std::fs::read_to_string(log).unwrap();
    let order: Vec<_> = log.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(order, ["prestart", "createRuntime", "createContainer", "poststart"]);
    let id = bundle.options["id"].as_str().unwrap();
    assert!(log.lines().all(|line| line.contains(id)), "{log}");
}

#[test]
fn a_hook_that_fails_stops_the_container_with_its_words() {
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo why not >&2; exit 3"] }]);
    check_error(
        "echo ran",
        |b| b.config["hooks"] = json!({ "createRuntime": hook }),
        125,
        "error running createRuntime hook #0: /bin/sh: exit code 3: why not",
    );
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    let hook = json!([{ "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 }]);
    check_error("echo ran", |b| b.config["hooks"] = json!({ "createContainer": hook }), 125, "took too long");
}

#[test]
fn what_hooks_say_can_go_to_a_file() {
    let Some(mut bundle) = sh("echo program") else { return };
    let (out, err) = (bundle.path().join("hooks.out"), bundle.path().join("hooks.err"));
    let hook =
        |kind: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("echo {kind}; echo no {kind} >&2")] }]);
    bundle.config["hooks"] = json!({ "createRuntime": hook("first"), "startContainer": hook("second") });
    bundle.config["annotations"] = json!({ "run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err });
    let outcome = bundle.run();
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("program\n", 0), "{}", outcome.stderr);
    assert_eq!(std::fs::read_to_string(out).unwrap(), "first\nsecond\n");
    assert_eq!(std::fs::read_to_string(err).unwrap(), "no first\nno second\n");
}

#[test]
fn hooks_in_the_container_begin_in_its_root_and_have_the_programs_variables() {
    let Some(mut bundle) = sh("cat /made /seen") else { return };
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["process"]["env"] = json!(["PATH=/bin", "ONE=two"]);
    let script = |text: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", text] }]);
    bundle.config["hooks"] = json!({ "createContainer": script("echo made >./made"),
        "startContainer": script("echo $ONE $HOME >/seen") });
    let outcome = bundle.run();
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("made\ntwo /\n", 0), "{}", outcome.stderr);
}

#[test]
fn a_start_container_hook_is_under_the_programs_filter() {
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "mkdir /dev/shm/x; echo went on >&2"] }]);
    let rules = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["execve"], "action": "SCMP_ACT_KILL_PROCESS" }] });
    check_error(
        "echo ran",
        |b| {
            b.config["hooks"] = json!({ "startContainer": hook });
            b.config["linux"]["seccomp"] = rules;
        },
        125,
        "bad system call",
    );
}
