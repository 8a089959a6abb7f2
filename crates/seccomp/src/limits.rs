//! Limits, and who sets them.

/// `BPF_MAXINSNS`: seccomp(2) refuses a longer program with EINVAL.
pub const INSTRUCTIONS_MAX: usize = 4096;
/// The largest errno the kernel passes to user space (`MAX_ERRNO`); larger ones it would cut off silently.
pub const ERRNO_MAX: u32 = 4095;
