//! Which hierarchies this machine has, which controllers each carries, and where this process stands in them.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Error, files::read};

/// What the machine as a whole looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Version 1 only.
    V1,
    /// Controllers on version 1, with a version 2 hierarchy beside them.
    Hybrid,
    /// Version 2 only.
    V2,
    /// No cgroup file system is mounted.
    None,
}

/// The interface of one hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// `cgroup`.
    V1,
    /// `cgroup2`.
    V2,
}

/// A controller's name as the kernel writes it (`memory`, `cpu`, `io`, `name=systemd`).
pub type Controller = String;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Version 1 or 2.
    pub version: Version,
    /// Version 1: those mounted together. Version 2: the contents of `cgroup.controllers` at the mount point.
    pub controllers: Vec<Controller>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// This process's cgroup, relative to the mount point, without a leading slash; empty at the top.
    pub own: PathBuf,
}

/// Every hierarchy that is mounted and that this process is a member of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// In the order of the mount table.
    pub hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Reads `/proc/self/mountinfo`, `/proc/self/cgroup` and `cgroup.controllers`.
    pub fn discover() -> Result<Layout, Error> {
        let mountinfo = read(Path::new("/proc/self/mountinfo"))?;
        let membership = read(Path::new("/proc/self/cgroup"))?;
        let mut layout = Layout::parse(&mountinfo, &membership);
        for hierarchy in layout.hierarchies.iter_mut().filter(|h| h.version == Version::V2) {
            hierarchy.controllers = words(&read(&hierarchy.mount_point.join("cgroup.controllers"))?);
        }
        Ok(layout)
    }

    /// The pure part: mount table and membership as text; version 2 controllers are left empty. Lines that make no sense and mounts
    /// that nobody can reach because another lies over them are left out; of several mounts of one hierarchy the first is taken.
    pub fn parse(mountinfo: &[u8], membership: &[u8]) -> Layout {
        let mounts: Vec<Mount> = mountinfo.split(|b| *b == b'\n').filter_map(Mount::parse).collect();
        let members: Vec<Member> = membership.split(|b| *b == b'\n').filter_map(Member::parse).collect();
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for mount in mounts.iter().filter(|mount| mount.is_cgroup()) {
            let Some(member) = members.iter().find(|member| mount.carries(member)) else { continue };
            let known = |h: &Hierarchy| h.controllers == member.controllers;
            // The second question takes as long as the table: a machine of many containers has many mounts of each hierarchy.
            if hierarchies.iter().any(known) || hidden(mount, &mounts) {
                continue;
            }
            let own = below(&unescape(mount.root), &member.path);
            let version = if member.controllers.is_empty() { Version::V2 } else { Version::V1 };
            let controllers = member.controllers.clone();
            hierarchies.push(Hierarchy { version, controllers, mount_point: unescape(mount.mount_point), own });
        }
        Layout { hierarchies }
    }

    /// What the machine as a whole looks like.
    pub fn kind(&self) -> Kind {
        let has = |version| self.hierarchies.iter().any(|h| h.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (true, true) => Kind::Hybrid,
            (true, false) => Kind::V1,
            (false, true) => Kind::V2,
            (false, false) => Kind::None,
        }
    }
}

/// The words of a file such as `cgroup.controllers`.
pub(crate) fn words(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).split_ascii_whitespace().map(str::to_owned).collect()
}

/// A line of `/proc/self/cgroup`: `4:memory:/path`, `1:name=systemd:/path`, `0::/path`.
struct Member {
    /// Empty: version 2.
    controllers: Vec<String>,
    path: PathBuf,
}

impl Member {
    fn parse(line: &[u8]) -> Option<Member> {
        let mut fields = line.splitn(3, |b| *b == b':');
        let (id, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let names = std::str::from_utf8(names).ok()?;
        if names.is_empty() && id != b"0" {
            return None;
        }
        let controllers = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Member { controllers, path: OsStr::from_bytes(path).into() })
    }
}

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)):
/// `36 35 98:0 /root /mount/point rw,noatime shared:1 - cgroup cgroup rw,memory`.
///
/// Nothing is copied: a machine with hundreds of mounts has a few that matter.
struct Mount<'t> {
    id: u64,
    parent: u64,
    /// As it is written, with escapes; so is the mount point.
    root: &'t [u8],
    mount_point: &'t [u8],
    fstype: &'t [u8],
    /// Options of the file system, among them the controllers of version 1.
    options: &'t [u8],
}

impl<'t> Mount<'t> {
    fn parse(line: &'t [u8]) -> Option<Mount<'t>> {
        let mut fields = line.split(|b| *b == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (id, parent) = (number()?, number()?);
        let _device = fields.next()?;
        let (root, mount_point) = (fields.next()?, fields.next()?);
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let (fstype, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Mount { id, parent, root, mount_point, fstype, options })
    }

    fn is_cgroup(&self) -> bool {
        self.fstype == b"cgroup" || self.fstype == b"cgroup2"
    }

    fn carries(&self, member: &Member) -> bool {
        let has = |name: &String| self.options.split(|b| *b == b',').any(|option| option == name.as_bytes());
        match self.fstype == b"cgroup2" {
            true => member.controllers.is_empty(),
            false => !member.controllers.is_empty() && member.controllers.iter().all(has),
        }
    }
}

/// Whether another mount lies over this one: on its own root, or on a directory above that it does not itself stand on.
fn hidden(mount: &Mount<'_>, mounts: &[Mount<'_>]) -> bool {
    let above = ancestors(mount, mounts);
    mounts.iter().any(|other| {
        let stacked = other.parent == mount.id && other.mount_point == mount.mount_point;
        let over_an_ancestor = is_above(other.mount_point, mount.mount_point)
            && above.contains(&other.parent)
            && !above.contains(&other.id);
        other.id != mount.id && (stacked || over_an_ancestor)
    })
}

/// Whether `path` stands below `directory`. Escapes stand for single characters that are no slash, so paths compare as they are
/// written, and a mount table has no `.`, no `..` and no slash twice.
fn is_above(directory: &[u8], path: &[u8]) -> bool {
    directory == b"/" && path != b"/" || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// The ids of the mounts that `mount` stands on. Each is taken once: a table that lies cannot make a loop. Of several mounts with one id
/// the first counts.
fn ancestors(mount: &Mount<'_>, mounts: &[Mount<'_>]) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut id = mount.parent;
    while let Some(parent) = mounts.iter().find(|other| other.id == id)
        && !ids.contains(&id)
    {
        ids.push(id);
        id = parent.parent;
    }
    ids
}

/// `path` relative to `root`; empty when it is not below it (a cgroup namespace, or a foreign subtree).
fn below(root: &Path, path: &Path) -> PathBuf {
    let rest = path.strip_prefix(root).unwrap_or(Path::new(""));
    let climbs = rest.components().any(|part| part == std::path::Component::ParentDir);
    if climbs { PathBuf::new() } else { rest.strip_prefix("/").unwrap_or(rest).to_owned() }
}

/// The kernel writes space, tab, newline and backslash as three octal digits after a backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests;
