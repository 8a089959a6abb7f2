//! The program's terminal: of the container's own devpts, never of a path the image could have laid out (CVE-2025-52565).

use std::os::fd::{AsFd, OwnedFd};

use knarr_sys::fs::{self, AtFlags, FileType, Mode, OFlags};
use knarr_sys::{Errno, InRoot, Root, mounting, pty};

use super::child::Child;
use super::tree;
use super::wire::Trouble;

/// Both ends.
pub(crate) struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

pub(crate) fn open(child: &mut Child<'_>, size: Option<(u16, u16)>, console: bool) -> Result<(), Trouble> {
    let root = child.root()?;
    let path = InRoot::parse("dev/pts/ptmx").map_err(|_| Errno::INVAL)?;
    let master = root.open_file(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW, Mode::empty())?;
    if fs::fstatfs(&master)?.f_type as u64 != fs::DEVPTS_MAGIC {
        return Err(Trouble::new(Errno::NOTTY, "/dev/pts is no devpts"));
    }
    let slave = pty::open_slave(&master)?;
    if let Some((rows, columns)) = size {
        pty::set_size(&slave, rows, columns)?;
    }
    if console {
        show(root, &slave)?;
    }
    pty::set_controlling(&slave)?;
    child.terminal = Some(Terminal { master, slave });
    Ok(())
}

/// The terminal as `/dev/console`. A file the image left there is mounted upon; a link is not followed.
fn show(root: &Root, slave: &OwnedFd) -> Result<(), Trouble> {
    let dev = tree::make_dir(root, &InRoot::parse("dev").map_err(|_| Errno::INVAL)?)?;
    match fs::mknodat(&dev, c"console", FileType::RegularFile, Mode::from_raw_mode(0o620), 0) {
        Err(Errno::EXIST) if is_link(&dev)? => {
            return Err(Trouble::new(Errno::LOOP, "/dev/console is a symbolic link"));
        }
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = fs::openat(&dev, c"console", flags, Mode::empty())?;
    let made = mounting::tree(slave.as_fd(), false)?;
    Ok(mounting::attach(made.as_fd(), target.as_fd())?)
}

fn is_link(dev: &OwnedFd) -> Result<bool, Errno> {
    let stat = fs::statat(dev, c"console", AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}
