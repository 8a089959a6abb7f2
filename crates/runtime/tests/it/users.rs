//! Who the program is: user, groups, capabilities.

use serde_json::json;

use crate::support::{check, root_or_skip, sh};

#[test]
fn the_capabilities_are_those_asked_for() {
    let expect = "CapInh:\t0000000000000000\nCapPrm:\t00000000000004e1\nCapEff:\t00000000000004e1\n\
                  CapBnd:\t00000000000004e1\nCapAmb:\t0000000000000000";
    check("grep Cap /proc/self/status", |_| {}, expect);
}

#[test]
fn another_user_keeps_no_capability_without_ambient_ones() {
    if !root_or_skip() {
        return;
    }
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 0o77 });
    check(
        "id; umask; grep CapEff /proc/self/status",
        |b| b.config["process"]["user"] = user,
        "uid=1000 gid=1001 groups=5,7\n0077\nCapEff:\t0000000000000000",
    );
}

#[test]
fn another_user_keeps_ambient_capabilities() {
    if !root_or_skip() {
        return;
    }
    check(
        "grep CapEff /proc/self/status",
        |b| {
            b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            b.config["process"]["capabilities"]["inheritable"] = json!(["CAP_NET_BIND_SERVICE"]);
            b.config["process"]["capabilities"]["ambient"] = json!(["CAP_NET_BIND_SERVICE"]);
        },
        "CapEff:\t0000000000000400",
    );
}

#[test]
fn the_groups_of_the_caller_are_kept_when_asked() {
    if !root_or_skip() {
        return;
    }
    let Some(mut bundle) = sh("id -G") else { return };
    bundle.config["process"]["user"]["additionalGids"] = json!([7]);
    bundle.config["annotations"] = json!({ "run.oci.keep_original_groups": "1" });
    let outcome = bundle.run_by(&["setpriv", "--groups", "12,34"]);
    assert_eq!((outcome.stdout.trim(), outcome.code), ("0 12 34", 0), "{}", outcome.stderr);
}
