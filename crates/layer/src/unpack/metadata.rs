//! Owner, attributes, mode and times of what was just made, in the one order that keeps them: `chown(2)` clears set-id bits
//! and capabilities, writing clears capabilities, an ACL may clear the set-group-id bit, a mode without `w` forbids its
//! owner to set attributes, and everything changes times. Where an ACL and the mode disagree, the mode wins, as in moby.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use knarr_sys::at::{self, FileType, Mode, OFlags, Timespec};
use knarr_sys::xattr::Holder;
use knarr_sys::{Errno, Result};

use super::{Owners, UnpackOptions};
use crate::archive::Entry;
use crate::{IdMap, Refusal, acl, rootless_owner};

/// Metadata as the kernel takes it.
pub struct Metadata<'e> {
    /// `None`: whoever makes it owns it.
    pub owner: Option<(u32, u32)>,
    pub mode: Mode,
    pub access: Timespec,
    pub modification: Timespec,
    attributes: Vec<(CString, std::borrow::Cow<'e, [u8]>)>,
    /// Names of attributes that cannot be set, filled on the way.
    pub left_out: Vec<String>,
}

impl<'e> Metadata<'e> {
    /// Of an entry, for the ids of this namespace.
    pub fn of(entry: &'e Entry, options: &UnpackOptions) -> std::result::Result<Metadata<'e>, Refusal> {
        let (ids, rootless) = (&options.ids, options.rootless);
        let mut metadata = Metadata {
            owner: owner(entry.uid, entry.gid, options)?,
            mode: Mode::from_raw_mode(entry.mode),
            access: entry.atime.unwrap_or(entry.mtime),
            modification: entry.mtime,
            attributes: Vec::new(),
            left_out: Vec::new(),
        };
        for (name, value) in &entry.xattrs {
            metadata.add(name, value, ids, rootless)?;
        }
        for (name, text) in &entry.acls {
            metadata.add_acl_text(name, text, ids)?;
        }
        if options.owners == Owners::Record
            && let Some(value) = rootless_owner::encode(entry.uid, entry.gid)
        {
            metadata.attributes.push((rootless_owner::ATTRIBUTE.to_owned(), value.into()));
        }
        Ok(metadata)
    }

    /// Root's own, with the epoch for its time: of directories no entry describes.
    pub fn implied(options: &UnpackOptions) -> std::result::Result<Metadata<'static>, Refusal> {
        let epoch = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(Metadata {
            owner: owner(0, 0, options)?,
            mode: Mode::from_raw_mode(0o755),
            access: epoch,
            modification: epoch,
            attributes: Vec::new(),
            left_out: Vec::new(),
        })
    }

    fn add(&mut self, name: &[u8], value: &'e [u8], ids: &IdMap, rootless: bool) -> std::result::Result<(), Refusal> {
        let Some(attribute) = CString::new(name).ok().filter(|_| can_be_set(name, rootless)) else {
            self.left_out.push(String::from_utf8_lossy(name).into_owned());
            return Ok(());
        };
        let is_acl = name.starts_with(b"system.posix_acl_") && !ids.keeps_numbers();
        let value = if is_acl { acl::shift(value, ids)?.into() } else { value.into() };
        self.attributes.push((attribute, value));
        Ok(())
    }

    /// star's text form of an ACL, unless the binary form is there too.
    fn add_acl_text(&mut self, name: &[u8], text: &[u8], ids: &IdMap) -> std::result::Result<(), Refusal> {
        let attribute = if name == b"acl.default" { acl::DEFAULT } else { acl::ACCESS };
        if self.attributes.iter().any(|(known, _)| known.as_c_str() == attribute) {
            return Ok(());
        }
        match acl::from_text(text) {
            Some(value) => self.attributes.push((attribute.to_owned(), acl::shift(&value, ids)?.into())),
            None => self.left_out.push(attribute.to_string_lossy().into_owned()),
        }
        Ok(())
    }

    /// Sets everything but the times on an open file or directory.
    pub fn set_on_file(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        if let Some((uid, gid)) = self.owner {
            at::fchown(fd, uid, gid)?;
        }
        self.set_attributes(&Holder::File(fd))?;
        at::fchmod(fd, self.mode)
    }

    /// Sets everything on a link, which has no mode of its own.
    pub fn set_on_link(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        if let Some((uid, gid)) = self.owner {
            at::chown(dir, name, uid, gid)?;
        }
        self.set_attributes(&Holder::Name(dir, name.to_owned()))?;
        at::set_times(dir, name, self.access, self.modification)
    }

    /// Sets everything on a device or fifo of this kind, through a handle that cannot block.
    pub fn set_on_node(&mut self, dir: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Result<()> {
        let handle = at::open(dir, name, OFlags::PATH, Mode::empty())?;
        if FileType::from_raw_mode(at::fstat(&handle)?.st_mode) != kind {
            return Err(knarr_sys::Error::new(format!("mknodat(…, {name:?}) /* replaced at once */"), Errno::STALE));
        }
        if let Some((uid, gid)) = self.owner {
            at::chown(dir, name, uid, gid)?;
        }
        self.set_attributes(&Holder::Name(dir, name.to_owned()))?;
        at::chmod_handle(handle.as_fd(), self.mode)?;
        at::set_times(dir, name, self.access, self.modification)
    }

    /// `user.*` exists on files and directories only (EPERM), and some file systems have no attributes at all.
    fn set_attributes(&mut self, holder: &Holder<BorrowedFd<'_>>) -> Result<()> {
        for (name, value) in &self.attributes {
            match holder.set(name, value) {
                Ok(()) => {}
                Err(error) if error.errno == Errno::OPNOTSUPP || is_elsewhere(holder, name, &error) => {
                    self.left_out.push(name.to_string_lossy().into_owned());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Who owns an entry here, where that is to be set.
fn owner(uid: u64, gid: u64, options: &UnpackOptions) -> std::result::Result<Option<(u32, u32)>, Refusal> {
    match options.owners {
        Owners::Set => Ok(Some((options.ids.uid(uid)?, options.ids.gid(gid)?))),
        Owners::Give(uid, gid) => Ok(Some((uid, gid))),
        Owners::Leave | Owners::Record => Ok(None),
    }
}

fn is_elsewhere(holder: &Holder<BorrowedFd<'_>>, name: &CStr, error: &knarr_sys::Error) -> bool {
    let named = matches!(holder, Holder::Name(..));
    named && error.errno == Errno::PERM && name.to_bytes().starts_with(b"user.")
}

/// Overlay's own attributes would redirect or hide what lies in other layers; no layer may set them. In a user namespace
/// the kernel takes capabilities (and writes its root's id into them), but no other `security.` and no `trusted.`.
fn can_be_set(name: &[u8], rootless: bool) -> bool {
    let overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let privileged = name.starts_with(b"trusted.") || name.starts_with(b"security.");
    let refused_here = rootless && privileged && name != b"security.capability";
    !(overlay || refused_here)
}
