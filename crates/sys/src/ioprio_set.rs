//! `ioprio_set(2)`.

use crate::error::{Errno, check};

/// `IOPRIO_WHO_PROCESS`.
const WHO_PROCESS: i32 = 1;
/// Bits of the priority below the class.
const CLASS_SHIFT: u32 = 13;

/// Sets the calling thread's I/O class (1 real-time, 2 best-effort, 3 idle) and priority in it (0–7).
pub fn set(class: u32, priority: u32) -> Result<(), Errno> {
    // SAFETY: takes integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << CLASS_SHIFT | priority) }).map(drop)
}
