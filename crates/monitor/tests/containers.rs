//! The monitor with real containers, made by our own runtime or by the one `KNARR_TEST_RUNTIME` names (an absolute path). Needs
//! root; uses the host's shell through read-only binds.

mod common;

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use common::*;
use knarr_monitor::{Client, Event, ExecConfig, Job, LogOptions, LogPlace, LogReader, Status, StdinMode};
use knarr_runtime::{OverlayRoot, RootSource};

/// A container that runs this script with the host's shell; `None` (and why) where it cannot be made.
fn place(program: &str, change: impl FnOnce(&mut serde_json::Value)) -> Option<Place> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let mut place = with_stdin(program, StdinMode::Once);
    let rootfs = place.state_dir().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    link_host_directories(&rootfs);
    let mut spec = spec(program);
    change(&mut spec);
    fs::write(place.state_dir().join("config.json"), spec.to_string()).unwrap();
    place.config.runtime = foreign();
    place.config.create.root = RootSource::Directory("rootfs".into());
    place.config.create.id =
        format!("monitor-test-{}", place.root.path().file_name().unwrap().display()).replace('.', "");
    place.config.terminal = spec["process"]["terminal"].as_bool().unwrap();
    Some(place)
}

/// The runtime to test with, instead of our own.
fn foreign() -> Option<PathBuf> {
    std::env::var_os("KNARR_TEST_RUNTIME").map(PathBuf::from)
}

/// The host's directories that hold a shell and its libraries; on a merged /usr all but one are links.
const HOST_DIRECTORIES: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];

fn spec(program: &str) -> serde_json::Value {
    let bind =
        |path| serde_json::json!({"destination": path, "source": path, "type": "bind", "options": ["rbind", "ro"]});
    let is_directory = |path: &&str| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let mut mounts: Vec<_> = HOST_DIRECTORIES.into_iter().filter(is_directory).map(bind).collect();
    for (path, kind) in [("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts")] {
        mounts.push(serde_json::json!({"destination": path, "type": kind, "source": kind}));
    }
    serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "cwd": "/", "user": {"uid": 0, "gid": 0},
            "args": ["/usr/bin/sh", "-c", program], "env": ["PATH=/usr/bin:/bin"],
        },
        "root": {"path": "rootfs"},
        "hostname": "boxed",
        "mounts": mounts,
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}]},
    })
}

fn link_host_directories(rootfs: &Path) {
    for path in HOST_DIRECTORIES {
        if let Ok(target) = fs::read_link(path) {
            std::os::unix::fs::symlink(target, rootfs.join(path.trim_start_matches('/'))).unwrap();
        }
    }
}

fn shell(program: &str) -> Option<Place> {
    place(program, |_| {})
}

/// Runs one more process; its session directory stays until the place is dropped.
fn exec(place: &Place, id: &str, script: &str, terminal: bool, mode: StdinMode) -> Client {
    let mut client = launch_exec(place, id, script, terminal, mode, false);
    client.attach(foreground()).unwrap();
    client.start().unwrap();
    client
}

fn launch_exec(place: &Place, id: &str, script: &str, terminal: bool, mode: StdinMode, remove: bool) -> Client {
    let process = serde_json::json!({
        "terminal": terminal, "cwd": "/", "user": {"uid": 0, "gid": 0},
        "args": ["/usr/bin/sh", "-c", script], "env": ["PATH=/usr/bin:/bin"],
    });
    let session = place.run_dir().join("exec").join(id);
    let config = ExecConfig {
        version: knarr_monitor::CONFIG_VERSION,
        id: id.into(),
        container: place.config.create.id.clone(),
        bundle: place.state_dir(),
        container_run_dir: place.run_dir().to_owned(),
        process: serde_json::from_value(process).unwrap(),
        stdin: mode,
        runtime: place.config.runtime.clone(),
        remove_session: remove,
    };
    config.save(&session).unwrap();
    let exe = fs::File::open(example("monitor")).unwrap();
    Client::launch(exe.as_fd(), Job::Exec(&session)).unwrap()
}

#[test]
fn a_container_runs_and_its_end_is_known() {
    let Some(place) = shell("echo hello from $(hostname) as $$; exit 21") else { return };
    let heard = hear(&mut place.run());
    assert_eq!((code(&heard), String::from_utf8_lossy(&heard.stdout)), (21, "hello from boxed as 1\n".into()));
    assert_eq!(place.state().exit_code, 21);
}

#[test]
fn a_program_that_is_not_there_is_127_and_told() {
    let Some(place) = place("", |spec| spec["process"]["args"] = serde_json::json!(["/nope"])) else { return };
    let failure = hear(&mut place.run()).failure.unwrap();
    assert_eq!(failure.exit_code, Some(127), "{}", failure.message);
    assert_eq!((place.state().status, place.state().exit_code), (Status::Created, 127));
}

#[test]
fn exec_joins_the_container_and_has_an_exit_code_of_its_own() {
    let Some(place) = shell("read go; exit 1") else { return };
    let mut client = place.run();
    client.wait_started().unwrap();
    let heard = hear(&mut exec(&place, "e1", "hostname; cat; exit 22", false, StdinMode::Closed));
    assert_eq!((code(&heard), &heard.stdout[..]), (22, &b"boxed\n"[..]), "{:?}", heard.failure);
    let mut typed = exec(&place, "e2", "cat", false, StdinMode::Once);
    typed.stdin(b"typed").unwrap();
    typed.stdin_eof().unwrap();
    assert_eq!(hear(&mut typed).stdout, b"typed");
    assert_eq!(place.state().status, Status::Running);
}

#[test]
fn exec_with_a_terminal_has_one() {
    let Some(place) = shell("read go") else { return };
    let mut client = place.run();
    client.wait_started().unwrap();
    let heard = hear(&mut exec(&place, "e1", "test -t 0 && test -t 1 && echo yes", true, StdinMode::Open));
    assert_eq!(heard.stdout, b"yes\r\n", "{heard:?}");
}

#[test]
fn exec_into_a_container_that_ended_is_refused() {
    let Some(place) = shell("true") else { return };
    hear(&mut place.run());
    let failure = hear(&mut exec(&place, "e1", "true", false, StdinMode::Closed)).failure.unwrap();
    assert!(failure.message.contains("is not running"), "{}", failure.message);
}

#[test]
fn the_container_dies_with_its_monitor_and_its_state_says_so() {
    if foreign().is_some() {
        return eprintln!("skipped: containers of a foreign runtime outlive their monitor");
    }
    let Some(place) = shell("read go") else { return };
    let mut client = place.run();
    client.wait_started().unwrap();
    let state = place.state();
    rustix::process::kill_process(client.monitor_pid().unwrap(), rustix::process::Signal::KILL).unwrap();
    until("the container is gone", || {
        fs::read_to_string(format!("/proc/{}/stat", state.pid)).map_or(true, |stat| stat.contains(") Z "))
    });
    until("the lock falls", || place.state().is_final() || place.state().status == Status::Exited);
    assert_eq!((place.state().status, place.state().exit_code), (Status::Exited, 137));
    let mut again = place.run();
    again.wait_started().unwrap();
    again.stdin_eof().unwrap();
    assert_eq!(code(&hear(&mut again)), 1);
}

#[test]
fn a_program_starts_with_no_signal_blocked_or_ignored() {
    let Some(place) = shell("grep -E '^Sig(Blk|Ign)' /proc/self/status") else { return };
    let heard = hear(&mut place.run());
    let text = String::from_utf8_lossy(&heard.stdout).into_owned();
    assert_eq!(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn nothing_of_the_monitors_is_open_in_the_container() {
    let Some(place) = shell("ls /proc/self/fd | tr '\\n' ' '") else { return };
    assert_eq!(String::from_utf8_lossy(&hear(&mut place.run()).stdout), "0 1 2 3 ");
}

#[test]
fn too_little_memory_is_told_from_a_kill() {
    let hungry = "x=x; while :; do x=$x$x; done";
    let Some(place) = place(hungry, |spec| {
        spec["linux"]["resources"] = serde_json::json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    }) else {
        return;
    };
    if !fs::exists("/sys/fs/cgroup/memory/memory.limit_in_bytes").unwrap()
        && !fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|text| text.contains("memory"))
    {
        return eprintln!("skipped: no memory controller");
    }
    let heard = hear(&mut place.run());
    let exit = heard.exit.unwrap_or_else(|| panic!("{:?}", heard.failure));
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    assert!(place.state().oom_killed);
}

#[test]
fn a_follower_of_the_log_hears_everything_until_the_end() {
    let Some(place) = shell("echo one; read go; echo two >&2; printf three") else { return };
    let mut client = place.run();
    client.wait_started().unwrap();
    let (state_dir, log) = (place.state_dir(), place.state_dir().join("log.jsonl"));
    let reading = LogPlace { path: &log, run_dir: place.run_dir(), container_dir: &state_dir };
    let mut reader = LogReader::open(reading, LogOptions { follow: true, ..LogOptions::default() }).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().text, "one\n");
    client.stdin_eof().unwrap();
    let mut rest = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        rest.push(entry.text);
    }
    rest.sort();
    assert_eq!(rest, ["three", "two\n"]);
    while !matches!(client.next_event().unwrap(), Some(Event::Exited(_)) | None) {}
}

#[test]
fn a_monitor_killed_at_any_moment_leaves_nothing_that_blocks_the_next_start() {
    if foreign().is_some() {
        return eprintln!("skipped: containers of a foreign runtime outlive their monitor");
    }
    let Some(place) = shell("read go; exit 5") else { return };
    for moment in 0..40u32 {
        let mut client = place.launch();
        client.attach(foreground()).unwrap();
        client.start().unwrap();
        // Any moment will do: the assertions hold for all of them.
        std::thread::sleep(std::time::Duration::from_micros(u64::from(moment) * 250));
        let _ = rustix::process::kill_process(client.monitor_pid().unwrap(), rustix::process::Signal::KILL);
        while let Ok(Some(_)) = client.next_event() {}
        drop(client);
        until("the end is known", || place.state().monitor_pid == 0);
        let state = place.state();
        assert!(state.started_at.is_none() || (state.status, state.exit_code) == (Status::Exited, 137), "{state:?}");
    }
    let mut again = place.run();
    again.stdin(b"go\n").unwrap();
    let heard = hear(&mut again);
    assert_eq!(heard.exit.map(|exit| exit.code), Some(5), "{:?}", heard.failure);
}

#[test]
fn the_root_may_be_an_overlay_and_the_host_sees_no_mount_of_it() {
    let Some(mut place) = shell("cat /lower; echo written > /upper; read go") else { return };
    let base = place.root.path().to_owned();
    fs::write(place.state_dir().join("rootfs/lower"), "from below\n").unwrap();
    // With a foreign runtime the bundle's `rootfs` is what is mounted upon.
    fs::rename(place.state_dir().join("rootfs"), base.join("layer")).unwrap();
    let tmpfs = Tmpfs::mount(&base.join("volatile"));
    let overlay = OverlayRoot {
        base: base.clone(),
        lower: vec!["layer".into()],
        upper: Some(tmpfs.0.join("upper")),
        work: Some(tmpfs.0.join("work")),
        userxattr: false,
    };
    place.config.create.root = RootSource::Overlay(overlay);
    let mut client = place.run();
    let mut heard = Vec::new();
    while heard != b"from below\n" {
        match client.next_event().unwrap() {
            Some(Event::Stdout(bytes)) => heard.extend(bytes),
            Some(Event::Created(_) | Event::Started) => {}
            other => panic!("{other:?}"),
        }
    }
    until("the file is written", || tmpfs.0.join("upper/upper").exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.lines().any(|line| line.contains(" - overlay ") && line.contains(base.to_str().unwrap())));
    client.stdin_eof().unwrap();
    code(&hear(&mut client));
}

/// A file system that can hold an overlay's upper directory wherever the tests run.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path) -> Tmpfs {
        fs::create_dir(path).unwrap();
        rustix::mount::mount("tmpfs", path, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
        for name in ["upper", "work"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        Tmpfs(path.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_detached_exec_removes_its_session_when_it_ends() {
    let Some(place) = shell("read go") else { return };
    let mut client = place.run();
    client.wait_started().unwrap();
    let session = place.run_dir().join("exec/d1");
    let mut exec = launch_exec(&place, "d1", "read go < /dev/null; exit 3", false, StdinMode::Closed, true);
    exec.start().unwrap();
    exec.wait_started().unwrap();
    drop(exec);
    until("the session is gone", || !session.exists());
    assert_eq!(place.state().status, Status::Running);
}
