//! What an image or a configuration could try in order to get out, one test for each way that once worked.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Bundle, check, check_error, root_or_skip, sh, sleeping, user_namespace};
use serde_json::json;

fn outside(bundle: &Bundle) -> std::path::PathBuf {
    let outside = bundle.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("file"), "outside\n").unwrap();
    outside
}

/// CVE-2016-9962, CVE-2024-21626: a descriptor of ours as the way to the host.
#[test]
fn a_working_directory_through_a_leaked_descriptor_is_refused() {
    for number in 3..20 {
        let Some(mut bundle) = sh("pwd; ls ../../../../") else { return };
        bundle.config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        let outcome = bundle.run();
        assert_ne!(outcome.code, 0, "descriptor {number}: {}", outcome.stdout);
        assert_eq!(outcome.stdout, "", "descriptor {number}");
    }
}

/// CVE-2024-21626: the same by a program that joins.
#[test]
fn a_joining_process_cannot_begin_in_a_leaked_descriptor() {
    for number in 3..16 {
        let Some(mut bundle) = sleeping() else { return };
        let process =
            json!({ "user": {}, "env": ["PATH=/bin"], "args": ["pwd"], "cwd": format!("/proc/self/fd/{number}") });
        bundle.exec = Some(process);
        let outcome = bundle.run();
        assert_ne!(outcome.code, 0, "descriptor {number}: {}", outcome.stdout);
    }
}

/// CVE-2021-30465, CVE-2023-27561: a mount point that is a link out of the root.
#[test]
fn a_mount_point_that_is_a_link_stays_inside_the_root() {
    let Some(mut bundle) = sh("cat /target/mounted") else { return };
    let outside = outside(&bundle);
    symlink(&outside, bundle.rootfs().join("link")).unwrap();
    fs::write(bundle.path().join("file"), "mounted\n").unwrap();
    bundle.add_mount(json!({ "destination": "/link/mounted", "source": "file", "options": ["bind"] }));
    bundle.config["process"]["args"] = json!(["sh", "-c", format!("cat {}/mounted", outside.display())]);
    let outcome = bundle.run();
    assert!(!outside.join("mounted").exists(), "made outside of the root");
    // Inside, the link leads to a path that is not there; an error is as good as a directory inside the root.
    assert!(outcome.code != 0 || outcome.stdout == "mounted\n", "{outcome:?}");
}

#[test]
fn a_mount_point_with_dots_stays_inside_the_root() {
    check(
        "cat /up/mounted",
        |b| {
            fs::write(b.path().join("file"), "mounted\n").unwrap();
            b.add_mount(json!({ "destination": "/../../../up/mounted", "source": "file", "options": ["bind"] }));
        },
        "mounted",
    );
}

/// CVE-2019-19921, CVE-2023-28642: `/proc` as a link, so that what is masked lies elsewhere.
#[test]
fn a_proc_that_is_a_link_is_refused() {
    check_error(
        "cat /proc/keys",
        |b| {
            fs::create_dir(b.rootfs().join("other")).unwrap();
            symlink("other", b.rootfs().join("proc")).unwrap();
        },
        125,
        "mount proc on /proc",
    );
    check_error(
        "true",
        |b| {
            fs::create_dir(b.rootfs().join("other")).unwrap();
            symlink("/other", b.rootfs().join("sys")).unwrap();
        },
        125,
        "mount sysfs on /sys",
    );
}

/// CVE-2019-16884, CVE-2025-52881: a volume over procfs that catches what the runtime writes.
#[test]
fn a_mount_inside_proc_is_refused() {
    let mount = json!({ "destination": "/proc/self/attr", "type": "tmpfs" });
    check_error("true", |b| b.add_mount(mount), 125, "must not lie inside /proc");
}

#[test]
fn a_mount_that_reaches_proc_through_a_link_is_refused() {
    check_error(
        "true",
        |b| {
            symlink("/proc/sys", b.rootfs().join("door")).unwrap();
            b.add_mount(json!({ "destination": "/door/kernel", "type": "tmpfs" }));
        },
        125,
        "lies in procfs",
    );
}

/// CVE-2025-52881: kernel parameters written into something that is no procfs.
#[test]
fn parameters_are_written_to_the_kernel_whatever_the_image_has_as_proc() {
    check(
        "cat /proc/sys/net/ipv4/ip_forward",
        |b| {
            fs::create_dir_all(b.rootfs().join("proc/sys/net/ipv4")).unwrap();
            fs::write(b.rootfs().join("proc/sys/net/ipv4/ip_forward"), "trap\n").unwrap();
            b.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        },
        "1",
    );
}

/// CVE-2025-31133: the container's `/dev/null` as a link to what is then bound writable over a masked path.
#[test]
fn masks_are_made_of_the_real_null_device() {
    check(
        "echo changed > /proc/keys; cat /secret; stat -c %t:%T /proc/keys",
        |b| {
            // Without a fresh /dev the image's own stands.
            b.config["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
            fs::create_dir(b.rootfs().join("dev")).unwrap();
            fs::write(b.rootfs().join("secret"), "kept\n").unwrap();
            symlink("/secret", b.rootfs().join("dev/null")).unwrap();
        },
        "kept\n1:3",
    );
}

/// The image's `/dev` as a link: devices must not be made outside.
#[test]
fn devices_are_made_inside_the_root_when_dev_is_a_link() {
    let Some(mut bundle) = sh("true") else { return };
    let outside = outside(&bundle);
    bundle.config["mounts"].as_array_mut().unwrap().retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    symlink(&outside, bundle.rootfs().join("dev")).unwrap();
    bundle.run();
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
}

/// CVE-2025-52565: `/dev/console` as a link; the terminal would be mounted over its target.
#[test]
fn a_console_that_is_a_link_is_not_followed() {
    let Some(mut bundle) = sh("cat /etc/target") else { return };
    bundle.config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev");
    fs::create_dir_all(bundle.rootfs().join("dev/pts")).unwrap();
    fs::create_dir_all(bundle.rootfs().join("etc")).unwrap();
    fs::write(bundle.rootfs().join("etc/target"), "kept\n").unwrap();
    symlink("/etc/target", bundle.rootfs().join("dev/console")).unwrap();
    bundle.config["process"]["terminal"] = json!(true);
    let outcome = bundle.run();
    assert_eq!(outcome.code, 125, "{outcome:?}");
    assert!(outcome.stderr.contains("/dev/console is a symbolic link"), "{}", outcome.stderr);
}

/// CVE-2025-52565: a `/dev/pts/ptmx` that is not the kernel's.
#[test]
fn a_terminal_is_opened_from_a_real_devpts_only() {
    check_error(
        "true",
        |b| {
            b.config["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
            fs::create_dir_all(b.rootfs().join("dev/pts")).unwrap();
            fs::write(b.rootfs().join("dev/pts/ptmx"), "").unwrap();
            b.config["process"]["terminal"] = json!(true);
        },
        125,
        "/dev/pts is no devpts",
    );
}

/// CVE-2022-29162: inheritable capabilities that were not asked for.
#[test]
fn inheritable_capabilities_are_empty_unless_asked_for() {
    check("grep CapInh /proc/self/status", |_| {}, "CapInh:\t0000000000000000");
}

/// CVE-2024-45310: directories made through links outside of the root.
#[test]
fn directories_for_mounts_are_not_made_outside() {
    let Some(mut bundle) = sh("true") else { return };
    let outside = outside(&bundle);
    symlink("../outside", bundle.rootfs().join("door")).unwrap();
    bundle.add_mount(json!({ "destination": "/door/new/deep", "type": "tmpfs" }));
    bundle.config["process"]["cwd"] = json!("/door/cwd");
    bundle.run();
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
}

/// Where the mounts of the machine are shared, as systemd makes them, and the runtime opens the root directory and the sources of binds
/// outside, what is mounted on those would be mounted outside as well.
#[test]
fn what_is_mounted_in_a_user_namespace_is_not_mounted_where_mounts_are_shared() {
    if !root_or_skip() {
        return;
    }
    for propagation in [json!(null), json!("rslave"), json!("private"), json!("rshared")] {
        let Some(mut bundle) = sh("mount -t tmpfs x /data/below && grep -c ' /data/below ' /proc/mounts") else {
            return;
        };
        fs::create_dir_all(bundle.path().join("data/below")).unwrap();
        user_namespace(&mut bundle);
        let all = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
        for set in ["bounding", "effective", "permitted"] {
            bundle.config["process"]["capabilities"][set] = all.clone();
        }
        bundle.config["linux"]["rootfsPropagation"] = propagation;
        bundle.add_mount(json!({ "destination": "/data", "source": "data", "options": ["rbind"] }));
        let then = format!("\"$@\" && ! grep {} /proc/self/mountinfo >&2", bundle.path().display());
        let outcome = bundle.run_by(&["unshare", "--mount", "--propagation=shared", "sh", "-c", &then, "sh"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "1\n"), "{}", outcome.stderr);
    }
}

/// Spec: config-linux.md "Rootfs Mount Propagation": a shared root is of a peer group of its own, and hears of no mount outside.
#[test]
fn a_shared_root_is_no_slave_where_mounts_are_shared() {
    let Some(mut bundle) = sh("grep ' / rw' /proc/self/mountinfo").filter(|_| root_or_skip()) else { return };
    for propagation in ["shared", "rshared"] {
        bundle.config["linux"]["rootfsPropagation"] = json!(propagation);
        let outcome = bundle.run_by(&["unshare", "--mount", "--propagation=shared"]);
        let shared = outcome.stdout.contains(" shared:") && !outcome.stdout.contains(" master:");
        assert!(outcome.code == 0 && shared, "{}{}", outcome.stdout, outcome.stderr);
    }
}
