//! The steps a plan is made of, and their words.
//!
//! ```text
//! parent                                   child
//!   open what must be opened outside
//!   clone ───────────────────────────────►  (new namespaces)
//!   have systemd make the unit
//!   say  cgroup-ready ───────────────────►  wait cgroup-ready        (only with systemd's groups)
//!   write id maps
//!   say  ids-mapped ─────────────────────►  wait ids-mapped          (only with a new user namespace)
//!   wait network-ready ◄──────────────────  say  network-ready       (only with network devices)
//!   move them
//!   say  devices-moved ──────────────────►  wait devices-moved
//!                                           mounts, devices, masks
//!   wait namespaces-ready ◄───────────────  say  namespaces-ready    (only with prestart/createRuntime hooks)
//!   run hooks
//!   say  hooks-done ─────────────────────►  wait hooks-done
//!                                           createContainer hooks, pivot, user, working directory
//!   wait ready ◄──────────────────────────  say  ready               (with the terminal's master)
//!   … create returns; later …
//!   say  start ──────────────────────────►  wait start
//!                                           startContainer hooks, capabilities, seccomp, execve
//! ```
//!
//! Law: every text a step hands to the kernel is a C string already, so that the child need not allocate.

use std::ffi::CString;
use std::path::PathBuf;

use knarr_cgroup::{Bus, CreateOptions, Property, UnitName, UnitOptions};
use knarr_spec::runtime::LinuxResources;
use knarr_sys::InRoot;
use knarr_sys::capabilities::Sets;
use knarr_sys::sched::SchedAttr;
use knarr_sys::setns::flag;

use super::mount::MountStep;
use crate::HostCgroups;
use crate::resctrl::Rdt;

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// Users; first, because it owns the others.
    User,
    /// Processes.
    Pid,
    /// Network.
    Network,
    /// System V and POSIX IPC.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Control groups.
    Cgroup,
    /// Clocks.
    Time,
    /// Mounts; last to be joined, because paths change with it.
    Mount,
}

impl Namespace {
    /// Every kind, in the order they are joined.
    pub const ALL: [Namespace; 8] = [
        Namespace::User,
        Namespace::Pid,
        Namespace::Network,
        Namespace::Ipc,
        Namespace::Uts,
        Namespace::Cgroup,
        Namespace::Time,
        Namespace::Mount,
    ];

    /// `CLONE_NEW*`.
    pub fn flag(self) -> u64 {
        match self {
            Namespace::User => flag::USER,
            Namespace::Pid => flag::PID,
            Namespace::Network => flag::NETWORK,
            Namespace::Ipc => flag::IPC,
            Namespace::Uts => flag::UTS,
            Namespace::Cgroup => flag::CGROUP,
            Namespace::Time => flag::TIME,
            Namespace::Mount => flag::MOUNT,
        }
    }

    /// Its name in the runtime-spec.
    pub fn name(self) -> &'static str {
        match self {
            Namespace::User => "user",
            Namespace::Pid => "pid",
            Namespace::Network => "network",
            Namespace::Ipc => "ipc",
            Namespace::Uts => "uts",
            Namespace::Cgroup => "cgroup",
            Namespace::Time => "time",
            Namespace::Mount => "mount",
        }
    }

    /// Its name in `/proc/PID/ns`.
    pub fn proc_name(self) -> &'static str {
        match self {
            Namespace::Network => "net",
            Namespace::Mount => "mnt",
            other => other.name(),
        }
    }
}

/// A point both sides pass together; the number is what goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sync {
    /// Parent: the child's ids exist now.
    IdsMapped = 1,
    /// Child: the namespaces and mounts are there, the root is not yet changed.
    NamespacesReady = 2,
    /// Parent: the hooks of the runtime's own namespace are done.
    HooksDone = 3,
    /// Child: everything that can fail before the program has been done.
    Ready = 4,
    /// Whoever starts: go.
    Start = 5,
    /// Child: the network namespace is there.
    NetworkReady = 6,
    /// Parent: it has its devices.
    DevicesMoved = 7,
    /// Parent: systemd has put the child where it belongs.
    CgroupReady = 8,
    /// Child: its namespace of control groups is there.
    CgroupEntered = 9,
    /// Parent: the child is in the group given to it.
    CgroupDelegated = 10,
    /// Child: this is the mount whose ids are to be mapped.
    MountFound = 11,
    /// Parent: they are.
    MountMapped = 12,
    /// Parent: what others are told about the container stands where the child finds it.
    StateTold = 13,
}

impl Sync {
    /// Its name in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Sync::IdsMapped => "ids-mapped",
            Sync::NamespacesReady => "namespaces-ready",
            Sync::HooksDone => "hooks-done",
            Sync::Ready => "ready",
            Sync::Start => "start",
            Sync::NetworkReady => "network-ready",
            Sync::DevicesMoved => "devices-moved",
            Sync::CgroupReady => "cgroup-ready",
            Sync::CgroupEntered => "cgroup-entered",
            Sync::CgroupDelegated => "cgroup-delegated",
            Sync::MountFound => "mount-found",
            Sync::MountMapped => "mount-mapped",
            Sync::StateTold => "state-told",
        }
    }
}

/// One range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// User and group ids of a namespace or of a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

/// How the maps of a new user namespace are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMapWriter {
    /// Into `/proc/PID/uid_map`.
    Direct,
    /// The same, after giving up `setgroups`, as the kernel wants it from the unprivileged.
    DirectWithoutGroups,
    /// By `newuidmap` and `newgidmap`, which know the ranges given to us.
    Helpers,
}

/// Five hook kinds of `config.md`, and the older `prestart`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Deprecated; as createRuntime.
    Prestart,
    /// In the runtime's namespace, after the namespaces exist and before the root is changed.
    CreateRuntime,
    /// In the container's namespace, found by a path of the runtime's.
    CreateContainer,
    /// In the container's namespace, before the program.
    StartContainer,
    /// In the runtime's namespace, after the program runs.
    Poststart,
    /// In the runtime's namespace, after the container is gone.
    Poststop,
}

impl HookKind {
    /// Its name in the document.
    pub fn name(self) -> &'static str {
        match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::CreateContainer => "createContainer",
            HookKind::StartContainer => "startContainer",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        }
    }
}

/// A program to run at a point of the container's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookStep {
    /// When.
    pub kind: HookKind,
    /// Its place among those of its kind, from 0.
    pub index: usize,
    /// The program, absolute.
    pub path: CString,
    /// Its arguments, the first is its name.
    pub arguments: Vec<CString>,
    /// Its environment; empty means empty. `None`: that of the container's program for hooks in the container, ours for the others.
    pub environment: Option<Vec<CString>>,
    /// Killed after this long.
    pub timeout_s: Option<u64>,
    /// Files its standard output and error are appended to, instead of where they go otherwise.
    pub output: [Option<CString>; 2],
}

/// Whose ids a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountIds {
    /// These.
    Own(IdMaps),
    /// Those of the user namespace that is joined.
    Joined,
}

/// What the parent does, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParentStep {
    /// Opens a namespace the child is to join.
    OpenNamespace {
        /// Of this kind.
        kind: Namespace,
        /// A file of `/proc/PID/ns` or a mount of one.
        path: PathBuf,
    },
    /// Makes the control group and sets its limits.
    MakeCgroup {
        /// As in `linux.cgroupsPath`.
        path: PathBuf,
        /// The limits.
        resources: Box<LinuxResources>,
        /// Without it a group that cannot be made is only a note.
        required: bool,
        /// In every hierarchy of version 1.
        all_controllers: bool,
        /// The user outside the group is given to.
        owner: Option<u32>,
        /// The hierarchies this machine has.
        hierarchies: Vec<HostCgroups>,
        /// The device list is left to [`ParentStep::AllowDevices`].
        devices_later: bool,
    },
    /// Sets which devices may be used, while the child works: until its program runs, all it executes is ours.
    AllowDevices {
        /// The limits, of which this is one.
        resources: Box<LinuxResources>,
    },
    /// Has systemd make a unit around the child, with its limits.
    StartUnit(Box<UnitStep>),
    /// Moves the child into a group below its own, which is then the container's to divide; the namespace begins above.
    Descend {
        /// Its name.
        to: String,
        /// Whose it is.
        owner: Option<u32>,
    },
    /// Has systemd take the child into a container's unit, where the kernel would not let us move it.
    EnterUnit(Box<knarr_cgroup::Unit>),
    /// Puts the child into a group of caches and memory bandwidth.
    JoinResctrl(Box<Rdt>),
    /// Puts the child into the container's group of caches and memory bandwidth.
    EnterResctrl(Box<Rdt>),
    /// Opens the source of a bind mount before the child loses sight of it, and maps its ids.
    OpenMount {
        /// The path outside.
        source: CString,
        /// With the mounts below.
        recursive: bool,
        /// Where it is a symbolic link, what that leads to.
        follow: bool,
        /// The mount's own ids.
        ids: Option<MountIds>,
        /// The mapping covers the mounts below too.
        ids_recursive: bool,
    },
    /// Waits for a mount the child has found in its own root, maps its ids, for which the child has no right in a user namespace, and
    /// says so.
    MapMount {
        /// The mount's own ids.
        ids: MountIds,
        /// The mapping covers the mounts below too.
        recursive: bool,
    },
    /// Binds the socket the start goes through.
    BindGate {
        /// Its path.
        path: PathBuf,
    },
    /// Connects to the agent that answers notified system calls.
    ConnectSeccompAgent {
        /// Its socket.
        path: PathBuf,
    },
    /// Makes the child with these new namespaces.
    Clone {
        /// New ones; the others are shared or joined.
        new: Vec<Namespace>,
        /// Joined by us before and left after, so that the child begins in them.
        around: Vec<Namespace>,
    },
    /// Learns who the child has become that cloned itself once more.
    AdoptGrandchild,
    /// Writes the child's `oom_score_adj`, for which it will lack the privilege.
    OomScore(i32),
    /// Writes the child's id maps.
    MapIds {
        /// The ids.
        maps: IdMaps,
        /// How.
        writer: IdMapWriter,
    },
    /// Moves a network device into the container's namespace, with its addresses.
    MoveNetDevice {
        /// Its name here.
        name: String,
        /// Its name there; `%d` in it is a number the kernel finds.
        to: String,
    },
    /// Runs a hook in our own namespaces.
    Hook(HookStep),
    /// Tells the child to go on.
    Say(Sync),
    /// Waits for the child.
    Wait(Sync),
}

/// A transient unit of systemd.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitStep {
    /// Whose systemd.
    pub bus: Bus,
    /// Which unit.
    pub name: UnitName,
    /// The limits.
    pub resources: LinuxResources,
    /// Properties by annotation.
    pub properties: Vec<Property>,
    /// A group below the unit's own, for the container.
    pub subgroup: String,
    /// Controllers that may not be used are done without.
    pub rootless: bool,
    /// The user outside the group is given to.
    pub owner: Option<u32>,
}

impl Eq for UnitStep {}

impl UnitStep {
    /// What the unit is made with around a process.
    pub(crate) fn options<'o>(&'o self, description: &'o str, pid: u32) -> UnitOptions<'o> {
        UnitOptions {
            bus: &self.bus,
            name: &self.name,
            description,
            subgroup: &self.subgroup,
            pid,
            properties: &self.properties,
            create: CreateOptions { rootless: self.rootless, ..CreateOptions::default() },
        }
    }
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStep {
    /// Where in the root.
    pub path: InRoot,
    /// `c`, `b` or `p`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bind the node of this path instead of making one, where device nodes cannot be made.
    pub bind_from: Option<CString>,
}

/// A file below `/proc` and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcWrite {
    /// Relative to `/proc`.
    pub file: CString,
    /// The bytes.
    pub value: CString,
}

/// The child's steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Be killed when the parent dies.
    DieWithParent,
    /// Be the leader of a new session.
    NewSession,
    /// Join those that whoever we are now may: once in a user namespace that does not own them, nobody could.
    JoinWhatCanBe(Vec<Namespace>),
    /// Join a namespace the parent opened, unless that was done before.
    JoinNamespace(Namespace),
    /// Leave these for new ones (where clone3 could not make them).
    NewNamespaces(Vec<Namespace>),
    /// Clone once more into a process namespace owned by the joined user namespace; the one who clones ends.
    CloneIntoPidNamespace {
        /// A new one; otherwise the one just joined.
        new: bool,
    },
    /// Join every namespace of a container at once.
    JoinContainer {
        /// Those that differ from ours.
        kinds: Vec<Namespace>,
    },
    /// Take the root directory of a container that has no mount namespace of its own.
    ContainerRoot,
    /// Become ids 0 of the user namespace.
    BecomeRoot,
    /// Join the control group by writing oneself into it.
    EnterCgroup,
    /// New clocks with these offsets.
    NewClocks {
        /// Lines of `/proc/self/timens_offsets`.
        offsets: CString,
    },
    /// A session keyring of our own.
    SessionKeyring(CString),
    /// Bring `lo` up.
    LoopbackUp,
    /// Set the host name.
    HostName(CString),
    /// Set the NIS domain name.
    DomainName(CString),
    /// Write to a file of procfs that is verified to be one.
    WriteProc(ProcWrite),
    /// Change the propagation of every mount we see.
    Propagation {
        /// `MS_SLAVE`, `MS_PRIVATE`, `MS_SHARED`, `MS_UNBINDABLE`.
        flags: u64,
        /// Its name.
        name: &'static str,
    },
    /// Mount the overlay that is the root.
    OverlayRoot(Box<OverlayStep>),
    /// Bind the root directory onto itself.
    DirectoryRoot(CString),
    /// Attach the root directory the parent opened, and cut it off from the mounts it is a copy of.
    OpenedRoot {
        /// Where it is outside.
        path: CString,
        /// `MS_SLAVE` or `MS_PRIVATE`.
        propagation: u64,
    },
    /// Use the root directory as it is (no mount namespace of our own, and no mounts).
    PlainRoot(CString),
    /// A mount.
    Mount(Box<MountStep>),
    /// A device.
    Device(DeviceStep),
    /// A symbolic link.
    Link {
        /// What it says.
        text: CString,
        /// Where it stands.
        at: InRoot,
    },
    /// Open the terminal in the container's devpts, and show it as `/dev/console`.
    Terminal {
        /// Rows and columns.
        size: Option<(u16, u16)>,
        /// There is a `/dev` of the container's own to put a console into.
        console: bool,
    },
    /// Make what was mounted writable for the setup read-only.
    Seal(InRoot),
    /// Put nothing over a path.
    Mask(InRoot),
    /// Make a path read-only.
    ReadOnly(InRoot),
    /// Make the working directory if it is missing.
    MakeWorkingDirectory(InRoot),
    /// Make the root itself read-only.
    ReadOnlyRoot,
    /// Run a hook here.
    Hook(HookStep),
    /// Make the root the root.
    PivotRoot,
    /// Move the root's mount over `/` and chroot into it.
    MoveRoot,
    /// Only chroot.
    Chroot,
    /// Change the propagation of the new root.
    RootPropagation {
        /// `MS_*`.
        flags: u64,
        /// And of the mounts below.
        recursive: bool,
        /// As in the document.
        name: String,
    },
    /// Set a resource limit.
    Limit {
        /// `RLIMIT_NOFILE`.
        name: String,
        /// Its number.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// Set scheduling policy and attributes.
    Scheduler(SchedAttr),
    /// Set the I/O priority.
    IoPriority {
        /// 1–3.
        class: u32,
        /// 0–7.
        priority: u32,
    },
    /// Set the NUMA policy.
    MemoryPolicy {
        /// Mode and flags.
        mode: u32,
        /// Nodes.
        nodes: Vec<u64>,
    },
    /// Set the execution domain.
    Personality(u32),
    /// Run wherever the control group lets us, whatever our caller was pinned to.
    AnyProcessor,
    /// Pin to processors.
    Affinity {
        /// As in the document.
        list: String,
        /// One bit each.
        mask: Vec<u64>,
    },
    /// Put the descriptors 0, 1 and 2 in place.
    Stdio,
    /// Let no other descriptor than these many from 3 on reach the program.
    CloseDescriptors {
        /// How many stay.
        keep: u32,
    },
    /// Change to the working directory, and check that it lies inside the root.
    WorkingDirectory(CString),
    /// Become the user.
    User {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups; `None` where the user namespace denies setting them.
        groups: Option<Vec<u32>>,
        /// File mode creation mask.
        umask: Option<u32>,
    },
    /// Set `HOME` from the container's own `/etc/passwd`.
    Home {
        /// Whose.
        uid: u32,
        /// Which string of the environment it is.
        variable: usize,
    },
    /// Look for the program.
    FindProgram,
    /// Tell the parent.
    Say(Sync),
    /// Wait for the parent.
    Wait(Sync),
    /// Set what the program runs as under SELinux or AppArmor.
    ExecLabel(ProcWrite),
    /// Limit capabilities.
    Capabilities {
        /// The bounding set.
        bounding: u64,
        /// Effective, permitted, inheritable.
        sets: Sets,
        /// The ambient set.
        ambient: u64,
    },
    /// Forbid gaining privileges by execve.
    NoNewPrivileges,
    /// Install the system call filter.
    Seccomp(Box<knarr_seccomp::Program>),
    /// Become the program.
    Execute,
}

/// An overlay in the form the kernel takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayStep {
    /// Where names are relative to, and where the mount is attached.
    pub base: CString,
    /// Topmost first.
    pub lower: Vec<CString>,
    /// Where changes go.
    pub upper: Option<CString>,
    /// Overlayfs's working directory.
    pub work: Option<CString>,
    /// Options for both.
    pub flags: Vec<(CString, CString)>,
    /// All of it as one string for kernels before 6.5.
    pub old_options: CString,
}
