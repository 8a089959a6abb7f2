//! The parent's half: clone, and what follows until the child is ready.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use knarr_cgroup::{Cgroup, Layout};
use knarr_sys::clone3::{self, CloneOptions};
use knarr_sys::fs::{self, Mode, OFlags};
use knarr_sys::setns::setns;
use knarr_sys::{Errno, pidfd, scm_rights};

use super::child::{self, Child, put_down};
use super::prepare::{Made, Prepared, rewrite};
use super::state::{State, Status};
use super::wire::{self, Message};
use super::{Meanwhile, hook, net_device};
use crate::Error;
use crate::plan::step::{IdMapWriter, IdMaps, IdRange, UnitStep};
use crate::plan::{HookKind, Namespace, ParentStep, Plan, Step, Sync};

/// Turns a failed call into an error with the purpose beside it.
pub(crate) trait Failing<T> {
    fn failing(self, what: &str, call: &str) -> Result<T, Error>;
    fn failing_with(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Failing<T> for Result<T, Errno> {
    fn failing(self, what: &str, call: &str) -> Result<T, Error> {
        self.map_err(|errno| Error::Parent { what: what.into(), source: knarr_sys::Error::new(call, errno) })
    }

    fn failing_with(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|errno| {
            let what = what();
            Error::Parent { source: knarr_sys::Error::new(format!("({what})"), errno), what }
        })
    }
}

/// The same where the call is known already.
pub(crate) trait FailingCall<T> {
    fn failing_call(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> FailingCall<T> for knarr_sys::Result<T> {
    fn failing_call(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Parent { what: what(), source })
    }
}

/// The child once it is ready.
pub(crate) struct Ready {
    pub pid: u32,
    pub pidfd: OwnedFd,
    pub socket: OwnedFd,
    pub console: Option<OwnedFd>,
    /// What it said before it was known who it is.
    early: Option<Message>,
}

/// Clones the child and takes it to the gate; kills it when that fails.
pub(crate) fn bring_up(
    plan: &Plan,
    mut prepared: Prepared,
    made: &mut Made,
    meanwhile: Meanwhile<'_>,
) -> Result<Ready, Error> {
    for step in &plan.parent {
        prepared.step(made, step)?;
    }
    if let Some(agent) = &mut prepared.agent {
        agent.buffer = vec![0; State::of(plan, 0, Status::Created).seccomp_message(plan).len() + 2 * PID_DIGITS];
    }
    let mut ready = clone(plan, &mut prepared)?;
    match after_clone(plan, &prepared, made, &mut ready, meanwhile) {
        Ok(()) => Ok(ready),
        Err(error) => {
            let exit = put_down(&ready.pidfd);
            Err(match (error, exit) {
                (Error::InitDied { .. }, Some(exit)) => Error::InitDied { status: exit.to_string() },
                (error, _) => error,
            })
        }
    }
}

/// Digits a process id has at most (the kernel's limit is 2²²); the message holds it twice.
const PID_DIGITS: usize = 7;

fn clone(plan: &Plan, prepared: &mut Prepared) -> Result<Ready, Error> {
    let step = plan.parent.iter().find_map(|step| match step {
        ParentStep::Clone { new, around } => Some((new, around)),
        _ => None,
    });
    let (new, around) = step.ok_or_else(|| Error::Plan(Vec::new()))?;
    let (ours, theirs) = scm_rights::seqpacket_pair().failing("make a socket pair", "socketpair()")?;
    let own = around.iter().map(|kind| own_namespace(*kind)).collect::<Result<Vec<_>, _>>()?;
    prepared.settle();
    let cloned_into = |kind: &&Namespace| **kind != Namespace::Network || prepared.network.is_none();
    let flags = new.iter().filter(cloned_into).fold(0, |flags, kind| flags | kind.flag());
    if !new.contains(&Namespace::Network) {
        prepared.network = None;
    }
    for kind in around {
        let joined = prepared.namespaces.iter().find(|(of, _)| of == kind).map(|(_, fd)| fd);
        joined
            .ok_or(Errno::BADF)
            .and_then(|fd| setns(fd, kind.flag()))
            .failing_with(|| format!("join the {} namespace", kind.name()))?;
    }
    let mut ours = Some(ours);
    let cloned = clone_child(plan, prepared, flags, (&mut ours, theirs));
    let returned = around.iter().zip(own).try_for_each(|(kind, fd)| {
        setns(&fd, kind.flag()).failing_with(|| format!("return to our {} namespace", kind.name()))
    });
    let child = cloned.failing_call(|| "make the container's first process".into())?;
    if let Err(error) = returned {
        put_down(&child.pidfd);
        return Err(error);
    }
    let socket = ours.ok_or_else(|| Error::Plan(Vec::new()))?;
    Ok(Ready { pid: child.pid, pidfd: child.pidfd, socket, console: None, early: None })
}

/// Into its control group at once, or where clone3 cannot do that, by having the child move itself.
fn clone_child(
    plan: &Plan,
    prepared: &mut Prepared,
    flags: u64,
    (ours, theirs): (&mut Option<OwnedFd>, OwnedFd),
) -> knarr_sys::Result<clone3::Child> {
    let into_cgroup = prepared.into_cgroup.take();
    let mut socket = Some(theirs);
    let mut child = |prepared: &mut Prepared| {
        let Some(socket) = socket.take() else { return 0 };
        // The child's copy of our end: while it stands open, the child never hears that we were killed, and waits for ever.
        *ours = None;
        child::run(Child::new(plan, prepared, socket), 0)
    };
    let options = CloneOptions { flags, into_cgroup: into_cgroup.as_ref().map(AsFd::as_fd) };
    match (clone3::clone3(&options, || child(prepared)), &into_cgroup) {
        (Err(error), Some(dir)) if matches!(error.errno, Errno::NOSYS | Errno::TOOBIG | Errno::INVAL | Errno::PERM) => {
            let entry = fs::openat(dir, c"cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            prepared.cgroup_entries.extend(entry);
            clone3::clone3(&CloneOptions { flags, into_cgroup: None }, || child(prepared))
        }
        (cloned, _) => cloned,
    }
}

fn own_namespace(kind: Namespace) -> Result<OwnedFd, Error> {
    open_namespace(&format!("/proc/self/ns/{}", kind.proc_name()))
}

fn namespace_of(pid: u32, kind: Namespace) -> Result<OwnedFd, Error> {
    open_namespace(&format!("/proc/{pid}/ns/{}", kind.proc_name()))
}

fn open_namespace(path: &str) -> Result<OwnedFd, Error> {
    let opened = fs::openat(fs::CWD, Path::new(path), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    opened.failing_with(|| format!("open {path}"))
}

fn after_clone(
    plan: &Plan,
    prepared: &Prepared,
    made: &mut Made,
    ready: &mut Ready,
    meanwhile: Meanwhile<'_>,
) -> Result<(), Error> {
    let adopts = plan.parent.contains(&ParentStep::AdoptGrandchild);
    if !adopts {
        tell_state(plan, prepared, ready.pid)?;
    }
    for (index, step) in plan.parent.iter().enumerate() {
        let what = || format!("step {} of {}: {step}", index + 1, plan.parent.len());
        match step {
            ParentStep::MapIds { maps, writer } => map_ids(ready.pid, maps, *writer)?,
            ParentStep::Say(sync) => say_or_hear(plan, ready, *sync)?,
            ParentStep::Wait(sync) => {
                if *sync == Sync::Ready {
                    meanwhile(ready.pid, made.cgroup.as_ref());
                }
                ready.console = listen(plan, ready, *sync)?;
            }
            ParentStep::AllowDevices { resources } => {
                made.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.allow_devices(resources))?;
            }
            ParentStep::AdoptGrandchild => {
                adopt(plan, ready)?;
                tell_state(plan, prepared, ready.pid)?;
            }
            ParentStep::Hook(step) => {
                // The hooks of old are told what they were told before there was a "creating".
                let status = if step.kind == HookKind::Prestart { Status::Created } else { Status::Creating };
                hook::run(step, &State::of(plan, ready.pid, status))?;
            }
            ParentStep::StartUnit(unit) => start_unit(plan, unit, ready.pid, made)?,
            ParentStep::Descend { to, owner } => {
                let cgroup = made.cgroup.as_ref().ok_or_else(|| Error::Plan(Vec::new()))?;
                cgroup.descend(to, ready.pid, *owner)?;
            }
            ParentStep::MapMount { ids, recursive } => {
                let mount = listen(plan, ready, Sync::MountFound)?.ok_or_else(|| Error::Plan(Vec::new()))?;
                prepared.map_mount(mount.as_fd(), ids, *recursive, &step.to_string())?;
                say_or_hear(plan, ready, Sync::MountMapped)?;
            }
            ParentStep::EnterUnit(unit) => unit.attach(ready.pid)?,
            ParentStep::EnterResctrl(rdt) => rdt.enter(ready.pid)?,
            ParentStep::JoinResctrl(rdt) => made.rdt.insert((**rdt).clone()).join(ready.pid)?,
            ParentStep::MoveNetDevice { name, to } => {
                let own = own_namespace(Namespace::Network)?;
                let theirs = namespace_of(ready.pid, Namespace::Network)?;
                net_device::relocate(name, to, &theirs, &own).failing_call(what)?;
            }
            ParentStep::OomScore(score) => {
                let path = format!("/proc/{}/oom_score_adj", ready.pid);
                oom_score(&path, *score, made).failing_with(what)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn start_unit(plan: &Plan, unit: &UnitStep, pid: u32, made: &mut Made) -> Result<(), Error> {
    let description = format!("container {}", plan.id);
    let options = unit.options(&description, pid);
    let cgroup = made.cgroup.insert(Cgroup::start_unit(&Layout::discover()?, &unit.resources, &options)?);
    Ok(unit.owner.map_or(Ok(()), |owner| cgroup.delegate(owner))?)
}

/// A child that does not listen is gone; it may have said why.
fn say_or_hear(plan: &Plan, ready: &mut Ready, sync: Sync) -> Result<(), Error> {
    match wire::say(&ready.socket, sync, None) {
        Ok(()) => Ok(()),
        Err(_) => listen(plan, ready, sync).map(drop),
    }
}

/// Below what we have ourselves only the privileged may go; that is worth a note where there is no such privilege to be had.
fn oom_score(path: &str, score: i32, made: &mut Made) -> Result<(), Errno> {
    let file = fs::openat(fs::CWD, Path::new(path), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    super::procfs::check(&file)?;
    match knarr_sys::io::write(&file, score.to_string().as_bytes()) {
        Err(Errno::ACCESS) => {
            made.notes.push(format!("oom_score_adj {score} is lower than our own and was not set"));
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Hooks and the agent in the child read who it is from files we fill now.
fn tell_state(plan: &Plan, prepared: &Prepared, pid: u32) -> Result<(), Error> {
    let state = State::of(plan, pid, Status::Created);
    if let Some(file) = &prepared.state {
        rewrite(file, state.to_json().as_bytes()).failing("tell hooks the state", "write()")?;
    }
    if let Some(agent) = &prepared.agent {
        let message = state.seccomp_message(plan);
        rewrite(&agent.message, message.as_bytes()).failing("tell the agent the state", "write()")?;
    }
    Ok(())
}

/// Waits for a sync point; what else comes is an error.
fn listen(plan: &Plan, ready: &mut Ready, sync: Sync) -> Result<Option<OwnedFd>, Error> {
    let message = match ready.early.take() {
        Some(message) => message,
        None => wire::hear(&ready.socket).failing("wait for the child", "recvmsg()")?,
    };
    match message {
        Message::Sync { number, fd } if number == sync as u8 => Ok(fd),
        other => Err(failure(plan, other)),
    }
}

/// The process in between tells who took its place, and ends. The new one may be faster, and have said its first word before it is known.
fn adopt(plan: &Plan, ready: &mut Ready) -> Result<(), Error> {
    loop {
        match wire::hear(&ready.socket).failing("wait for the child", "recvmsg()")? {
            Message::Process { pid, pidfd: Some(pidfd) } => {
                let between = std::mem::replace(&mut ready.pidfd, pidfd);
                ready.pid = pid;
                pidfd::wait(&between).failing_call(|| "wait for the process in between".into())?;
                return Ok(());
            }
            message @ (Message::Failed { .. } | Message::Sync { .. }) if ready.early.is_none() => {
                ready.early = Some(message);
            }
            other => return Err(failure(plan, ready.early.take().unwrap_or(other))),
        }
    }
}

/// The child's numbers in words.
pub(crate) fn failure(plan: &Plan, message: Message) -> Error {
    let Message::Failed { step, errno, note } = message else {
        return Error::InitDied { status: "it said nothing".into() };
    };
    match plan.child.get(step) {
        Some(Step::FindProgram) => Error::Program { name: plan.program.name.clone(), errno },
        Some(Step::Execute) => Error::Execute { name: plan.program.name.clone(), errno },
        Some(Step::Hook(hook)) => Error::Hook {
            kind: hook.kind.name(),
            index: hook.index,
            path: hook.path.to_string_lossy().into_owned(),
            why: note.unwrap_or_else(|| errno.to_string()),
        },
        Some(what) => Error::Step {
            number: step + 1,
            total: plan.child.len(),
            what: what.to_string(),
            errno,
            note,
            hint: super::hint::hint(what, errno),
        },
        None => Error::InitDied { status: errno.to_string() },
    }
}

/// Gives the ids of a user namespace their meaning outside.
pub(crate) fn map_ids(pid: u32, maps: &IdMaps, writer: IdMapWriter) -> Result<(), Error> {
    let lists = [("uid_map", "newuidmap", &maps.users), ("gid_map", "newgidmap", &maps.groups)];
    if writer == IdMapWriter::DirectWithoutGroups {
        write_file(&format!("/proc/{pid}/setgroups"), "deny")?;
    }
    for (file, helper, ranges) in lists {
        match writer {
            IdMapWriter::Helpers => run_helper(helper, pid, ranges)?,
            _ => write_file(&format!("/proc/{pid}/{file}"), &lines(ranges))?,
        }
    }
    Ok(())
}

fn lines(ranges: &[IdRange]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.count)).collect()
}

fn write_file(path: &str, text: &str) -> Result<(), Error> {
    let file = fs::openat(fs::CWD, Path::new(path), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let written = file.and_then(|file| knarr_sys::io::write(&file, text.as_bytes()));
    written.map(drop).failing(&format!("write {:?} to {path}", text.trim_end()), &format!("write({path:?})"))
}

fn run_helper(program: &str, pid: u32, ranges: &[IdRange]) -> Result<(), Error> {
    let numbers = ranges.iter().flat_map(|r| [r.inside, r.outside, r.count]).map(|n| n.to_string());
    let output = Command::new(program).arg(pid.to_string()).args(numbers).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(Error::IdMapHelper { program: program.into(), why })
        }
        Err(error) => Err(Error::IdMapHelper { program: program.into(), why: error.to_string() }),
    }
}
