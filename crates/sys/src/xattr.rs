//! Extended attributes, `xattr(7)`, of open files and of names that cannot be opened (links, devices).
//!
//! A name is reached as `/proc/self/fd/<directory>/<name>` with the `l` calls, which follow the first part only. Kernels
//! from 6.13 have `setxattrat(2)`; this way works on all of them.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::XattrFlags;

use crate::error::{Call, Errno, Error, Fd, Result};

/// Largest list and largest value the kernel hands out: `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
const KERNEL_BYTES_MAX: usize = 65_536;

/// Where attributes hang.
pub enum Holder<F> {
    /// An open file (not `O_PATH`).
    File(F),
    /// A name in an open directory, not followed where it is a link.
    Name(F, CString),
}

impl<F: AsFd> Holder<F> {
    fn path(dir: &F, name: &CStr) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()));
        path.push(std::ffi::OsStr::from_bytes(name.to_bytes()));
        path
    }

    fn words(&self) -> String {
        match self {
            Holder::File(fd) => Fd(fd).to_string(),
            Holder::Name(dir, name) => format!("{}/{}", Fd(dir), name.to_string_lossy()),
        }
    }

    /// Sets an attribute, new or not.
    pub fn set(&self, attribute: &CStr, value: &[u8]) -> Result<()> {
        let flags = XattrFlags::empty();
        match self {
            Holder::File(fd) => rustix::fs::fsetxattr(fd, attribute, value, flags),
            Holder::Name(dir, name) => rustix::fs::lsetxattr(Self::path(dir, name), attribute, value, flags),
        }
        .call(|| format!("setxattr({}, {attribute:?}, {} bytes)", self.words(), value.len()))
    }

    /// The value of an attribute; `None` where it is not set, or where the file system has no attributes.
    pub fn get(&self, attribute: &CStr) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; KERNEL_BYTES_MAX];
        let got = match self {
            Holder::File(fd) => rustix::fs::fgetxattr(fd, attribute, &mut value[..]),
            Holder::Name(dir, name) => rustix::fs::lgetxattr(Self::path(dir, name), attribute, &mut value[..]),
        };
        match got {
            Ok(bytes) => {
                value.truncate(bytes);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::new(format!("getxattr({}, {attribute:?})", self.words()), errno)),
        }
    }

    /// The names of all attributes, in the file system's order; none where it has no attributes.
    pub fn list(&self) -> Result<Vec<CString>> {
        let mut list = [0; KERNEL_BYTES_MAX];
        let got = match self {
            Holder::File(fd) => rustix::fs::flistxattr(fd, &mut list[..]),
            Holder::Name(dir, name) => rustix::fs::llistxattr(Self::path(dir, name), &mut list[..]),
        };
        let bytes = match got {
            Ok(bytes) => bytes,
            Err(Errno::OPNOTSUPP) => 0,
            Err(errno) => return Err(Error::new(format!("listxattr({})", self.words()), errno)),
        };
        let names = list[..bytes].split(|&byte| byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| CString::new(name).expect("split at NUL")).collect())
    }
}
