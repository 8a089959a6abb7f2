//! Turns a runtime-spec seccomp document into the BPF program the kernel runs at every system call.
//!
//! Spec: runtime-spec 1.3, config-linux.md "Seccomp"; seccomp(2).
//! Law: pure. Reads no file, calls no kernel, knows every architecture's system call numbers as data.
//! Not here: installing the program and passing on the listener (the runtime, through `sys`).
#![forbid(unsafe_code)]

mod error;
pub mod limits;
mod program;

pub use error::Error;
pub use program::{Program, instruction};

use knarr_spec::runtime::{Arch, LinuxSeccomp};

/// Compiles a profile for a process that starts in architecture `native`.
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Program, Error> {
    let _ = (profile, native);
    Err(Error::Size { instructions: 0 })
}

/// The architecture this binary was compiled for, as the runtime-spec names it; `None` where seccomp has no name for it.
pub fn native() -> Option<Arch> {
    Some(Arch::ScmpArchX86_64)
}
