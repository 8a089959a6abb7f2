//! Who the program runs as.
//!
//! Spec: config.md "User", "Linux Process" (capabilities).

use std::os::fd::AsFd;

use knarr_sys::capabilities::{self, Sets};
use knarr_sys::fs::{self, FileType, Gid, Uid};
use knarr_sys::{Errno, credentials, prctl};

/// Changes the ids and keeps the capabilities for the steps that are left.
pub(crate) fn become_user(uid: u32, gid: u32, groups: Option<&[u32]>, umask: Option<u32>) -> Result<(), Errno> {
    if let Some(umask) = umask {
        credentials::set_umask(umask);
    }
    if uid != 0 {
        own_stdio(uid, gid);
        prctl::set_keep_capabilities(true)?;
    }
    if let Some(groups) = groups {
        credentials::set_groups(groups)?;
    }
    credentials::set_group(gid)?;
    credentials::set_user(uid)?;
    if uid != 0 {
        let now = capabilities::get()?;
        capabilities::set(&Sets { effective: now.permitted, ..now })?;
    }
    Ok(())
}

/// Gives the program its own pipes, files and terminal, so that it can open `/dev/stdout`; the group too, as crun does, but of a
/// terminal, whose group is the machine's. What cannot be given stays.
fn own_stdio(uid: u32, gid: u32) {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        let Ok(stat) = fs::fstat(fd) else { continue };
        if stat.st_uid == uid {
            continue;
        }
        let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let _ = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Fifo | FileType::Socket => {
                fs::fchown(fd, user, group).or_else(|_| fs::fchown(fd, user, None))
            }
            FileType::CharacterDevice if fs::is_terminal(fd) => fs::fchown(fd, user, None),
            _ => Ok(()),
        };
    }
}

/// Of what the kernel does not know and what we do not have, nothing can be kept; runc leaves it out too.
pub(crate) fn limit_capabilities(sets: &Sets, ambient: u64) -> Result<(), Errno> {
    let now = capabilities::get()?;
    let permitted = sets.permitted & now.permitted;
    let limited = Sets {
        effective: sets.effective & permitted,
        permitted,
        inheritable: sets.inheritable & (now.permitted | now.inheritable),
    };
    capabilities::set(&limited)?;
    capabilities::set_ambient(ambient)
}
