//! The root directory: overlays, devices, what is masked and read-only.

use serde_json::json;

use crate::support::{check, is_root, sh};

#[test]
fn masked_files_are_empty_and_masked_directories_too() {
    check("cat /proc/keys | wc -c; ls /sys/firmware | wc -l", |_| {}, "0\n0");
}

#[test]
fn readonly_paths_cannot_be_written() {
    check(
        "echo 1 2>&1 > /proc/sys/net/ipv4/ip_forward || echo denied",
        |_| {},
        "sh: can't create /proc/sys/net/ipv4/ip_forward: Read-only file system\ndenied",
    );
}

#[test]
fn a_readonly_root_cannot_be_written() {
    check("touch /x 2>&1; true", |b| b.config["root"]["readonly"] = json!(true), "touch: /x: Read-only file system");
}

#[test]
fn default_devices_and_links_are_there() {
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
                  echo lost > /dev/null; head -c 3 /dev/zero | wc -c; readlink /dev/fd; readlink /dev/ptmx";
    check(script, |_| {}, "3\n/proc/self/fd\npts/ptmx");
}

#[test]
fn an_overlay_is_the_root_and_leaves_nothing_behind() {
    let Some(mut bundle) = sh("cat /etc/top /etc/bottom; echo new > /etc/new") else { return };
    let base = bundle.path().to_owned();
    for (layer, file) in [("1", "bottom"), ("2", "top")] {
        std::fs::create_dir_all(base.join(layer).join("etc")).unwrap();
        std::fs::write(base.join(layer).join("etc").join(file), format!("{file}\n")).unwrap();
    }
    std::fs::create_dir(base.join("upper")).unwrap();
    std::fs::create_dir(base.join("work")).unwrap();
    bundle.options["root"] = json!({ "overlay": {
        "base": base, "lower": ["2", "1", "rootfs"], "upper": "upper", "work": "work", "userxattr": !is_root() } });
    let outcome = bundle.run();
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("top\nbottom\n", 0), "{}", outcome.stderr);
    assert_eq!(std::fs::read_to_string(base.join("upper/etc/new")).unwrap(), "new\n");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(base.to_str().unwrap()), "{mounts}");
}

#[test]
fn an_overlay_has_sixty_layers_and_more() {
    let Some(mut bundle) = sh("ls / | grep layer | wc -l") else { return };
    let base = bundle.path().to_owned();
    let mut lower = vec!["rootfs".to_owned()];
    for number in 0..80 {
        std::fs::create_dir_all(base.join(format!("l{number}/layer{number}"))).unwrap();
        lower.push(format!("l{number}"));
    }
    bundle.options["root"] = json!({ "overlay": { "base": base, "lower": lower } });
    bundle.config["process"]["cwd"] = json!("/");
    ["proc", "dev", "sys"].iter().for_each(|dir| std::fs::create_dir_all(base.join("rootfs").join(dir)).unwrap());
    let outcome = bundle.run();
    assert_eq!((outcome.stdout.trim(), outcome.code), ("80", 0), "{}", outcome.stderr);
}

#[test]
fn a_path_masked_twice_is_covered_once() {
    check(
        "grep -c ' /hidden ' /proc/mounts",
        |b| {
            std::fs::create_dir_all(b.rootfs().join("hidden")).unwrap();
            b.config["linux"]["maskedPaths"] = json!(["/hidden", "/hidden"]);
        },
        "1",
    );
}

/// Whoever ran it removes the root directory next: with mounts left in it, that would be files of the kernel's.
#[test]
fn what_is_mounted_without_a_mount_namespace_goes_with_one_unmount_of_the_root() {
    let Some(mut bundle) = sh("true") else { return };
    bundle.drop_namespace("mount");
    bundle.config["linux"]["maskedPaths"] = json!([]);
    bundle.config["linux"]["readonlyPaths"] = json!([]);
    let rootfs = bundle.rootfs();
    let then = format!("\"$@\" && umount --recursive --lazy {0} && ! grep {0} /proc/mounts", rootfs.display());
    let by = ["unshare", "--mount", "--propagation=private", "sh", "-c", &then, "sh"];
    let by = if is_root() { by.to_vec() } else { [&["unshare", "-Urm"], &by[..]].concat() };
    let outcome = bundle.run_by(&by);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
}
