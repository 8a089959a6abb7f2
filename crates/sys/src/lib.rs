//! The kernel edge: the only unsafe code, one file per man page.
//!
//! Law: signatures are safe, over `BorrowedFd`, `OwnedFd` and `&CStr`; each failure prints the call like strace
//! ([`Error`]); safe wrappers of rustix are preferred, `unsafe` is for what it lacks.
//! Not here: policy. A function does one thing the kernel offers, or its emulation where the kernel is too old.

pub mod access;
pub mod at;
pub mod bpf;
pub mod capabilities;
pub mod clone3;
pub mod close_range;
pub mod credentials;
pub mod entry;
pub mod error;
pub mod execve;
pub mod fs;
pub mod in_root;
pub mod inherited;
pub mod io;
pub mod ioprio_set;
pub mod keyctl;
pub mod memory;
pub mod mount;
pub mod mounting;
pub mod netdevice;
pub mod ofd_lock;
pub mod openat2;
pub mod overlay;
pub mod personality;
pub mod pidfd;
pub mod poll;
pub mod posix_spawn;
pub mod prctl;
pub mod prlimit;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod ptrace;
pub mod pty;
pub mod random;
pub mod regex;
pub mod root;
pub mod rtnetlink;
pub mod sched;
pub mod scm_rights;
pub mod seccomp;
pub mod self_exe;
pub mod set_mempolicy;
pub mod setns;
pub mod sigaction;
pub mod signalfd;
pub mod syncfs;
pub mod termios;
pub mod user_namespaces;
pub mod uts;
pub mod xattr;

pub use error::{Errno, Error, Result};
pub use in_root::{InRoot, InRootError};
pub use openat2::Resolver;
pub use root::{Mode, OFlags, Root};
