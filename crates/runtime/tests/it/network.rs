//! Network devices.

use serde_json::json;

use crate::support::{Bundle, Outcome, check, root_or_skip, sh};

#[test]
fn the_loopback_interface_is_up() {
    check("cat /sys/class/net/lo/flags", |_| {}, "0x9");
}

/// Runs the bundle in a network namespace made for it by `script`, with `ip` inside as well; `None`, saying so, where that cannot be.
fn run_with_devices(script: &str, bundle: &Bundle) -> Option<Outcome> {
    if std::process::Command::new("ip").arg("-V").output().is_err() {
        eprintln!("skipped: ip is missing (apt-get install iproute2)");
        return None;
    }
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/ip")).unwrap();
    let all = format!("set -e; {script}; exec \"$@\"");
    Some(bundle.run_by(&["unshare", "-n", "sh", "-c", &all, "sh"]))
}

#[test]
fn a_network_device_moves_with_all_it_has() {
    if !root_or_skip() {
        return;
    }
    let Some(mut bundle) =
        sh("ip -o addr show dev inside | grep -v fe80; cd /sys/class/net/inside; cat address mtu; ls /sys/class/net")
    else {
        return;
    };
    bundle.config["linux"]["netDevices"] = json!({ "k0": { "name": "inside" } });
    let script = "ip link add k0 type veth peer name k1; ip link set k0 address 02:00:00:00:00:07 mtu 1400 up; ip link set k1 up; \
        ip addr add 10.9.0.1/24 brd 10.9.0.255 dev k0; ip addr add 10.8.0.1 peer 10.8.0.2/32 dev k0; \
        ip -6 addr add 2001:db8::7/64 dev k0 nodad; ip addr add 169.254.0.1/16 scope link dev k0";
    let Some(outcome) = run_with_devices(script, &bundle) else { return };
    let out = &outcome.stdout;
    for part in [
        "10.9.0.1/24",
        "brd 10.9.0.255",
        "10.8.0.1 peer 10.8.0.2/32",
        "2001:db8::7/64",
        "02:00:00:00:00:07\n1400\ninside\nlo\n",
    ] {
        assert!(out.contains(part), "{part}: {out} {}", outcome.stderr);
    }
    assert!(!out.contains("169.254"), "{out}");
}

#[test]
fn a_network_device_gets_the_first_free_number() {
    if !root_or_skip() {
        return;
    }
    let Some(mut bundle) =
        sh("ls /sys/class/net; cat /proc/sys/net/ipv4/conf/net0/forwarding; ip -o link show up | grep -c net")
    else {
        return;
    };
    bundle.config["linux"]["netDevices"] = json!({ "k0": { "name": "net%d" }, "k1": { "name": "net%d" }, "k2": {} });
    bundle.config["linux"]["sysctl"] = json!({ "net.ipv4.conf.net0.forwarding": "1" });
    let script = "ip link add k0 type veth peer name k1; ip link add k2 type veth peer name k3";
    let Some(outcome) = run_with_devices(script, &bundle) else { return };
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("k2\nlo\nnet0\nnet1\n1\n2\n", 0), "{}", outcome.stderr);
}

#[test]
fn a_network_device_that_is_missing_or_taken_is_told() {
    if !root_or_skip() {
        return;
    }
    for (devices, expect) in [
        (json!({ "nosuch": {} }), "move the network device nosuch into the container: RTM_GETLINK(nosuch) = ENODEV"),
        (
            json!({ "k0": { "name": "lo" } }),
            "move the network device k0 into the container as lo: RTM_NEWLINK(k0, net_ns_fd, ifname=\"lo\") = EEXIST",
        ),
    ] {
        let Some(mut bundle) = sh("echo ran") else { return };
        bundle.config["linux"]["netDevices"] = devices;
        let Some(outcome) = run_with_devices("ip link add k0 type veth peer name k1", &bundle) else { return };
        assert_eq!((outcome.stdout.as_str(), outcome.code), ("", 125));
        assert!(outcome.stderr.contains(expect), "{}", outcome.stderr);
    }
}
