//! System call filters, and the agents that are told of them.

use serde_json::json;

use crate::support::{check, sh};

#[test]
fn the_filter_is_on() {
    let rule = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }]);
    check(
        "mkdir /x 2>&1; grep ^Seccomp: /proc/self/status",
        |b| {
            b.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule });
            std::os::unix::fs::symlink("busybox", b.rootfs().join("bin/mkdir")).unwrap();
        },
        "mkdir: can't create directory '/x': Operation not supported\nSeccomp:\t2",
    );
}

#[test]
fn the_agent_gets_the_listener_and_the_state() {
    let Some(mut bundle) = sh("mkdir /x 2>&1; echo $?") else { return };
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/mkdir")).unwrap();
    let path = bundle.path().join("agent");
    let agent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bundle.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
        "listenerMetadata": "mine", "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }] });
    let told = std::thread::spawn(move || {
        let (connection, _) = agent.accept().unwrap();
        let mut bytes = [0; 4096];
        let (length, listener) = knarr_sys::scm_rights::receive(&connection, &mut bytes).unwrap();
        // To close the listener answers every notified call with ENOSYS.
        (serde_json::from_slice::<serde_json::Value>(&bytes[..length]).unwrap(), listener.is_some())
    });
    let outcome = bundle.run();
    assert_eq!(
        outcome.stdout, "mkdir: can't create directory '/x': Function not implemented\n1\n",
        "{}",
        outcome.stderr
    );
    let (state, listener) = told.join().unwrap();
    assert!(listener);
    assert_eq!((&state["fds"], &state["metadata"]), (&json!(["seccompFd"]), &json!("mine")));
    assert_eq!(state["state"]["id"], bundle.options["id"]);
}

#[test]
fn a_filter_can_be_given_as_it_is() {
    // ld [0]; jeq mkdir, errno 95; jeq mkdirat …; allow: as the kernel reads it, so for one architecture only.
    if !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: the filter of this test is for x86_64");
        return;
    }
    let filter = "IAAAAAAAAAAVAAEAUwAAABUAAAECAQAABgAAAF8ABQAGAAAAAAD/fw==";
    let words = "grep ^Seccomp: /proc/self/status";
    check(words, |b| b.config["annotations"] = json!({ "run.oci.seccomp_bpf_data": filter }), "Seccomp:\t2");
}

#[test]
fn the_runtime_reads_nothing_more_once_reading_is_notified() {
    let Some(mut bundle) = sh("") else { return };
    let path = bundle.path().join("agent");
    let agent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bundle.config["process"]["args"] = json!(["true"]);
    bundle.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
        "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_NOTIFY" }] });
    let told = std::thread::spawn(move || {
        let (connection, _) = agent.accept().unwrap();
        knarr_sys::scm_rights::receive(&connection, &mut [0; 4096]).unwrap().1.is_some()
    });
    let outcome = bundle.run();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(told.join().unwrap());
}
