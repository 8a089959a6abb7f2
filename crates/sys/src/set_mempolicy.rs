//! `set_mempolicy(2)`.

use crate::error::{Errno, check};

/// Sets the calling thread's NUMA policy: mode with its flags, and the nodes whose bits are set.
pub fn set(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // The kernel reads one bit less than it is told.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    // SAFETY: the mask has as many bits as are read.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}
