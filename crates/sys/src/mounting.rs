//! Mounts by descriptor, on kernels old and new: `open_tree(2)`, `move_mount(2)`, `mount_setattr(2)`, and `mount(2)` where those are
//! missing or denied.
//!
//! The new calls make a mount that stands nowhere, change it, and attach it. The old one can do the same in three moves, in a mount
//! namespace of the caller's own: the mount is made on a directory every machine has, held by a descriptor, and moved from there
//! by that descriptor to the one it belongs on; `/proc/self/fd/N` names both, so no path is looked up twice.
//!
//! Law: only in a mount namespace that is the caller's own and propagates nowhere. All calls are the new ones or all the old one:
//! what stands nowhere cannot be changed by mount(2).
//! Not here: idmapped mounts, which the old call cannot make.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::error::{Errno, check};
use crate::mount::{self, MountAttr};

/// Where the old call makes its mounts: a directory and a file that are there on every machine, and in every container.
const DIRECTORY: &CStr = c"/sys";
const FILE: &CStr = c"/proc/version";

const MS_REMOUNT: u64 = 32;
const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;
const MS_REC: u64 = 16384;
const MS_RELATIME: u64 = 1 << 21;
const MS_STRICTATIME: u64 = 1 << 24;
/// Flags that have the same bit in mount_setattr(2), mount(2) and statfs(2).
const SAME: u64 = 0x1 | 0x2 | 0x4 | 0x8;
const ATIME: u64 = 0x70;
/// `MOUNT_ATTR_*`, `MS_*`, and the bit of statfs(2).
const OTHERS: [(u64, u64, u64); 3] = [(0x10, 1024, 1024), (0x80, 2048, 2048), (0x20_0000, 256, 8192)];
const ST_RELATIME: u64 = 4096;

/// Whether the new calls are there and allowed; asked once, by calls whose flags are wrong, which a kernel that has them says.
pub fn has_new_calls() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let wrong = libc::c_uint::MAX;
        let calls = [
            // SAFETY: every flag that does not exist is set: the kernel answers before it looks at the null pointers.
            check(unsafe {
                libc::syscall(libc::SYS_mount_setattr, -1, std::ptr::null::<u8>(), wrong, std::ptr::null::<u8>(), 0)
            }),
            // SAFETY: as above.
            check(unsafe { libc::syscall(libc::SYS_open_tree, -1, std::ptr::null::<u8>(), wrong) }),
            // SAFETY: as above.
            check(unsafe { libc::syscall(libc::SYS_fsopen, std::ptr::null::<u8>(), wrong) }),
            // SAFETY: as above.
            check(unsafe {
                libc::syscall(libc::SYS_move_mount, -1, std::ptr::null::<u8>(), -1, std::ptr::null::<u8>(), wrong)
            }),
        ];
        !calls.iter().any(|answer| matches!(answer, Err(Errno::NOSYS | Errno::PERM)))
    })
}

/// A copy of the mount (with `recursive`, of the tree of mounts) that `file` stands on, beginning at `file`; not yet where it belongs.
pub fn tree(file: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    if has_new_calls() {
        return mount::clone_tree(file, recursive);
    }
    let place = if file_type(file)? == FileType::Directory { DIRECTORY } else { FILE };
    let flags = MS_BIND | if recursive { MS_REC } else { 0 };
    mount::mount(Some(Descriptor::of(file).path()), place, None, flags, None)?;
    made(place)
}

/// A new file system by the old call, `flags` as it takes them; not yet where it belongs.
pub fn file_system(source: &CStr, fstype: &CStr, flags: u64, data: &CStr) -> Result<OwnedFd, Errno> {
    let data = (!data.is_empty()).then_some(data);
    mount::mount(Some(source), DIRECTORY, Some(fstype), flags, data)?;
    made(DIRECTORY)
}

fn made(place: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::open(place, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Puts a mount where it belongs.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    match mount::attach(mount, target) {
        Err(Errno::NOSYS | Errno::PERM) if !has_new_calls() => {
            mount::mount(Some(Descriptor::of(mount).path()), Descriptor::of(target).path(), None, MS_MOVE, None)
        }
        other => other,
    }
}

/// Changes attributes or propagation. The old call changes one mount: ENOSYS where those below were meant too and there are some.
pub fn set(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> Result<(), Errno> {
    if has_new_calls() {
        return mount::setattr(mount, recursive, attr);
    }
    let at = Descriptor::of(mount);
    if attr.propagation != 0 {
        let flags = attr.propagation | if recursive { MS_REC } else { 0 };
        mount::mount(None, at.path(), None, flags, None)?;
    }
    if attr.set | attr.clear == 0 {
        return Ok(());
    }
    if recursive && others_below(&at)? {
        return Err(Errno::NOSYS);
    }
    let now = rustix::fs::fstatvfs(mount)?.f_flag.bits();
    mount::mount(None, at.path(), None, MS_REMOUNT | MS_BIND | changed(now, attr), None)
}

/// The flags for mount(2), which takes them all: those that are there now, changed.
fn changed(now: u64, attr: &MountAttr) -> u64 {
    let mut flags = (now & SAME & !attr.clear) | (attr.set & SAME);
    for (bit, ms, st) in OTHERS {
        let cleared = attr.clear & bit != 0 || bit & ATIME != 0 && attr.clear & ATIME != 0;
        if attr.set & bit != 0 || now & st != 0 && !cleared {
            flags |= ms;
        }
    }
    let strict = attr.set & 0x20 != 0;
    if strict {
        flags |= MS_STRICTATIME;
    } else if flags & 1024 == 0 && (now & ST_RELATIME != 0 || attr.clear & ATIME != 0) {
        flags |= MS_RELATIME;
    }
    flags
}

/// Whether mounts stand below this one.
fn others_below(at: &Descriptor) -> Result<bool, Errno> {
    let path = rustix::fs::readlink(at.path(), Vec::new())?;
    let table =
        std::fs::read("/proc/self/mountinfo").map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let below = |line: &[u8]| {
        let point = line.split(|b| *b == b' ').nth(4).unwrap_or_default();
        point.strip_prefix(path.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    Ok(table.split(|b| *b == b'\n').any(below))
}

fn file_type(file: BorrowedFd<'_>) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::statat(file, c"", AtFlags::EMPTY_PATH)?.st_mode))
}

/// `/proc/self/fd/N`, without allocating.
struct Descriptor([u8; 32]);

impl Descriptor {
    fn of(fd: BorrowedFd<'_>) -> Descriptor {
        let mut bytes = [0; 32];
        let start = b"/proc/self/fd/";
        bytes[..start.len()].copy_from_slice(start);
        let (mut number, mut digits, mut count) = (fd.as_fd().as_raw_fd() as u32, [0; 10], 0);
        loop {
            digits[count] = b'0' + (number % 10) as u8;
            (number, count) = (number / 10, count + 1);
            if number == 0 {
                break;
            }
        }
        for (at, digit) in digits[..count].iter().rev().enumerate() {
            bytes[start.len() + at] = *digit;
        }
        Descriptor(bytes)
    }

    fn path(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).expect("shorter than its room")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_named_by_its_number() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(
            Descriptor::of(null.as_fd()).path().to_str().unwrap(),
            format!("/proc/self/fd/{}", null.as_raw_fd())
        );
    }

    #[test]
    fn flags_that_are_not_named_stay() {
        let set = |set, clear| MountAttr { set, clear, ..MountAttr::default() };
        assert_eq!(changed(0x2 | 0x4 | ST_RELATIME, &set(0x1, 0)), 0x7 | MS_RELATIME);
        assert_eq!(changed(0x3, &set(0, 0x1)), 0x2);
        assert_eq!(changed(ST_RELATIME, &set(0x10, ATIME)), 1024);
        assert_eq!(changed(1024, &set(0, ATIME)), MS_RELATIME);
        assert_eq!(changed(0, &set(0x20, ATIME)), MS_STRICTATIME);
    }
}
