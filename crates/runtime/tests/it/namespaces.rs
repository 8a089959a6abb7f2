//! Namespaces, new and joined.

use serde_json::json;

use crate::support::{Bundle, check, root_or_skip, sh, user_namespace};

#[test]
fn clocks_are_offset() {
    check(
        "cat /proc/self/timens_offsets | head -2",
        |b| {
            b.add_namespace(json!({ "type": "time" }));
            b.config["linux"]["timeOffsets"] =
                json!({ "monotonic": { "secs": 7, "nanosecs": 5 }, "boottime": { "secs": 9 } });
        },
        "monotonic           7         5\nboottime            9         0",
    );
}

#[test]
fn parameters_of_the_containers_namespaces_are_set() {
    check(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
        |b| b.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "4321" }),
        "1\n4321",
    );
}

#[test]
fn a_user_namespace_maps_ids_and_binds_devices() {
    if !root_or_skip() {
        return;
    }
    check(
        "id; cat /proc/self/uid_map; test -c /dev/null && echo null",
        user_namespace,
        "uid=0 gid=0\n         0     100000      65536\nnull",
    );
    // As crun binds them: no program is executed from a device, none of them is set-user-id.
    check("grep -c '/dev/null rw,nosuid,noexec' /proc/self/mountinfo", user_namespace, "1");
}

#[test]
fn a_network_namespace_is_joined_by_path() {
    if !root_or_skip() {
        return;
    }
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    check(
        "readlink /proc/self/ns/net",
        |b| {
            b.drop_namespace("network");
            b.add_namespace(json!({ "type": "network", "path": format!("/proc/{}/ns/net", std::process::id()) }));
            b.config["mounts"].as_array_mut().unwrap().retain(|m| m["type"] != "sysfs");
        },
        ours.to_str().unwrap(),
    );
}

#[test]
fn a_namespace_is_joined_that_the_joined_user_namespace_does_not_own() {
    if !root_or_skip() {
        return;
    }
    let mut words = std::process::Command::new("unshare");
    let mut holder = words.args(["-U", "sh", "-c", "echo; exec sleep 60"]).stdout(std::process::Stdio::piped()).spawn();
    let holder = holder.as_mut().expect("unshare");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line).unwrap();
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{map}", holder.id()), "0 0 65536").unwrap();
    }
    let link = |pid: u32, kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string();
    let (user, network) = (link(holder.id(), "user"), link(std::process::id(), "net"));
    let change = |b: &mut Bundle| {
        b.drop_namespace("network");
        b.add_namespace(json!({ "type": "network", "path": format!("/proc/{}/ns/net", std::process::id()) }));
        b.add_namespace(json!({ "type": "user", "path": format!("/proc/{}/ns/user", holder.id()) }));
        b.config["mounts"].as_array_mut().unwrap().retain(|m| m["type"] != "sysfs");
    };
    check("readlink /proc/self/ns/user; readlink /proc/self/ns/net", change, &format!("{user}\n{network}"));
    holder.kill().and_then(|()| holder.wait()).unwrap();
}

#[test]
fn a_nested_user_namespace_is_enough() {
    let Some(bundle) = sh("id -u; test -c /dev/null && echo null; cat /proc/self/uid_map | wc -l") else { return };
    let outcome = bundle.run_by(&["unshare", "-Urm"]);
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("0\nnull\n1\n", 0), "{}", outcome.stderr);
}

#[test]
fn a_user_namespace_can_have_clocks_of_its_own() {
    if !root_or_skip() {
        return;
    }
    check(
        "grep boottime /proc/self/timens_offsets",
        |b| {
            b.add_namespace(json!({ "type": "time" }));
            b.add_namespace(json!({ "type": "user" }));
            b.config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            b.config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            b.config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1337, "nanosecs": 0 } });
        },
        "boottime         1337         0",
    );
}
