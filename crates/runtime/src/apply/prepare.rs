//! Opens and makes, before the clone, all that the child will need.
//!
//! Law: what is made here is undone when a later part fails: descriptors by dropping them, the control group by [`Made`].

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use knarr_cgroup::{Cgroup, Controllers, Directory, Layout, Version};
use knarr_spec::runtime::LinuxResources;
use knarr_sys::clone3::{CloneOptions, clone3};
use knarr_sys::execve::Strings;
use knarr_sys::fs::{self, MemfdFlags, Mode, OFlags};
use knarr_sys::mount::{self, MountAttr};
use knarr_sys::setns::flag;
use knarr_sys::{Errno, mounting, scm_rights};

use super::child::put_down;
use super::network::NewNetwork;
use super::parent::{Failing, FailingCall, map_ids};
use super::{Stdio, home, hook, procfs};
use crate::plan::mount::bits;
use crate::plan::step::{HookStep, IdMapWriter, IdMaps, MountIds};
use crate::plan::{Namespace, ParentStep, Plan, Step};
use crate::resctrl::Rdt;
use crate::{Error, HostCgroups};

/// The seccomp agent: where the listener goes, and what is said with it.
#[derive(Debug)]
pub(crate) struct Agent {
    pub socket: OwnedFd,
    /// The container process state, written when the process id is known.
    pub message: OwnedFd,
    /// Room for it, so that the child need not allocate.
    pub buffer: Vec<u8>,
}

/// Everything the child takes with it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub stdio: Stdio,
    pub arguments: Strings,
    pub environment: Strings,
    pub namespaces: Vec<(Namespace, OwnedFd)>,
    /// Opened mounts in the order the child uses them.
    pub mounts: Vec<Option<OwnedFd>>,
    /// The version 2 group clone3 begins in.
    pub into_cgroup: Option<OwnedFd>,
    /// Files the child writes itself into.
    pub cgroup_entries: Vec<OwnedFd>,
    /// The group's directories by controllers.
    pub cgroup_dirs: Vec<(CString, CString)>,
    pub proc: Option<OwnedFd>,
    pub gate: Option<OwnedFd>,
    pub agent: Option<Agent>,
    /// The state document hooks of the child read.
    pub state: Option<OwnedFd>,
    /// The hooks of the child.
    pub hooks: Vec<PreparedHook>,
    /// The container's new network namespace, while it is being made and then.
    pub new_network: Option<NewNetwork>,
    pub network: Option<OwnedFd>,
    /// A process of the container that is joined, and its root.
    pub target: Option<OwnedFd>,
    pub target_root: Option<OwnedFd>,
}

/// What a hook of the child is executed with.
#[derive(Debug)]
pub(crate) struct PreparedHook {
    /// Which step it is.
    pub step: usize,
    pub arguments: Strings,
    /// `None`: the program's.
    pub environment: Option<Strings>,
    /// Where its standard output and error go, when somewhere else.
    pub output: [Option<OwnedFd>; 2],
}

impl PreparedHook {
    fn new(step: usize, hook: &HookStep) -> Result<PreparedHook, Error> {
        let open = |path: &Option<CString>| path.as_deref().map(hook::open_output).transpose();
        let arguments = Strings::new(hook.arguments.clone());
        let environment = hook.environment.clone().map(Strings::new);
        Ok(PreparedHook { step, arguments, environment, output: [open(&hook.output[0])?, open(&hook.output[1])?] })
    }
}

/// What was made for the container and must go when it cannot be.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub cgroup: Option<Cgroup>,
    pub rdt: Option<Rdt>,
    pub gate: Option<std::path::PathBuf>,
    pub notes: Vec<String>,
}

impl Made {
    /// Takes it all back; nothing that fails here could be told to anybody.
    pub fn undo(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            let _ = cgroup.remove();
        }
        if let Some(rdt) = self.rdt.take() {
            let _ = rdt.leave();
        }
        if let Some(path) = self.gate.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Prepared {
    /// What every child needs, whoever it is.
    pub fn new(plan: &Plan, stdio: Stdio) -> Result<Prepared, Error> {
        let stdio = Stdio { stdin: above(stdio.stdin)?, stdout: above(stdio.stdout)?, stderr: above(stdio.stderr)? };
        let hooks = plan.child.iter().enumerate().filter_map(|(index, step)| match step {
            Step::Hook(hook) => Some(PreparedHook::new(index, hook)),
            _ => None,
        });
        let hooks = hooks.collect::<Result<Vec<_>, Error>>()?;
        let state = if hooks.is_empty() { None } else { Some(memory("hook-state")?) };
        let writes = |step: &Step| matches!(step, Step::WriteProc(_) | Step::ExecLabel(_) | Step::NewClocks { .. });
        let proc = match plan.child.iter().any(writes) {
            true => Some(procfs::open().failing("open /proc", "open(\"/proc\", O_PATH|O_DIRECTORY)")?),
            false => None,
        };
        Ok(Prepared {
            stdio,
            arguments: Strings::new(plan.program.arguments.clone()),
            environment: home::room(plan),
            namespaces: Vec::new(),
            mounts: Vec::new(),
            into_cgroup: None,
            cgroup_entries: Vec::new(),
            cgroup_dirs: Vec::new(),
            proc,
            gate: None,
            agent: None,
            state,
            hooks,
            new_network: None,
            network: None,
            target: None,
            target_root: None,
        })
    }

    /// Waits for the end of what other threads make. Before any clone.
    pub fn settle(&mut self) {
        if let Some(new) = self.new_network.take() {
            self.network = new.finish();
        }
    }

    /// Does the parent's step, if it is one of those before the clone.
    pub fn step(&mut self, made: &mut Made, step: &ParentStep) -> Result<(), Error> {
        match step {
            ParentStep::OpenNamespace { kind, path } => self.namespaces.push((*kind, open_namespace(path)?)),
            ParentStep::MakeCgroup {
                path,
                resources,
                required,
                all_controllers,
                hierarchies,
                owner,
                devices_later,
            } => {
                let options = knarr_cgroup::CreateOptions {
                    controllers: if *all_controllers { Controllers::All } else { Controllers::OnlyUsed },
                    rootless: !required,
                    devices_later: *devices_later,
                    ..knarr_cgroup::CreateOptions::default()
                };
                self.cgroup(made, hierarchies, path, resources, &options)?;
                if let (Some(cgroup), Some(owner)) = (&made.cgroup, owner) {
                    cgroup.delegate(*owner)?;
                }
            }
            // Where it will be, for the mounts that show it.
            ParentStep::StartUnit(unit) => {
                let path = unit.name.path().join(&unit.subgroup);
                self.remember(&Cgroup::expect(&Layout::discover()?, &path)?);
            }
            ParentStep::OpenMount { source, recursive, follow, ids, ids_recursive } => {
                if ids.is_some() {
                    self.settle();
                }
                let nofollow = if *follow { OFlags::empty() } else { OFlags::NOFOLLOW };
                let opened = self.open_mount(source, nofollow, *recursive, ids.as_ref(), *ids_recursive)?;
                self.mounts.push(opened);
            }
            ParentStep::BindGate { path } => {
                let _ = std::fs::remove_file(path);
                let gate = scm_rights::listen(path).failing_call(|| step.to_string())?;
                self.gate = Some(gate);
                made.gate = Some(path.clone());
            }
            ParentStep::ConnectSeccompAgent { path } => {
                let what = || format!("failed to connect with seccomp agent {}", path.display());
                let socket = scm_rights::connect_stream(path).failing_call(what)?;
                self.agent = Some(Agent { socket, message: memory("seccomp-state")?, buffer: Vec::new() });
            }
            _ => {}
        }
        Ok(())
    }

    fn cgroup(
        &mut self,
        made: &mut Made,
        hierarchies: &[HostCgroups],
        path: &Path,
        resources: &LinuxResources,
        options: &knarr_cgroup::CreateOptions,
    ) -> Result<(), Error> {
        let mut layout = HostCgroups::layout(hierarchies);
        if options.rootless {
            layout = layout.enterable(path)?;
            if layout.hierarchies.is_empty() {
                let why = "no hierarchy of this machine lets this user make one and enter it";
                made.notes.push(format!("the container has no control group of its own: {why}"));
                return Ok(());
            }
        }
        match Cgroup::create(&layout, path, resources, options) {
            Ok(cgroup) => self.enter(made.cgroup.insert(cgroup)),
            Err(error) if !options.rootless => Err(error.into()),
            Err(error) => {
                made.notes.push(format!("the container has no control group of its own: {error}"));
                Ok(())
            }
        }
    }

    /// A bind's source, with the ids it is to show.
    fn open_mount(
        &self,
        source: &CStr,
        nofollow: OFlags,
        recursive: bool,
        ids: Option<&MountIds>,
        ids_recursive: bool,
    ) -> Result<Option<OwnedFd>, Error> {
        let shown = source.to_string_lossy();
        let file = fs::openat(fs::CWD, source, OFlags::PATH | OFlags::CLOEXEC | nofollow, Mode::empty());
        let file = file.failing_with(|| format!("open {shown}"))?;
        // The child makes it by its path; nothing is lost but what its ids do not reach. All calls are new or old: see there.
        if ids.is_none() && !mounting::has_new_calls() {
            return Ok(None);
        }
        let made = mount::clone_tree(file.as_fd(), recursive);
        let why = made.as_ref().err().filter(|_| ids.is_some()).map_or("", needs);
        let made = made.failing_with(|| format!("open mount {shown}{why}"))?;
        if let Some(ids) = ids {
            self.map_mount(made.as_fd(), ids, ids_recursive, &format!("map the ids of mount {shown}"))?;
        }
        Ok(Some(made))
    }

    /// Gives a mount that is attached nowhere ids of its own.
    pub fn map_mount(&self, mount: BorrowedFd<'_>, ids: &MountIds, recursive: bool, what: &str) -> Result<(), Error> {
        let made_here;
        let namespace = match ids {
            MountIds::Own(ids) => {
                made_here = user_namespace(ids)?;
                &made_here
            }
            MountIds::Joined => {
                let joined = self.namespaces.iter().find(|(kind, _)| *kind == Namespace::User).map(|(_, fd)| fd);
                joined.ok_or(Errno::BADF).failing_with(|| what.to_owned())?
            }
        };
        let attr = MountAttr { set: bits::IDMAP, userns_fd: namespace.as_raw_fd() as u64, ..MountAttr::default() };
        let mapped = mount::setattr(mount, recursive, &attr);
        let why = mapped.as_ref().err().map_or("", needs);
        mapped.failing_with(|| format!("{what}{why}"))
    }

    /// Lets go of what only the steps before the program's own needed.
    pub fn release(&mut self) {
        self.namespaces = Vec::new();
        self.mounts = Vec::new();
        self.cgroup_entries = Vec::new();
        (self.target, self.target_root, self.stdio) = (None, None, Stdio::default());
    }

    /// Opens the way into a control group: version 2 by clone3, version 1 by each directory's `tasks`.
    pub fn enter(&mut self, cgroup: &Cgroup) -> Result<(), Error> {
        self.into_cgroup = cgroup.clone_into()?;
        self.remember(&cgroup.directories);
        for directory in &cgroup.directories {
            let file = match (directory.version, &self.into_cgroup) {
                (Version::V2, Some(_)) => continue,
                (Version::V2, None) => directory.path.join("cgroup.procs"),
                (Version::V1, _) => directory.path.join("tasks"),
            };
            let what = || format!("open {}", file.display());
            let entry = fs::openat(fs::CWD, &file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            self.cgroup_entries.push(entry.failing_with(what)?);
        }
        Ok(())
    }
}

impl Prepared {
    fn remember(&mut self, directories: &[Directory]) {
        let c_string = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
        let both = directories.iter().map(|directory| {
            let controllers = directory.controllers.join(",");
            (c_string(controllers.as_bytes()), c_string(directory.path.as_os_str().as_bytes()))
        });
        self.cgroup_dirs.extend(both);
    }
}

/// A descriptor of the program that happens to be one of the three would be overwritten before it is used.
fn above(fd: Option<OwnedFd>) -> Result<Option<OwnedFd>, Error> {
    use std::os::fd::AsRawFd;
    let Some(fd) = fd else { return Ok(None) };
    if fd.as_raw_fd() > 2 {
        return Ok(Some(fd));
    }
    let moved = knarr_sys::io::fcntl_dupfd_cloexec(&fd, 3);
    moved.map(Some).failing("take the program's descriptors", "fcntl(F_DUPFD_CLOEXEC)")
}

fn memory(name: &str) -> Result<OwnedFd, Error> {
    fs::memfd_create(name, MemfdFlags::CLOEXEC).failing("make a file in memory", "memfd_create()")
}

fn open_namespace(path: &Path) -> Result<OwnedFd, Error> {
    let opened = fs::openat(fs::CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    opened.failing_with(|| format!("open namespace {}", path.display()))
}

fn needs(errno: &Errno) -> &'static str {
    if *errno == Errno::NOSYS { NEEDS_NEW_CALLS } else { "" }
}

/// Of what nothing older can do.
const NEEDS_NEW_CALLS: &str = ": idmapped mounts need open_tree(2) and mount_setattr(2), Linux 5.12";

/// A user namespace that is only a mapping: made by a process that waits until we have opened it.
fn user_namespace(ids: &IdMaps) -> Result<OwnedFd, Error> {
    let (ours, theirs) = scm_rights::seqpacket_pair().failing("make a socket pair", "socketpair()")?;
    let options = CloneOptions { flags: flag::USER, into_cgroup: None };
    let holder = clone3(&options, || {
        let _ = super::wire::hear(&theirs);
        0
    });
    let holder = holder.failing_call(|| "make a user namespace for a mount".into())?;
    let opened = map_ids(holder.pid, ids, IdMapWriter::Direct)
        .and_then(|()| open_namespace(Path::new(&format!("/proc/{}/ns/user", holder.pid))));
    put_down(&holder.pidfd);
    drop(ours);
    opened
}

/// A file in memory, rewritten.
pub(crate) fn rewrite(file: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    fs::seek(file, fs::SeekFrom::Start(0))?;
    knarr_sys::io::write(file, bytes)?;
    fs::seek(file, fs::SeekFrom::Start(0)).map(drop)
}
