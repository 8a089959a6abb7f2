//! Mount entries and their options, as the kernel's mount calls take them.
//!
//! Spec: runtime-spec 1.3, config.md "Mounts", "Linux mount options".
//! Law: an option that is not in the table belongs to the file system.

use std::ffi::CString;
use std::path::Path;

use knarr_spec::runtime::Mount;
use knarr_sys::InRoot;

use super::step::{IdMaps, MountIds, ParentStep};
use super::{Build, id_ranges};
use crate::RootSource;
use crate::problem::Problem;

/// `MOUNT_ATTR_*` and `MS_*`.
pub(crate) mod bits {
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    pub const ATIME: u64 = 0x70;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const IDMAP: u64 = 0x10_0000;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;

    pub const MS_SYNCHRONOUS: u64 = 16;
    pub const MS_REMOUNT: u64 = 32;
    pub const MS_MANDLOCK: u64 = 64;
    pub const MS_DIRSYNC: u64 = 128;
    pub const MS_SILENT: u64 = 1 << 15;
    pub const MS_UNBINDABLE: u64 = 1 << 17;
    pub const MS_PRIVATE: u64 = 1 << 18;
    pub const MS_SLAVE: u64 = 1 << 19;
    pub const MS_SHARED: u64 = 1 << 20;
    pub const MS_I_VERSION: u64 = 1 << 23;
    pub const MS_LAZYTIME: u64 = 1 << 25;
}

/// Attributes to set and to clear on a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// To set.
    pub set: u64,
    /// To clear.
    pub clear: u64,
}

impl Attributes {
    /// A later option wins over an earlier one; the access time bits are one field.
    fn change(&mut self, set: u64, clear: u64) {
        self.set = self.set & !clear | set;
        self.clear = self.clear & !set | clear | if clear & bits::ATIME != 0 { bits::ATIME } else { 0 };
    }
}

/// One option of a file system: a flag, or a key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsOption {
    /// Its name.
    pub key: CString,
    /// Its value.
    pub value: Option<CString>,
}

/// A hierarchy of control groups shown in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    /// The directory's name: controllers joined by commas, or a named hierarchy's name.
    pub name: CString,
    /// The options that select it: controllers, or `none` and `name=…`.
    pub options: Vec<FsOption>,
    /// Where the machine has it, with our own group: what is bound when there is no namespace of control groups.
    pub outside: CString,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A new file system.
    FileSystem {
        /// Its type.
        fstype: CString,
        /// Its source.
        source: CString,
        /// Its options.
        options: Vec<FsOption>,
        /// The same as one string, for mount(2).
        data: CString,
        /// `MS_*` that belong to the file system and not to the mount.
        flags: u64,
        /// Fill it with what it covers.
        copy_up: bool,
        /// The path bound in its place where a user namespace denies it.
        instead: Option<CString>,
    },
    /// A part of the tree outside.
    Bind {
        /// The path outside.
        source: CString,
        /// With the mounts below.
        recursive: bool,
        /// The parent opened it.
        opened: bool,
        /// A source that is a symbolic link is meant itself.
        links: Links,
        /// Where it is in the container's root, for a source that lies there.
        within: Option<InRoot>,
        /// The parent maps its ids when the child has found it within.
        mapped: bool,
    },
    /// The version 1 hierarchies of control groups.
    Cgroups {
        /// Each.
        hierarchies: Vec<CgroupMount>,
        /// The container has a namespace of control groups, which makes a new mount begin at its own group.
        namespace: bool,
        /// Only to be read.
        read_only: bool,
    },
    /// Change what is mounted there.
    Remount {
        /// `MS_*`.
        flags: u64,
        /// Options of the file system.
        data: CString,
        /// Only the mount changes (`remount` with `bind`), not the file system.
        mount_only: bool,
    },
}

/// What becomes of a bind's source that is a symbolic link: crun's options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// It is followed.
    #[default]
    Followed,
    /// It is bound itself (`src-nofollow`).
    Bound,
    /// One like it is made (`copy-symlink`).
    Copied,
}

/// One entry of `mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountStep {
    /// Where.
    pub target: InRoot,
    /// What.
    pub kind: MountKind,
    /// Attributes of this mount.
    pub own: Attributes,
    /// Attributes a bind that names others loses, where it may: what is not named is not wanted, as with mount(2).
    pub implied_clear: u64,
    /// The source's attributes are locked, as they would be had the container's user namespace opened it.
    pub locked: bool,
    /// Attributes of it and all below.
    pub recursive: Attributes,
    /// `MS_SHARED` and the like, and whether those below change too.
    pub propagation: Vec<(u64, bool)>,
    /// The target may lie in procfs.
    pub in_proc: bool,
    /// The target is `/proc`: only procfs may stand there (CVE-2019-16884).
    pub on_proc: bool,
    /// The target must be a real directory, not a link (`/proc`, `/sys`).
    pub no_link: bool,
    /// A target that is a link is covered itself (crun's `dest-nofollow`).
    pub on_link: bool,
    /// The options as given, for the reader.
    pub words: Vec<String>,
}

enum Effect {
    Nothing,
    Own(u64, u64),
    /// One of the access time modes: set, of which the mode and the directories' bit are a part.
    Time(u64),
    Below(u64, u64),
    Propagate(u64, bool),
    Bind(bool),
    Remount,
    CopyUp,
    IdMap(bool),
    Source(Links),
    TargetLink,
    FsFlag(&'static str, u64),
}

/// Every option of the specification that is not the file system's, and crun's.
#[rustfmt::skip]
const OPTIONS: &[(&str, Effect)] = {
    use Effect::*;
    use bits::*;
    &[
        ("async", FsFlag("async", 0)), ("atime", Own(0, ATIME)), ("bind", Bind(false)), ("copy-symlink", Source(Links::Copied)),
        ("defaults", Nothing), ("dest-nofollow", TargetLink),
        ("dev", Own(0, NODEV)), ("diratime", Own(0, NODIRATIME)), ("dirsync", FsFlag("dirsync", MS_DIRSYNC)),
        ("exec", Own(0, NOEXEC)), ("idmap", IdMap(false)), ("iversion", FsFlag("", MS_I_VERSION)),
        ("lazytime", FsFlag("lazytime", MS_LAZYTIME)), ("loud", Nothing), ("mand", FsFlag("mand", MS_MANDLOCK)),
        ("noatime", Time(NOATIME)), ("nodev", Own(NODEV, 0)), ("nodiratime", Time(NODIRATIME)),
        ("noexec", Own(NOEXEC, 0)), ("noiversion", Nothing), ("nolazytime", FsFlag("nolazytime", 0)),
        ("nomand", FsFlag("nomand", 0)), ("norelatime", Own(0, ATIME)), ("nostrictatime", Own(0, ATIME)),
        ("nosuid", Own(NOSUID, 0)), ("nosymfollow", Own(NOSYMFOLLOW, 0)), ("private", Propagate(MS_PRIVATE, false)),
        ("ratime", Below(0, ATIME)), ("rbind", Bind(true)), ("rdev", Below(0, NODEV)),
        ("rdiratime", Below(0, NODIRATIME)), ("relatime", Time(0)), ("remount", Remount),
        ("rexec", Below(0, NOEXEC)), ("ridmap", IdMap(true)), ("rnoatime", Below(NOATIME, ATIME)),
        ("rnodev", Below(NODEV, 0)), ("rnodiratime", Below(NODIRATIME, 0)), ("rnoexec", Below(NOEXEC, 0)),
        ("rnorelatime", Below(0, ATIME)), ("rnostrictatime", Below(0, ATIME)), ("rnosuid", Below(NOSUID, 0)),
        ("rnosymfollow", Below(NOSYMFOLLOW, 0)), ("ro", Own(RDONLY, 0)), ("rprivate", Propagate(MS_PRIVATE, true)),
        ("rrelatime", Below(0, ATIME)), ("rro", Below(RDONLY, 0)), ("rrw", Below(0, RDONLY)),
        ("rshared", Propagate(MS_SHARED, true)), ("rslave", Propagate(MS_SLAVE, true)),
        ("rstrictatime", Below(STRICTATIME, ATIME)), ("rsuid", Below(0, NOSUID)),
        ("rsymfollow", Below(0, NOSYMFOLLOW)), ("runbindable", Propagate(MS_UNBINDABLE, true)), ("rw", Own(0, RDONLY)),
        ("shared", Propagate(MS_SHARED, false)), ("silent", FsFlag("", MS_SILENT)), ("slave", Propagate(MS_SLAVE, false)),
        ("src-nofollow", Source(Links::Bound)), ("strictatime", Time(STRICTATIME)), ("suid", Own(0, NOSUID)), ("symfollow", Own(0, NOSYMFOLLOW)),
        ("sync", FsFlag("sync", MS_SYNCHRONOUS)), ("tmpcopyup", CopyUp), ("unbindable", Propagate(MS_UNBINDABLE, false)),
    ]
};

/// The names of all of them, for the features document.
pub fn option_names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

/// Files of procfs that may be covered: they tell about the machine what lxcfs tells about the container (runc's list).
const PROC_TARGETS: &[&str] = &[
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/loadavg",
    "proc/slabinfo",
    "proc/net/dev",
    "proc/sys/kernel/ns_last_pid",
    "proc/sys/crypto/fips_enabled",
];

/// File systems whose one instance is shared, so that being read-only is a matter of the mount alone.
const SHARED_KINDS: &[&str] = &["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "bpf", "securityfs"];

/// What the options of one entry amount to.
#[derive(Default)]
struct Parsed {
    own: Attributes,
    /// An attribute of the mount itself is named.
    names_own: bool,
    /// An access time mode is named.
    names_time: bool,
    recursive: Attributes,
    propagation: Vec<(u64, bool)>,
    bind: Option<bool>,
    remount: bool,
    copy_up: bool,
    idmap: Option<bool>,
    /// What stands behind `idmap=`.
    ids: Option<String>,
    links: Links,
    on_link: bool,
    fs_flags: Vec<&'static str>,
    ms: u64,
    rest: Vec<String>,
}

/// What a bind takes from its source unless it names something itself.
const OF_THE_SOURCE: u64 = bits::RDONLY | bits::NOSUID | bits::NODEV | bits::NOEXEC | bits::NOSYMFOLLOW;

impl Parsed {
    /// As mount(2) and runc read options beside `bind`: access times stay as they are unless a mode is named, and then it counts
    /// whole; `atime` and its like name none.
    fn of_a_bind(&mut self) {
        self.own.clear &= OF_THE_SOURCE;
        if self.names_time {
            self.own.clear |= bits::ATIME | bits::NODIRATIME & !self.own.set;
        }
    }
}

fn parse(options: &[String]) -> Parsed {
    let mut parsed = Parsed::default();
    for option in options {
        // crun's `idmap=uids=…;gids=…`.
        let (name, ids) = match option.split_once('=') {
            Some((name @ ("idmap" | "ridmap"), ids)) => (name, Some(ids.to_owned())),
            _ => (option.as_str(), None),
        };
        parsed.ids = ids.or(parsed.ids);
        match OPTIONS.iter().find(|(known, _)| *known == name).map(|(_, effect)| effect) {
            None => parsed.rest.push(option.clone()),
            Some(&Effect::Source(links)) => parsed.links = links,
            Some(Effect::TargetLink) => parsed.on_link = true,
            Some(Effect::Nothing) => {}
            Some(&Effect::Own(set, clear)) => {
                parsed.names_own = true;
                parsed.own.change(set, clear);
            }
            Some(&Effect::Time(set)) => {
                (parsed.names_own, parsed.names_time) = (true, true);
                parsed.own.change(set, if set == bits::NODIRATIME { 0 } else { bits::ATIME });
            }
            Some(&Effect::Below(set, clear)) => parsed.recursive.change(set, clear),
            Some(&Effect::Propagate(flag, below)) => parsed.propagation.push((flag, below)),
            Some(&Effect::Bind(recursive)) => parsed.bind = Some(recursive || parsed.bind == Some(true)),
            Some(Effect::Remount) => parsed.remount = true,
            Some(Effect::CopyUp) => parsed.copy_up = true,
            Some(&Effect::IdMap(recursive)) => parsed.idmap = Some(recursive),
            Some(&Effect::FsFlag(name, ms)) => {
                parsed.ms |= ms;
                parsed.fs_flags.extend(Some(name).filter(|name| !name.is_empty()));
            }
        }
    }
    parsed
}

/// Adds the steps of `mounts[index]`.
pub(super) fn plan(build: &mut Build<'_>, index: usize, mount: &Mount) {
    let at = |what: &str| format!("mounts[{index}].{what}");
    let options = mount.options().as_deref().unwrap_or_default();
    let mut parsed = parse(options);
    let destination = mount.destination();
    // Some write the path as it is outside.
    let destination = inside(build, destination).unwrap_or_else(|| destination.clone());
    let Some(target) = build.in_root(&at("destination"), &destination) else { return };
    let fstype = mount.typ().as_deref().unwrap_or_default();
    if fstype == "bind" && parsed.bind.is_none() {
        parsed.bind = Some(true);
    }
    let kind = match (parsed.remount, parsed.bind, fstype) {
        (true, bind, _) => remount(build, &at("options"), &parsed, bind.is_some()),
        (_, Some(recursive), _) => bind(build, index, mount, &mut parsed, recursive),
        (_, None, "cgroup") => cgroups(build, &at("options"), &parsed),
        (_, None, "cgroup2") => file_system(build, index, "cgroup2", mount, &mut parsed),
        (_, None, "" | "none") => {
            build.problems.push(Problem::Missing { at: at("type") });
            None
        }
        (_, None, fstype) => file_system(build, index, fstype, mount, &mut parsed),
    };
    let Some(kind) = kind else { return };
    let path = target.to_string();
    let seal = seal_later(&kind, &path, &mut parsed);
    let on_proc = path == "proc" && (fstype == "proc" || parsed.bind.is_some());
    let step = MountStep {
        on_proc,
        in_proc: on_proc || PROC_TARGETS.contains(&path.as_str()),
        on_link: parsed.on_link,
        no_link: matches!(fstype, "proc" | "sysfs") && matches!(path.as_str(), "proc" | "sys"),
        target: target.clone(),
        kind,
        implied_clear: match (&parsed.bind, parsed.names_own) {
            (Some(_), true) => OF_THE_SOURCE & !parsed.own.set & !parsed.own.clear,
            _ => 0,
        },
        locked: parsed.bind.is_some() && build.new_user_namespace(),
        own: parsed.own,
        recursive: parsed.recursive,
        propagation: parsed.propagation,
        words: options.to_vec(),
    };
    if path.starts_with("proc/") && !step.in_proc {
        let rule = "must not lie inside /proc";
        build.problems.push(Problem::Invalid { at: at("destination"), value: format!("/{path}"), rule });
    }
    build.child.push(super::Step::Mount(Box::new(step)));
    if seal {
        build.seals.push(target);
    }
}

/// What follows the container's root directory in a path outside.
fn inside(build: &Build<'_>, path: &Path) -> Option<std::path::PathBuf> {
    let RootSource::Directory(root) = &build.options.root else { return None };
    let root = build.options.bundle.join(root);
    if root == Path::new("/") {
        return None;
    }
    path.strip_prefix(&root).ok().map(Path::to_owned)
}

/// A tmpfs asked for read-only is filled first (devices, mount points) and sealed afterwards.
fn seal_later(kind: &MountKind, path: &str, parsed: &mut Parsed) -> bool {
    let fresh = matches!(kind, MountKind::FileSystem { fstype, .. } if fstype.as_bytes() == b"tmpfs");
    if parsed.own.set & bits::RDONLY == 0 || !(fresh || path == "dev") {
        return false;
    }
    parsed.own.set &= !bits::RDONLY;
    true
}

fn bind(build: &mut Build<'_>, index: usize, mount: &Mount, parsed: &mut Parsed, recursive: bool) -> Option<MountKind> {
    let at = |what: &str| format!("mounts[{index}].{what}");
    let Some(source) = mount.source() else {
        build.problems.push(Problem::Missing { at: at("source") });
        return None;
    };
    let source = build.options.bundle.join(source);
    let within = inside(build, &source);
    let source = build.c_string(&at("source"), source.as_os_str())?;
    parsed.of_a_bind();
    let ids = match parsed.idmap {
        None if mount.uid_mappings().is_none() && mount.gid_mappings().is_none() => None,
        _ => Some(mount_ids(build, &at("options"), mount, parsed.ids.as_deref())?),
    };
    // runc and crun hand it to the kernel, which does not look at it either.
    let at_options = at("options");
    let left_out = parsed.rest.iter().filter(|option| !option.is_empty());
    let notes =
        left_out.map(|o| format!("{at_options}: {o:?} is for file systems, and a bind mount is none: left out"));
    build.plan.notes.extend(notes);
    if let (Some(path), Links::Followed) = (within, parsed.links) {
        // What earlier entries mounted there is only seen in the container's own mount namespace.
        let within = Some(build.in_root(&at("source"), &path)?);
        let mapped = ids.is_some();
        let below = parsed.idmap == Some(true);
        build.after_clone.extend(ids.map(|ids| ParentStep::MapMount { ids, recursive: below }));
        return Some(MountKind::Bind { source, recursive, opened: false, links: parsed.links, within, mapped });
    }
    let shared = parsed.propagation.iter().any(|(flag, _)| *flag == bits::MS_SHARED);
    let opened = ids.is_some() || build.opens_outside() || (shared && build.host.euid == 0);
    if opened && !shared && build.own(super::Namespace::Mount) {
        // A copy of a mount outside is what that is: where that is shared, what is mounted on the copy would be mounted outside too.
        parsed.propagation.insert(0, (build.propagation, true));
    }
    if opened {
        let ids_recursive = parsed.idmap == Some(true);
        let follow = parsed.links == Links::Followed;
        build.before_clone.push(ParentStep::OpenMount {
            source: source.clone(),
            recursive,
            follow,
            ids,
            ids_recursive,
        });
    }
    Some(MountKind::Bind { source, recursive, opened, links: parsed.links, within: None, mapped: false })
}

/// The mount's own mapping, crun's in the option, or the container's.
fn mount_ids(build: &mut Build<'_>, at: &str, mount: &Mount, option: Option<&str>) -> Option<MountIds> {
    let own = match option {
        Some(text) => match super::idmap::parse(text, build.ids.as_ref()) {
            Some(own) => own,
            None => {
                build.invalid(at, text, "is no mapping as uids=0-100000-65536;gids=0-100000-65536");
                return None;
            }
        },
        None => IdMaps {
            users: id_ranges(mount.uid_mappings().as_deref()),
            groups: id_ranges(mount.gid_mappings().as_deref()),
        },
    };
    if !own.users.is_empty() && !own.groups.is_empty() {
        return Some(MountIds::Own(own));
    }
    match &build.ids {
        Some(ids) if own.users.is_empty() && own.groups.is_empty() => Some(MountIds::Own(ids.clone())),
        None if own == IdMaps::default() && build.joins(super::Namespace::User) => Some(MountIds::Joined),
        _ => {
            let needs = "uidMappings and gidMappings, of the mount or of the container";
            build.problems.push(Problem::Needs { at: at.into(), value: "idmap".into(), needs });
            None
        }
    }
}

fn remount(build: &mut Build<'_>, at: &str, parsed: &Parsed, mount_only: bool) -> Option<MountKind> {
    let data = build.c_string(at, parsed.rest.join(",").as_ref())?;
    Some(MountKind::Remount { flags: bits::MS_REMOUNT | parsed.ms, data, mount_only })
}

fn file_system(
    build: &mut Build<'_>,
    index: usize,
    fstype: &str,
    mount: &Mount,
    parsed: &mut Parsed,
) -> Option<MountKind> {
    let at = |what: &str| format!("mounts[{index}].{what}");
    if let Some(label) = build.mount_label(fstype) {
        parsed.rest.push(format!("{}=\"{label}\"", build.annotations.label_option));
    }
    let mut options: Vec<FsOption> = Vec::new();
    let read_only = (parsed.own.set & bits::RDONLY != 0 && !SHARED_KINDS.contains(&fstype)).then_some("ro");
    for flag in parsed.fs_flags.iter().copied().chain(read_only) {
        options.push(FsOption { key: build.c_string(&at("options"), flag.as_ref())?, value: None });
    }
    for option in parsed.rest.iter().filter(|o| !no_option(fstype, o)) {
        options.push(fs_option(build, &at("options"), option)?);
    }
    let default_source = Path::new(fstype);
    let source = mount.source().as_deref().unwrap_or(default_source);
    Some(MountKind::FileSystem {
        fstype: build.c_string(&at("type"), fstype.as_ref())?,
        source: build.c_string(&at("source"), source.as_os_str())?,
        data: build.c_string(&at("options"), parsed.rest.join(",").as_ref())?,
        options,
        flags: parsed.ms,
        copy_up: parsed.copy_up,
        instead: match fstype {
            "sysfs" => Some(c"/sys".into()),
            "cgroup2" => build.own_cgroup2(),
            _ => None,
        },
    })
}

/// `newinstance` is what every devpts mount is since Linux 4.7.
fn no_option(fstype: &str, option: &str) -> bool {
    option.is_empty() || (fstype == "devpts" && option == "newinstance")
}

fn fs_option(build: &mut Build<'_>, at: &str, option: &str) -> Option<FsOption> {
    let (key, value) = match option.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (option, None),
    };
    let value = match value {
        Some(value) => Some(build.c_string(at, value.trim_matches('"').as_ref())?),
        None => None,
    };
    Some(FsOption { key: build.c_string(at, key.as_ref())?, value })
}

/// `type: cgroup`: version 2 where the machine has nothing else, otherwise a directory of version 1 hierarchies.
fn cgroups(build: &mut Build<'_>, at: &str, parsed: &Parsed) -> Option<MountKind> {
    let namespace = build.has_new(super::Namespace::Cgroup) || build.joins(super::Namespace::Cgroup);
    let old: Vec<_> = build.host.cgroups.iter().filter(|h| !h.version2).cloned().collect();
    if old.is_empty() {
        // Without a namespace the container sees every group, as with runc and crun; where it may not mount them, from outside.
        let instead = if namespace { build.own_cgroup2() } else { build.all_cgroups2() };
        let given = parsed.rest.iter().filter(|option| !option.is_empty());
        return Some(MountKind::FileSystem {
            fstype: c"cgroup2".into(),
            source: c"cgroup".into(),
            options: given.map(|option| fs_option(build, at, option)).collect::<Option<_>>()?,
            data: build.c_string(at, parsed.rest.join(",").as_ref())?,
            flags: 0,
            copy_up: false,
            instead,
        });
    }
    let hierarchies = old.iter().filter_map(|h| {
        let outside = h.mount_point.join(&h.own);
        let name = h.controllers.join(",");
        let shown = name.strip_prefix("name=").unwrap_or(&name);
        let options = match name.strip_prefix("name=") {
            Some(named) => vec![flag("none")?, FsOption { key: c"name".into(), value: CString::new(named).ok() }],
            None => h.controllers.iter().map(|c| flag(c)).collect::<Option<_>>()?,
        };
        Some(CgroupMount {
            name: CString::new(shown).ok()?,
            options,
            outside: CString::new(outside.into_os_string().into_encoded_bytes()).ok()?,
        })
    });
    let read_only = parsed.own.set & bits::RDONLY != 0;
    Some(MountKind::Cgroups { hierarchies: hierarchies.collect(), namespace, read_only })
}

fn flag(name: &str) -> Option<FsOption> {
    Some(FsOption { key: CString::new(name).ok()?, value: None })
}
