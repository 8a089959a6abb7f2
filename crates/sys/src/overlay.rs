//! A detached overlay mount, on kernels old and new: fsopen(2), fsconfig(2), fsmount(2), and overlayfs' own options.
//!
//! Law: nothing becomes visible anywhere until the caller attaches the mount; it ends with its descriptor.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Call, Result};
use crate::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

/// What is laid over what.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// The directory relative names are relative to.
    pub base: &'a Path,
    /// Layers from the top to the base, at least one (two without `upper`).
    pub lower: &'a [PathBuf],
    /// Where writes go, and overlayfs' own room beside it.
    pub upper: Option<(&'a Path, &'a Path)>,
    /// Marks are `user.overlay.*`, as in a user namespace.
    pub userxattr: bool,
}

impl Overlay<'_> {
    /// Mounts it, attached nowhere. Option by option where the kernel takes `lowerdir+` (6.5); before, all layers in one
    /// value of at most 255 bytes, relative to `base`, in which we stand for that moment: one thread only.
    pub fn mount(&self, attributes: MountAttrFlags) -> Result<OwnedFd> {
        match self.by_layer(attributes) {
            Err(Errno::INVAL) => {
                self.in_one_value(attributes).call(|| format!("mount(overlay, lowerdir={})", self.lower_list()))
            }
            other => other.call(|| format!("fsconfig(overlay, lowerdir+ × {})", self.lower.len())),
        }
    }

    fn by_layer(&self, attributes: MountAttrFlags) -> std::result::Result<OwnedFd, Errno> {
        let overlay = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for layer in self.lower {
            fsconfig_set_string(&overlay, c"lowerdir+", self.base.join(layer).as_os_str().as_bytes())?;
        }
        self.finish(&overlay, attributes)
    }

    fn in_one_value(&self, attributes: MountAttrFlags) -> std::result::Result<OwnedFd, Errno> {
        let here = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        rustix::process::chdir(self.base)?;
        let mounted = (|| {
            let overlay = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            let value = CString::new(self.lower_list()).map_err(|_| Errno::INVAL)?;
            fsconfig_set_string(&overlay, c"lowerdir", value.as_c_str())?;
            self.finish(&overlay, attributes)
        })();
        rustix::process::fchdir(here)?;
        mounted
    }

    /// Layer paths are numbers in the store and hold neither colon nor backslash.
    fn lower_list(&self) -> String {
        self.lower.iter().map(|layer| layer.to_string_lossy()).collect::<Vec<_>>().join(":")
    }

    fn finish(&self, overlay: &OwnedFd, attributes: MountAttrFlags) -> std::result::Result<OwnedFd, Errno> {
        if let Some((upper, work)) = self.upper {
            fsconfig_set_string(overlay, c"upperdir", self.base.join(upper).as_os_str().as_bytes())?;
            fsconfig_set_string(overlay, c"workdir", self.base.join(work).as_os_str().as_bytes())?;
        }
        if self.userxattr {
            fsconfig_set_flag(overlay, c"userxattr")?;
        }
        fsconfig_create(overlay)?;
        fsmount(overlay, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }
}
