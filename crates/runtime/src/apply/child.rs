//! The child: a closed set of operations, done in the order of the plan.
//!
//! Law: what runs here was prepared before the clone. On the straight path nothing is allocated; errors are a step's number
//! and an errno, and the parent finds the words.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use knarr_sys::clone3::{CLONE_PARENT, CloneOptions, clone3};
use knarr_sys::setns::{flag, setns, unshare};
use knarr_sys::{
    Errno, Root, capabilities, close_range, credentials, execve, io, ioprio_set, keyctl, netdevice, personality, pidfd,
    prctl, prlimit, sched, scm_rights, seccomp, set_mempolicy, sigaction, uts,
};

use super::prepare::Prepared;
use super::wire::{self, Trouble};
use super::{console, home, hook, procfs, program, root, tree, user};
use crate::plan::{Namespace, Plan, Step, Sync};

/// The child's exit codes, seen only when nobody is there to hear the report.
const EXIT_FAILED: i32 = 125;

/// The child between its steps.
pub(crate) struct Child<'p> {
    pub plan: &'p Plan,
    pub prepared: &'p mut Prepared,
    /// To the parent; later to whoever starts.
    pub socket: OwnedFd,
    /// The container's root, once there is one.
    pub root: Option<Root>,
    /// How many of the opened mounts were used.
    pub mounts_used: usize,
    pub terminal: Option<console::Terminal>,
    pub covers: tree::Covers,
    pub directory: tree::LastDirectory,
    pub kept: tree::Kept,
    /// Which candidate is the program.
    pub program: usize,
    /// The flags of namespaces joined ahead.
    pub joined: u64,
}

/// Does the steps from `first` on; returns an exit code when one failed.
pub(crate) fn run(mut child: Child<'_>, first: usize) -> i32 {
    credentials::set_umask(0);
    let network = child.prepared.network.take();
    if let Some(errno) = network.and_then(|network| setns(network, flag::NETWORK).err()) {
        let _ = wire::say_failed(&child.socket, first, &Trouble::new(errno, "join the new network namespace"));
        return EXIT_FAILED;
    }
    for (index, step) in child.plan.child.iter().enumerate().skip(first) {
        match child.step(index, step) {
            Ok(Next::Step) => {}
            Ok(Next::Exit(code)) => return code,
            Err(trouble) => {
                let _ = wire::say_failed(&child.socket, index, &trouble);
                return EXIT_FAILED;
            }
        }
    }
    EXIT_FAILED
}

/// What comes after a step.
pub(crate) enum Next {
    Step,
    Exit(i32),
}

impl<'p> Child<'p> {
    pub fn new(plan: &'p Plan, prepared: &'p mut Prepared, socket: OwnedFd) -> Child<'p> {
        Child {
            plan,
            prepared,
            socket,
            root: None,
            mounts_used: 0,
            terminal: None,
            covers: tree::Covers::default(),
            directory: tree::LastDirectory::default(),
            kept: tree::Kept::default(),
            program: 0,
            joined: 0,
        }
    }

    pub fn root(&self) -> Result<&Root, Trouble> {
        self.root.as_ref().ok_or_else(|| Errno::BADF.into())
    }

    fn step(&mut self, index: usize, step: &Step) -> Result<Next, Trouble> {
        match step {
            Step::DieWithParent => prctl::set_parent_death_signal(SIGKILL)?,
            Step::NewSession => credentials::set_session()?,
            Step::JoinWhatCanBe(kinds) => {
                for kind in kinds {
                    // What cannot be yet is joined by its own step, which tells why when it still cannot.
                    self.joined |= self.join(*kind).map_or(0, |()| kind.flag());
                }
            }
            Step::JoinNamespace(kind) if self.joined & kind.flag() != 0 => {}
            Step::JoinNamespace(kind) => self.join(*kind)?,
            Step::NewNamespaces(kinds) => unshare(kinds.iter().fold(0, |flags, kind| flags | kind.flag()))?,
            Step::CloneIntoPidNamespace { new } => return self.clone_again(index, *new),
            Step::JoinContainer { kinds } => self.join_container(kinds)?,
            Step::ContainerRoot => self.container_root()?,
            Step::BecomeRoot => become_root()?,
            Step::EnterCgroup => self.enter_cgroup()?,
            Step::NewClocks { offsets } => procfs::new_clocks(self.prepared, offsets)?,
            Step::SessionKeyring(name) => keyring(name)?,
            Step::LoopbackUp => netdevice::loopback_up()?,
            Step::HostName(name) => uts::set_host_name(name.as_bytes())?,
            Step::DomainName(name) => uts::set_domain_name(name.as_bytes())?,
            Step::WriteProc(write) | Step::ExecLabel(write) => procfs::write(self.prepared, write)?,
            Step::Propagation { flags, .. } => root::propagation(*flags)?,
            Step::OverlayRoot(overlay) => self.root = Some(root::overlay(overlay)?),
            Step::DirectoryRoot(path) => self.root = Some(root::directory(path)?),
            Step::OpenedRoot { path, propagation } => {
                self.root = Some(match self.next_mount()? {
                    Some(mount) => root::opened(mount, *propagation)?,
                    None => root::directory(path)?,
                });
            }
            Step::PlainRoot(path) => self.root = Some(root::plain(path)?),
            Step::Mount(mount) => {
                self.directory = tree::LastDirectory::default();
                tree::mount(self, mount)?;
            }
            Step::Device(device) => tree::device(self, device)?,
            Step::Link { text, at } => tree::link(self, text, at)?,
            Step::Terminal { size, console } => console::open(self, *size, *console)?,
            Step::Seal(path) => tree::seal(self.root()?, path)?,
            Step::Mask(path) => tree::mask(self, path)?,
            Step::ReadOnly(path) => tree::read_only(self, path)?,
            Step::MakeWorkingDirectory(path) => drop(tree::make_dir(self.root()?, path)?),
            Step::ReadOnlyRoot => root::read_only(self.root()?)?,
            Step::Hook(step) => hook::run_in_child(self, index, step)?,
            Step::PivotRoot => root::pivot(self.root()?)?,
            Step::MoveRoot => root::move_over(self.root()?)?,
            Step::Chroot => root::chroot(self.root()?)?,
            Step::RootPropagation { flags, recursive, .. } => root::set_propagation(self.root()?, *flags, *recursive)?,
            Step::Limit { resource, soft, hard, .. } => prlimit::set(*resource, *soft, *hard)?,
            Step::Scheduler(attr) => sched::set_attr(attr)?,
            Step::IoPriority { class, priority } => ioprio_set::set(*class, *priority)?,
            Step::MemoryPolicy { mode, nodes } => set_mempolicy::set(*mode, nodes)?,
            Step::Personality(persona) => personality::set(*persona)?,
            // A denied call leaves us where our caller was.
            Step::AnyProcessor => drop(sched::set_affinity(&EVERY_PROCESSOR)),
            Step::Affinity { mask, .. } => sched::set_affinity(mask)?,
            Step::Stdio => self.stdio()?,
            Step::CloseDescriptors { keep } => self.close(*keep)?,
            Step::WorkingDirectory(path) => program::working_directory(path)?,
            Step::User { uid, gid, groups, umask } => {
                user::become_user(*uid, *gid, groups.as_deref(), *umask)?;
            }
            Step::Home { uid, variable } => home::set(self.prepared, *uid, *variable),
            Step::FindProgram => self.program = program::find(&self.plan.program.candidates)?,
            Step::Say(sync) => self.say(*sync)?,
            Step::Wait(sync) => return self.wait(*sync),
            Step::Capabilities { bounding, sets, ambient } => {
                capabilities::limit_bounding(*bounding)?;
                user::limit_capabilities(sets, *ambient)?;
            }
            Step::NoNewPrivileges => prctl::set_no_new_privileges()?,
            Step::Seccomp(filter) => {
                let length = self.agent_message()?;
                let listener = seccomp::install(&filter.instructions, filter.flags)?;
                self.hand_over(listener, length)?;
            }
            Step::Execute => return Err(self.execute().into()),
        }
        Ok(Next::Step)
    }

    fn join(&mut self, kind: Namespace) -> Result<(), Errno> {
        let fd = self.prepared.namespaces.iter().find(|(of, _)| *of == kind).map(|(_, fd)| fd);
        setns(fd.ok_or(Errno::BADF)?, kind.flag())
    }

    fn join_container(&mut self, kinds: &[Namespace]) -> Result<(), Errno> {
        match &self.prepared.target {
            Some(target) => setns(target, kinds.iter().fold(0, |flags, kind| flags | kind.flag()))?,
            // The user namespace first, which gives the right to join the others; mounts last.
            None => Namespace::ALL.iter().filter(|kind| kinds.contains(kind)).try_for_each(|kind| self.join(*kind))?,
        }
        self.root = Some(root::plain(c"/")?);
        Ok(())
    }

    fn container_root(&mut self) -> Result<(), Errno> {
        let root = self.prepared.target_root.as_ref().ok_or(Errno::BADF)?;
        io::fchdir(root)?;
        io::chroot(c".")?;
        self.root = Some(root::plain(c"/")?);
        Ok(())
    }

    /// The new process is a child of our parent, which hears of it; we are done.
    fn clone_again(&mut self, index: usize, new: bool) -> Result<Next, Trouble> {
        let flags = CLONE_PARENT | if new { flag::PID } else { 0 };
        let socket = self.socket.try_clone().map_err(|_| Errno::MFILE)?;
        let next = index + 1;
        let (root, mounts_used) = (self.root.take(), self.mounts_used);
        let child = Child { root, mounts_used, ..Child::new(self.plan, self.prepared, socket) };
        let process = clone3(&CloneOptions { flags, into_cgroup: None }, move || run(child, next))?;
        wire::say_process(&self.socket, process.pid, process.pidfd.as_fd())?;
        Ok(Next::Exit(0))
    }

    fn enter_cgroup(&mut self) -> Result<(), Errno> {
        for entry in &self.prepared.cgroup_entries {
            // "0" is the writer; to move oneself by `tasks` needs no lock that waits for every processor.
            io::write(entry, b"0")?;
        }
        Ok(())
    }

    /// `None` where the parent could not open it, having no open_tree(2): then its path must do.
    pub fn next_mount(&mut self) -> Result<Option<OwnedFd>, Errno> {
        let slot = self.prepared.mounts.get_mut(self.mounts_used).ok_or(Errno::BADF)?;
        self.mounts_used += 1;
        Ok(slot.take())
    }

    /// The parent maps the ids of a mount that only we can find. It is the same mount, whoever's descriptor it is changed by.
    pub fn have_mapped(&self, mount: &OwnedFd) -> Result<(), Trouble> {
        wire::say(&self.socket, Sync::MountFound, Some(mount.as_fd()))?;
        match wire::hear(&self.socket)? {
            wire::Message::Sync { number, .. } if number == Sync::MountMapped as u8 => Ok(()),
            _ => Err(Errno::PROTO.into()),
        }
    }

    fn stdio(&mut self) -> Result<(), Errno> {
        if let Some(terminal) = &self.terminal {
            io::dup2_stdin(&terminal.slave)?;
            io::dup2_stdout(&terminal.slave)?;
            return io::dup2_stderr(&terminal.slave);
        }
        let stdio = &self.prepared.stdio;
        stdio.stdin.as_ref().map_or(Ok(()), io::dup2_stdin)?;
        stdio.stdout.as_ref().map_or(Ok(()), io::dup2_stdout)?;
        stdio.stderr.as_ref().map_or(Ok(()), io::dup2_stderr)?;
        program::own_null();
        Ok(())
    }

    /// What has done its work is closed at once, so that nobody finds it in the init that waits for its start; the rest by execve.
    fn close(&mut self, keep: u32) -> Result<(), Errno> {
        self.root = None;
        self.covers = tree::Covers::default();
        self.directory = tree::LastDirectory::default();
        self.kept = tree::Kept::default();
        self.prepared.release();
        if self.prepared.gate.is_some() {
            // Nobody knows how long it will wait: what our callers left open goes too.
            self.close_others(FIRST_FD + keep)?;
        }
        close_range::cloexec_from(FIRST_FD + keep)
    }

    /// All but what the steps that are left need.
    fn close_others(&self, first: u32) -> Result<(), Errno> {
        let prepared = &*self.prepared;
        let agent = prepared.agent.as_ref();
        let terminal = self.terminal.as_ref();
        let needed = [
            Some(&self.socket),
            prepared.gate.as_ref(),
            prepared.proc.as_ref(),
            prepared.state.as_ref(),
            agent.map(|agent| &agent.socket),
            agent.map(|agent| &agent.message),
            terminal.map(|terminal| &terminal.master),
            terminal.map(|terminal| &terminal.slave),
        ];
        let mut numbers = needed.map(|fd| fd.map_or(0, |fd| fd.as_raw_fd() as u32));
        numbers.sort_unstable();
        let mut from = first;
        for number in numbers.into_iter().filter(|number| *number >= first) {
            close_range::close(from, number.saturating_sub(1))?;
            from = number + 1;
        }
        close_range::close(from, u32::MAX)
    }

    fn say(&mut self, sync: Sync) -> Result<(), Errno> {
        let terminal = self.terminal.take_if(|_| sync == Sync::Ready);
        wire::say(&self.socket, sync, terminal.as_ref().map(|t| t.master.as_fd()))
    }

    /// A parent that is gone wants nothing any more.
    fn wait(&mut self, sync: Sync) -> Result<Next, Trouble> {
        if sync == Sync::Start
            && let Some(gate) = self.prepared.gate.take()
        {
            // As process 1 it would not even notice them otherwise.
            sigaction::end_on(&ENDING);
            self.socket = scm_rights::accept(&gate)?;
        }
        match wire::hear_soon(&self.socket)? {
            wire::Message::Sync { number, .. } if number == sync as u8 => Ok(Next::Step),
            wire::Message::Closed => Ok(Next::Exit(EXIT_FAILED)),
            _ => Err(Errno::PROTO.into()),
        }
    }

    /// Reads what the agent is told, before the filter: a call that is notified before the agent can hear of it waits for ever.
    fn agent_message(&mut self) -> Result<usize, Errno> {
        let Some(agent) = &mut self.prepared.agent else { return Ok(0) };
        io::read(&agent.message, &mut agent.buffer)
    }

    /// Spec: config-linux.md "The Container Process State".
    fn hand_over(&mut self, listener: Option<OwnedFd>, length: usize) -> Result<(), Errno> {
        let (Some(listener), Some(agent)) = (listener, &mut self.prepared.agent) else { return Ok(()) };
        scm_rights::send(&agent.socket, &agent.buffer[..length], Some(listener.as_fd()))
    }

    fn execute(&mut self) -> Errno {
        sigaction::reset();
        let Some(path) = self.plan.program.candidates.get(self.program) else { return Errno::NOENT };
        execve::execve(path, &self.prepared.arguments, &self.prepared.environment)
    }
}

/// 8192 processors are the most a kernel for x86 can be built for.
const EVERY_PROCESSOR: [u64; 128] = [u64::MAX; 128];
/// SIGHUP, SIGINT, SIGQUIT, SIGTERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];
/// Descriptors 0, 1 and 2 are the program's in any case.
const FIRST_FD: u32 = 3;
const SIGKILL: i32 = 9;

fn become_root() -> Result<(), Errno> {
    credentials::set_group(0)?;
    credentials::set_user(0)
}

/// Kernels are built without keyrings too.
fn keyring(name: &std::ffi::CStr) -> Result<(), Errno> {
    match keyctl::join_session_keyring(name) {
        Err(Errno::NOSYS) => Ok(()),
        other => other,
    }
}

/// A child that may not go on is killed and reaped.
pub(crate) fn put_down(pidfd: impl AsFd) -> Option<pidfd::Exit> {
    let _ = pidfd::send_signal(&pidfd, SIGKILL);
    pidfd::wait(&pidfd).ok()
}
