//! `seccomp(2)`.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::error::{Errno, check};

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 1 << 3;

/// Installs a filter, an array of `struct sock_filter` in this machine's byte order. With `NEW_LISTENER` among the flags
/// (`SECCOMP_FILTER_FLAG_*`) the listener is returned; it is close-on-exec.
pub fn install(program: &[u64], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let fprog = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies `len` instructions of eight bytes, which is what `program` holds, and checks them.
    let answer =
        check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog) })?;
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the answer is a descriptor that is ours alone.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(answer as i32) }))
}
