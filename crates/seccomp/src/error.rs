//! Why a profile cannot be compiled.

use knarr_spec::runtime::{Arch, LinuxSeccompAction};

use crate::limits::{ERRNO_MAX, INSTRUCTIONS_MAX};

/// What is wrong with a profile; the path in the document comes first.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The kernel takes no longer program.
    #[error("seccomp: the program needs {instructions} instructions, the kernel takes {INSTRUCTIONS_MAX}")]
    Size {
        /// How many there would be.
        instructions: usize,
    },
    /// `errnoRet` beside an action that returns none.
    #[error("seccomp: {place}: errnoRet is set, but {action} returns no errno")]
    ErrnoUnused {
        /// `default` or `syscalls[3]`.
        place: String,
        /// The action beside it.
        action: LinuxSeccompAction,
    },
    /// `errnoRet` larger than what the action can carry.
    #[error("seccomp: {place}: errnoRet {value} is above {ERRNO_MAX}")]
    ErrnoRange {
        /// `default` or `syscalls[3]`.
        place: String,
        /// As found.
        value: u32,
    },
    /// System calls have six arguments.
    #[error("seccomp: syscalls[{rule}]: argument index {index} is above 5")]
    ArgumentIndex {
        /// Position in `syscalls`.
        rule: usize,
        /// As found.
        index: usize,
    },
    /// Asking a supervisor about everything would ask it about the calls that hand it over.
    #[error("seccomp: defaultAction: SCMP_ACT_NOTIFY cannot be the default action")]
    NotifyDefault,
    /// The listener is handed over by write-like calls after the filter is on.
    #[error("seccomp: syscalls[{rule}]: SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyWrite {
        /// Position in `syscalls`.
        rule: usize,
    },
    /// `listenerPath` is where the listener goes; without it every notified call would hang.
    #[error("seccomp: SCMP_ACT_NOTIFY needs listenerPath")]
    NotifyUnheard,
    /// `native` itself, or an architecture that no kernel runs beside it.
    #[error("seccomp: {arch} is not an architecture programs can be compiled for")]
    Architecture {
        /// As found.
        arch: Arch,
    },
}

impl Error {
    /// What to change, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Size { .. } => {
                Some("merge rules of the same action, or drop architectures the container does not use")
            }
            Error::ErrnoUnused { .. } => Some("errnoRet goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE"),
            Error::NotifyUnheard => Some("set linux.seccomp.listenerPath to the agent's socket"),
            _ => None,
        }
    }
}
