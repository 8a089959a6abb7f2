//! The kernel edge: the only unsafe code, one file per man page.
//!
//! Law: signatures are safe, over `BorrowedFd`, `OwnedFd` and `&CStr`; each failure prints the call like strace
//! ([`Error`]); safe wrappers of rustix are preferred, `unsafe` is for what it lacks.
//! Not here: policy. A function does one thing the kernel offers, or its emulation where the kernel is too old.

pub mod error;
pub mod in_root;
pub mod openat2;
pub mod root;

pub use error::{Errno, Error, Result};
pub use in_root::{InRoot, InRootError};
pub use openat2::Resolver;
pub use root::{Mode, OFlags, Root};
