//! The compiled program, in the form seccomp(2) takes it.

/// A program ready to be installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The kernel's `struct sock_filter` array, one element per instruction in the memory order of this machine (see [`instruction`]).
    pub instructions: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_*` for seccomp(2); holds `NEW_LISTENER` when `listener` is true.
    pub flags: u32,
    /// Some rule notifies a supervisor: seccomp(2) returns a listener that must be sent to the profile's `listenerPath`.
    pub listener: bool,
    /// Names in the profile that no known architecture has; they were left out, as every runtime does.
    pub unknown: Vec<String>,
}

/// Packs one `struct sock_filter { u16 code; u8 jt; u8 jf; u32 k; }`.
pub const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> u64 {
    let (c, k) = (code.to_ne_bytes(), k.to_ne_bytes());
    u64::from_ne_bytes([c[0], c[1], jt, jf, k[0], k[1], k[2], k[3]])
}
