//! One more process in a container.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use knarr_cgroup::Cgroup;
use knarr_spec::runtime::{LinuxMemoryPolicy, LinuxPersonality, LinuxSeccomp, Process};
use knarr_sys::fs::{self, Mode, OFlags};
use knarr_sys::{Errno, pidfd, pty, uts};

use super::parent::Ready;
use super::parent::{self, Failing, FailingCall};
use super::prepare::{Made, Prepared};
use super::{Running, Stdio, heard_start, wire};
use crate::plan::{Joining, Namespace, Step, Sync, plan_exec};
use crate::resctrl::Rdt;
use crate::{CreateOptions, Error, Host, Plan, State, verify};

/// The container a process joins.
#[derive(Clone, Debug, Default)]
pub struct ExecTarget {
    /// The container's init.
    pub pid: u32,
    /// Its control group; the process joins it.
    pub cgroup: Option<Cgroup>,
    /// Its group of caches and memory bandwidth.
    pub rdt: Option<Rdt>,
    /// Where the init itself is. Version 2 lets nobody into a group that has handed controllers on; then the process goes there.
    pub cgroup_of_init: Option<Cgroup>,
    /// The container's profile.
    pub seccomp: Option<LinuxSeccomp>,
    /// Its annotations, for those that change how a process is made.
    pub annotations: HashMap<String, String>,
    /// The container's state, which a seccomp agent is told.
    pub state: Option<State>,
    /// The container's execution domain.
    pub personality: Option<LinuxPersonality>,
    /// The container's memory policy.
    pub memory_policy: Option<LinuxMemoryPolicy>,
    /// Its terminal's output goes to another terminal, which adds the carriage returns.
    pub leave_line_ends: bool,
    /// Kill the process when the one that made it dies.
    pub pdeathsig: bool,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
}

/// Runs one more program in a container.
pub fn exec(target: &ExecTarget, process: &Process, stdio: Stdio) -> Result<Running, Error> {
    exec_planned(&exec_plan(target, process)?, target, stdio)
}

/// The plan of one more program, made for the container as it is now.
pub fn exec_plan(target: &ExecTarget, process: &Process) -> Result<Plan, Error> {
    let namespaces = differing(target.pid)?;
    let options = CreateOptions {
        id: target.pid.to_string(),
        pdeathsig: target.pdeathsig,
        preserve_fds: target.preserve_fds,
        ..CreateOptions::default()
    };
    let joining = Joining {
        namespaces: &namespaces,
        seccomp: target.seccomp.as_ref(),
        personality: target.personality.as_ref(),
        memory_policy: target.memory_policy.as_ref(),
        cgroup: target.cgroup.is_some(),
        unit: target.cgroup.as_ref().and_then(|cgroup| cgroup.unit.clone()).filter(|unit| unit.bus.user),
        rdt: target.rdt.clone(),
        annotations: target.annotations.clone(),
    };
    let mut host = Host::probe();
    if namespaces.contains(&Namespace::User) {
        host.setgroups_denied = groups_denied(target.pid);
    }
    let mut plan = plan_exec(&joining, process, &host, &options)?;
    plan.container = target.state.clone();
    Ok(plan)
}

/// Whether the container's user namespace denies `setgroups`, as one made without newgidmap does.
fn groups_denied(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/setgroups")).is_ok_and(|answer| answer.trim() == "deny")
}

/// The same with a plan made before.
pub fn exec_planned(plan: &Plan, target: &ExecTarget, stdio: Stdio) -> Result<Running, Error> {
    verify(plan).map_err(Error::Plan)?;
    let again =
        target.cgroup_of_init.as_ref().map(|cgroup| stdio.duplicate().map(|stdio| (cgroup, stdio))).transpose()?;
    let ready = match (bring_up(plan, target, target.cgroup.as_ref(), stdio), again) {
        (Err(error), Some((cgroup, stdio))) if is_busy(&error) || is_gone(&error) => {
            bring_up(plan, target, Some(cgroup), stdio)
        }
        (ready, _) => ready,
    };
    let ready = ready.map_err(|error| if is_busy(&error) { Error::JoinCgroup(Box::new(error)) } else { error })?;
    if let Some(console) = ready.console.as_ref().filter(|_| target.leave_line_ends) {
        let _ = pty::leave_line_ends(console);
    }
    let said = wire::say(&ready.socket, Sync::Start, None);
    if let Err(error) = heard_start(plan, &ready.socket) {
        super::child::put_down(&ready.pidfd);
        return Err(error);
    }
    said.failing("start the process", "sendmsg()")?;
    Ok(Running { pid: ready.pid, pidfd: ready.pidfd, console: ready.console, cgroup: None })
}

/// What clone3 answers where the group cannot take a process.
fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Parent { source, .. } if source.errno == Errno::BUSY)
}

/// The init moved elsewhere, and somebody removed the group it was made in.
fn is_gone(error: &Error) -> bool {
    let Error::JoinCgroup(why) = error else { return false };
    matches!(&**why, Error::Cgroup(knarr_cgroup::Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound)
}

fn bring_up(plan: &Plan, target: &ExecTarget, cgroup: Option<&Cgroup>, stdio: Stdio) -> Result<Ready, Error> {
    let mut prepared = Prepared::new(plan, stdio)?;
    let process = handle(target.pid)?;
    if plan.child.contains(&Step::ContainerRoot) {
        prepared.target_root = Some(open(&format!("/proc/{}/root", target.pid), OFlags::PATH)?);
    }
    match process {
        Some(process) => {
            let again = process.try_clone().map_err(|_| Errno::MFILE);
            prepared.namespaces.push((Namespace::Pid, again.failing("join the container", "fcntl(F_DUPFD_CLOEXEC)")?));
            prepared.target = Some(process);
        }
        None => {
            for kind in differing(target.pid)? {
                let path = format!("/proc/{}/ns/{}", target.pid, kind.proc_name());
                prepared.namespaces.push((kind, open(&path, OFlags::RDONLY)?));
            }
        }
    }
    if let Some(cgroup) = cgroup.filter(|_| plan.child.contains(&Step::EnterCgroup)) {
        prepared.enter(cgroup).map_err(|error| Error::JoinCgroup(Box::new(error)))?;
    }
    parent::bring_up(plan, prepared, &mut Made::default(), &mut |_, _| ())
}

/// A handle that stands for all namespaces of a process (Linux 5.8); `None` where there is none and they are opened one by one.
fn handle(pid: u32) -> Result<Option<OwnedFd>, Error> {
    if uts::kernel_version() < HANDLE_JOINS_SINCE {
        return Ok(None);
    }
    match pidfd::open(pid) {
        Err(error) if pidfd::is_missing(&error) => Ok(None),
        other => other.map(Some).failing_call(|| "join the container".into()),
    }
}

/// setns(2) takes a pidfd from this version on.
const HANDLE_JOINS_SINCE: (u32, u32) = (5, 8);

/// The namespaces of a process that are not ours.
fn differing(pid: u32) -> Result<Vec<Namespace>, Error> {
    let mut kinds = Vec::new();
    for kind in Namespace::ALL {
        let of = |who: &str| inode(&format!("/proc/{who}/ns/{}", kind.proc_name()));
        match (of(&pid.to_string()), of("self")) {
            (Ok(theirs), Ok(ours)) if theirs == ours => {}
            // A kernel without this kind.
            (Err(Errno::NOENT), Err(_)) => {}
            (Err(Errno::NOENT), _) => {
                return Err(Error::Status { id: format!("of process {pid}"), status: "not running" });
            }
            (theirs, _) => {
                theirs.failing_with(|| format!("look at the {} namespace of process {pid}", kind.name()))?;
                kinds.push(kind);
            }
        }
    }
    Ok(kinds)
}

fn inode(path: &str) -> Result<(u64, u64), Errno> {
    let stat = fs::statat(fs::CWD, Path::new(path), fs::AtFlags::empty())?;
    Ok((stat.st_dev, stat.st_ino))
}

fn open(path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    fs::openat(fs::CWD, Path::new(path), flags | OFlags::CLOEXEC, Mode::empty()).failing_with(|| format!("open {path}"))
}
