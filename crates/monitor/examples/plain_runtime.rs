//! An OCI runtime without containers, for this crate's tests: `create` starts a shell that waits on a named pipe and then
//! executes the script `program` in the bundle; `start` writes to the pipe. It needs no privileges.
//!
//! A bundle with a file `refuse` makes `create` fail with its contents as the logged error.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
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
    let root = words.after("--root").unwrap().to_owned();
    fs::create_dir_all(&root).unwrap();
    let gate = Path::new(&root).join("gate");
    match words.after("json").unwrap() {
        "create" => create(&words, &gate),
        "exec" => exec(&words),
        "start" => fs::write(gate, "go\n").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
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
    rustix::fs::mknodat(rustix::fs::CWD, gate, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Who opens the pipe and says nothing ends it.
    let script = format!("read go < {} && exec sh {}", gate.display(), bundle.join("program").display());
    spawn(words, &script)
}

/// The first two arguments of the process are `sh` and `-c`.
fn exec(words: &Words) -> ExitCode {
    let process: serde_json::Value =
        serde_json::from_slice(&fs::read(words.after("--process").unwrap()).unwrap()).unwrap();
    spawn(words, process["args"][2].as_str().unwrap())
}

#[expect(clippy::zombie_processes, reason = "the monitor, as the subreaper, inherits it")]
fn spawn(words: &Words, script: &str) -> ExitCode {
    let mut command = Command::new("setsid");
    if let Some(socket) = words.after("--console-socket") {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let slave = knarr_sys::pty::open_slave(&master).unwrap();
        hand_over(master, socket);
        let stream = || Stdio::from(slave.try_clone().unwrap());
        command.arg("--ctty").stdin(stream()).stdout(stream()).stderr(stream());
    }
    let child = command.args(["sh", "-c", script]).spawn().unwrap();
    let mut file = fs::File::create(words.after("--pid-file").unwrap()).unwrap();
    write!(file, "{}", child.id()).unwrap();
    ExitCode::SUCCESS
}

fn hand_over(master: OwnedFd, socket: &str) {
    use std::os::fd::AsFd;
    let stream = UnixStream::connect(socket).unwrap();
    knarr_sys::scm_rights::send(&stream, b"master", Some(master.as_fd())).unwrap();
}
