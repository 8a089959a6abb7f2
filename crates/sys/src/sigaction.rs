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

/// Ends this process, as the signals of a shell would, on any of these; until [`reset`].
pub fn end_on(signals: &[i32]) {
    extern "C" fn end(signal: i32) {
        // SAFETY: async-signal-safe, and nothing runs after it.
        unsafe { libc::_exit(ENDED_BY_SIGNAL + signal) }
    }
    for signal in signals {
        // SAFETY: the handler calls nothing but `_exit`.
        unsafe { libc::signal(*signal, end as extern "C" fn(i32) as libc::sighandler_t) };
    }
}

/// What shells add.
const ENDED_BY_SIGNAL: i32 = 128;
