//! Does what a plan says.
//!
//! Law: the only module that touches the machine. One thread. The child allocates nothing after `clone3`.

mod cgroups;
mod child;
mod console;
mod copy_up;
mod exec;
mod hint;
mod home;
mod hook;
mod net_device;
mod network;
mod parent;
mod prepare;
mod procfs;
mod program;
mod root;
mod state;
mod tree;
mod user;
mod wire;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use knarr_cgroup::Cgroup;
use knarr_sys::{pidfd, scm_rights};

pub use exec::{ExecTarget, exec, exec_plan, exec_planned};
pub use network::NewNetwork;
pub use state::{State, Status};

use crate::plan::{HookStep, Sync};
use crate::resctrl::Rdt;
use crate::{Error, Plan, verify};
use parent::{Failing, FailingCall};
use prepare::{Made, Prepared};
use wire::Message;

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

impl Stdio {
    /// The same descriptors once more.
    fn duplicate(&self) -> Result<Stdio, Error> {
        let again = |fd: &Option<OwnedFd>| {
            let copied = fd.as_ref().map(OwnedFd::try_clone).transpose();
            copied.map_err(|_| knarr_sys::Errno::MFILE).failing("pass descriptors on", "fcntl(F_DUPFD_CLOEXEC)")
        };
        Ok(Stdio { stdin: again(&self.stdin)?, stdout: again(&self.stdout)?, stderr: again(&self.stderr)? })
    }
}

/// A container whose init waits for the start.
#[derive(Debug)]
pub struct Created {
    pid: u32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    console: Option<OwnedFd>,
    made: Made,
    plan: Plan,
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
        self.made.cgroup.as_ref()
    }

    /// The group of caches and memory bandwidth it is in.
    pub fn rdt(&self) -> Option<&Rdt> {
        self.made.rdt.as_ref()
    }

    /// What could not be had and was not asked for, in sentences for the user.
    pub fn notes(&self) -> &[String] {
        &self.made.notes
    }

    /// Its state as runtime.md has it.
    pub fn state(&self) -> State {
        State::of(&self.plan, self.pid, Status::Created)
    }

    /// Lets the init execute the program, and runs the poststart hooks. An error of the program itself carries exit code
    /// 126 or 127. After an error nothing of the container is left.
    pub fn start(mut self) -> Result<Running, Error> {
        match self.go() {
            Ok(()) => {
                let cgroup = self.made.cgroup.take();
                Ok(Running { pid: self.pid, pidfd: self.pidfd, console: self.console, cgroup })
            }
            Err(error) => {
                child::put_down(&self.pidfd);
                self.made.undo();
                Err(error)
            }
        }
    }

    /// Kills the init and takes back what was made for it.
    pub fn abandon(mut self) {
        child::put_down(&self.pidfd);
        self.made.undo();
    }

    fn go(&mut self) -> Result<(), Error> {
        let said = wire::say(&self.socket, Sync::Start, None);
        heard_start(&self.plan, &self.socket)?;
        said.failing("start the container", "sendmsg()")?;
        run_hooks(&self.plan.poststart, &State::of(&self.plan, self.pid, Status::Running))
    }
}

/// The socket closes when the program is executed; before that it carries why it was not.
fn heard_start(plan: &Plan, socket: &OwnedFd) -> Result<(), Error> {
    match wire::hear(socket).failing("wait for the program", "recvmsg()")? {
        Message::Closed => Ok(()),
        other => Err(parent::failure(plan, other)),
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

impl Running {
    /// Waits for its end and reaps it; it must be our child.
    pub fn wait(&self) -> Result<pidfd::Exit, Error> {
        pidfd::wait(&self.pidfd).failing_call(|| "wait for the container".into())
    }
}

/// What the caller of [`create_meanwhile`] does with the init's process id and control group.
pub type Meanwhile<'m> = &'m mut dyn FnMut(u32, Option<&Cgroup>);

/// Makes the container; its init waits before the program is executed. After an error nothing of it is left. `network` is what
/// [`NewNetwork::begin`] began for this document, or nothing.
pub fn create(plan: Plan, stdio: Stdio, network: Option<NewNetwork>) -> Result<Created, Error> {
    create_meanwhile(plan, stdio, network, &mut |_, _| ())
}

/// The same; `meanwhile` is called when the init's process id and control group are known, while the init still works: what
/// the caller has to write then costs no time.
pub fn create_meanwhile(
    plan: Plan,
    stdio: Stdio,
    network: Option<NewNetwork>,
    meanwhile: Meanwhile<'_>,
) -> Result<Created, Error> {
    verify(&plan).map_err(Error::Plan)?;
    let prepared = Prepared { new_network: network, ..Prepared::new(&plan, stdio)? };
    let mut made = Made::default();
    match parent::bring_up(&plan, prepared, &mut made, meanwhile) {
        Ok(ready) => {
            Ok(Created { pid: ready.pid, pidfd: ready.pidfd, socket: ready.socket, console: ready.console, made, plan })
        }
        Err(error) => {
            made.undo();
            Err(error)
        }
    }
}

/// Runs hooks one after the other in our own namespaces, up to the first that fails.
pub fn run_hooks(hooks: &[HookStep], state: &State) -> Result<(), Error> {
    hooks.iter().try_for_each(|step| hook::run(step, state))
}

/// Starts a container whose init waits on a socket ([`Gate::Socket`](crate::Gate::Socket)). The plan gives the words of an
/// error; its poststart hooks are the caller's to run, who knows what must happen when one fails.
pub fn start_at(plan: &Plan, socket: &Path) -> Result<(), Error> {
    let connection = scm_rights::connect(socket).failing_call(|| "start the container".into())?;
    wire::say(&connection, Sync::Start, None).failing("start the container", "sendmsg()")?;
    heard_start(plan, &connection)
}
