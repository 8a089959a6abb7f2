//! The root file system: made, entered.
//!
//! Everything happens in the child's own mount namespace, so nothing is left outside when it dies.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use knarr_sys::fs::{self, Mode, OFlags};
use knarr_sys::mount::{self, MountAttr, MountAttrFlags, MountPropagationFlags, UnmountFlags};
use knarr_sys::{Errno, Root, io, mounting};

use super::tree;
use super::wire::Trouble;
use crate::plan::mount::bits;
use crate::plan::step::OverlayStep;

fn open_dir(path: &CStr) -> Result<OwnedFd, Errno> {
    fs::openat(fs::CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

pub(crate) fn propagation(flags: u64) -> Result<(), Errno> {
    mount::mount(None, c"/", None, flags | u64::from(MountPropagationFlags::REC.bits()), None)
}

pub(crate) fn plain(path: &CStr) -> Result<Root, Errno> {
    open_dir(path).map(Root::from_fd)
}

/// A mount of the directory on itself: pivot_root wants a mount point.
pub(crate) fn directory(path: &CStr) -> Result<Root, Errno> {
    let directory = open_dir(path)?;
    let mount = mounting::tree(directory.as_fd(), true)?;
    mounting::attach(mount.as_fd(), directory.as_fd())?;
    Ok(Root::from_fd(mount))
}

/// The same for a mount the parent opened, attached where it can always be: nobody looks at what is below. It is a copy of a mount
/// outside: where that is shared, so is the copy until it is told otherwise, and what is mounted on it would be mounted outside too.
pub(crate) fn opened(mount: OwnedFd, propagation: u64) -> Result<Root, Errno> {
    attach_anywhere(&mount)?;
    mounting::set(mount.as_fd(), true, &MountAttr { propagation, ..MountAttr::default() })?;
    Ok(Root::from_fd(mount))
}

fn attach_anywhere(mount: &OwnedFd) -> Result<(), Errno> {
    let place = open_dir(c"/")?;
    // `/` itself cannot be covered for us, for our root directory stays below; a directory in it can.
    for place_name in [c"/proc", c"/tmp", c"/dev", c"/run"] {
        let Ok(place) = open_dir(place_name) else { continue };
        return mounting::attach(mount.as_fd(), place.as_fd());
    }
    mounting::attach(mount.as_fd(), place.as_fd())
}

/// The overlay: option by option where the kernel takes `lowerdir+` (6.5), otherwise as one string with names relative to
/// the base, which we stand in.
pub(crate) fn overlay(step: &OverlayStep) -> Result<Root, Trouble> {
    let base = open_dir(&step.base)?;
    let mount = match overlay_by_options(step) {
        Ok(mount) => mount,
        Err(trouble) if matches!(trouble.errno, Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
            return overlay_by_string(step, &base).map_err(|old| if old.errno == Errno::INVAL { trouble } else { old });
        }
        Err(trouble) => return Err(trouble),
    };
    mounting::attach(mount.as_fd(), base.as_fd())?;
    Ok(Root::from_fd(mount))
}

fn overlay_by_options(step: &OverlayStep) -> Result<OwnedFd, Trouble> {
    if !mounting::has_new_calls() {
        return Err(Errno::NOSYS.into());
    }
    let fs = mount::fsopen(c"overlay", mount::FsOpenFlags::FSOPEN_CLOEXEC)?;
    let made = overlay_configure(&fs, step)
        .and_then(|()| mount::fsmount(&fs, mount::FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()));
    made.map_err(|errno| explained(&fs, errno))
}

fn overlay_configure(fs: &OwnedFd, step: &OverlayStep) -> Result<(), Errno> {
    mount::fsconfig_set_string(fs, c"source", c"overlay")?;
    for lower in &step.lower {
        mount::fsconfig_set_string(fs, c"lowerdir+", lower.as_c_str())?;
    }
    if let (Some(upper), Some(work)) = (&step.upper, &step.work) {
        mount::fsconfig_set_string(fs, c"upperdir", upper.as_c_str())?;
        mount::fsconfig_set_string(fs, c"workdir", work.as_c_str())?;
    }
    for (key, value) in &step.flags {
        match value.is_empty() {
            true => mount::fsconfig_set_flag(fs, key.as_c_str())?,
            false => mount::fsconfig_set_string(fs, key.as_c_str(), value.as_c_str())?,
        }
    }
    mount::fsconfig_create(fs)
}

fn overlay_by_string(step: &OverlayStep, base: &OwnedFd) -> Result<Root, Trouble> {
    io::fchdir(base)?;
    mount::mount(Some(c"overlay"), c".", Some(c"overlay"), 0, Some(&step.old_options))?;
    // Our directory is the one below; the path leads to the one mounted on it.
    Ok(plain(&step.base)?)
}

/// The errno with what the file system said about it.
pub(crate) fn explained(fs: &OwnedFd, errno: Errno) -> Trouble {
    let mut buffer = [0; 256];
    let length = mount::fs_message(fs, &mut buffer);
    let note = String::from_utf8_lossy(&buffer[..length]).into_owned();
    Trouble { errno, note: Some(note.into()).filter(|_| length > 0) }
}

/// pivot_root(2): with both arguments the same directory the old root is stacked on the new one, and detached from it.
pub(crate) fn pivot(root: &Root) -> Result<(), Errno> {
    io::fchdir(root)?;
    mount::pivot_root(c".", c".")?;
    mount::unmount(c".", UnmountFlags::DETACH)?;
    io::chdir(c"/")
}

/// Where `/` is the initial ramdisk pivot_root is impossible.
pub(crate) fn move_over(root: &Root) -> Result<(), Trouble> {
    leave_behind(root)?;
    io::fchdir(root)?;
    mount::mount(Some(c"."), c"/", None, MS_MOVE, None)?;
    io::chroot(c".")?;
    Ok(io::chdir(c"/")?)
}

/// The old root stays below the new one. A whole procfs or sysfs in it would let a user namespace inside mount another whole one, so
/// they go; what cannot go is covered.
fn leave_behind(root: &Root) -> Result<(), Trouble> {
    let io_error = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let ours = std::fs::read_link(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd())).map_err(io_error)?;
    let mounts = std::fs::read("/proc/self/mountinfo").map_err(io_error)?;
    let whole: Vec<CString> = mounts.split(|byte| *byte == b'\n').filter_map(whole_kernel_mount).collect();
    for path in whole.iter().rev().filter(|path| !Path::new(tree::os(path)).starts_with(&ours)) {
        if mount::unmount(path.as_c_str(), UnmountFlags::DETACH).is_err() {
            let nothing = tree::fresh(c"tmpfs", c"tmpfs", &[], MountAttrFlags::from_bits_retain(bits::RDONLY as u32))?;
            let place = fs::openat(fs::CWD, path.as_c_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            mount::attach(nothing.as_fd(), place.as_fd())?;
        }
    }
    Ok(())
}

/// The mount point, where a line of mountinfo is about all of a procfs or sysfs.
fn whole_kernel_mount(line: &[u8]) -> Option<CString> {
    let text = std::str::from_utf8(line).ok()?;
    let (mount, file_system) = text.split_once(" - ")?;
    let fields: Vec<&str> = mount.split(' ').collect();
    let kind = file_system.split(' ').next()?;
    let whole = *fields.get(3)? == "/" && matches!(kind, "proc" | "sysfs");
    // Mount points of the kernel's file systems with blanks in their names are nobody's.
    whole.then(|| CString::new(*fields.get(4)?).ok()).flatten()
}

const MS_MOVE: u64 = 8192;

pub(crate) fn chroot(root: &Root) -> Result<(), Errno> {
    io::fchdir(root)?;
    io::chroot(c".")?;
    io::chdir(c"/")
}

pub(crate) fn read_only(root: &Root) -> Result<(), Errno> {
    mounting::set(root.as_fd(), false, &MountAttr { set: bits::RDONLY, ..MountAttr::default() })
}

/// A root that is to be shared belongs to a peer group of its own: it is no longer the slave of where it came from.
pub(crate) fn set_propagation(root: &Root, flags: u64, recursive: bool) -> Result<(), Errno> {
    if flags == bits::MS_SHARED {
        mounting::set(root.as_fd(), false, &MountAttr { propagation: bits::MS_PRIVATE, ..MountAttr::default() })?;
    }
    mounting::set(root.as_fd(), recursive, &MountAttr { propagation: flags, ..MountAttr::default() })
}
