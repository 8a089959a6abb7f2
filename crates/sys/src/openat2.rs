//! `openat2(2)` with `RESOLVE_IN_ROOT`, and its emulation where the call is missing or forbidden.
//!
//! The kernel has openat2 since 5.6; gVisor and seccomp profiles older than that answer ENOSYS or EPERM.
//!
//! Law: neither way opens anything outside of the root. The emulation opens one name at a time with `O_PATH|O_NOFOLLOW`,
//! expands symbolic links itself and walks `..` by starting over at the root, so a name swapped for a link between two
//! steps is either seen as a link or answered with an error. Magic links of `/proc` are read as text by the emulation and
//! so stay inside too, where the kernel answers ELOOP.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Symbolic links followed in one path: the kernel's own `MAXSYMLINKS`.
const SYMLINKS_MAX: u32 = 40;

/// Names opened for one path by the emulation: each `..` walks again from the root, and a hostile chain of links must
/// not make that quadratic work without end.
const STEPS_MAX: u32 = 65_536;

/// Attempts while somebody renames directories under us: the kernel answers EAGAIN when it cannot prove that `..` stayed
/// inside. An attacker who renames without end gets EAGAIN for an answer, not a loop without end.
const RACES_MAX: u32 = 256;

/// Who resolves a path inside a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// `openat2(2)`.
    Kernel,
    /// Our own walk, name by name.
    Emulated,
}

impl Resolver {
    /// The kernel where it answers, found out once per process.
    pub fn detect() -> Resolver {
        static DETECTED: OnceLock<Resolver> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match rustix::fs::openat2(rustix::fs::CWD, c"/", flags, Mode::empty(), resolve_flags()) {
                Err(Errno::NOSYS | Errno::PERM) => Resolver::Emulated,
                _ => Resolver::Kernel,
            }
        })
    }

    /// Opens `path` inside `root`. `O_CLOEXEC` is added.
    pub(crate) fn open(self, root: BorrowedFd<'_>, path: &CStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let creates = flags.intersects(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
        let mode = if creates { mode } else { Mode::empty() };
        for _ in 0..RACES_MAX {
            let opened = match self {
                Resolver::Kernel => rustix::fs::openat2(root, path, flags, mode, resolve_flags()),
                Resolver::Emulated => Walk::new(root, path).open(flags, mode),
            };
            match opened {
                Err(Errno::AGAIN | Errno::INTR) => continue,
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }
}

fn resolve_flags() -> ResolveFlags {
    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS
}

/// One walk of the emulation: where it stands and which names are still ahead.
struct Walk<'r> {
    root: BorrowedFd<'r>,
    /// The directory reached; `None` is the root.
    here: Option<OwnedFd>,
    /// The names that lead from the root to `here`, none of them a link when we passed.
    passed: Vec<CString>,
    ahead: VecDeque<CString>,
    symlinks_left: u32,
    steps_left: u32,
}

impl<'r> Walk<'r> {
    fn new(root: BorrowedFd<'r>, path: &CStr) -> Walk<'r> {
        let mut walk = Walk {
            root,
            here: None,
            passed: Vec::new(),
            ahead: VecDeque::new(),
            symlinks_left: SYMLINKS_MAX,
            steps_left: STEPS_MAX,
        };
        walk.put_ahead(path.to_bytes());
        walk
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.here.as_ref().map_or(self.root, |fd| fd.as_fd())
    }

    fn put_ahead(&mut self, path: &[u8]) {
        let names = path.split(|&b| b == b'/').filter(|name| !matches!(*name, b"" | b"."));
        for name in names.rev() {
            self.ahead.push_front(CString::new(name).expect("split from a C string"));
        }
    }

    fn open(mut self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        while let Some(name) = self.ahead.pop_front() {
            if name.as_bytes() == b".." {
                self.step_up()?;
            } else if !self.ahead.is_empty() {
                self.step_down(name)?;
            } else if let Some(fd) = self.open_last(name, flags, mode)? {
                return Ok(fd);
            }
        }
        rustix::fs::openat(self.here(), c".", flags, mode)
    }

    /// Enters a directory, or puts what a link says before the names ahead.
    fn step_down(&mut self, name: CString) -> Result<(), Errno> {
        let fd = self.look(&name)?;
        match file_type(&fd)? {
            FileType::Symlink => self.expand(&fd),
            FileType::Directory => {
                self.here = Some(fd);
                self.passed.push(name);
                Ok(())
            }
            _ => Err(Errno::NOTDIR),
        }
    }

    /// `..` by walking again what we passed without its last name: an open `..` could leave a directory that was moved.
    fn step_up(&mut self) -> Result<(), Errno> {
        self.passed.pop();
        self.here = None;
        for name in std::mem::take(&mut self.passed) {
            let fd = self.look(&name)?;
            if file_type(&fd)? != FileType::Directory {
                return Err(Errno::AGAIN);
            }
            self.here = Some(fd);
            self.passed.push(name);
        }
        Ok(())
    }

    /// Opens the last name; `None` when it was a link whose names are ahead now.
    fn open_last(&mut self, name: CString, flags: OFlags, mode: Mode) -> Result<Option<OwnedFd>, Errno> {
        let follows = !flags.contains(OFlags::NOFOLLOW) && !flags.contains(OFlags::CREATE | OFlags::EXCL);
        if follows {
            match self.look(&name) {
                Ok(fd) if file_type(&fd)? == FileType::Symlink => return self.expand(&fd).map(|()| None),
                Ok(_) => {}
                Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
                Err(errno) => return Err(errno),
            }
        }
        let fd = match rustix::fs::openat(self.here(), &name, flags | OFlags::NOFOLLOW, mode) {
            Err(Errno::LOOP) if follows => return Err(Errno::AGAIN),
            other => other?,
        };
        let swapped = follows && flags.contains(OFlags::PATH) && file_type(&fd)? == FileType::Symlink;
        if swapped { Err(Errno::AGAIN) } else { Ok(Some(fd)) }
    }

    fn expand(&mut self, link: &OwnedFd) -> Result<(), Errno> {
        self.symlinks_left = self.symlinks_left.checked_sub(1).ok_or(Errno::LOOP)?;
        let target = rustix::fs::readlinkat(link, c"", Vec::new())?;
        if target.as_bytes().starts_with(b"/") {
            self.here = None;
            self.passed.clear();
        }
        self.put_ahead(target.as_bytes());
        Ok(())
    }

    fn look(&mut self, name: &CStr) -> Result<OwnedFd, Errno> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(Errno::LOOP)?;
        rustix::fs::openat(self.here(), name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }
}

fn file_type(fd: &OwnedFd) -> Result<FileType, Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}
