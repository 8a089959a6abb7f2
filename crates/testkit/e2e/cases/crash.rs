//! kill -9, a full disk, a damaged file: nothing lost, nothing left mounted, the next command works.
//!
//! Moments of killing are spread over the time an undisturbed run takes; what must hold does not depend on them.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use knarr_testkit::lab::{Done, finish};
use knarr_testkit::server::{Gate, Hold, Server};
use knarr_testkit::{Blob, Compression, ImageMaker, Lab, LayerTar, leftovers, process, wait};
use serde_json::json;

cases!["crash":
    a_load_can_be_killed_at_any_moment,
    a_pull_can_be_killed_at_any_moment_and_goes_on,
    an_image_copy_can_be_killed_at_any_moment_and_goes_on,
    a_run_can_be_killed_at_any_moment,
    a_removal_can_be_killed_at_any_moment,
    a_killed_command_line_leaves_a_detached_container_alone,
    a_killed_foreground_run_leaves_nothing_with_rm,
    a_killed_supervisor_takes_its_container_along,
    a_killed_exec_leaves_the_container_alone,
    a_full_disk_is_a_sentence_and_is_recovered_from,
    a_damaged_database_is_named,
    a_damaged_blob_is_named_or_fetched_again,
    damaged_content_is_fetched_again,
    a_state_of_a_later_version_is_refused,
    a_lost_run_directory_means_everything_has_stopped,
];

/// How many moments of an operation are tried.
const MOMENTS: u32 = 12;

/// Starts `args` again and again and kills it at moments spread over `whole`, then calls `check`.
fn kill_at_moments(lab: &Lab, whole: Duration, args: &[&str], check: impl Fn(u32)) {
    for moment in 0..MOMENTS {
        let child = lab.start(args.iter().copied());
        std::thread::sleep(whole * moment / MOMENTS);
        process::signal(child.id(), "KILL");
        drop(child);
        check(moment);
    }
}

fn time(action: impl FnOnce()) -> Duration {
    let started = Instant::now();
    action();
    started.elapsed()
}

fn big_image() -> ImageMaker {
    let noise: Vec<u8> = (0..8_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let layer = |name: &str| {
        (0..50)
            .fold(LayerTar::new(), |tar, n| {
                tar.file(&format!("{name}{n}"), 0o644, &noise[n * 1000..n * 1000 + 100_000])
            })
            .finish()
    };
    let layers = ["x", "y", "z"].map(|name| (layer(name), Compression::Gzip)).to_vec();
    ImageMaker { layers, ..ImageMaker::new(json!({"Cmd": ["/x"]}), Vec::new()) }
}

fn a_load_can_be_killed_at_any_moment(lab: &Lab) {
    let archive = lab.path("big.tar").display().to_string();
    big_image().save(&lab.path("big.tar"), "big:latest").expect("written");
    let whole = time(|| drop(lab.knarr(["load", "-i", &archive]).ok()));
    lab.knarr(["rmi", "big"]).ok();
    kill_at_moments(lab, whole, &["load", "-i", &archive], |moment| {
        let images = lab.knarr(["images", "-q"]).ok();
        assert!(images.stdout.lines().count() <= 1, "at moment {moment}\n{images}");
        if images.stdout.is_empty() && moment % 3 == 0 {
            lab.knarr(["load", "-i", &archive]).ok();
        }
        if !lab.knarr(["images", "-q"]).ok().stdout.is_empty() {
            lab.knarr(["rmi", "big"]).ok();
        }
    });
    lab.knarr(["load", "-i", &archive]).ok();
}

fn a_pull_can_be_killed_at_any_moment_and_goes_on(lab: &Lab) {
    let image = big_image().make();
    let server = Server::start(Hold::default().image("a", "v1", &image), Gate::Open, None).expect("a server");
    let name = format!("{}/a:v1", server.address);
    let whole = time(|| drop(lab.knarr(["pull", &name]).ok()));
    lab.knarr(["rmi", &name]).ok();
    kill_at_moments(lab, whole, &["pull", &name], |_| drop(lab.knarr(["images"]).ok()));
    lab.knarr(["pull", &name]).ok();
    assert_eq!(lab.knarr(["images", "-q"]).ok().stdout.lines().count(), 1);
    lab.knarr(["rmi", &name]).ok();
    let left = fs::read_dir(lab.path("state/layers")).map_or(0, |entries| entries.count());
    assert_eq!(left, 0, "half-made layers stayed");
}

fn an_image_copy_can_be_killed_at_any_moment_and_goes_on(lab: &Lab) {
    let image = big_image().make();
    let server = Server::start(Hold::default().image("a", "v1", &image), Gate::Open, None).expect("a server");
    let name = format!("docker://{}/a:v1", server.address);
    let copy = ["image", "copy", &name, "oci:copied:v1"];
    let whole = time(|| drop(lab.knarr(copy).ok()));
    fs::remove_dir_all(lab.path("copied")).expect("removed");
    kill_at_moments(lab, whole, &copy, |_| ());
    lab.knarr(copy).ok();
    let names = fs::read_dir(lab.path("copied/blobs/sha256")).expect("blobs");
    let names: Vec<String> =
        names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    let partial = |name: &String| name.starts_with(".new-") && name.len() > 64;
    assert!(!names.iter().any(partial), "{names:?}");
    lab.knarr(["pull", "oci:copied:v1"]).ok();
}

fn a_run_can_be_killed_at_any_moment(lab: &Lab) {
    lab.load("probe");
    let args = ["run", "--name", "boat", "probe", "probe", "exit", "3"];
    let whole = time(|| drop(lab.knarr(args).exits(3)));
    lab.knarr(["rm", "boat"]).ok();
    kill_at_moments(lab, whole, &args, |_| {
        lab.knarr(["ps", "-a"]).ok();
        let exists = !lab.knarr(["ps", "-aq"]).ok().stdout.is_empty();
        if exists {
            lab.knarr(["rm", "-f", "boat"]).ok();
        }
        lab.knarr(["run", "--rm", "--name", "boat", "probe", "probe", "exit", "4"]).exits(4);
    });
    assert!(leftovers::after_grace(&lab.path("state")).is_empty(), "{:?}", leftovers::processes(&lab.path("state")));
    assert_eq!(fs::read_dir(lab.path("state/snapshots")).map_or(0, |entries| entries.count()), 0, "snapshots stayed");
}

fn a_removal_can_be_killed_at_any_moment(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).ok();
    let whole = time(|| drop(lab.knarr(["rm", "boat"]).ok()));
    kill_at_moments(lab, whole * 2, &["rm", "-f", "boat"], |_| {
        lab.knarr(["ps", "-a"]).ok();
        if !lab.knarr(["ps", "-aq"]).ok().stdout.is_empty() {
            lab.knarr(["rm", "-f", "boat"]).ok();
        }
        lab.knarr(["run", "--name", "boat", "probe", "probe", "true"]).ok();
    });
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn a_killed_command_line_leaves_a_detached_container_alone(lab: &Lab) {
    lab.load("probe");
    let run = lab.start(["run", "--name", "boat", "probe", "probe", "sleep"]);
    wait_running(lab);
    process::signal(run.id(), "KILL");
    drop(run);
    assert_eq!(lab.inspect("boat")["State"]["Running"], true);
    lab.knarr(["exec", "boat", "probe", "exit", "3"]).exits(3);
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn wait_running(lab: &Lab) {
    wait::until("it runs", || {
        lab.knarr(["inspect", "-f", "{{.State.Running}}", "boat"]).stdout.starts_with("true").then_some(())
    });
}

fn a_killed_foreground_run_leaves_nothing_with_rm(lab: &Lab) {
    lab.load("shell");
    let run = lab.start(["run", "--rm", "--name", "boat", "shell", "sh", "-c", "sleep 0.5"]);
    wait_running(lab);
    process::signal(run.id(), "KILL");
    drop(run);
    wait::until("the supervisor has removed it", || lab.knarr(["ps", "-aq"]).ok().stdout.is_empty().then_some(()));
}

fn a_killed_supervisor_takes_its_container_along(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "sleep"]).ok();
    let pid = lab.inspect("boat")["State"]["Pid"].as_u64().expect("a pid") as u32;
    let supervisor = parent_of(pid);
    process::signal(supervisor, "KILL");
    wait::until("the container is gone", || fs::read_link(format!("/proc/{pid}/exe")).is_err().then_some(()));
    wait::until("it is seen", || (lab.inspect("boat")["State"]["Running"] == false).then_some(()));
    lab.knarr(["start", "boat"]).ok();
    wait_running(lab);
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn parent_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    line.trim().parse().expect("a number")
}

fn a_killed_exec_leaves_the_container_alone(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "sleep"]).ok();
    let whole = time(|| drop(lab.knarr(["exec", "boat", "probe", "true"]).ok()));
    kill_at_moments(lab, whole, &["exec", "boat", "probe", "true"], |_| {
        assert_eq!(lab.inspect("boat")["State"]["Running"], true);
    });
    lab.knarr(["exec", "boat", "probe", "exit", "3"]).exits(3);
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn a_full_disk_is_a_sentence_and_is_recovered_from(lab: &Lab) {
    lab.needs_root();
    let archive = lab.path("big.tar").display().to_string();
    big_image().save(&lab.path("big.tar"), "big:latest").expect("written");
    let knarr = format!(
        "{} --root {} --runroot {}",
        lab.kit.join("knarr").display(),
        lab.path("state").display(),
        lab.path("run").display()
    );
    // A mount namespace of its own: the small file system is gone with the shell.
    let script = format!(
        "set -u; mount -t tmpfs -o size=6m none {state}
         {knarr} load -i {archive}; echo first $?
         {knarr} images; echo images $?
         mount -o remount,size=200m {state}
         {knarr} load -i {archive}; echo second $?
         {knarr} run --rm big; echo run $?",
        state = lab.path("state").display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    let done = finish(&mut command, "knarr load on a disk of 6 MB", b"").ok();
    assert!(!done.stdout.contains("first 0") && done.stderr.to_lowercase().contains("no space left"), "{done}");
    assert!(
        done.stdout.contains("images 0") && done.stdout.contains("second 0") && done.stdout.contains("run 127"),
        "{done}"
    );
    assert!(!done.stderr.contains("panicked"), "{done}");
}

fn a_damaged_database_is_named(lab: &Lab) {
    lab.load("probe");
    let path = lab.path("state/knarr.db");
    for name in ["state/knarr.db-wal", "state/knarr.db-shm"] {
        let _ = fs::remove_file(lab.path(name));
    }
    let mut file = fs::OpenOptions::new().write(true).open(&path).expect("the database");
    let pages = file.metadata().expect("a file").len() / 4096;
    for page in 1..pages {
        file.seek(SeekFrom::Start(page * 4096)).expect("inside the file");
        file.write_all(&[0xA5; 512]).expect("written");
    }
    drop(file);
    let done = lab.knarr(["images"]).fails();
    assert!(done.stderr.contains("knarr.db"), "which file?\n{done}");
    lab.knarr(["run", "--rm", "probe", "probe", "true"]).fails();
}

fn a_damaged_blob_is_named_or_fetched_again(lab: &Lab) {
    let image = big_image().make();
    let server = Server::start(Hold::default().image("a", "v1", &image), Gate::Open, None).expect("a server");
    let name = format!("{}/a:v1", server.address);
    lab.knarr(["pull", &name]).ok();
    let config = lab.path(&format!("state/blobs/sha256/{}", image.config.hex()));
    let layer = lab.path(&format!("state/blobs/sha256/{}", image.layers[0].hex()));
    for blob in [config, layer] {
        let _ = fs::remove_file(&blob);
        fs::write(&blob, "damaged").expect("written");
    }
    lab.knarr(["images"]).ok();
    let done = lab.knarr(["run", "--rm", &name]);
    assert!(done.signal.is_none() && !done.stderr.contains("panicked"), "{done}");
    lab.knarr(["pull", &name]).ok();
}

/// What may happen to a blob's file.
type Damage = fn(&Path);

fn damaged_content_is_fetched_again(lab: &Lab) {
    let image = big_image().make();
    let server = Server::start(Hold::default().image("a", "v1", &image), Gate::Open, None).expect("a server");
    lab.knarr(["pull", &format!("{}/a:v1", server.address)]).ok();
    let removed: Damage = |path| fs::remove_file(path).expect("removed");
    let flipped: Damage = |path| {
        let mut bytes = fs::read(path).expect("a blob");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::remove_file(path).and_then(|()| fs::write(path, bytes)).expect("written");
    };
    for damage in [removed, flipped] {
        let damaged = [&image.layers[1], &image.manifest, &image.config];
        let path = |blob: &Blob| lab.path(&format!("state/blobs/sha256/{}", blob.hex()));
        damaged.iter().for_each(|blob| damage(&path(blob)));
        let found = lab.knarr(["system", "check", "--contents"]).exits(1);
        let mended = lab.knarr(["system", "check", "--contents", "--repair"]).ok();
        for blob in damaged {
            let named = |done: &Done| done.stdout.lines().find(|line| line.contains(&blob.digest)).map(str::to_owned);
            assert!(named(&found).is_some(), "{} is not named\n{found}", blob.digest);
            assert!(named(&mended).is_some_and(|line| line.ends_with(": fetched again")), "{}\n{mended}", blob.digest);
            assert_eq!(fs::read(path(blob)).expect("it is back"), blob.bytes);
        }
        lab.knarr(["system", "check", "--contents"]).ok().prints("no damage found\n");
    }
}

fn a_state_of_a_later_version_is_refused(lab: &Lab) {
    lab.load("probe");
    let path = lab.path("state/knarr.db");
    for name in ["state/knarr.db-wal", "state/knarr.db-shm"] {
        assert!(
            fs::metadata(lab.path(name)).map_or(0, |file| file.len()) == 0 || fs::remove_file(lab.path(name)).is_ok()
        );
    }
    // Bytes 60 to 63 of a SQLite file are its user version, big endian.
    let mut file = fs::OpenOptions::new().write(true).open(&path).expect("the database");
    file.seek(SeekFrom::Start(60)).and_then(|_| file.write_all(&9999u32.to_be_bytes())).expect("written");
    drop(file);
    lab.knarr(["images"]).fails().says("9999");
}

fn a_lost_run_directory_means_everything_has_stopped(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "exit", "3"]).exits(3);
    fs::remove_dir_all(lab.path("run")).expect("removed");
    assert_eq!(lab.inspect("boat")["State"]["ExitCode"], 3);
    lab.knarr(["run", "--rm", "probe", "probe", "exit", "4"]).exits(4);
    lab.knarr(["rm", "boat"]).ok();
}
