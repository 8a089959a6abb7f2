//! Child processes that cannot outlive their test.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use crate::wait;

/// A child that is killed and reaped on drop.
pub struct Guarded(Child);

impl Guarded {
    /// Starts `command`.
    pub fn spawn(command: &mut Command) -> std::io::Result<Guarded> {
        command.spawn().map(Guarded)
    }

    /// Waits for its end, with a test's patience.
    pub fn wait_patiently(&mut self) -> ExitStatus {
        let pid = self.0.id();
        wait::until(&format!("process {pid} ends"), || self.0.try_wait().expect("our own child"))
    }
}

impl Deref for Guarded {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Of util-linux, so everywhere but in the smallest images.
const SETPRIV: &str = "/usr/bin/setpriv";

/// A command for `program` whose process gets `signal` (a name without SIG) when the thread that starts it is gone, also when a
/// SIGKILL left nobody to drop a [`Guarded`]. It holds from when the program runs: util-linux's setpriv asks for it and becomes
/// the program.
pub fn bound(program: impl AsRef<OsStr>, signal: &str) -> Command {
    if !Path::new(SETPRIV).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", signal, "--"]).arg(program);
    command
}

/// Sends `signal` (a name without SIG, or a number) to process `pid`.
pub fn signal(pid: u32, signal: &str) -> bool {
    let mut command = Command::new("/bin/kill");
    command.arg(format!("-{signal}")).arg(pid.to_string());
    command.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Everything `reader` gives until its end, read on a thread of its own so that a full pipe stops nobody.
pub fn drain(mut reader: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        bytes
    })
}

/// Writes all of `bytes` and closes; a reader that is gone is no error.
pub fn feed(mut writer: impl Write + Send + 'static, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let _ = writer.write_all(&bytes);
    })
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn what_is_bound_ends_with_the_thread_that_started_it() {
        if !Path::new(SETPRIV).exists() {
            eprintln!("skipped: {SETPRIV} is not installed");
            return;
        }
        let start = || {
            let child = Guarded::spawn(bound("/bin/sleep", "KILL").arg("600").stdin(Stdio::null())).expect("sleep");
            let name = format!("/proc/{}/comm", child.id());
            wait::until("sleep runs", || (std::fs::read_to_string(&name).ok()?.trim() == "sleep").then_some(()));
            child
        };
        let mut child = std::thread::spawn(start).join().expect("the thread ends");
        let end = wait::until("sleep ends", || child.try_wait().expect("our own child"));
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(9));
    }
}
