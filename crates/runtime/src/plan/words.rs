//! Puts plans and steps into words: the text of `--dry-run=plan`, of golden files, and of errors.

use std::ffi::CStr;
use std::fmt::{self, Display, Formatter};

use super::Plan;
use super::mount::{MountKind, MountStep};
use super::step::{
    DeviceStep, HookStep, IdMapWriter, IdMaps, IdRange, MountIds, Namespace, OverlayStep, ParentStep, Step,
};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {}", self.id)?;
        writeln!(f, "parent")?;
        numbered(f, &self.parent)?;
        writeln!(f, "child")?;
        numbered(f, &self.child)?;
        if !self.poststart.is_empty() {
            writeln!(f, "after the start")?;
            numbered(f, &self.poststart)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        self.details.iter().try_for_each(|detail| writeln!(f, "detail: {detail}"))
    }
}

fn numbered(f: &mut Formatter<'_>, steps: &[impl Display]) -> fmt::Result {
    steps.iter().enumerate().try_for_each(|(index, step)| writeln!(f, "{:4}  {step}", index + 1))
}

/// A C string as text.
pub(crate) fn text(c: &CStr) -> std::borrow::Cow<'_, str> {
    c.to_string_lossy()
}

struct Names<'a>(&'a [Namespace]);

impl Display for Names<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|n| n.name()).collect::<Vec<_>>().join(", "))
    }
}

impl Display for IdRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

impl Display for IdMaps {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |ranges: &[IdRange]| ranges.iter().map(IdRange::to_string).collect::<Vec<_>>().join(",");
        write!(f, "users {} groups {}", list(&self.users), list(&self.groups))
    }
}

impl Display for HookStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "run {} hook {}", self.kind.name(), text(&self.path))?;
        if let Some(seconds) = self.timeout_s {
            write!(f, " (at most {seconds} s)")?;
        }
        let streams = ["output", "errors"].into_iter().zip(&self.output);
        let files = streams.filter_map(|(stream, file)| Some((stream, file.as_ref()?)));
        files.into_iter().try_for_each(|(stream, file)| write!(f, ", {stream} to {}", text(file)))
    }
}

impl Display for MountIds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            MountIds::Own(ids) => write!(f, "ids {ids}"),
            MountIds::Joined => f.write_str("the ids of the joined user namespace"),
        }
    }
}

impl Display for ParentStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ParentStep::OpenNamespace { kind, path } => {
                write!(f, "open the {} namespace {}", kind.name(), path.display())
            }
            ParentStep::MakeCgroup { path, resources, required, all_controllers, owner, .. } => {
                write!(f, "make cgroup {}", path.display())?;
                let limits = serde_json::to_string(resources).unwrap_or_default();
                if limits != "{}" {
                    write!(f, " {limits}")?;
                }
                if *all_controllers {
                    write!(f, " in every hierarchy")?;
                }
                if let Some(owner) = owner {
                    write!(f, " for user {owner}")?;
                }
                if *required { Ok(()) } else { write!(f, " (if possible)") }
            }
            ParentStep::AllowDevices { .. } => f.write_str("set which devices may be used"),
            ParentStep::OpenMount { source, recursive, follow, ids, .. } => {
                write!(f, "open mount {}{}", text(source), if *recursive { " and those below" } else { "" })?;
                if !follow {
                    write!(f, " (a link itself)")?;
                }
                ids.as_ref().map_or(Ok(()), |ids| write!(f, " with {ids}"))
            }
            ParentStep::MapMount { ids, recursive } => {
                let which =
                    if *recursive { "the mount it has found and those below" } else { "the mount it has found" };
                write!(f, "give {which} {ids}")
            }
            ParentStep::BindGate { path } => write!(f, "listen for the start on {}", path.display()),
            ParentStep::ConnectSeccompAgent { path } => write!(f, "connect to the seccomp agent {}", path.display()),
            ParentStep::Clone { new, around } => {
                write!(f, "clone")?;
                if !new.is_empty() {
                    write!(f, " with new {}", Names(new))?;
                }
                if around.is_empty() { Ok(()) } else { write!(f, " in the joined {}", Names(around)) }
            }
            ParentStep::AdoptGrandchild => write!(f, "adopt the grandchild"),
            ParentStep::OomScore(score) => write!(f, "set oom_score_adj {score}"),
            ParentStep::MapIds { maps, writer } => {
                let by = match writer {
                    IdMapWriter::Direct => "",
                    IdMapWriter::DirectWithoutGroups => " (setgroups denied)",
                    IdMapWriter::Helpers => " by newuidmap and newgidmap",
                };
                write!(f, "map ids {maps}{by}")
            }
            ParentStep::StartUnit(unit) => {
                write!(f, "start the unit {} in {}", unit.name.unit, unit.name.slice)?;
                let limits = serde_json::to_string(&unit.resources).unwrap_or_default();
                if limits != "{}" {
                    write!(f, " {limits}")?;
                }
                let given = unit.properties.iter();
                given.into_iter().try_for_each(|property| write!(f, " {}={:?}", property.name, property.value))?;
                if !unit.subgroup.is_empty() {
                    write!(f, " with the group {}", unit.subgroup)?;
                }
                if let Some(owner) = unit.owner {
                    write!(f, " for user {owner}")?;
                }
                f.write_str(if unit.bus.user { " by the user's systemd" } else { " by systemd" })
            }
            ParentStep::Descend { to, owner } => {
                write!(f, "move into the group {to} below")?;
                owner.map_or(Ok(()), |owner| write!(f, " for user {owner}"))
            }
            ParentStep::EnterUnit(unit) => write!(f, "enter the unit {} by systemd", unit.name),
            ParentStep::EnterResctrl(rdt) => write!(f, "enter the resctrl group {}", rdt.group.display()),
            ParentStep::JoinResctrl(rdt) => {
                write!(f, "join the resctrl group {}", rdt.group.display())?;
                if !rdt.schemata.is_empty() {
                    write!(f, " with {}", rdt.schemata.join(", "))?;
                }
                rdt.monitoring.as_ref().map_or(Ok(()), |group| write!(f, ", monitored in {}", group.display()))
            }
            ParentStep::MoveNetDevice { name, to } if name == to => {
                write!(f, "move the network device {name} into the container")
            }
            ParentStep::MoveNetDevice { name, to } => {
                write!(f, "move the network device {name} into the container as {to}")
            }
            ParentStep::Hook(hook) => hook.fmt(f),
            ParentStep::Say(sync) => write!(f, "say {}", sync.name()),
            ParentStep::Wait(sync) => write!(f, "wait for {}", sync.name()),
        }
    }
}

impl Display for OverlayStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "mount overlay of {} layers in {}", self.lower.len(), text(&self.base))?;
        match &self.upper {
            Some(upper) => write!(f, ", changes in {}", text(upper))?,
            None => write!(f, ", read-only")?,
        }
        self.flags.iter().try_for_each(|(key, value)| write!(f, ", {}={}", text(key), text(value)))
    }
}

impl Display for DeviceStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.bind_from {
            Some(from) => write!(f, "bind device {} on /{}", text(from), self.path),
            None => write!(
                f,
                "make device /{} {} {}:{} mode {:o} owner {}:{}",
                self.path, self.kind, self.major, self.minor, self.mode, self.uid, self.gid
            ),
        }
    }
}

impl Display for MountStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            MountKind::FileSystem { fstype, source, .. } if source.as_bytes() == fstype.as_bytes() => {
                write!(f, "mount {}", text(fstype))?
            }
            MountKind::FileSystem { fstype, source, .. } => write!(f, "mount {} {}", text(fstype), text(source))?,
            MountKind::Bind { source, recursive, mapped, .. } => {
                write!(f, "{} {}", if *recursive { "rbind" } else { "bind" }, text(source))?;
                if *mapped {
                    f.write_str(" with mapped ids")?;
                }
            }
            MountKind::Cgroups { hierarchies, .. } => {
                let names: Vec<_> = hierarchies.iter().map(|h| text(&h.name).into_owned()).collect();
                write!(f, "mount cgroups {}", names.join(" "))?
            }
            MountKind::Remount { mount_only: true, .. } => write!(f, "change the mount")?,
            MountKind::Remount { .. } => write!(f, "remount")?,
        }
        write!(f, " on /{}", if self.target.is_top() { "".into() } else { self.target.to_string() })?;
        if self.words.is_empty() { Ok(()) } else { write!(f, " ({})", self.words.join(",")) }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Step::DieWithParent => write!(f, "die with the parent"),
            Step::NewSession => write!(f, "begin a session"),
            Step::JoinWhatCanBe(kinds) => write!(f, "join of the namespaces {} what can be", Names(kinds)),
            Step::JoinNamespace(kind) => write!(f, "join the {} namespace", kind.name()),
            Step::NewNamespaces(kinds) => write!(f, "new namespaces {}", Names(kinds)),
            Step::CloneIntoPidNamespace { new } => {
                write!(f, "clone into the {} pid namespace", if *new { "new" } else { "joined" })
            }
            Step::JoinContainer { kinds } => write!(f, "join the container's {}", Names(kinds)),
            Step::ContainerRoot => write!(f, "chroot to the container's root"),
            Step::BecomeRoot => write!(f, "become root of the user namespace"),
            Step::EnterCgroup => write!(f, "enter the cgroup"),
            Step::NewClocks { offsets } => {
                write!(f, "new clocks {}", text(offsets).trim_end().replace('\n', ", "))
            }
            Step::SessionKeyring(name) => write!(f, "join session keyring {}", text(name)),
            Step::LoopbackUp => write!(f, "bring lo up"),
            Step::HostName(name) => write!(f, "set hostname {}", text(name)),
            Step::DomainName(name) => write!(f, "set domainname {}", text(name)),
            Step::WriteProc(write) | Step::ExecLabel(write) => {
                write!(f, "write {:?} to /proc/{}", text(&write.value), text(&write.file))
            }
            Step::Propagation { name, .. } => write!(f, "make every mount {name}"),
            Step::OverlayRoot(overlay) => overlay.fmt(f),
            Step::DirectoryRoot(path) => write!(f, "bind root {}", text(path)),
            Step::OpenedRoot { propagation: super::mount::bits::MS_PRIVATE, .. } => {
                write!(f, "attach the opened root, private")
            }
            Step::OpenedRoot { .. } => write!(f, "attach the opened root, slave"),
            Step::PlainRoot(path) => write!(f, "open root {}", text(path)),
            Step::Mount(mount) => mount.fmt(f),
            Step::Device(device) => device.fmt(f),
            Step::Link { text: says, at } => write!(f, "link /{at} -> {}", text(says)),
            Step::Terminal { size, console } => {
                write!(f, "open a terminal")?;
                if let Some((rows, columns)) = size {
                    write!(f, " of {rows} rows and {columns} columns")?;
                }
                if *console { write!(f, ", bound on /dev/console") } else { Ok(()) }
            }
            Step::Seal(path) => write!(f, "make /{path} read-only"),
            Step::Mask(path) => write!(f, "mask /{path}"),
            Step::ReadOnly(path) => write!(f, "make /{path} read-only with what is below"),
            Step::MakeWorkingDirectory(path) => write!(f, "make directory /{path} if missing"),
            Step::ReadOnlyRoot => write!(f, "make the root read-only"),
            Step::Hook(hook) => hook.fmt(f),
            Step::PivotRoot => write!(f, "pivot to the root"),
            Step::MoveRoot => write!(f, "move the root over / and chroot"),
            Step::Chroot => write!(f, "chroot to the root"),
            Step::RootPropagation { name, .. } => write!(f, "make the root {name}"),
            Step::Limit { name, soft, hard, .. } => {
                let number = |n: &u64| if *n == u64::MAX { "unlimited".into() } else { n.to_string() };
                write!(f, "limit {name} to {} (at most {})", number(soft), number(hard))
            }
            Step::Scheduler(attr) => write!(
                f,
                "set scheduling policy {} flags {:#x} nice {} priority {} runtime {} deadline {} period {}",
                attr.policy, attr.flags, attr.nice, attr.priority, attr.runtime, attr.deadline, attr.period
            ),
            Step::IoPriority { class, priority } => write!(f, "set I/O class {class} priority {priority}"),
            Step::MemoryPolicy { mode, nodes } => write!(f, "set memory policy {mode:#x} nodes {nodes:x?}"),
            Step::Personality(persona) => write!(f, "set personality {persona:#x}"),
            Step::AnyProcessor => write!(f, "run on any processor"),
            Step::Affinity { list, .. } => write!(f, "run on processors {list}"),
            Step::Stdio => write!(f, "put stdio in place"),
            Step::CloseDescriptors { keep: 0 } => write!(f, "close every descriptor but stdio on execve"),
            Step::CloseDescriptors { keep } => write!(f, "close every descriptor but stdio and {keep} more on execve"),
            Step::WorkingDirectory(path) => write!(f, "chdir to {} and check where it is", text(path)),
            Step::User { uid, gid, groups, umask } => {
                write!(f, "become {uid}:{gid}")?;
                match groups {
                    Some(groups) if !groups.is_empty() => write!(f, " with groups {groups:?}")?,
                    Some(_) => {}
                    None => write!(f, " keeping groups")?,
                }
                umask.map_or(Ok(()), |mask| write!(f, " umask {mask:03o}"))
            }
            Step::Home { uid, .. } => write!(f, "set HOME to that of user {uid}"),
            Step::FindProgram => write!(f, "find the program"),
            Step::Say(sync) => write!(f, "say {}", sync.name()),
            Step::Wait(sync) => write!(f, "wait for {}", sync.name()),
            Step::Capabilities { bounding, sets, ambient } => write!(
                f,
                "set capabilities bounding {bounding:#x} effective {:#x} permitted {:#x} inheritable {:#x} ambient {ambient:#x}",
                sets.effective, sets.permitted, sets.inheritable
            ),
            Step::NoNewPrivileges => write!(f, "forbid new privileges"),
            Step::Seccomp(program) => {
                write!(f, "install seccomp filter of {} instructions", program.instructions.len())
            }
            Step::Execute => write!(f, "execute the program"),
        }
    }
}
