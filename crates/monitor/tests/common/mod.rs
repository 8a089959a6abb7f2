//! Containers without namespaces: the monitor drives `examples/plain_runtime.rs`, so these tests need no privileges.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use knarr_monitor::protocol::{Attach, Exit};
use knarr_monitor::{Client, Event, Job, LogConfig, MonitorConfig, State, StdinMode, read_state};
use knarr_runtime::CreateOptions;
use knarr_sys::ofd_lock;
use tempfile::TempDir;

/// An example of this crate, which `cargo test -p knarr-monitor` builds beside the tests.
pub fn example(name: &str) -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build -p knarr-monitor --examples", path.display());
    path
}

/// One container and its directories.
pub struct Place {
    pub root: TempDir,
    pub config: MonitorConfig,
}

impl Place {
    /// A container whose program is this shell script.
    pub fn new(program: &str) -> Place {
        let root = TempDir::new().unwrap();
        let (state, run) = (root.path().join("state"), root.path().join("run"));
        fs::create_dir(&state).unwrap();
        fs::create_dir(&run).unwrap();
        fs::write(state.join("program"), program).unwrap();
        fs::write(state.join("config.json"), "{}").unwrap();
        let create = CreateOptions { id: "c1".into(), bundle: state.clone(), ..CreateOptions::default() };
        let mut config = MonitorConfig::new(create, run);
        config.runtime = Some(example("plain_runtime"));
        config.log = Some(LogConfig { path: state.join("log.jsonl"), bytes_max: None, files_max: 1 });
        Place { root, config }
    }

    pub fn with(program: &str, change: impl FnOnce(&mut MonitorConfig)) -> Place {
        let mut place = Place::new(program);
        change(&mut place.config);
        place
    }

    pub fn state_dir(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub fn run_dir(&self) -> &Path {
        &self.config.run_dir
    }

    /// Launches the monitor; nothing is said to it yet.
    pub fn launch(&self) -> Client {
        self.launch_for(Job::Container(&self.state_dir()))
    }

    /// Launches a monitor that does not know its container yet.
    pub fn launch_ahead(&self) -> Client {
        self.launch_for(Job::Later)
    }

    fn launch_for(&self, job: Job) -> Client {
        self.config.save(&self.state_dir()).unwrap();
        let exe = fs::File::open(example("monitor")).unwrap();
        Client::launch(exe.as_fd(), job).unwrap()
    }

    /// Launches it and starts the container, as `run` in the foreground does.
    pub fn run(&self) -> Client {
        self.run_wanting(foreground())
    }

    pub fn run_wanting(&self, wants: Attach) -> Client {
        let mut client = self.launch();
        client.attach(wants).unwrap();
        client.start().unwrap();
        client
    }

    /// Starts the container as `run -d` does.
    pub fn run_detached(&self) {
        let mut client = self.launch();
        client.start().unwrap();
        client.wait_started().unwrap();
    }

    pub fn connect(&self, wants: Attach) -> Client {
        let mut client = Client::connect(self.run_dir()).unwrap();
        client.attach(wants).unwrap();
        client
    }

    pub fn state(&self) -> State {
        read_state(self.run_dir(), &self.state_dir()).unwrap()
    }

    /// The text of each line of the log; none is torn.
    pub fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.state_dir().join("log.jsonl")).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "torn: {text:?}");
        let parse =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].as_str().unwrap().into();
        text.lines().map(parse).collect()
    }

    /// Waits for the end as a client that wants no output.
    pub fn wait(&self) -> State {
        if let Ok(mut client) = Client::connect(self.run_dir()) {
            let _ = client.wait_exited();
        }
        until("the end is recorded", || self.state().is_final());
        self.state()
    }
}

impl Drop for Place {
    /// Whatever a test left running. The monitor then cleans up after it, unless it does not get to that.
    fn drop(&mut self) {
        kill(self.state().pid);
        // A monitor that was killed before it recorded what it had made leaves that waiting for its start (plain_runtime).
        let _ = std::os::unix::net::UnixStream::connect(self.run_dir().join("runtime/gate"));
        for _ in 0..400 {
            // The lock falls last, when nothing of the container is left.
            if !fs::File::open(self.run_dir().join("lock")).is_ok_and(|lock| ofd_lock::is_locked(lock).unwrap()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        kill(self.state().monitor_pid);
    }
}

fn kill(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

pub fn foreground() -> Attach {
    Attach { stdin: true, stdout: true, stderr: true, lossless: true, cleanup: false }
}

pub fn observer() -> Attach {
    Attach { stdout: true, stderr: true, ..Attach::default() }
}

/// Everything until the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Option<Exit>,
    pub failure: Option<knarr_monitor::protocol::Failure>,
}

pub fn hear(client: &mut Client) -> Heard {
    let mut heard = Heard::default();
    while let Some(event) = client.next_event().unwrap() {
        match event {
            Event::Stdout(bytes) => heard.stdout.extend(bytes),
            Event::Stderr(bytes) => heard.stderr.extend(bytes),
            Event::Exited(exit) => heard.exit = Some(exit),
            Event::Failed(failure) => heard.failure = Some(failure),
            Event::Created(_) | Event::Started => {}
        }
        if heard.exit.is_some() || heard.failure.is_some() {
            break;
        }
    }
    heard
}

/// Waits for what another process brings about.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("waited in vain until {what}");
}

pub fn code(heard: &Heard) -> u8 {
    heard.exit.unwrap_or_else(|| panic!("no exit: {:?}", heard.failure)).code
}

/// Sends all of it, reading what comes in the meantime, and says that it was all.
pub fn send_all(client: &mut Client, mut bytes: &[u8], heard: &mut Vec<u8>) {
    while !bytes.is_empty() {
        while client.stdin_window() == 0 {
            if let Some(Event::Stdout(output)) = client.next_event().unwrap() {
                heard.extend(output);
            }
        }
        bytes = &bytes[client.stdin(bytes).unwrap()..];
    }
    client.stdin_eof().unwrap();
}

/// A container whose standard input is open as told.
pub fn with_stdin(program: &str, mode: StdinMode) -> Place {
    Place::with(program, |config| config.stdin = mode)
}
