//! `read(2)`, `write(2)`, `dup(2)`, `chdir(2)`, safe as rustix has them.

pub use rustix::io::{FdFlags, dup, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd, read, write};
pub use rustix::process::{chdir, chroot, fchdir, getcwd};
pub use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
