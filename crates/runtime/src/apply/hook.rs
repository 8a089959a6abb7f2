//! Hooks: programs told the container's state on their standard input.
//!
//! Spec: config.md "POSIX-platform Hooks".

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{self, Command, Stdio as Pipe};
use std::time::{Duration, Instant};

use knarr_sys::clone3::{CloneOptions, clone3};
use knarr_sys::pidfd::{self, Exit};
use knarr_sys::{Errno, execve, fs, io, sigaction};

use super::child::{Child, put_down};
use super::parent::{Failing, FailingCall};
use super::prepare::rewrite;
use super::state::State;
use super::tree;
use super::wire::Trouble;
use crate::Error;
use crate::plan::{HookKind, step::HookStep, words::text};

/// How much of what a failed hook wrote is repeated.
const STDERR_BYTES_MAX: usize = 1024;

/// Runs a hook in our own namespaces.
pub(crate) fn run(step: &HookStep, state: &State) -> Result<(), Error> {
    let failed = |why: String| Error::Hook {
        kind: step.kind.name(),
        index: step.index,
        path: text(&step.path).into_owned(),
        why,
    };
    let memory =
        |name| fs::memfd_create(name, fs::MemfdFlags::CLOEXEC).failing("make a file in memory", "memfd_create()");
    let (input, errors) = (memory("hook-state")?, memory("hook-errors")?);
    rewrite(&input, state.to_json().as_bytes()).failing("tell a hook the state", "write()")?;
    let shared = errors.try_clone().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(tree::os(&step.path));
    if let Some(environment) = &step.environment {
        command.env_clear().envs(environment.iter().filter_map(|entry| split(entry.to_bytes())));
    }
    command.args(step.arguments.iter().skip(1).map(|argument| tree::os(argument)));
    if let Some(name) = step.arguments.first() {
        command.arg0(tree::os(name));
    }
    command.stdin(input).current_dir(existing(&state.bundle));
    let file = |path: &Option<CString>| path.as_ref().map(|path| open_output(path).map(Pipe::from)).transpose();
    command.stdout(file(&step.output[0])?.unwrap_or_else(Pipe::null));
    command.stderr(file(&step.output[1])?.unwrap_or_else(|| shared.into()));
    let child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let ended = match pidfd::open(child.id()) {
        Err(error) if pidfd::is_missing(&error) => wait_asking(child, step.timeout_s),
        handle => wait(&handle.failing_call(|| "watch a hook".into())?, step.timeout_s),
    };
    match ended {
        Some(Exit::Code(0)) => Ok(()),
        Some(exit) => Err(failed(with_words(&exit.to_string(), &errors))),
        None => Err(failed(format!("killed after {} s", step.timeout_s.unwrap_or(0)))),
    }
}

/// A file that what a hook says is appended to.
pub(crate) fn open_output(path: &CStr) -> Result<OwnedFd, Error> {
    let flags = fs::OFlags::WRONLY | fs::OFlags::CREATE | fs::OFlags::APPEND | fs::OFlags::CLOEXEC;
    let opened = fs::openat(fs::CWD, path, flags, fs::Mode::from_raw_mode(OUTPUT_MODE));
    opened.failing_with(|| format!("open {} for what a hook says", path.to_string_lossy()))
}

/// As crun makes it.
const OUTPUT_MODE: u32 = 0o700;

fn existing(bundle: &Path) -> &Path {
    if bundle.is_dir() { bundle } else { Path::new("/") }
}

fn split(entry: &[u8]) -> Option<(&std::ffi::OsStr, &std::ffi::OsStr)> {
    use std::os::unix::ffi::OsStrExt;
    let at = entry.iter().position(|&b| b == b'=')?;
    let os = std::ffi::OsStr::from_bytes;
    Some((os(&entry[..at]), os(&entry[at + 1..])))
}

/// Waits; after the timeout the hook is killed and `None` returned.
fn wait(handle: &OwnedFd, timeout_s: Option<u64>) -> Option<Exit> {
    match pidfd::ended_within(handle, timeout_s.map(Duration::from_secs)) {
        Ok(true) => pidfd::wait(handle).ok(),
        _ => {
            put_down(handle);
            None
        }
    }
}

/// The same without a handle that could be waited on: it is asked again and again.
fn wait_asking(mut child: process::Child, timeout_s: Option<u64>) -> Option<Exit> {
    let end = timeout_s.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return Some(status.code().map_or_else(|| Exit::Signal(status.signal().unwrap_or(0)), Exit::Code));
            }
            Ok(None) if end.is_none_or(|end| Instant::now() < end) => std::thread::sleep(ASK_AGAIN),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// Short beside what starting a program takes.
const ASK_AGAIN: Duration = Duration::from_millis(1);

fn with_words(exit: &str, errors: &OwnedFd) -> String {
    let mut bytes = vec![0; STDERR_BYTES_MAX];
    let length = fs::seek(errors, fs::SeekFrom::Start(0)).and_then(|_| io::read(errors, &mut bytes)).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]);
    match text.trim() {
        "" => exit.to_owned(),
        text => format!("{exit}: {text}"),
    }
}

/// Runs a hook as a child of the container's init, in its namespaces; prepared before the clone.
/// A createContainer hook begins in the directory that will be `/`.
pub(crate) fn run_in_child(child: &Child<'_>, index: usize, step: &HookStep) -> Result<(), Trouble> {
    let prepared = &*child.prepared;
    let hook = prepared.hooks.iter().find(|hook| hook.step == index).ok_or(Errno::BADF)?;
    let state = prepared.state.as_ref().ok_or(Errno::BADF)?;
    fs::seek(state, fs::SeekFrom::Start(0))?;
    let process = clone3(&CloneOptions::default(), || {
        sigaction::reset();
        let _ = io::dup2_stdin(state);
        let _ = hook.output[0].as_ref().map_or(Ok(()), io::dup2_stdout);
        let _ = hook.output[1].as_ref().map_or(Ok(()), io::dup2_stderr);
        if let Some(root) = child.root.as_ref().filter(|_| step.kind == HookKind::CreateContainer) {
            let _ = io::fchdir(root);
        }
        let environment = hook.environment.as_ref().unwrap_or(&prepared.environment);
        let _ = execve::execve(&step.path, &hook.arguments, environment);
        EXIT_NOT_EXECUTED
    })?;
    match wait(&process.pidfd, step.timeout_s) {
        Some(Exit::Code(0)) => Ok(()),
        Some(Exit::Code(EXIT_NOT_EXECUTED)) => Err(Trouble::new(Errno::NOENT, "it could not be executed")),
        Some(Exit::Code(_)) => Err(Trouble::new(Errno::CANCELED, "it failed")),
        Some(Exit::Signal(SIGSYS)) => Err(Trouble::new(Errno::CANCELED, "bad system call")),
        Some(Exit::Signal(_)) => Err(Trouble::new(Errno::CANCELED, "a signal killed it")),
        None => Err(Trouble::new(Errno::TIMEDOUT, "it took too long and was killed")),
    }
}

/// As the shells say it.
const EXIT_NOT_EXECUTED: i32 = 127;
/// What a system call filter sends.
const SIGSYS: i32 = 31;
