//! `knarr init -- PROGRAM [ARGS…]`: the first process of a container that was run with `--init`.
//!
//! Law: passes every signal on to the program, reaps whatever is orphaned to it, and ends with the program's own code.
//! Not here: anything about containers; it would do the same for any process tree.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use knarr_sys::posix_spawn::{Program, spawn};
use knarr_sys::signalfd::SignalFd;
use knarr_sys::{Errno, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

/// Signals that mean this process alone: they are raised by a fault, stop a job, or cannot be caught.
const OWN_SIGNALS: [i32; 11] = [4, 5, 7, 8, 9, 11, 19, 20, 21, 22, 31];
const SIGCHLD: i32 = 17;
/// Real-time signals start behind this one; no program expects them through an init.
const SIGNAL_MAX: i32 = 31;

/// Runs a program as its init.
pub fn init_applet(args: Vec<OsString>) -> ExitCode {
    let words = match args.split_first() {
        Some((dashes, words)) if dashes == "--" => words,
        _ => args.as_slice(),
    };
    let Some((program, rest)) = words.split_first() else {
        eprintln!("knarr init: no program given\nhint: knarr init -- PROGRAM [ARGS…]");
        return ExitCode::from(125);
    };
    let forwarded: Vec<i32> = (1..=SIGNAL_MAX).filter(|signal| !OWN_SIGNALS.contains(signal)).collect();
    let signals = match SignalFd::block(&forwarded) {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("knarr init: {error}");
            return ExitCode::from(125);
        }
    };
    match start(program, rest) {
        Ok(pid) => attend(pid, &signals),
        Err(errno) => {
            eprintln!("knarr init: exec {}: {}", program.display(), std::io::Error::from(errno));
            ExitCode::from(if errno == Errno::NOENT { 127 } else { 126 })
        }
    }
}

/// Starts the program with no signal blocked: the ones we read from a descriptor are blocked for us alone.
fn start(program: &OsStr, rest: &[OsString]) -> Result<Pid, Errno> {
    let text = |word: &OsStr| CString::new(word.as_bytes()).map_err(|_| Errno::INVAL);
    let path = text(find(program).as_os_str())?;
    let words = std::iter::once(program).chain(rest.iter().map(OsString::as_os_str)).map(text);
    let words = words.collect::<Result<Vec<CString>, Errno>>()?;
    let args: Vec<&CStr> = words.iter().map(CString::as_c_str).collect();
    spawn(&Program { path: &path, args: &args, fds: &[] }).map_err(|error| error.errno)
}

/// The program as execvp(3) finds it; what is nowhere keeps its name, for the error.
fn find(program: &OsStr) -> PathBuf {
    let executable =
        |path: &PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    let named = PathBuf::from(program);
    if program.as_bytes().contains(&b'/') {
        return named;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(executable).unwrap_or(named)
}

fn attend(program: Pid, signals: &SignalFd) -> ExitCode {
    loop {
        // An error here is an interruption; the signal is then read below.
        let _ = poll::readable_within(signals, None);
        while let Ok(Some(signal)) = signals.next() {
            if signal == SIGCHLD {
                if let Some(code) = reap(program) {
                    return code;
                }
            } else if let Some(signal) = Signal::from_named_raw(signal) {
                // The program may have ended this moment; its end is what we hear of next.
                let _ = kill_process(program, signal);
            }
        }
    }
}

/// Collects all that ended; the program's exit code if it was among them.
fn reap(program: Pid) -> Option<ExitCode> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == program
            && let Some(code) = shell_code(status)
        {
            return Some(ExitCode::from(code));
        }
    }
    None
}

fn shell_code(status: WaitStatus) -> Option<u8> {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))?;
    u8::try_from(code).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_program_it_says_how_it_is_called() {
        assert_eq!(format!("{:?}", init_applet(vec!["--".into()])), format!("{:?}", ExitCode::from(125)));
    }
}
