//! An OCI runtime without containers, for this crate's tests: `create` starts a process that waits at a socket and then executes
//! the script `program` in the bundle; `start` says so there, and who connects and says nothing ends it. It needs no privileges.
//!
//! A bundle with a file `refuse` makes `create` fail with its contents as the logged error.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::pty::OpenptFlags;

/// The words after the verb, and those before it.
struct Words(Vec<String>);

impl Words {
    fn after(&self, flag: &str) -> Option<&str> {
        let at = self.0.iter().position(|word| word == flag)?;
        self.0.get(at + 1).map(String::as_str)
    }
}

fn main() -> ExitCode {
    let words = Words(std::env::args().collect());
    if words.0[1] == "wait" {
        return wait(&words.0[2], &words.0[3]);
    }
    let root = words.after("--root").unwrap().to_owned();
    fs::create_dir_all(&root).unwrap();
    let gate = Path::new(&root).join("gate");
    match words.after("json").unwrap() {
        "create" => create(&words, &gate),
        "exec" => exec(&words),
        "start" => match UnixStream::connect(gate).and_then(|mut gate| gate.write_all(b"go")) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        _ => ExitCode::SUCCESS,
    }
}

fn create(words: &Words, gate: &Path) -> ExitCode {
    let bundle = Path::new(words.after("--bundle").unwrap());
    if let Ok(message) = fs::read_to_string(bundle.join("refuse")) {
        let line = format!("{{\"level\":\"error\",\"msg\":{message:?}}}\n");
        fs::write(words.after("--log").unwrap(), line).unwrap();
        return ExitCode::FAILURE;
    }
    let _ = fs::remove_file(gate);
    // There before anybody can start it.
    let gate = UnixListener::bind(gate).unwrap();
    rustix::io::fcntl_setfd(&gate, rustix::io::FdFlags::empty()).unwrap();
    let program = bundle.join("program");
    let exe = std::env::current_exe().unwrap();
    spawn(words, &[exe.as_os_str(), "wait".as_ref(), gate.as_raw_fd().to_string().as_ref(), program.as_os_str()])
}

/// The container's process until it is started.
fn wait(gate: &str, program: &str) -> ExitCode {
    let gate = UnixListener::from(knarr_sys::inherited::socket(gate.parse().unwrap()).expect("left open by create"));
    // Nobody comes any more where a killed monitor left us behind: then the test's directory goes.
    let look_again = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let somebody_comes = || {
        let mut one = [rustix::event::PollFd::new(&gate, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut one, Some(&look_again)).is_ok_and(|ready| ready > 0)
    };
    while !somebody_comes() {
        if !Path::new(program).exists() {
            return ExitCode::FAILURE;
        }
    }
    let mut word = String::new();
    gate.accept().unwrap().0.read_to_string(&mut word).unwrap();
    drop(gate);
    if word != "go" {
        return ExitCode::FAILURE;
    }
    let error = Command::new("sh").arg(program).exec();
    panic!("sh: {error}");
}

/// The first two arguments of the process are `sh` and `-c`.
fn exec(words: &Words) -> ExitCode {
    let process: serde_json::Value =
        serde_json::from_slice(&fs::read(words.after("--process").unwrap()).unwrap()).unwrap();
    spawn(words, &["sh".as_ref(), "-c".as_ref(), process["args"][2].as_str().unwrap().as_ref()])
}

#[expect(clippy::zombie_processes, reason = "the monitor, as the subreaper, inherits it")]
fn spawn(words: &Words, what: &[&OsStr]) -> ExitCode {
    let mut command = Command::new("setsid");
    if let Some(socket) = words.after("--console-socket") {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let slave = knarr_sys::pty::open_slave(&master).unwrap();
        hand_over(master, socket);
        let stream = || Stdio::from(slave.try_clone().unwrap());
        command.arg("--ctty").stdin(stream()).stdout(stream()).stderr(stream());
    }
    let child = command.args(what).spawn().unwrap();
    let mut file = fs::File::create(words.after("--pid-file").unwrap()).unwrap();
    write!(file, "{}", child.id()).unwrap();
    ExitCode::SUCCESS
}

fn hand_over(master: OwnedFd, socket: &str) {
    use std::os::fd::AsFd;
    let stream = UnixStream::connect(socket).unwrap();
    knarr_sys::scm_rights::send(&stream, b"master", Some(master.as_fd())).unwrap();
}
