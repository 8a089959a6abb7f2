//! `user_namespaces(7)`: leaving for a new one whose id maps are written from outside.
//!
//! A process in a new user namespace may map one id only; ranges are written by a process that stayed outside
//! (newuidmap(1) and newgidmap(1) with the user's ranges of subuid(5)). So a copy of us stays behind for a moment:
//!
//! ```text
//! we                                   the copy that stays
//! unshare(USER|MOUNT)                  waits for a byte
//! one byte ─────────────────────────►  writes the maps of our pid
//! waits for its end ◄───────────────   exits 0, or the reason and 1
//! ```
//!
//! Law: the caller has one thread.

use std::fs::File;
use std::io::{Read, Write};

use crate::clone3::{CloneOptions, clone3};
use crate::error::{Call, Errno, Error, Result};
use crate::setns::{flag, setns, unshare};
use crate::{pidfd, prctl};

/// The reason of a failed map is cut here: it is one line of newuidmap's.
const REASON_BYTES_MAX: u64 = 4096;

/// Why there is no new namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnterError {
    /// The kernel or its configuration does not let us.
    #[error(transparent)]
    Call(#[from] Error),
    /// The maps could not be written.
    #[error("{0}")]
    Map(String),
}

/// Moves this process into a new user namespace and a new mount namespace owned by it. `write_maps` runs in a process that
/// stays outside and gets our pid; the text of its error comes back as [`EnterError::Map`].
pub fn enter(write_maps: impl FnOnce(u32) -> std::result::Result<(), String>) -> std::result::Result<(), EnterError> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).call(|| "pipe2(O_CLOEXEC)");
    let ((wait, go), (reason, failed)) = (pipe()?, pipe()?);
    let (mut wait, mut go) = (Some(File::from(wait)), Some(File::from(go)));
    let (mut reason, mut failed) = (File::from(reason), Some(File::from(failed)));
    let us = std::process::id();
    let stayed = clone3(&CloneOptions::default(), || {
        drop(go.take());
        let told = wait.take().is_some_and(|mut wait| wait.read_exact(&mut [0]).is_ok());
        match told.then(|| write_maps(us)) {
            None | Some(Ok(())) => 0,
            Some(Err(text)) => {
                let _ = failed.take().map(|mut failed| failed.write_all(text.as_bytes()));
                1
            }
        }
    })?;
    drop((wait.take(), failed.take()));
    let left = unshare(flag::USER | flag::MOUNT).call(|| "unshare(CLONE_NEWUSER|CLONE_NEWNS)");
    if left.is_ok() {
        let _ = go.take().map(|mut go| go.write_all(&[1]));
    }
    drop(go.take());
    let mut text = String::new();
    let _ = Read::take(&mut reason, REASON_BYTES_MAX).read_to_string(&mut text);
    let ended = pidfd::wait(&stayed.pidfd)?;
    left?;
    // A descriptor of ours in /proc belongs to the new namespace's root only while we are dumpable, as exec makes us.
    let _ = prctl::set_dumpable(true);
    if ended == pidfd::Exit::Code(0) { Ok(()) } else { Err(EnterError::Map(text.trim().to_owned())) }
}

/// Joins the user and mount namespace of process `pid`.
pub fn join(pid: u32) -> Result<()> {
    let process = pidfd::open(pid)?;
    match setns(&process, flag::USER | flag::MOUNT) {
        Ok(()) => Ok(()),
        // Before 5.8 a pidfd is no namespace descriptor; the user namespace comes first, it gives the right to the other.
        Err(Errno::INVAL | Errno::BADF) => {
            join_one(pid, "user", flag::USER).and_then(|()| join_one(pid, "mnt", flag::MOUNT))
        }
        Err(errno) => Err(Error::new(format!("setns(pidfd of {pid}, CLONE_NEWUSER|CLONE_NEWNS)"), errno)),
    }
}

fn join_one(pid: u32, name: &str, kind: u64) -> Result<()> {
    let path = format!("/proc/{pid}/ns/{name}");
    let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let file = File::open(&path).map_err(failed).call(|| format!("open({path:?})"))?;
    setns(&file, kind).call(|| format!("setns({path:?})"))
}

/// Whether this process is in the machine's first user namespace, by its id map.
pub fn is_initial(uid_map: &str) -> bool {
    let mut words = uid_map.split_whitespace();
    [words.next(), words.next(), words.next()] == [Some("0"), Some("0"), Some("4294967295")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_refused() {
        let blocker = std::thread::spawn(std::thread::park);
        let answer = enter(|_| Ok(()));
        blocker.thread().unpark();
        assert!(matches!(answer, Err(EnterError::Call(error)) if error.errno == Errno::DEADLK));
    }

    #[test]
    fn the_first_namespace_maps_everything_to_itself() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("0 1000 1\n1 100000 65536\n"));
        assert!(!is_initial(""));
    }
}
