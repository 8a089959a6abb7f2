//! Descriptors that whoever started us passed on by number.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use rustix::fs::FileType;
use rustix::io::FdFlags;

/// The numbers handed out so far.
static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// The socket that stands open under this number since the program began, from now on close-on-exec; `None` when there is none,
/// or when it was taken before. To be called before the program opens descriptors of its own.
pub fn socket(number: RawFd) -> Option<OwnedFd> {
    let mut taken = TAKEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if number < 0 || taken.contains(&number) {
        return None;
    }
    // SAFETY: borrowed for two calls that answer EBADF when it is not open; nobody can close it in between, as nobody owns it.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let status = rustix::fs::fstat(fd).ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Socket {
        return None;
    }
    rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).ok()?;
    taken.push(number);
    // SAFETY: it is open, it was open before we opened anything, and `TAKEN` makes sure that it is owned once.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
