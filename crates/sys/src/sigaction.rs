//! `sigaction(2)` and `sigprocmask(2)`, as a new program should find them.

/// Signals are numbered from 1 to here on Linux.
const SIGNAL_MAX: i32 = 64;

/// Gives every signal its default disposition and blocks none: what a program executed by us does must not depend on what
/// our caller ignored (Rust's runtime itself ignores SIGPIPE).
pub fn reset() {
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: SIG_DFL installs no handler; signals that cannot be set answer EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
