//! Ways out of a container that others have been left by: each test is the attack.
//!
//! The images are hostile, not the archives: what an image may contain (links anywhere) must not lead the engine out.

use std::fs;
use std::path::PathBuf;

use knarr_testkit::lab::Done;
use knarr_testkit::{ImageMaker, Lab, LayerTar, wait};
use serde_json::{Value, json};

cases!["escape":
    the_binary_cannot_be_written_through_process_one,
    the_binary_cannot_be_written_after_it_ran_inside,
    a_working_directory_among_our_descriptors_is_refused,
    a_working_directory_through_a_link_is_made_inside,
    users_are_looked_up_inside,
    groups_are_looked_up_inside,
    hosts_behind_a_link_stay_outside_untouched,
    dev_as_a_link_stays_outside_untouched,
    proc_as_a_link_is_refused_or_inside,
    a_volume_of_the_image_behind_a_link_is_made_inside,
    a_bind_target_behind_a_link_is_made_inside,
    a_tmpfs_behind_a_link_covers_nothing_outside,
    exec_does_not_trust_the_containers_files,
    nothing_of_the_hosts_tree_is_visible,
];

fn outside(lab: &Lab) -> PathBuf {
    let outside = lab.path("outside");
    fs::create_dir_all(&outside).expect("made");
    for (name, content) in [("passwd", "evil:x:0:0::/:\n"), ("group", "evil:x:0:\n"), ("hosts", "alive\n")] {
        fs::write(outside.join(name), content).expect("written");
    }
    outside
}

/// An image with the probe and links as given; `OUT` in a target is the directory outside.
fn load(lab: &Lab, links: &[(&str, &str)], config: Value) {
    let outside = outside(lab).display().to_string();
    let probe = fs::read(lab.kit.join("probe")).expect("the kit's probe");
    let tar = LayerTar::new().dir("bin/", 0o755).file("bin/probe", 0o755, probe);
    let tar = links.iter().fold(tar, |tar, (path, target)| tar.symlink(path, &target.replace("OUT", &outside)));
    let mut all = json!({"Env": ["PATH=/bin"]});
    config.as_object().into_iter().flatten().for_each(|(key, value)| all[key] = value.clone());
    ImageMaker::new(all, vec![tar.finish()]).save(&lab.path("evil.tar"), "evil:latest").expect("written");
    lab.knarr(["load", "-i", &lab.path("evil.tar").display().to_string()]).ok();
}

fn run(lab: &Lab, options: &[&str], words: &[&str]) -> Done {
    let args = ["run", "--rm"].iter().chain(options).chain(&["evil", "probe"]).chain(words).copied();
    let done = lab.knarr(args);
    assert!(done.signal.is_none() && !done.stderr.contains("panicked"), "{done}");
    done
}

/// What is outside is as it was, and nothing was added.
fn untouched(lab: &Lab) {
    let mut names: Vec<_> =
        fs::read_dir(lab.path("outside")).expect("there").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["group", "hosts", "passwd"]);
    assert_eq!(fs::read_to_string(lab.path("outside/hosts")).expect("there"), "alive\n");
}

fn modified(lab: &Lab) -> std::time::SystemTime {
    fs::metadata(lab.kit.join("knarr")).and_then(|file| file.modified()).expect("the binary under test")
}

fn the_binary_cannot_be_written_through_process_one(lab: &Lab) {
    lab.load("shell");
    let before = modified(lab);
    // CVE-2019-5736. Under --init process 1 is our binary; without it, it was until a moment ago.
    for option in ["--init", "--init=false"] {
        let script = "for n in 1 self; do (echo x >>/proc/$n/exe); done; true";
        let done = lab.knarr(["run", "--rm", option, "-u", "0", "shell", "sh", "-c", script]).ok();
        // Without --init both lead to busybox, which belongs to the container.
        assert!(option == "--init=false" || done.stderr.contains("/proc/1/exe"), "{done}");
    }
    assert_eq!(modified(lab), before);
}

fn the_binary_cannot_be_written_after_it_ran_inside(lab: &Lab) {
    lab.load("shell");
    let before = modified(lab);
    lab.knarr(["run", "-d", "--name", "boat", "shell", "sh", "-c", "while :; do sleep 0.05; done"]).ok();
    // The image makes the joining process run our binary itself, keeps a descriptor of it, and writes when it has ended.
    let attack = "exec 3</proc/$PPID/exe; (sleep 0.3; (echo x >>/proc/self/fd/3) && echo written >/result || echo refused >/result) &";
    lab.knarr(["exec", "boat", "/proc/self/exe", "init", "--", "sh", "-c", attack]);
    wait::until("the attack is over", || {
        let done = lab.knarr(["exec", "boat", "cat", "/result"]);
        (done.code == Some(0) && !done.stdout.is_empty()).then(|| assert_eq!(done.stdout, "refused\n"))
    });
    assert_eq!(modified(lab), before);
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn a_working_directory_among_our_descriptors_is_refused(lab: &Lab) {
    lab.load("probe");
    // CVE-2024-21626.
    for number in 3..24 {
        let directory = format!("/proc/self/fd/{number}");
        let done = lab.knarr(["run", "--rm", "-w", &directory, "probe", "probe", "list", "."]);
        assert!(done.code.is_some_and(|code| code != 0), "{done}");
    }
}

fn a_working_directory_through_a_link_is_made_inside(lab: &Lab) {
    load(lab, &[("w", "OUT")], json!({}));
    run(lab, &["-w", "/w/new"], &["true"]);
    untouched(lab);
}

fn users_are_looked_up_inside(lab: &Lab) {
    load(lab, &[("etc/passwd", "OUT/passwd")], json!({}));
    run(lab, &["-u", "evil"], &["true"]).exits(125).says("evil");
    load(lab, &[("etc", "OUT")], json!({}));
    run(lab, &["-u", "evil"], &["true"]).exits(125).says("evil");
    untouched(lab);
}

fn groups_are_looked_up_inside(lab: &Lab) {
    load(lab, &[("etc/group", "OUT/group")], json!({}));
    run(lab, &["-u", "0:evil"], &["true"]).exits(125).says("evil");
    untouched(lab);
}

fn hosts_behind_a_link_stay_outside_untouched(lab: &Lab) {
    load(
        lab,
        &[("etc/hosts", "OUT/hosts"), ("etc/hostname", "OUT/hosts"), ("etc/resolv.conf", "OUT/hosts")],
        json!({}),
    );
    run(lab, &[], &["true"]);
    untouched(lab);
    load(lab, &[("etc", "OUT")], json!({}));
    run(lab, &[], &["true"]);
    untouched(lab);
}

fn dev_as_a_link_stays_outside_untouched(lab: &Lab) {
    load(lab, &[("dev", "OUT")], json!({}));
    run(lab, &[], &["true"]);
    run(lab, &["-t"], &["true"]);
    untouched(lab);
}

fn proc_as_a_link_is_refused_or_inside(lab: &Lab) {
    load(lab, &[("proc", "OUT"), ("sys", "OUT")], json!({}));
    run(lab, &[], &["true"]);
    untouched(lab);
}

fn a_volume_of_the_image_behind_a_link_is_made_inside(lab: &Lab) {
    load(lab, &[("data", "OUT")], json!({"Volumes": {"/data/new": {}, "/data": {}}}));
    run(lab, &[], &["write", "/data/file", "x"]);
    untouched(lab);
}

fn a_bind_target_behind_a_link_is_made_inside(lab: &Lab) {
    load(lab, &[("data", "OUT")], json!({}));
    fs::create_dir_all(lab.path("mine")).expect("made");
    let volume = format!("{}:/data/new", lab.path("mine").display());
    run(lab, &["-v", &volume], &["true"]);
    untouched(lab);
}

fn a_tmpfs_behind_a_link_covers_nothing_outside(lab: &Lab) {
    load(lab, &[("data", "OUT")], json!({}));
    run(lab, &["--tmpfs", "/data"], &["try-write", "/data/x"]);
    untouched(lab);
}

fn exec_does_not_trust_the_containers_files(lab: &Lab) {
    load(lab, &[], json!({}));
    let outside = outside(lab).display().to_string();
    lab.knarr(["run", "-d", "--name", "boat", "evil", "probe", "sleep"]).ok();
    // The container's root replaces its user files by links after it has started.
    lab.knarr(["exec", "boat", "probe", "write", "/passwd", "inside:x:7:7::/:\n"]).ok();
    lab.knarr(["exec", "-u", "evil", "boat", "probe", "true"]).fails();
    for directory in ["/proc/self/fd/3", "/proc/self/fd/5", "/proc/self/fd/7", "/proc/self/fd/8"] {
        lab.knarr(["exec", "-w", directory, "boat", "probe", "list", "."]).fails();
    }
    let done = lab.knarr(["exec", "boat", "probe", "list", &outside]);
    assert!(done.code != Some(0), "{done}");
    lab.knarr(["rm", "-f", "boat"]).ok();
    untouched(lab);
}

fn nothing_of_the_hosts_tree_is_visible(lab: &Lab) {
    lab.load("probe");
    let mounts = lab.probe(&[]).mounts;
    let state = lab.directory.display().to_string();
    assert!(mounts.iter().all(|mount| !mount.target.contains(&state)), "{mounts:?}");
    let root = mounts.iter().filter(|mount| mount.target == "/").count();
    assert_eq!(root, 1, "the old root is still mounted below the new one");
}
