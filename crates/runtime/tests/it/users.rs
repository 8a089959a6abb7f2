//! Who the program is: user, groups, capabilities.

use serde_json::json;

use crate::support::{check, root_or_skip, sh};

#[test]
fn the_capabilities_are_those_asked_for() {
    let expect = "CapInh:\t0000000000000000\nCapPrm:\t00000000000004e1\nCapEff:\t00000000000004e1\n\
                  CapBnd:\t00000000000004e1\nCapAmb:\t0000000000000000";
    check("grep Cap /proc/self/status", |_| {}, expect);
}

/// What the program writes to is its own, and of a regular file the group is its own too (crun's `regular-files-chowned`).
#[test]
fn a_regular_file_as_output_is_given_to_the_user_and_group() {
    let Some(mut bundle) = sh("stat -L -c %u:%g /proc/self/fd/1 /proc/self/fd/2").filter(|_| root_or_skip()) else {
        return;
    };
    bundle.config["process"]["user"] = json!({ "uid": 1000, "gid": 1001 });
    let out = bundle.path().join("out");
    let then = format!("\"$@\" >{0} && stat -c %u:%g {0} && cat {0}", out.display());
    let outcome = bundle.run_by(&["sh", "-c", &then, "sh"]);
    assert_eq!((outcome.code, outcome.stdout), (0, "1000:1001\n".repeat(3)), "{}", outcome.stderr);
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
