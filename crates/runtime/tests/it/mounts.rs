//! What is mounted: binds, tmpfs, ids of their own, attributes.

use serde_json::json;

use crate::support::{Bundle, check, check_error, lacks, root_or_skip, sh};

#[test]
fn a_bind_is_read_only_with_all_below_when_asked() {
    check(
        "cat /x/file; touch /x/new 2>&1",
        |b| {
            std::fs::create_dir(b.path().join("data")).unwrap();
            std::fs::write(b.path().join("data/file"), "seen\n").unwrap();
            b.add_mount(json!({ "destination": "/x", "source": b.path().join("data"), "options": ["rbind", "rro"] }));
            b.config["process"]["args"] = json!(["sh", "-c", "cat /x/file; touch /x/new 2>&1; true"]);
        },
        "seen\ntouch: /x/new: Read-only file system",
    );
}

#[test]
fn a_file_is_bound_on_a_file_that_is_made() {
    check(
        "cat /etc/made/by/us",
        |b| {
            std::fs::write(b.path().join("file"), "bound\n").unwrap();
            b.add_mount(json!({ "destination": "/etc/made/by/us", "source": "file", "options": ["bind", "ro"] }));
        },
        "bound",
    );
}

#[test]
fn a_tmpfs_can_begin_with_what_it_covers() {
    check(
        "cat /data/sub/file; readlink /data/link; touch /data/new",
        |b| {
            std::fs::create_dir_all(b.rootfs().join("data/sub")).unwrap();
            std::fs::write(b.rootfs().join("data/sub/file"), "copied\n").unwrap();
            std::os::unix::fs::symlink("sub/file", b.rootfs().join("data/link")).unwrap();
            b.add_mount(json!({ "destination": "/data", "type": "tmpfs", "options": ["tmpcopyup", "size=1m"] }));
        },
        "copied\nsub/file",
    );
}

#[test]
fn a_readonly_tmpfs_is_sealed_after_it_was_filled() {
    check(
        "cat /box/inner; touch /box/x 2>&1; true",
        |b| {
            std::fs::write(b.path().join("file"), "inner\n").unwrap();
            b.add_mount(json!({ "destination": "/box", "type": "tmpfs", "options": ["ro", "size=1m"] }));
            b.add_mount(json!({ "destination": "/box/inner", "source": "file", "options": ["bind"] }));
        },
        "inner\ntouch: /box/x: Read-only file system",
    );
}

#[test]
fn a_mount_shows_ids_of_its_own() {
    if !root_or_skip() {
        return;
    }
    let change = |b: &mut Bundle| {
        std::fs::create_dir(b.path().join("data")).unwrap();
        std::fs::write(b.path().join("data/file"), "").unwrap();
        let ids = json!([{ "containerID": 0, "hostID": 5000, "size": 10 }]);
        b.add_mount(json!({ "destination": "/x", "source": "data", "options": ["rbind", "ridmap"],
            "uidMappings": ids, "gidMappings": ids }));
    };
    if lacks("open_tree") || lacks("mount_setattr") {
        // There is no older way.
        return check_error("true", change, 125, "mount");
    }
    check("stat -c %u:%g /x/file", change, "5000:5000");
}

/// The source is a mount of an earlier entry, so that nobody can find it but the container; with a user namespace the container itself
/// may not map it.
#[test]
fn a_mount_of_an_earlier_entry_can_be_shown_with_ids_of_its_own() {
    if !root_or_skip() {
        return;
    }
    let with = |user_namespace: bool| {
        move |b: &mut Bundle| {
            std::fs::create_dir(b.path().join("data")).unwrap();
            std::fs::write(b.path().join("data/file"), "").unwrap();
            if user_namespace {
                crate::support::user_namespace(b);
            }
            let (inside, outside) = if user_namespace { (0, 100_007) } else { (0, 5000) };
            let ids = json!([{ "containerID": inside, "hostID": outside, "size": 1 }]);
            b.add_mount(json!({ "destination": "/x", "source": "data", "options": ["rbind"] }));
            b.add_mount(json!({ "destination": "/y", "source": b.rootfs().join("x"), "options": ["rbind", "idmap"],
                "uidMappings": ids, "gidMappings": ids }));
        }
    };
    if lacks("open_tree") || lacks("mount_setattr") {
        return check_error("true", with(false), 125, "ids");
    }
    check("stat -c %u:%g /x/file /y/file", with(false), "0:0\n5000:5000");
    check("stat -c %u:%g /x/file /y/file", with(true), "65534:65534\n7:7");
}

#[test]
fn a_link_can_be_bound_or_copied_instead_of_followed() {
    let script = "readlink /bound; readlink /copied; cat /covered; readlink /target";
    let Some(mut bundle) = sh(script) else { return };
    let outside = bundle.path().to_owned();
    std::fs::write(outside.join("file"), "covered\n").unwrap();
    std::os::unix::fs::symlink("to/nowhere", outside.join("link")).unwrap();
    std::os::unix::fs::symlink("covered", bundle.rootfs().join("target")).unwrap();
    bundle.add_mount(
        json!({ "destination": "/bound", "source": outside.join("link"), "options": ["bind", "src-nofollow"] }),
    );
    bundle.add_mount(
        json!({ "destination": "/copied", "source": outside.join("link"), "options": ["bind", "copy-symlink"] }),
    );
    bundle.add_mount(
        json!({ "destination": "/covered", "source": outside.join("file"), "options": ["bind", "copy-symlink"] }),
    );
    bundle.add_mount(json!({ "destination": "/target", "source": outside.join("link"), "options": ["bind", "src-nofollow", "dest-nofollow"] }));
    let outcome = bundle.run();
    assert_eq!(
        (outcome.stdout.as_str(), outcome.code),
        ("to/nowhere\nto/nowhere\ncovered\nto/nowhere\n", 0),
        "{}",
        outcome.stderr
    );
}

#[test]
fn remount_with_bind_changes_what_is_mounted_there() {
    check(
        "touch /data/x 2>&1; grep -c ' /data ' /proc/mounts",
        |b| {
            let source = b.path().join("outside");
            std::fs::create_dir(&source).unwrap();
            b.add_mount(json!({ "destination": "/data", "source": source, "options": ["bind"] }));
            b.add_mount(json!({ "destination": "/data", "source": source, "options": ["remount", "bind", "ro"] }));
        },
        "touch: /data/x: Read-only file system\n1",
    );
}

#[test]
fn a_remount_keeps_flags_that_a_namespace_above_has_locked() {
    let Some(mut bundle) = sh("grep ' /proc/sys ' /proc/mounts | head -n 1") else { return };
    bundle.add_mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"] }));
    bundle.add_mount(json!({ "destination": "/tmp", "options": ["remount", "nodev"] }));
    bundle.config["process"]["args"] = json!(["sh", "-c", "grep -c ' /tmp tmpfs .*nodev' /proc/mounts"]);
    let outcome = bundle.run_by(&["unshare", "-Urm"]);
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("1\n", 0), "{}", outcome.stderr);
}

#[test]
fn a_mount_point_behind_a_dangling_link_is_made_where_the_link_leads() {
    check(
        "cat /deep/below/file; cat /etc/to/file",
        |b| {
            std::fs::create_dir_all(b.rootfs().join("etc")).unwrap();
            std::os::unix::fs::symlink("/deep/below", b.rootfs().join("etc/to")).unwrap();
            std::fs::write(b.path().join("file"), "found").unwrap();
            let source = b.path().join("file");
            b.add_mount(json!({ "destination": "/etc/to/file", "source": source, "options": ["bind"] }));
        },
        "foundfound",
    );
}

#[test]
fn a_bind_that_names_attributes_has_those_and_no_others_and_sees_what_was_mounted_before() {
    if !root_or_skip() {
        return;
    }
    check(
        "grep ' /b ' /proc/mounts; grep ' /c ' /proc/mounts",
        |b| {
            let source = b.rootfs().join("a");
            b.add_mount(
                json!({ "destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noatime"] }),
            );
            b.add_mount(json!({ "destination": "/b", "source": source, "options": ["bind", "ro"] }));
            b.add_mount(json!({ "destination": "/c", "source": source, "options": ["bind"] }));
        },
        "tmpfs /b tmpfs ro,noatime 0 0\ntmpfs /c tmpfs rw,nosuid,noatime 0 0",
    );
}

#[test]
fn a_tmpfs_without_a_mode_has_that_of_what_it_covers() {
    let entry =
        |at: &str, options: &[&str]| json!({ "destination": at, "type": "tmpfs", "source": "x", "options": options });
    check(
        "stat -c %a /kept /given /new",
        |b| {
            use std::os::unix::fs::PermissionsExt;
            for name in ["kept", "given"] {
                std::fs::create_dir(b.rootfs().join(name)).unwrap();
                std::fs::set_permissions(b.rootfs().join(name), std::fs::Permissions::from_mode(0o710)).unwrap();
            }
            b.add_mount(entry("/kept", &[]));
            b.add_mount(entry("/given", &["mode=0410"]));
            b.add_mount(entry("/new", &[]));
        },
        "710\n410\n1777",
    );
}
