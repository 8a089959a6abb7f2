//! Does what a plan says.
//!
//! Law: the only module that touches the machine. One thread. The child allocates nothing after `clone3`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use knarr_cgroup::Cgroup;
use knarr_spec::runtime::{LinuxSeccomp, Process};

use crate::{Error, Plan};

/// The program's descriptors 0, 1 and 2; `None` passes on the caller's own. A program with a terminal gets that instead.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: Option<OwnedFd>,
    /// Standard error.
    pub stderr: Option<OwnedFd>,
}

/// A container whose init waits for the start.
#[derive(Debug)]
pub struct Created {
    pid: u32,
    pidfd: OwnedFd,
    console: Option<OwnedFd>,
    cgroup: Option<Cgroup>,
    notes: Vec<String>,
}

impl Created {
    /// The init's process id as we see it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A handle on the init that no other process can take over.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The master of the program's pseudoterminal, once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// The control group made for it.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// What could not be had and was not asked for, in sentences for the user.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Lets the init execute the program. An error of the program itself carries exit code 126 or 127.
    pub fn start(self) -> Result<Running, Error> {
        Ok(Running { pid: self.pid, pidfd: self.pidfd, console: self.console, cgroup: self.cgroup })
    }
}

/// A process that runs its program.
#[derive(Debug)]
pub struct Running {
    /// Its id as we see it.
    pub pid: u32,
    /// A handle on it.
    pub pidfd: OwnedFd,
    /// The master of its pseudoterminal.
    pub console: Option<OwnedFd>,
    /// The control group made for it; `None` for a process that joined.
    pub cgroup: Option<Cgroup>,
}

/// The container a process joins.
#[derive(Clone, Debug, Default)]
pub struct ExecTarget {
    /// The container's init.
    pub pid: u32,
    /// Its control group's directories, as [`Cgroup::directories`].
    pub cgroup: Option<Cgroup>,
    /// The container's profile.
    pub seccomp: Option<LinuxSeccomp>,
    /// Kill the process when the one that made it dies.
    pub pdeathsig: bool,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
}

/// Makes the container; its init waits before the program is executed.
pub fn create(plan: &Plan, stdio: Stdio) -> Result<Created, Error> {
    let _ = stdio;
    Err(Error::Status { id: plan.id.clone(), status: "not running" })
}

/// Runs one more program in a container.
pub fn exec(target: &ExecTarget, process: &Process, stdio: Stdio) -> Result<Running, Error> {
    let _ = (target, process, stdio);
    Err(Error::Status { id: String::new(), status: "not running" })
}

/// Starts a container whose init waits on a socket ([`Gate::Socket`](crate::Gate::Socket)).
pub fn start_at(socket: &Path) -> Result<(), Error> {
    let _ = socket;
    Err(Error::Status { id: String::new(), status: "not running" })
}
