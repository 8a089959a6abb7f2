//! The attacks of runc's advisories, one test for each, named by it and written as the attacker would do it.
//!
//! Where the attack is a race, somebody swaps a directory of the image for a link, without pause and for a bounded time, while containers are
//! made of it one after the other. Each may fail; none may touch what is outside, or run with less than it was to have.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{Bundle, Outcome, behind, check, check_error, root_or_skip, sh, sleeping};
use serde_json::json;

/// How long one race is run, and how long where `fallbacks` runs each of them twenty times.
const RACE: Duration = Duration::from_millis(1500);
const RACE_AGAIN: Duration = Duration::from_millis(300);

/// A directory beside the root that holds one file.
fn outside(bundle: &Bundle) -> PathBuf {
    let outside = bundle.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("file"), "outside\n").unwrap();
    outside
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Swaps what stands at a path for a link and back, until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn new(path: PathBuf, target: &Path) -> Swapper {
        let (real, link) = (path.with_extension("real"), path.with_extension("link"));
        symlink(target, &link).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                // The runtime may have made something in the gap; then the next round is one without a swap.
                let swap = [(&path, &real), (&link, &path), (&path, &link), (&real, &path)];
                swap.iter().for_each(|(from, to)| drop(fs::rename(from, to)));
            }
        });
        Swapper { stop, thread: Some(thread) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Runs the bundle again and again while `path` in its root is swapped for a link to `target`.
fn race(bundle: &Bundle, path: &str, target: &Path, each: impl Fn(&Outcome)) {
    let swapper = Swapper::new(bundle.rootfs().join(path), target);
    let end = Instant::now() + if behind().is_empty() { RACE } else { RACE_AGAIN };
    while Instant::now() < end {
        each(&bundle.run());
    }
    drop(swapper);
}

fn without_dev(bundle: &mut Bundle) {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
}

/// A process of the container gets hold of the runtime's own binary while that joins it, keeps it open until nobody executes it any more, and
/// writes into it: the next container is started by the attacker.
#[test]
fn cve_2019_5736_the_runtimes_binary_is_not_written_through_proc() {
    if !root_or_skip() {
        return;
    }
    let attack = "while ! test -e /go; do sleep 0.01; done; n=0
        while test $n -lt 9000; do n=$((n+1)); for p in /proc/[0-9]*; do
            test $p = /proc/1 && continue
            if command exec 3<$p/exe; then
                if ! cmp -s /proc/self/fd/3 /bin/busybox; then
                    echo caught; echo >/caught
                    while test -e $p/stat; do sleep 0.01; done
                    if echo attacker >/proc/self/fd/3; then echo written; else echo refused; fi
                    exit
                fi
            fi
        done 2>/dev/null; sleep 0.005; done 2>/dev/null";
    let Some(bundle) = sh(attack) else { return };
    for name in ["cmp", "rm"] {
        symlink("busybox", bundle.rootfs().join("bin").join(name)).unwrap();
    }
    let runtime = bundle.path().join("runc");
    // By another process: a descriptor of ours that writes it could be open in what another test is starting just then.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_runtime-driver")).arg(&runtime).status();
    assert!(copied.unwrap().success());
    let before = fs::read(&runtime).unwrap();
    fs::write(bundle.path().join("config.json"), bundle.config.to_string()).unwrap();
    let state = bundle.path().join("state");
    let id = bundle.options["id"].as_str().unwrap().to_owned();
    let run = |words: &[&str]| {
        let mut command = Command::new(&runtime);
        command
            .args(behind())
            .args(["runtime", "--root", state.to_str().unwrap()])
            .args(words)
            .current_dir(bundle.path())
            .stdin(Stdio::null());
        command
    };
    // The runtime has to stay in the container for a moment: it waits for a document that is a pipe nobody writes to.
    fs::create_dir(bundle.rootfs().join("bait")).unwrap();
    assert!(Command::new("mkfifo").arg(bundle.rootfs().join("bait/config.json")).status().unwrap().success());
    let container = run(&["run", &id]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    // Created is not enough: only what runs can be joined.
    while !String::from_utf8_lossy(&run(&["state", &id]).output().unwrap().stdout).contains("\"running\"") {
        assert!(Instant::now() < end, "the container does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let bait = ["exec", &id, "/proc/self/exe", "runtime", "--root", "/state", "run", "--bundle", "/bait", "bait"];
    let mut joined = run(&bait).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while !bundle.rootfs().join("caught").exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    // A writer ends the wait: the document is empty.
    drop(fs::OpenOptions::new().read(true).write(true).open(bundle.rootfs().join("bait/config.json")));
    let _ = joined.kill();
    let _ = joined.wait();
    let output = container.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!said.contains("written"), "{said}");
    assert!(before == fs::read(&runtime).unwrap(), "the binary was changed");
    assert!(
        said.contains("caught"),
        "the attack did not find the runtime: {said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A volume on `/proc` catches the label that is written for the program.
#[test]
fn cve_2019_16884_a_volume_on_proc_is_refused() {
    let volume = |bundle: &mut Bundle| {
        fs::create_dir_all(bundle.path().join("volume/self/attr")).unwrap();
        fs::write(bundle.path().join("volume/self/attr/exec"), "").unwrap();
        bundle.add_mount(json!({ "destination": "/proc", "source": "volume", "options": ["bind"] }));
    };
    check_error("true", volume, 125, "the source, which is no procfs");
    let inside = json!({ "destination": "/proc/self/attr", "source": "volume", "options": ["rbind"] });
    check_error("true", |bundle| bundle.add_mount(inside), 125, "must not lie inside /proc");
}

/// The image's `/proc` turns into a link while it is mounted: masks and labels go elsewhere. Who swaps directories can name the
/// procfs as he likes, but wherever it is, it has its masks.
#[test]
fn cve_2019_19921_proc_swapped_for_a_link_gives_no_container_without_masks() {
    let script =
        "for p in /proc /proc.real /proc.link; do (cd $p && test -e version && wc -c <keys); done 2>/dev/null; true";
    let Some(bundle) = sh(script) else { return };
    fs::create_dir(bundle.rootfs().join("evil")).unwrap();
    fs::create_dir(bundle.rootfs().join("proc")).unwrap();
    fs::write(bundle.rootfs().join("evil/keys"), "").unwrap();
    race(&bundle, "proc", Path::new("evil"), |outcome| {
        assert!(outcome.code != 0 || outcome.stdout.lines().all(|bytes| bytes == "0"), "{outcome:?}");
    });
}

/// A mount point turns into a link out of the root between the look and the mount.
#[test]
fn cve_2021_30465_a_mount_point_swapped_for_a_link_stays_inside() {
    let Some(mut bundle) = sh("cat /place/in/mounted") else { return };
    let outside = outside(&bundle);
    fs::create_dir_all(bundle.rootfs().join("place/in")).unwrap();
    fs::create_dir_all(outside.join("in")).unwrap();
    fs::write(bundle.path().join("source"), "mounted\n").unwrap();
    bundle.add_mount(json!({ "destination": "/place/in/mounted", "source": "source", "options": ["bind"] }));
    bundle.add_mount(json!({ "destination": "/place/in/tmpfs", "type": "tmpfs" }));
    race(&bundle, "place", &outside, |outcome| {
        // Mounted while the link led elsewhere in the root, the program sees the empty mount point of an earlier round.
        assert!(outcome.code != 0 || ["", "mounted\n"].contains(&outcome.stdout.as_str()), "{outcome:?}");
    });
    assert_eq!((names(&outside), names(&outside.join("in"))), (vec!["file".into(), "in".into()], vec![]));
}

/// A device of the image that is there already is given its mode; swapped for a link meanwhile, a file of the machine would get it.
#[test]
fn a_device_swapped_for_a_link_changes_no_mode_outside() {
    let Some(mut bundle) = sh("true").filter(|_| root_or_skip()) else { return };
    without_dev(&mut bundle);
    let file = outside(&bundle).join("file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let device = bundle.rootfs().join("dev/zero");
    fs::create_dir_all(device.parent().unwrap()).unwrap();
    assert!(Command::new("mknod").args(["-m", "600"]).arg(device).args(["c", "1", "5"]).status().unwrap().success());
    race(&bundle, "dev/zero", &file, |_| {});
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// The same as CVE-2019-19921 through a volume: `/proc` of the image leads into it.
#[test]
fn cve_2023_27561_proc_that_leads_into_a_volume_is_refused() {
    let change = |bundle: &mut Bundle| {
        fs::create_dir_all(bundle.path().join("volume/proc")).unwrap();
        symlink("/volume/proc", bundle.rootfs().join("proc")).unwrap();
        let volume = json!({ "destination": "/volume", "source": "volume", "options": ["rbind"] });
        bundle.config["mounts"].as_array_mut().unwrap().insert(0, volume);
    };
    check_error("cat /proc/keys", change, 125, "mount proc on /proc");
}

/// procfs mounted elsewhere, `/proc` a link to it: what is masked below `/proc` must be masked there.
#[test]
fn cve_2023_28642_masks_hold_where_proc_is_a_link() {
    let change = |bundle: &mut Bundle| {
        fs::create_dir(bundle.rootfs().join("other")).unwrap();
        symlink("other", bundle.rootfs().join("proc")).unwrap();
        bundle.config["mounts"][0]["destination"] = json!("/other");
    };
    check("wc -c </other/keys; stat -c %t:%T /proc/keys", change, "0\n1:3");
}

/// A descriptor of the runtime as working directory, named directly, through a link of the image, and by a process that joins.
#[test]
fn cve_2024_21626_no_descriptor_of_ours_is_a_working_directory() {
    for number in 3..16 {
        let Some(mut bundle) = sh("pwd; ls ../../../../..") else { return };
        symlink(format!("/proc/self/fd/{number}"), bundle.rootfs().join("door")).unwrap();
        for cwd in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../.."), "/door".into()] {
            bundle.config["process"]["cwd"] = json!(cwd);
            let outcome = bundle.run();
            assert!(outcome.code != 0 && outcome.stdout.is_empty(), "{cwd}: {outcome:?}");
        }
        let Some(mut bundle) = sleeping() else { return };
        symlink(format!("/proc/self/fd/{number}"), bundle.rootfs().join("door")).unwrap();
        bundle.exec = Some(json!({ "user": {}, "env": ["PATH=/bin"], "args": ["pwd"], "cwd": "/door" }));
        let outcome = bundle.run();
        assert!(outcome.code != 0 && outcome.stdout.is_empty(), "{number}: {outcome:?}");
    }
}

/// Directories for mount points are made while one of them turns into a link out of the root.
#[test]
fn cve_2024_45310_directories_are_made_inside_only() {
    let Some(mut bundle) = sh("true") else { return };
    let outside = outside(&bundle);
    fs::create_dir(bundle.rootfs().join("place")).unwrap();
    bundle.add_mount(json!({ "destination": "/place/a/b/c", "type": "tmpfs" }));
    bundle.config["process"]["cwd"] = json!("/place/d/e");
    let base = bundle.rootfs().join("place");
    race(&bundle, "place", &outside, |_| {
        // For the next to make again.
        ["a/b/c", "a/b", "a", "d/e", "d"].iter().for_each(|name| drop(fs::remove_dir(base.join(name))));
    });
    assert_eq!(names(&outside), ["file"]);
}

/// The image's `/dev/null` turns into a link to a file of procfs, which would be bound over a masked path, to be written.
#[test]
fn cve_2025_31133_masks_are_made_of_the_machines_null_device() {
    let script = "stat -c %t:%T /proc/keys; echo changed >/proc/keys; cat /secret";
    let Some(mut bundle) = sh(script) else { return };
    without_dev(&mut bundle);
    fs::create_dir(bundle.rootfs().join("dev")).unwrap();
    fs::write(bundle.rootfs().join("dev/null"), "").unwrap();
    fs::write(bundle.rootfs().join("secret"), "kept\n").unwrap();
    race(&bundle, "dev/null", Path::new("/secret"), |outcome| {
        assert!(outcome.code != 0 || outcome.stdout == "1:3\nkept\n", "{outcome:?}");
    });
    assert_eq!(fs::read_to_string(bundle.rootfs().join("secret")).unwrap(), "kept\n");
}

/// `/dev/console` turns into a link: the terminal would be bound over its target, or its target bound as the console.
#[test]
fn cve_2025_52565_the_console_is_bound_to_no_link() {
    let Some(mut bundle) = sh("test -f /etc/target && cat /etc/target") else { return };
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    fs::create_dir_all(bundle.rootfs().join("dev/pts")).unwrap();
    fs::create_dir(bundle.rootfs().join("etc")).unwrap();
    fs::write(bundle.rootfs().join("dev/console"), "").unwrap();
    fs::write(bundle.rootfs().join("etc/target"), "kept\n").unwrap();
    bundle.config["process"]["terminal"] = json!(true);
    race(&bundle, "dev/console", Path::new("/etc/target"), |outcome| {
        assert!(outcome.code == 125 || outcome.stdout == "kept\r\n", "{outcome:?}");
    });
    assert_eq!(fs::read_to_string(bundle.rootfs().join("etc/target")).unwrap(), "kept\n");
}

/// What the runtime writes to procfs is led into a file of another, by what the image has as `/proc`, or by a swap.
#[test]
fn cve_2025_52881_parameters_go_to_the_kernel_or_nowhere() {
    let script = "for p in /proc /proc.real /proc.link; do (cd $p && test -e version && cat sys/net/ipv4/ip_forward); done 2>/dev/null; true";
    let Some(mut bundle) = sh(script) else { return };
    for trap in ["proc", "trap"] {
        fs::create_dir_all(bundle.rootfs().join(trap).join("sys/net/ipv4")).unwrap();
        fs::write(bundle.rootfs().join(trap).join("sys/net/ipv4/ip_forward"), "trap\n").unwrap();
    }
    bundle.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    race(&bundle, "proc", Path::new("trap"), |outcome| {
        assert!(outcome.code != 0 || outcome.stdout.lines().all(|value| value == "1"), "{outcome:?}");
    });
    for trap in ["proc", "trap"] {
        let caught = bundle.rootfs().join(trap).join("sys/net/ipv4/ip_forward");
        assert_eq!(fs::read_to_string(caught).unwrap_or("trap\n".into()), "trap\n");
    }
}

/// `/dev` of the image is, or turns into, a link out of the root, where `ptmx` would be removed and links be made.
#[test]
fn cve_2026_41579_nothing_is_made_or_removed_where_dev_leads() {
    let Some(mut bundle) = sh("true") else { return };
    without_dev(&mut bundle);
    let outside = outside(&bundle);
    fs::write(outside.join("ptmx"), "kept").unwrap();
    symlink(&outside, bundle.rootfs().join("dev")).unwrap();
    bundle.run();
    assert_eq!(names(&outside), ["file", "ptmx"]);
    fs::remove_file(bundle.rootfs().join("dev")).unwrap();
    fs::create_dir(bundle.rootfs().join("dev")).unwrap();
    race(&bundle, "dev", &outside, |_| ());
    assert_eq!(names(&outside), ["file", "ptmx"]);
    assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "kept");
}
