//! `capabilities(7)`: `capset(2)`, the bounding and the ambient set.
//!
//! A set is 64 bits, one for each capability's number.

use crate::error::{Errno, check};

/// The sets `capset` changes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// In force now.
    pub effective: u64,
    /// What may be put in force.
    pub permitted: u64,
    /// Kept across `execve` of a file that carries them too.
    pub inheritable: u64,
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 bits in two halves.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets the calling thread's capabilities.
pub fn set(sets: &Sets) -> Result<(), Errno> {
    let half = |shift: u32| Half {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let header = Header { version: VERSION_3, pid: 0 };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 reads a header and two halves.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) }).map(drop)
}

/// The calling thread's capabilities.
pub fn get() -> Result<Sets, Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 writes two halves.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Sets {
        effective: join(halves[0].effective, halves[1].effective),
        permitted: join(halves[0].permitted, halves[1].permitted),
        inheritable: join(halves[0].inheritable, halves[1].inheritable),
    })
}

/// Takes every capability but those in `keep` from the bounding set. The kernel answers EINVAL behind its last one.
pub fn limit_bounding(keep: u64) -> Result<(), Errno> {
    for capability in (0..64).filter(|bit| keep & (1 << bit) == 0) {
        // SAFETY: takes integers.
        match check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            Ok(_) => {}
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The capabilities this kernel knows that are in our bounding set.
pub fn bounding() -> u64 {
    (0..64).filter(|&bit| in_bounding(bit)).fold(0, |set, bit| set | 1 << bit)
}

fn in_bounding(capability: u64) -> bool {
    // SAFETY: takes integers.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_READ, capability, 0, 0, 0) == 1 }
}

/// Makes `keep` the ambient set. Those that are not permitted and inheritable too are left out, as runc does.
pub fn set_ambient(keep: u64) -> Result<(), Errno> {
    ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).or_else(unknown_is_fine)?;
    for capability in (0..64).filter(|bit| keep & (1 << bit) != 0) {
        ambient(libc::PR_CAP_AMBIENT_RAISE as u64, capability).or_else(not_permitted_is_fine)?;
    }
    Ok(())
}

fn ambient(what: u64, capability: u64) -> Result<(), Errno> {
    // SAFETY: takes integers.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, what, capability, 0, 0) }).map(drop)
}

fn unknown_is_fine(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::INVAL { Ok(()) } else { Err(errno) }
}

fn not_permitted_is_fine(errno: Errno) -> Result<(), Errno> {
    if matches!(errno, Errno::PERM | Errno::INVAL) { Ok(()) } else { Err(errno) }
}
