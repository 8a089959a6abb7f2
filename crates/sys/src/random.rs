//! `getrandom(2)`.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Call, Errno, Result};

/// `N` bytes nobody can guess.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).call(|| format!("getrandom({N})")),
        }
    }
    Ok(bytes)
}
