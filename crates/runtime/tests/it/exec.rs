//! Processes that join a container.

use serde_json::json;

use crate::support::{root_or_skip, sleeping, user_namespace};

#[test]
fn a_process_joins_the_container() {
    let Some(mut bundle) = sleeping() else { return };
    bundle.exec = Some(json!({ "user": { "uid": 0, "gid": 0 }, "cwd": "/bin", "env": ["PATH=/bin"],
        "args": ["sh", "-c", "hostname; pwd; cat /proc/1/comm; exit 3"] }));
    let outcome = bundle.run();
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("knarr\n/bin\nsleep\n", 3), "{}", outcome.stderr);
}

#[test]
fn a_process_that_joins_and_is_missing_gives_127() {
    let Some(mut bundle) = sleeping() else { return };
    bundle.exec = Some(json!({ "user": {}, "cwd": "/", "env": ["PATH=/bin"], "args": ["nosuch"] }));
    let outcome = bundle.run();
    assert_eq!(outcome.code, 127, "{}", outcome.stderr);
}

#[test]
fn a_process_joins_a_container_with_a_user_namespace() {
    if !root_or_skip() {
        return;
    }
    let Some(mut bundle) = sleeping() else { return };
    user_namespace(&mut bundle);
    bundle.exec = Some(json!({ "user": { "uid": 3, "gid": 4 }, "cwd": "/", "env": ["PATH=/bin"],
        "args": ["sh", "-c", "id; cat /proc/self/uid_map; cat /proc/1/comm"] }));
    let outcome = bundle.run();
    let expect = "uid=3 gid=4\n         0     100000      65536\nsleep\n";
    assert_eq!((outcome.stdout.as_str(), outcome.code), (expect, 0), "{}", outcome.stderr);
}

#[test]
fn a_process_joins_from_a_nested_user_namespace() {
    let Some(mut bundle) = sleeping() else { return };
    bundle.exec = Some(json!({ "user": {}, "cwd": "/", "env": ["PATH=/bin"], "args": ["cat", "/proc/1/comm"] }));
    let outcome = bundle.run_by(&["unshare", "-Urm"]);
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("sleep\n", 0), "{}", outcome.stderr);
}
