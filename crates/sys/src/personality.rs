//! `personality(2)`.

use crate::error::{Errno, check};

/// Sets the execution domain: 0 is Linux, 8 is Linux with 32 bits.
pub fn set(persona: u32) -> Result<(), Errno> {
    // SAFETY: takes an integer.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) }).map(drop)
}
