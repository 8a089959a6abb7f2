//! Volumes, bind mounts and tmpfs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use knarr_testkit::Lab;

cases!["mounts":
    a_bind_mount_shows_the_hosts_file,
    a_bind_mount_can_be_written_unless_read_only,
    a_bind_mount_with_mount_syntax,
    a_missing_source_is_made_by_v_and_refused_by_mount,
    a_named_volume_outlives_its_container,
    an_anonymous_volume_goes_with_rm,
    a_single_file_can_be_mounted,
    a_target_that_is_a_symlink_stays_inside,
    a_relative_target_is_refused,
    tmpfs_is_empty_writable_and_sized,
    a_bind_mount_over_proc_is_refused,
    mounts_are_private_to_the_container,
];

fn shared(lab: &Lab) -> String {
    let directory = lab.path("shared");
    fs::create_dir_all(&directory).expect("made");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("opened");
    fs::write(directory.join("note"), "from outside").expect("written");
    directory.display().to_string()
}

fn a_bind_mount_shows_the_hosts_file(lab: &Lab) {
    lab.load("probe");
    let volume = format!("{}:/shared", shared(lab));
    lab.knarr(["run", "--rm", "-v", &volume, "probe", "probe", "cat", "/shared/note"]).ok().prints("from outside");
}

fn a_bind_mount_can_be_written_unless_read_only(lab: &Lab) {
    lab.load("probe");
    let directory = shared(lab);
    lab.knarr(["run", "--rm", "-v", &format!("{directory}:/s"), "probe", "probe", "write", "/s/new", "inside"]).ok();
    assert_eq!(fs::read_to_string(lab.path("shared/new")).expect("written"), "inside");
    let done =
        lab.knarr(["run", "--rm", "-v", &format!("{directory}:/s:ro"), "probe", "probe", "try-write", "/s/other"]);
    done.exits(13).shows("Read-only");
}

fn a_bind_mount_with_mount_syntax(lab: &Lab) {
    lab.load("probe");
    let mount = format!("type=bind,source={},target=/s,readonly", shared(lab));
    lab.knarr(["run", "--rm", "--mount", &mount, "probe", "probe", "cat", "/s/note"]).ok().prints("from outside");
    lab.knarr(["run", "--rm", "--mount", &mount, "probe", "probe", "try-write", "/s/note"]).exits(13);
}

fn a_missing_source_is_made_by_v_and_refused_by_mount(lab: &Lab) {
    lab.load("probe");
    let missing = lab.path("missing").display().to_string();
    let mount = format!("type=bind,source={missing},target=/s");
    lab.knarr(["run", "--rm", "--mount", &mount, "probe", "probe", "true"]).exits(125).says("missing");
    lab.knarr(["run", "--rm", "-v", &format!("{missing}:/s"), "probe", "probe", "true"]).ok();
    assert!(lab.path("missing").is_dir());
}

fn a_named_volume_outlives_its_container(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "-v", "hold:/hold", "probe", "probe", "write", "/hold/x", "kept"]).ok();
    lab.knarr(["run", "--rm", "-v", "hold:/hold", "probe", "probe", "cat", "/hold/x"]).ok().prints("kept");
}

fn an_anonymous_volume_goes_with_rm(lab: &Lab) {
    lab.load("configured");
    lab.knarr(["run", "--rm", "configured", "true"]).ok();
    let volumes = fs::read_dir(lab.path("state/volumes")).map_or(0, |entries| entries.count());
    assert_eq!(volumes, 0, "the volume of a --rm container stayed");
}

fn a_single_file_can_be_mounted(lab: &Lab) {
    lab.load("probe");
    let volume = format!("{}/note:/etc/passwd:ro", shared(lab));
    lab.knarr(["run", "--rm", "-v", &volume, "-u", "0", "probe", "probe", "cat", "/etc/passwd"])
        .ok()
        .prints("from outside");
}

fn a_target_that_is_a_symlink_stays_inside(lab: &Lab) {
    lab.load("layers");
    let volume = format!("{}/note:/links/absolute", shared(lab));
    // The link leads to /a/changed inside the container, never to that path of the host.
    lab.knarr(["run", "--rm", "-v", &volume, "layers", "probe", "cat", "/a/changed"]).ok().prints("from outside");
}

fn a_relative_target_is_refused(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "-v", &format!("{}:relative", shared(lab)), "probe", "probe", "true"]).exits(125);
}

fn tmpfs_is_empty_writable_and_sized(lab: &Lab) {
    lab.load("probe");
    let report = lab.probe(&["--tmpfs", "/etc:size=1m,mode=700"]);
    let mount = report.mounts.iter().rev().find(|mount| mount.target == "/etc").expect("a mount");
    assert_eq!(mount.fstype, "tmpfs");
    assert!(mount.super_options.iter().any(|option| option == "size=1024k"), "{mount:?}");
    assert!(
        ["nosuid", "nodev", "noexec"].iter().all(|flag| mount.options.iter().any(|option| option == flag)),
        "{mount:?}"
    );
    lab.knarr(["run", "--rm", "--read-only", "--tmpfs", "/tmp", "probe", "probe", "try-write", "/tmp/x"]).ok();
}

fn a_bind_mount_over_proc_is_refused(lab: &Lab) {
    lab.load("probe");
    let done = lab.knarr(["run", "--rm", "-v", &format!("{}:/proc", shared(lab)), "probe", "probe", "true"]);
    done.fails().says("/proc");
}

fn mounts_are_private_to_the_container(lab: &Lab) {
    lab.load("probe");
    let report = lab.probe(&["-v", &format!("{}:/s", shared(lab))]);
    let shared: Vec<_> =
        report.mounts.iter().filter(|m| m.propagation.iter().any(|tag| tag.starts_with("shared:"))).collect();
    assert!(shared.is_empty(), "{shared:?}");
    let host_root = report.mounts.iter().filter(|mount| mount.target.contains("knarr-lab")).count();
    assert_eq!(host_root, 0, "a path of the host is visible as a mount point");
}
