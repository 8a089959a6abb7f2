//! Bundles of busybox, and the driver that runs them.
//!
//! Nothing outlives a test: mounts are in the container's namespace, which ends with it, and the driver removes its cgroup.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

/// How a container ended, and what it wrote.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A bundle in a directory of its own.
pub struct Bundle {
    dir: tempfile::TempDir,
    /// The configuration; a test changes it before [`Bundle::run`].
    pub config: Value,
    /// The runtime's options.
    pub options: Value,
    /// A process to run in the container.
    pub exec: Option<Value>,
}

const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
const APPLETS: [&str; 20] = [
    "sh", "true", "false", "cat", "ls", "id", "mount", "hostname", "sleep", "stat", "touch", "readlink", "grep", "tty",
    "stty", "echo", "head", "wc", "pwd", "test",
];
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A container that runs `script`; `None`, saying so, where this machine cannot.
pub fn sh(script: &str) -> Option<Bundle> {
    let Some(busybox) = BUSYBOX.iter().find(|path| Path::new(path).exists()) else {
        eprintln!("skipped: busybox is missing (apt-get install busybox-static)");
        return None;
    };
    if !is_root() && !unshare_works() {
        eprintln!("skipped: neither root nor user namespaces for ordinary users");
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let bin = dir.path().join("rootfs/bin");
    fs::create_dir_all(&bin).expect("directories");
    // By a process of one thread: a child of another thread of ours would hold a file that is being written open, and nobody could execute it.
    assert!(Command::new("cp").arg(busybox).arg(bin.join("busybox")).status().expect("cp").success());
    APPLETS.iter().for_each(|name| symlink("busybox", bin.join(name)).expect("a link"));
    let mut config: Value = serde_json::from_str(include_str!("base.json")).expect("the base configuration");
    config["process"]["args"] = json!(["sh", "-c", script]);
    let id = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let options = json!({
        "id": id,
        "bundle": dir.path(),
        "cgroup": { "path": format!("/knarr-test/{id}") },
        "pdeathsig": true,
    });
    Some(Bundle { dir, config, options, exec: None })
}

/// A container that does nothing for a while, to be joined.
pub fn sleeping() -> Option<Bundle> {
    let mut bundle = sh("")?;
    bundle.config["process"]["args"] = json!(["sleep", "60"]);
    Some(bundle)
}

pub fn is_root() -> bool {
    knarr_sys::credentials::effective_user() == 0
}

fn unshare_works() -> bool {
    Command::new("unshare").args(["-Urm", "true"]).output().is_ok_and(|output| output.status.success())
}

/// Gives the container a user namespace, and its tree to the ids of it.
pub fn user_namespace(bundle: &mut Bundle) {
    let ids = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
    bundle.add_namespace(json!({ "type": "user" }));
    bundle.config["linux"]["uidMappings"] = ids.clone();
    bundle.config["linux"]["gidMappings"] = ids;
    // The tree belongs to the ids of the namespace, and the way to it is open to them.
    chown(bundle.rootfs(), Some(100000), Some(100000)).unwrap();
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

/// The variable with `CALL,…:ERRNO`: what the kernel of these tests is to lack. Those of `fallbacks` run all the others with it.
pub const MISSING_CALLS: &str = "KNARR_TEST_WITHOUT";

fn missing_calls() -> Option<String> {
    std::env::var(MISSING_CALLS).ok()
}

/// The driver's first words where calls are to be missing; none where not.
pub fn behind() -> Vec<String> {
    missing_calls().into_iter().flat_map(|list| ["without".to_owned(), list]).collect()
}

/// The driver, behind the filter where calls are to be missing.
pub fn driver() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime-driver"));
    command.args(behind());
    command
}

/// Whether this call is missing.
pub fn lacks(call: &str) -> bool {
    missing_calls().is_some_and(|list| list.split([',', ':']).any(|name| name == call))
}

/// `false`, saying so, where a test wants more than an ordinary user may.
pub fn root_or_skip() -> bool {
    if !is_root() {
        eprintln!("skipped: needs root");
    }
    is_root()
}

impl Bundle {
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    pub fn add_mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().expect("mounts").push(mount);
    }

    pub fn add_namespace(&mut self, namespace: Value) {
        self.config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(namespace);
    }

    pub fn drop_namespace(&mut self, kind: &str) {
        self.config["linux"]["namespaces"].as_array_mut().expect("namespaces").retain(|n| n["type"] != kind);
    }

    /// Runs it where the tests run: as root, or as root of a user namespace.
    pub fn run(&self) -> Outcome {
        self.run_by(if is_root() { &[] } else { &["unshare", "-Urm"] })
    }

    /// Writes what the driver reads.
    pub fn wanted(&self) -> PathBuf {
        let wanted = json!({ "options": self.options, "exec": self.exec });
        let file = self.dir.path().join("wanted.json");
        fs::write(&file, wanted.to_string()).expect("written");
        fs::write(self.dir.path().join("config.json"), self.config.to_string()).expect("written");
        file
    }

    /// Makes the bundle another user's.
    pub fn give_to(&self, user: u32) {
        let status = Command::new("chown").args(["-Rh", &format!("{user}:{user}")]).arg(self.path()).status();
        assert!(status.expect("chown").success());
    }

    /// Runs it behind another command.
    pub fn run_by(&self, before: &[&str]) -> Outcome {
        let file = self.wanted();
        let behind = behind();
        let driver = [env!("CARGO_BIN_EXE_runtime-driver")];
        let mut words = before.iter().copied().chain(driver).chain(behind.iter().map(String::as_str));
        let mut command = Command::new(words.next().expect("at least the driver"));
        let output = command.args(words).arg(file).output().expect("the driver");
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a script in a bundle that `change` has changed, and compares what it writes.
pub fn check(script: &str, change: impl FnOnce(&mut Bundle), expect: &str) {
    let Some(mut bundle) = sh(script) else { return };
    change(&mut bundle);
    let outcome = bundle.run();
    assert_eq!((outcome.stdout.trim_end(), outcome.code), (expect, 0), "{}", outcome.stderr);
}

/// The same for a container that cannot be made or started: its code, and a part of the message.
pub fn check_error(script: &str, change: impl FnOnce(&mut Bundle), code: i32, expect: &str) {
    let Some(mut bundle) = sh(script) else { return };
    change(&mut bundle);
    let outcome = bundle.run();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (code, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains(expect), "{:?} does not contain {expect:?}", outcome.stderr);
}
