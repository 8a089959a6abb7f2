//! Open file description locks: fcntl(2), `F_OFD_SETLK` and `F_OFD_GETLK` (Linux 3.15).
//!
//! Unlike flock(2) they can be asked about without being taken, and unlike POSIX locks they belong to the open file, not to the
//! process, so that closing some other descriptor of the file does not drop them.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::error::{Call, Fd, Result};

/// Write-locks the whole file; `false` when another open file has a lock on it. The file must be open for writing.
pub fn try_exclusive(file: impl AsFd) -> Result<bool> {
    match fcntl(&file, libc::F_OFD_SETLK, libc::F_WRLCK) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno).call(|| format!("fcntl({}, F_OFD_SETLK, F_WRLCK)", Fd(&file))),
    }
}

/// Whether another open file has a write lock on it. The file may be open for reading only.
pub fn is_locked(file: impl AsFd) -> Result<bool> {
    let kind = fcntl(&file, libc::F_OFD_GETLK, libc::F_RDLCK)
        .call(|| format!("fcntl({}, F_OFD_GETLK, F_RDLCK)", Fd(&file)))?;
    Ok(kind != libc::F_UNLCK)
}

/// Returns the lock type the kernel left in the structure.
fn fcntl(file: impl AsFd, command: libc::c_int, kind: libc::c_int) -> std::result::Result<libc::c_int, Errno> {
    // SAFETY: `flock` is plain data, for which zeros are valid; `l_pid` must be 0 for these commands.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is borrowed for the call and `lock` outlives it.
    match unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, &mut lock) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
        _ => Ok(lock.l_type.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_lock_is_seen_by_others_without_being_taken_and_ends_with_its_file() {
        let path = std::env::temp_dir().join(format!("knarr-ofd-lock-{}", std::process::id()));
        let holder = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(!is_locked(&reader).unwrap());
        assert!(try_exclusive(&holder).unwrap());
        assert!(is_locked(&reader).unwrap());
        assert!(!try_exclusive(File::options().write(true).open(&path).unwrap()).unwrap());
        drop(holder);
        // A process that another test is starting has a copy of the holder until it executes.
        let deadline = Instant::now() + PATIENCE;
        while is_locked(&reader).unwrap() {
            assert!(Instant::now() < deadline, "still locked");
            std::thread::yield_now();
        }
        std::fs::remove_file(&path).unwrap();
    }
}
