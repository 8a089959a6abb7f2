//! `keyctl(2)`.

use std::ffi::CStr;

use crate::error::{Errno, check};

/// `KEYCTL_JOIN_SESSION_KEYRING`.
const JOIN_SESSION_KEYRING: i32 = 1;

/// Joins or makes the session keyring of this name.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    // SAFETY: the second argument is a C string.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) }).map(drop)
}
