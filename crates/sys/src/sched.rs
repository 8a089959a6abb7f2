//! `sched_setattr(2)`, `sched_setaffinity(2)`.

use crate::error::{Errno, check};

/// `struct sched_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SchedAttr {
    /// Size of the structure; set by [`set_attr`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Real-time priority.
    pub priority: u32,
    /// Deadline scheduling: runtime, nanoseconds.
    pub runtime: u64,
    /// Deadline scheduling: deadline, nanoseconds.
    pub deadline: u64,
    /// Deadline scheduling: period, nanoseconds.
    pub period: u64,
    /// Utilization clamp, 0–1024.
    pub util_min: u32,
    /// Utilization clamp, 0–1024.
    pub util_max: u32,
}

/// Sets the calling thread's scheduling policy and attributes.
pub fn set_attr(attr: &SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: the structure begins with its own size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// Pins the calling thread to the processors whose bits are set; the mask may be longer than what the kernel counts.
pub fn set_affinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the length is in bytes and is that of the slice.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) }).map(drop)
}
