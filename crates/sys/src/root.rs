//! A directory that paths cannot leave.
//!
//! Everything found in an image or a container is opened through a [`Root`]: absolute links, `..` and links swapped while
//! we look all end inside of it.
//!
//! Law: no function here takes a path as text and joins it; the kernel (or the emulation) resolves [`InRoot`]s.
//! Not here: a root is no sandbox for processes, and mount points below it are crossed.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

pub use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Call, Error, Fd, Result};
use crate::in_root::InRoot;
use crate::openat2::Resolver;

/// An open directory as the root of paths.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    resolver: Resolver,
}

impl Root {
    /// Opens `path`, which is the caller's own and may contain links.
    pub fn open(path: &Path) -> Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open({path:?}, {})", words(flags)))?;
        Ok(Root::from_fd(fd))
    }

    /// A root from an open directory (`O_PATH` suffices).
    pub fn from_fd(fd: OwnedFd) -> Root {
        Root { fd, resolver: Resolver::detect() }
    }

    /// The same directory with a chosen resolver; tests use it to take openat2 away.
    pub fn with_resolver(fd: OwnedFd, resolver: Resolver) -> Root {
        Root { fd, resolver }
    }

    /// A second handle on the same directory.
    pub fn try_clone(&self) -> Result<Root> {
        let fd =
            rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).call(|| format!("fcntl({}, F_DUPFD_CLOEXEC)", Fd(self)))?;
        Ok(Root { fd, resolver: self.resolver })
    }

    /// Opens a directory for reading its entries and as the base of `*at` calls.
    pub fn open_dir(&self, path: &InRoot) -> Result<OwnedFd> {
        self.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens a file with any flags of `open(2)`; `O_CLOEXEC` is added. A last name that is a link is followed inside the
    /// root unless `O_NOFOLLOW` is given. Devices and fifos are opened too: check the type of an `O_PATH` handle first
    /// where that could do harm.
    pub fn open_file(&self, path: &InRoot, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let opened = self.resolver.open(self.fd.as_fd(), path.as_c_str(), flags, mode);
        opened.map_err(|errno| self.failed(path, flags, errno))
    }

    fn failed(&self, path: &InRoot, flags: OFlags, errno: Errno) -> Error {
        Error::new(format!("openat2({}, {path:?}, {}|RESOLVE_IN_ROOT)", Fd(self), words(flags)), errno)
    }

    /// The same where a failure is no surprise: the number alone, without looking up where the root is in order to tell it.
    /// Allocates nothing where the kernel resolves.
    pub fn try_open(&self, path: &InRoot, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        self.resolver.open(self.fd.as_fd(), path.as_c_str(), flags, Mode::empty())
    }

    /// An `O_PATH` handle; links are followed inside the root.
    pub fn open_path(&self, path: &InRoot) -> Result<OwnedFd> {
        self.open_file(path, OFlags::PATH, Mode::empty())
    }

    /// An `O_PATH` handle of the last name itself, also where it is a link.
    pub fn open_path_nofollow(&self, path: &InRoot) -> Result<OwnedFd> {
        self.open_file(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
    }

    /// The directory the last name stands in (`O_PATH`), resolved in the root, and that name. The name need not exist.
    /// EINVAL where the path has no last name.
    pub fn parent(&self, path: &InRoot) -> Result<(OwnedFd, OsString)> {
        let Some((parent, name)) = path.split_last() else {
            return Err(Error::new(format!("openat2({}, {path:?} /* no last name */)", Fd(self)), Errno::INVAL));
        };
        let fd = self.open_file(&parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok((fd, name.to_owned()))
    }

    /// Makes the directories that are missing on the way to `path` and opens it (`O_PATH`). Links to directories are
    /// followed inside the root, a dangling link is ENOTDIR, and `..` behind a missing directory is ENOENT.
    pub fn make_dirs(&self, path: &InRoot, mode: Mode) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let (mut here, missing) = self.deepest_dir(path)?;
        for name in missing {
            match rustix::fs::mkdirat(&here, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::new(format!("mkdirat({}, {:?})", Fd(&here), show(name)), errno)),
            }
            here = rustix::fs::openat(&here, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                .call(|| format!("openat({}, {:?}, {}|O_NOFOLLOW)", Fd(&here), show(name), words(flags)))?;
        }
        Ok(here)
    }

    /// The longest leading part of `path` that exists, and the names behind it.
    fn deepest_dir<'p>(&self, path: &'p InRoot) -> Result<(OwnedFd, Vec<&'p [u8]>)> {
        let mut present = path.clone();
        let mut missing = 0;
        loop {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            match (self.try_open(&present, flags), present.split_last()) {
                (Ok(fd), _) => {
                    let names: Vec<&[u8]> = path.components().collect();
                    return Ok((fd, names[names.len() - missing..].to_vec()));
                }
                (Err(Errno::NOENT), Some((parent, _))) => {
                    present = parent;
                    missing += 1;
                }
                (Err(errno), _) => return Err(self.failed(&present, flags, errno)),
            }
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Root> for OwnedFd {
    fn from(root: Root) -> OwnedFd {
        root.fd
    }
}

fn show(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

/// Flags as strace writes them: `O_PATH|O_DIRECTORY`.
pub(crate) fn words(flags: OFlags) -> String {
    let access = match (flags & OFlags::ACCMODE, flags.contains(OFlags::PATH)) {
        (_, true) => "O_PATH",
        (OFlags::WRONLY, _) => "O_WRONLY",
        (OFlags::RDWR, _) => "O_RDWR",
        _ => "O_RDONLY",
    };
    let named = [
        (OFlags::CREATE, "O_CREAT"),
        (OFlags::EXCL, "O_EXCL"),
        (OFlags::TRUNC, "O_TRUNC"),
        (OFlags::APPEND, "O_APPEND"),
        (OFlags::NONBLOCK, "O_NONBLOCK"),
        (OFlags::DIRECTORY, "O_DIRECTORY"),
        (OFlags::NOFOLLOW, "O_NOFOLLOW"),
    ];
    let set = named.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name);
    std::iter::once(access).chain(set).collect::<Vec<_>>().join("|")
}
