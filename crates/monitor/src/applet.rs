//! `knarr monitor …`: from the command line to the supervisor and the exit command.
//!
//! Law: whoever launched us learns of every failure by a frame on descriptor 3; nothing is printed, as nobody reads it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::client::LAUNCHER_FD;
use crate::make::{Foreign, Maker};
use crate::protocol::{FRAME_BYTES_MAX, Frame, HEADER_BYTES, ProtocolError};
use crate::supervisor::{Task, supervise};
use crate::{Error, ExecConfig, MonitorConfig};

/// Runs the monitor of `args`: a container's directory, `--later` where the launcher will tell, or `--exec` and a session's.
pub fn applet(args: Vec<OsString>) -> ExitCode {
    let launcher = knarr_sys::inherited::socket(LAUNCHER_FD);
    let reply = launcher.as_ref().and_then(|fd| fd.try_clone().ok());
    match run(&args, launcher) {
        Ok(code) => code,
        Err(error) => {
            let code = error.exit_code();
            if let Some(socket) = reply {
                tell(socket, &error);
            }
            ExitCode::from(code)
        }
    }
}

fn run(args: &[OsString], launcher: Option<OwnedFd>) -> Result<ExitCode, Error> {
    detach()?;
    match args {
        [flag] if flag == "--later" => match launcher.as_ref().map(job_of).transpose()?.flatten() {
            Some(Told::Container(directory)) => run_container(&directory, launcher),
            Some(Told::Exec(directory)) => run_session(&directory, launcher),
            None => Ok(ExitCode::SUCCESS),
        },
        [directory] => run_container(Path::new(directory), launcher),
        [flag, directory] if flag == "--exec" => run_session(Path::new(directory), launcher),
        _ => Err(Error::Usage),
    }
}

/// Out of the launcher's session, so that its end and its keys do not reach us; and the parent of whatever the container
/// orphans. The working directory must not keep a file system busy.
fn detach() -> Result<(), Error> {
    // Fails only for the leader of a process group: then we are detached already.
    let _ = rustix::process::setsid();
    // Executed by descriptor, we would be listed under its number.
    let _ = rustix::thread::set_name(c"knarr-monitor");
    knarr_sys::prctl::set_child_subreaper().map_err(Error::call("become the subreaper"))?;
    rustix::process::chdir(c"/").map_err(Error::call("change to /"))
}

/// What a launcher that was not sure at first wants: the job of a directory.
enum Told {
    Container(PathBuf),
    Exec(PathBuf),
}

/// Waits for the launcher's first frame, which names the job; `None` if the launcher leaves without. Not a byte of what
/// follows is read.
fn job_of(launcher: &OwnedFd) -> Result<Option<Told>, Error> {
    let mut bytes = vec![0; HEADER_BYTES];
    if !read_whole(launcher, &mut bytes)? {
        return Ok(None);
    }
    let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    bytes.resize(HEADER_BYTES + length.min(FRAME_BYTES_MAX), 0);
    if !read_whole(launcher, &mut bytes[HEADER_BYTES..])? {
        return Ok(None);
    }
    match Frame::decode(&bytes)? {
        Some((Frame::Container(path), _)) => Ok(Some(Told::Container(OsStr::from_bytes(path).into()))),
        Some((Frame::Exec(path), _)) => Ok(Some(Told::Exec(OsStr::from_bytes(path).into()))),
        Some((other, _)) => Err(ProtocolError::UnknownKind(other.kind()).into()),
        None => Err(Error::Usage),
    }
}

/// Fills `bytes`; `false` if the stream ends before.
fn read_whole(socket: &OwnedFd, bytes: &mut [u8]) -> Result<bool, Error> {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::net::recv(socket, &mut bytes[filled..], RecvFlags::empty()) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(false),
            Ok((count, _)) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::call("read from the launcher")(errno)),
        }
    }
    Ok(true)
}

fn run_container(directory: &Path, launcher: Option<OwnedFd>) -> Result<ExitCode, Error> {
    let config = MonitorConfig::load(directory)?;
    let maker = match &config.runtime {
        None => Maker::Own(config.create.clone()),
        Some(program) => {
            let foreign = Foreign::new(program, &config.create.id, &config.create.bundle, &config.run_dir);
            Maker::Foreign(foreign, config.create.root.clone())
        }
    };
    let needs_cleanup = supervise(
        Task {
            id: config.create.id,
            run_dir: config.run_dir,
            container_dir: Some(directory.to_owned()),
            log: config.log,
            terminal: config.terminal,
            stdin: config.stdin,
            stop_signal: config.stop_signal,
            maker,
        },
        launcher,
    )?;
    match config.exit_command {
        Some(command) if needs_cleanup => execute(&command),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn run_session(directory: &Path, launcher: Option<OwnedFd>) -> Result<ExitCode, Error> {
    let config = ExecConfig::load(directory)?;
    let remove = config.remove_session;
    let supervised = supervise(
        Task {
            id: config.id.clone(),
            run_dir: directory.to_owned(),
            container_dir: None,
            log: None,
            terminal: config.process.terminal().unwrap_or(false),
            stdin: config.stdin,
            stop_signal: SIGTERM,
            maker: Maker::Join(Box::new(config)),
        },
        launcher,
    );
    if remove {
        let _ = std::fs::remove_dir_all(directory);
    }
    supervised.map(|_| ExitCode::SUCCESS)
}

/// SIGTERM.
const SIGTERM: i32 = 15;

/// Becomes the exit command, with the signal mask and the score for the out-of-memory killer a program expects.
fn execute(command: &[String]) -> Result<ExitCode, Error> {
    let Some((program, args)) = command.split_first() else { return Ok(ExitCode::SUCCESS) };
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let error = Command::new(program).args(args).exec();
    Err(Error::io("execute", Path::new(program))(error))
}

fn tell(socket: OwnedFd, error: &Error) {
    let json = serde_json::to_vec(&error.to_failure()).unwrap_or_default();
    let mut bytes = Vec::new();
    Frame::Error(&json).encode(&mut bytes);
    let _ = rustix::net::send(socket.as_fd(), &bytes, rustix::net::SendFlags::NOSIGNAL);
}
