//! Handing things over on sockets: the terminal's master, and a handle on the process.

use std::{os::fd::BorrowedFd, path::Path};

use knarr_sys::scm_rights;

use super::{container::short, failure::Failure};

/// Sends a descriptor to whoever listens at `socket`. Some receivers want a byte of data beside it: they get `name`, as runc
/// sends it.
pub(crate) fn hand_over(socket: &Path, fd: BorrowedFd<'_>, name: &str) -> Result<(), Failure> {
    let connection = scm_rights::connect_stream(&short(socket)?.path)?;
    let call = || format!("sendmsg({socket:?}, SCM_RIGHTS)");
    scm_rights::send(&connection, name.as_bytes(), Some(fd)).map_err(|errno| knarr_sys::Error::new(call(), errno))?;
    Ok(())
}
