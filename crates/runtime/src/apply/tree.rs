//! What is mounted, made and hidden inside the root.
//!
//! Law: a path inside the root is resolved by the root's handle; what is mounted, goes to the descriptor that was resolved
//! and checked, never to a path that may have changed since (CVE-2021-30465, CVE-2023-27561, CVE-2025-31133, CVE-2025-52565).

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use knarr_sys::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use knarr_sys::mount::{self, FsMountFlags, MountAttr, MountAttrFlags};
use knarr_sys::{Errno, InRoot, Root, mounting};

use super::child::Child;
use super::root::explained;
use super::wire::Trouble;
use super::{cgroups, copy_up, procfs};
use crate::plan::mount::{FsOption, Links, MountKind, MountStep, bits};
use crate::plan::step::DeviceStep;

/// Directories made on the way to a mount point.
const DIR_MODE: Mode = Mode::from_raw_mode(0o755);

/// What masks are made of, kept for the next.
#[derive(Default)]
pub(crate) struct Covers {
    null: Option<OwnedFd>,
    nothing: Option<OwnedFd>,
}

/// The mounts on `/proc` and `/sys`, by the descriptors they were made with. What is hidden below them is looked up from there: were
/// it looked up by its whole path, somebody who swaps the directory of the image for a link in between would get the real
/// one unmasked (CVE-2019-19921).
#[derive(Default)]
pub(crate) struct Kept(Vec<(InRoot, Root)>);

impl Kept {
    fn keep(&mut self, target: &InRoot, mounted: OwnedFd) {
        if matches!(target.as_bytes(), b"proc" | b"sys") {
            self.0.retain(|(of, _)| of != target);
            self.0.push((target.clone(), Root::from_fd(mounted)));
        }
    }

    fn open(&self, root: &Root, path: &InRoot) -> Result<OwnedFd, Errno> {
        let kept = self.0.iter().find_map(|(of, mounted)| Some((mounted, path.seen_from(of)?)));
        match kept {
            Some((mounted, rest)) => mounted.try_open(&rest, OFlags::PATH),
            None => root.try_open(path, OFlags::PATH),
        }
    }
}

pub(crate) fn mount(child: &mut Child<'_>, step: &MountStep) -> Result<(), Trouble> {
    match &step.kind {
        MountKind::FileSystem { .. } => {
            let mounted = file_system(child.root()?, step)?;
            child.kept.keep(&step.target, mounted);
            Ok(())
        }
        MountKind::Bind { source, recursive, opened, links, within, mapped } => {
            let follow = *links == Links::Followed;
            let opened = if *opened && within.is_none() { child.next_mount()? } else { None };
            let made = match (within, opened) {
                (Some(path), _) => {
                    let source = child.root()?.open_path(path)?;
                    if *mapped {
                        // Only what is attached nowhere gets ids, and the old call makes no such mount.
                        let made = mount::clone_tree(source.as_fd(), *recursive)?;
                        child.have_mapped(&made)?;
                        made
                    } else {
                        mounting::tree(source.as_fd(), *recursive)?
                    }
                }
                (None, Some(made)) => in_our_order(made, *recursive),
                (None, None) => {
                    let source = open_source(source, follow)?;
                    // Before anything is mounted: the old call has no mounts that stand nowhere and vanish.
                    if *links == Links::Copied && file_type(&source)? == FileType::Symlink {
                        return copy_link(child.root()?, &step.target, &source);
                    }
                    mounting::tree(source.as_fd(), *recursive)?
                }
            };
            match links {
                Links::Copied if file_type(&made)? == FileType::Symlink => {
                    copy_link(child.root()?, &step.target, &made)
                }
                _ => {
                    place_bind(child.root()?, step, made.as_fd())?;
                    child.kept.keep(&step.target, made);
                    Ok(())
                }
            }
        }
        MountKind::Cgroups { hierarchies, namespace, read_only } => {
            let target = target(child.root()?, step, true)?;
            cgroups::mount(child, target.as_fd(), hierarchies, *namespace, *read_only)
        }
        MountKind::Remount { mount_only: true, .. } => change(target(child.root()?, step, true)?.as_fd(), step),
        MountKind::Remount { flags, data, .. } => remount(child.root()?, step, *flags, data),
    }
}

fn open_source(source: &CStr, follow: bool) -> Result<OwnedFd, Trouble> {
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    fs::openat(fs::CWD, source, OFlags::PATH | OFlags::CLOEXEC | nofollow, Mode::empty())
        .map_err(|errno| Trouble::new(errno, "the source"))
}

/// The kernel lists mounts in the order they were made, and what the parent opened was made before all others; a copy is made now.
/// Where a mount that is nowhere attached cannot be copied, it takes its place itself.
fn in_our_order(opened: OwnedFd, recursive: bool) -> OwnedFd {
    mount::clone_tree(opened.as_fd(), recursive).unwrap_or(opened)
}

/// crun's `copy-symlink`: what stands there already must be the same link.
fn copy_link(root: &Root, at: &InRoot, link: &OwnedFd) -> Result<(), Trouble> {
    let text = fs::readlinkat(link, c"", Vec::new())?;
    let (parent, name) = parent(root, at)?;
    match fs::symlinkat(&text, &parent, name) {
        Err(Errno::EXIST) if fs::readlinkat(&parent, name, Vec::new()).is_ok_and(|there| there == text) => Ok(()),
        other => Ok(other?),
    }
}

fn place_bind(root: &Root, step: &MountStep, made: BorrowedFd<'_>) -> Result<(), Trouble> {
    let target = target(root, step, file_type(made)? == FileType::Directory)?;
    if step.on_proc {
        procfs::check(made).map_err(|errno| Trouble::new(errno, "the source, which is no procfs"))?;
    }
    mounting::attach(made, target.as_fd())?;
    change(made, step)
}

/// Attributes of a bind. One that is locked (it came from a user namespace above) stays as it is, unless it is named: then that is
/// an error.
fn change(made: BorrowedFd<'_>, step: &MountStep) -> Result<(), Trouble> {
    let own = MountAttr { set: step.own.set, clear: step.own.clear | step.implied_clear, ..MountAttr::default() };
    match own.set | own.clear {
        0 => {}
        _ if step.locked => mounting::set(made, false, &unlocked(made, step, own)?)?,
        _ => match mounting::set(made, false, &own) {
            Err(Errno::PERM) => mounting::set(made, false, &unlocked(made, step, own)?)?,
            other => other?,
        },
    }
    attributes(made, true, step.recursive.set, step.recursive.clear).map_err(below)?;
    for (propagation, recursive) in &step.propagation {
        mounting::set(made, *recursive, &MountAttr { propagation: *propagation, ..MountAttr::default() })?;
    }
    Ok(())
}

/// What is left to do when the attributes that are there stay.
fn unlocked(made: BorrowedFd<'_>, step: &MountStep, own: MountAttr) -> Result<MountAttr, Errno> {
    // ST_RDONLY, ST_NOSUID, ST_NODEV and ST_NOEXEC have the values of MOUNT_ATTR_*.
    let there = fs::fstatvfs(made)?.f_flag.bits();
    let kept = there & (bits::RDONLY | bits::NOSUID | bits::NODEV | bits::NOEXEC);
    let changes_time = own.clear & bits::ATIME != 0 && times(there) != wanted_times(own.set);
    match step.own.clear & kept {
        0 if !changes_time => Ok(MountAttr { clear: own.clear & !kept, ..own }),
        _ => Err(Errno::PERM),
    }
}

/// Access times of statvfs(3): none, none of directories, relative ones.
fn times(flags: u64) -> [bool; 3] {
    [ST_NOATIME, ST_NODIRATIME, ST_RELATIME].map(|flag| flags & flag != 0)
}

/// The same of attributes to be set.
fn wanted_times(set: u64) -> [bool; 3] {
    let relative = set & (bits::NOATIME | bits::STRICTATIME) == 0;
    [set & bits::NOATIME != 0, set & bits::NODIRATIME != 0, relative]
}

const ST_NOATIME: u64 = 1024;
const ST_NODIRATIME: u64 = 2048;
const ST_RELATIME: u64 = 4096;

/// What is missing where the mounts below cannot be changed.
fn below(errno: Errno) -> Trouble {
    match errno {
        Errno::NOSYS => Trouble::new(errno, "attributes of the mounts below need mount_setattr(2), Linux 5.12"),
        other => other.into(),
    }
}

fn attributes(made: BorrowedFd<'_>, recursive: bool, set: u64, clear: u64) -> Result<(), Errno> {
    if set == 0 && clear == 0 {
        return Ok(());
    }
    let attr = MountAttr { set, clear, ..MountAttr::default() };
    match mounting::set(made, recursive, &attr) {
        Err(Errno::PERM) if clear != 0 => {
            let set = MountAttr { set: set & !bits::ATIME, ..MountAttr::default() };
            if set.set == 0 { Ok(()) } else { mounting::set(made, recursive, &set) }
        }
        other => other,
    }
}

fn file_system(root: &Root, step: &MountStep) -> Result<OwnedFd, Trouble> {
    let MountKind::FileSystem { fstype, source, options, copy_up, instead, .. } = &step.kind else {
        return Err(Errno::INVAL.into());
    };
    let with_mode;
    let options = match covered_mode(root, step, fstype, options) {
        Some(mode) => {
            with_mode = [&options[..], &[mode]].concat();
            &with_mode
        }
        None => options,
    };
    let target = target(root, step, true)?;
    let attr = MountAttrFlags::from_bits_retain(step.own.set as u32);
    let made = match (fresh(fstype, source, options, attr), instead) {
        (Err(trouble), Some(path)) if matches!(trouble.errno, Errno::PERM | Errno::BUSY) => {
            return instead_of(step, path, &target).map_err(|_| trouble);
        }
        (made, _) => made?,
    };
    if *copy_up {
        copy_up::fill(target.as_fd(), made.as_fd())?;
    }
    mounting::attach(made.as_fd(), target.as_fd())?;
    attributes(made.as_fd(), true, step.recursive.set, step.recursive.clear)?;
    for (propagation, recursive) in &step.propagation {
        mounting::set(made.as_fd(), *recursive, &MountAttr { propagation: *propagation, ..MountAttr::default() })?;
    }
    Ok(made)
}

/// A tmpfs that is given no mode has that of the directory it covers, as with runc; where there is none, its own default of 1777.
fn covered_mode(root: &Root, step: &MountStep, fstype: &CStr, options: &[FsOption]) -> Option<FsOption> {
    if fstype != c"tmpfs" || options.iter().any(|option| option.key.as_c_str() == c"mode") {
        return None;
    }
    let covered = root.open_path(&step.target).ok()?;
    let stat = fs::statat(&covered, c"", AtFlags::EMPTY_PATH).ok()?;
    let mode = format!("{:o}", stat.st_mode & 0o7777);
    Some(FsOption { key: c"mode".into(), value: CString::new(mode).ok() })
}

/// A user namespace that does not own the network may not mount its own sysfs: it sees the one outside.
fn instead_of(step: &MountStep, path: &CStr, target: &OwnedFd) -> Result<OwnedFd, Trouble> {
    let made = mounting::tree(open_source(path, true)?.as_fd(), true)?;
    mounting::attach(made.as_fd(), target.as_fd())?;
    change(made.as_fd(), step)?;
    Ok(made)
}

/// A new file system, not yet anywhere.
pub(crate) fn fresh(
    fstype: &CStr,
    source: &CStr,
    options: &[FsOption],
    attr: MountAttrFlags,
) -> Result<OwnedFd, Trouble> {
    match configured(fstype, source, options, attr) {
        // A group that the user namespace does not map: the terminals then belong to its root.
        Err(trouble) if trouble.errno == Errno::INVAL && fstype == c"devpts" => {
            let without = |option: &&FsOption| option.key.as_c_str() != c"gid";
            configure(fstype, source, options.iter().filter(without), attr)
        }
        other => other,
    }
}

fn configured(fstype: &CStr, source: &CStr, options: &[FsOption], attr: MountAttrFlags) -> Result<OwnedFd, Trouble> {
    configure(fstype, source, options.iter(), attr)
}

fn configure<'o>(
    fstype: &CStr,
    source: &CStr,
    options: impl Iterator<Item = &'o FsOption>,
    attr: MountAttrFlags,
) -> Result<OwnedFd, Trouble> {
    if !mounting::has_new_calls() {
        return configure_old(fstype, source, options, attr);
    }
    let fs = mount::fsopen(fstype, mount::FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set_all = || {
        mount::fsconfig_set_string(&fs, c"source", source)?;
        for option in options {
            match &option.value {
                Some(value) => mount::fsconfig_set_string(&fs, option.key.as_c_str(), value.as_c_str())?,
                None => mount::fsconfig_set_flag(&fs, option.key.as_c_str())?,
            }
        }
        mount::fsconfig_create(&fs)?;
        mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr)
    };
    set_all().map_err(|errno| explained(&fs, errno))
}

/// The same for mount(2): flags of the file system as bits, the rest as one string.
fn configure_old<'o>(
    fstype: &CStr,
    source: &CStr,
    options: impl Iterator<Item = &'o FsOption>,
    attr: MountAttrFlags,
) -> Result<OwnedFd, Trouble> {
    let (mut flags, mut data) = (ms_flags(attr.bits().into()), Vec::new());
    for option in options {
        match FS_FLAGS.iter().find(|(name, _)| option.value.is_none() && *name == option.key.as_c_str()) {
            Some((_, flag)) => flags |= flag,
            None => {
                let value = option.value.as_ref().map(|value| [b"=", value.to_bytes()].concat()).unwrap_or_default();
                data.extend(
                    [if data.is_empty() { &b""[..] } else { b"," }, option.key.to_bytes(), value.as_slice()].concat(),
                );
            }
        }
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    Ok(mounting::file_system(source, fstype, flags, &data)?)
}

/// Options of a new file system that mount(2) takes as `MS_*`.
const FS_FLAGS: [(&CStr, u64); 7] = [
    (c"ro", bits::RDONLY),
    (c"sync", bits::MS_SYNCHRONOUS),
    (c"dirsync", bits::MS_DIRSYNC),
    (c"mand", bits::MS_MANDLOCK),
    (c"lazytime", bits::MS_LAZYTIME),
    (c"async", 0),
    (c"nolazytime", 0),
];

fn remount(root: &Root, step: &MountStep, flags: u64, data: &CStr) -> Result<(), Trouble> {
    let target = target(root, step, true)?;
    knarr_sys::io::fchdir(&target)?;
    let data = (!data.is_empty()).then_some(data);
    let flags = flags | ms_flags(step.own.set);
    match mount::mount(None, c".", None, flags, data) {
        // Flags that a user namespace above has locked cannot be dropped; a remount names them all.
        Err(Errno::PERM) => Ok(mount::mount(None, c".", None, flags | locked_flags(&target)?, data)?),
        other => Ok(other?),
    }
}

/// The flags a mount has now, which mount(2) would clear where it is not told them again. statfs(2) has them at the same bits but one.
fn locked_flags(mount: &OwnedFd) -> Result<u64, Errno> {
    const SAME: u64 = 1 | 2 | 4 | 8 | 1024 | 2048;
    const ST_RELATIME: u64 = 4096;
    const MS_RELATIME: u64 = 1 << 21;
    let flags = fs::fstatvfs(mount)?.f_flag.bits();
    Ok(flags & SAME | if flags & ST_RELATIME != 0 { MS_RELATIME } else { 0 })
}

/// `MOUNT_ATTR_*` as mount(2) says it.
fn ms_flags(attr: u64) -> u64 {
    let table =
        [(bits::NOATIME, 1024), (bits::STRICTATIME, 1 << 24), (bits::NODIRATIME, 2048), (bits::NOSYMFOLLOW, 256)];
    let same = attr & (bits::RDONLY | bits::NOSUID | bits::NODEV | bits::NOEXEC);
    table.iter().filter(|(bit, _)| attr & bit != 0).fold(same, |flags, (_, ms)| flags | ms)
}

pub(crate) fn file_type(fd: impl AsFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(fs::statat(fd, c"", AtFlags::EMPTY_PATH)?.st_mode))
}

/// The mount point, made where it is missing.
fn target(root: &Root, step: &MountStep, directory: bool) -> Result<OwnedFd, Trouble> {
    let on_link = if step.no_link || step.on_link { OFlags::NOFOLLOW } else { OFlags::empty() };
    let target = match root.try_open(&step.target, OFlags::PATH | on_link) {
        Err(Errno::NOENT) => make_target(root, &followed(root, &step.target)?, directory)?,
        other => other?,
    };
    if step.no_link && file_type(&target)? != FileType::Directory {
        return Err(Trouble::new(Errno::NOTDIR, "it must be mounted on ordinary directory"));
    }
    if !step.in_proc && procfs::check(&target).is_ok() {
        return Err(Trouble::new(Errno::PERM, "the mount point lies in procfs"));
    }
    Ok(target)
}

/// The path without links, as far as they can be followed; where they lead nowhere, what they say is what will be made.
fn followed(root: &Root, path: &InRoot) -> Result<InRoot, Trouble> {
    let names = |path: &[u8]| path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_owned).collect::<Vec<_>>();
    let parse =
        |names: &[Vec<u8>]| InRoot::parse(OsStr::from_bytes(&names.join(&b'/'))).map_err(|_| Errno::NAMETOOLONG);
    let (mut ahead, mut passed, mut links) = (names(path.as_bytes()), Vec::new(), 0);
    while let Some(name) = ahead.pop() {
        match &name[..] {
            b"" | b"." => continue,
            b".." => drop(passed.pop()),
            _ => passed.push(name),
        }
        let Ok(here) = root.open_path_nofollow(&parse(&passed)?) else { continue };
        if file_type(&here)? == FileType::Symlink {
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::LOOP.into());
            }
            let says = fs::readlinkat(&here, c"", Vec::new())?.into_bytes();
            passed.pop();
            if says.starts_with(b"/") {
                passed.clear();
            }
            ahead.extend(names(&says));
        }
    }
    Ok(parse(&passed)?)
}

/// The kernel's own `MAXSYMLINKS`.
const LINKS_MAX: u32 = 40;

fn make_target(root: &Root, path: &InRoot, directory: bool) -> Result<OwnedFd, Trouble> {
    if directory {
        return Ok(root.make_dirs(path, DIR_MODE)?);
    }
    make_file(root, path)?;
    Ok(root.open_path(path)?)
}

/// An empty file to mount on.
fn make_file(root: &Root, path: &InRoot) -> Result<(), Trouble> {
    let (parent, name) = parent(root, path)?;
    match fs::mknodat(&parent, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0) {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// The directory a path stands in, made where it is missing, and the path's last name.
fn parent<'p>(root: &Root, path: &'p InRoot) -> Result<(OwnedFd, &'p OsStr), Trouble> {
    let (parent, name) = path.split_last().ok_or(Errno::INVAL)?;
    Ok((make_dir(root, &parent)?, name))
}

/// Opens a directory, and makes what is missing of it.
pub(crate) fn make_dir(root: &Root, path: &InRoot) -> Result<OwnedFd, Trouble> {
    match root.try_open(path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => Ok(root.make_dirs(path, DIR_MODE)?),
        other => Ok(other?),
    }
}

/// The directory devices and links were made in last, for the next of them: nothing is mounted in between.
#[derive(Default)]
pub(crate) struct LastDirectory(Option<(InRoot, OwnedFd)>);

impl LastDirectory {
    fn of<'l>(&'l mut self, root: &Root, path: &InRoot) -> Result<&'l OwnedFd, Trouble> {
        let known = self.0.take_if(|(of, _)| of.holds(path));
        let directory = match known {
            Some(known) => known,
            None => {
                let (parent, _) = path.split_last().ok_or(Errno::INVAL)?;
                let opened = make_dir(root, &parent)?;
                (parent, opened)
            }
        };
        Ok(&self.0.insert(directory).1)
    }
}

pub(crate) fn device(child: &mut Child<'_>, step: &DeviceStep) -> Result<(), Trouble> {
    let root = child.root.as_ref().ok_or(Errno::BADF)?;
    if let Some(outside) = &step.bind_from {
        return bind_device(root, step, outside);
    }
    let (_, name) = step.path.split_last().ok_or(Errno::INVAL)?;
    make_device(child.directory.of(root, &step.path)?, name, step)
}

fn make_device(parent: &OwnedFd, name: &OsStr, step: &DeviceStep) -> Result<(), Trouble> {
    let (kind, number) = (device_type(step.kind), fs::makedev(step.major, step.minor));
    let mode = Mode::from_raw_mode(step.mode);
    match fs::mknodat(parent, name, kind, mode, number) {
        Err(Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let there = fs::openat(parent, name, flags, Mode::empty())?;
            let stat = fs::statat(&there, c"", AtFlags::EMPTY_PATH)?;
            if is_device(stat, step) {
                // What was looked at, not what has the name by now: that may be a link to a file of the machine.
                let change = || knarr_sys::at::chmod_handle(&there, mode).map_err(|error| error.errno.into());
                return if Mode::from_raw_mode(stat.st_mode) == mode { Ok(()) } else { change() };
            }
            fs::unlinkat(parent, name, AtFlags::empty())?;
            fs::mknodat(parent, name, kind, mode, number)?;
        }
        other => other?,
    }
    if (step.uid, step.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(step.uid), Gid::from_raw(step.gid));
        fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn device_type(kind: char) -> FileType {
    match kind {
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        _ => FileType::CharacterDevice,
    }
}

fn is_device(stat: fs::Stat, step: &DeviceStep) -> bool {
    let same_number = step.kind == 'p' || stat.st_rdev == fs::makedev(step.major, step.minor);
    FileType::from_raw_mode(stat.st_mode) == device_type(step.kind) && same_number
}

fn bind_device(root: &Root, step: &DeviceStep, outside: &CStr) -> Result<(), Trouble> {
    let outside = fs::openat(fs::CWD, outside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if !is_device(fs::statat(&outside, c"", AtFlags::EMPTY_PATH)?, step) {
        return Err(Trouble::new(Errno::NODEV, "the device outside has another number"));
    }
    make_file(root, &step.path)?;
    let target = root.open_path_nofollow(&step.path)?;
    let made = mounting::tree(outside.as_fd(), false)?;
    mounting::attach(made.as_fd(), target.as_fd())?;
    let set = bits::NOSUID | bits::NOEXEC;
    Ok(mounting::set(made.as_fd(), false, &MountAttr { set, ..MountAttr::default() })?)
}

/// What the image brought stays.
pub(crate) fn link(child: &mut Child<'_>, text: &CStr, at: &InRoot) -> Result<(), Trouble> {
    let root = child.root.as_ref().ok_or(Errno::BADF)?;
    let (_, name) = at.split_last().ok_or(Errno::INVAL)?;
    match fs::symlinkat(text, child.directory.of(root, at)?, name) {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

pub(crate) fn seal(root: &Root, path: &InRoot) -> Result<(), Trouble> {
    let mounted = root.open_path(path)?;
    Ok(mounting::set(mounted.as_fd(), false, &MountAttr { set: bits::RDONLY, ..MountAttr::default() })?)
}

pub(crate) fn read_only(child: &Child<'_>, path: &InRoot) -> Result<(), Trouble> {
    let target = match child.kept.open(child.root()?, path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let made = mounting::tree(target.as_fd(), true)?;
    // Without mount_setattr(2) what is mounted below stays as it is, as in every runtime before Linux 5.12.
    let below = mounting::has_new_calls();
    mounting::set(made.as_fd(), below, &MountAttr { set: bits::RDONLY, ..MountAttr::default() })?;
    Ok(mounting::attach(made.as_fd(), target.as_fd())?)
}

/// A file is covered by the null device, a directory by an empty file system; all of them by the same one.
pub(crate) fn mask(child: &mut Child<'_>, path: &InRoot) -> Result<(), Trouble> {
    let target = match child.kept.open(child.root()?, path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    if file_type(&target)? == FileType::Directory {
        return cover_directory(&mut child.covers, &target);
    }
    let null = match child.covers.null.take() {
        Some(null) => null,
        None => open_null()?,
    };
    let made = mounting::tree(null.as_fd(), false)?;
    child.covers.null = Some(null);
    Ok(mounting::attach(made.as_fd(), target.as_fd())?)
}

fn cover_directory(covers: &mut Covers, target: &OwnedFd) -> Result<(), Trouble> {
    if let Some(nothing) = &covers.nothing {
        let made = mounting::tree(nothing.as_fd(), false)?;
        return Ok(mounting::attach(made.as_fd(), target.as_fd())?);
    }
    let attr = MountAttrFlags::from_bits_retain((bits::RDONLY | bits::NOSUID | bits::NODEV | bits::NOEXEC) as u32);
    let made = fresh(c"tmpfs", c"tmpfs", &[], attr)?;
    mounting::attach(made.as_fd(), target.as_fd())?;
    // Attached, it can be cloned by every kernel.
    covers.nothing = Some(made);
    Ok(())
}

/// The machine's own null device, not the container's, and checked to be it: CVE-2025-31133.
pub(crate) fn open_null() -> Result<OwnedFd, Trouble> {
    let null = fs::openat(fs::CWD, c"/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fs::statat(&null, c"", AtFlags::EMPTY_PATH)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == fs::makedev(NULL_DEVICE.0, NULL_DEVICE.1);
    if is_null { Ok(null) } else { Err(Trouble::new(Errno::NODEV, "/dev/null is not the null device")) }
}

const NULL_DEVICE: (u32, u32) = (1, 3);

/// The bytes of a name.
pub(crate) fn os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}
