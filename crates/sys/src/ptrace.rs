//! `ptrace(2)`, as much as finding out which functions of a program run takes (`examples/functions.rs`, `cargo xtask order`).
//!
//! Not here: other architectures than x86-64, whose registers have other names.

use crate::error::{Call, Errno, Result, check};

/// Why a traced process stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It executed a program.
    Executed,
    /// It came upon a breakpoint.
    Trap,
    /// It has a child, or is one: nothing to do but to let it go on.
    Event,
    /// A signal is on its way to it.
    Signal(i32),
    /// It has ended.
    Ended,
}

/// Traces a process and all that come from it; they are killed when we end.
pub fn seize(pid: u32) -> Result<()> {
    let options = libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SEIZE, pid, options as usize).call(|| format!("ptrace(PTRACE_SEIZE, {pid})"))
}

/// Lets it go on, with a signal or (0) without.
pub fn resume(pid: u32, signal: i32) -> Result<()> {
    request(libc::PTRACE_CONT, pid, signal as usize).call(|| format!("ptrace(PTRACE_CONT, {pid}, {signal})"))
}

/// Lets it go for good.
pub fn detach(pid: u32) -> Result<()> {
    request(libc::PTRACE_DETACH, pid, 0).call(|| format!("ptrace(PTRACE_DETACH, {pid})"))
}

/// Where it goes on; `change` says where instead.
pub fn instruction_pointer(pid: u32, change: impl FnOnce(u64) -> Option<u64>) -> Result<()> {
    let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::uninit();
    request(libc::PTRACE_GETREGS, pid, registers.as_mut_ptr() as usize)
        .call(|| format!("ptrace(PTRACE_GETREGS, {pid})"))?;
    // SAFETY: the kernel has filled it.
    let mut registers = unsafe { registers.assume_init() };
    let Some(to) = change(registers.rip) else { return Ok(()) };
    registers.rip = to;
    request(libc::PTRACE_SETREGS, pid, &raw mut registers as usize).call(|| format!("ptrace(PTRACE_SETREGS, {pid})"))
}

/// Waits for the next process that stops; `None` when there is none left.
pub fn wait() -> Result<Option<(u32, Stop)>> {
    let mut status = 0;
    // SAFETY: status outlives the call.
    let answer = check(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) }.into());
    let pid = match answer {
        Err(Errno::CHILD) => return Ok(None),
        other => other.call(|| "waitpid(-1, __WALL)")? as u32,
    };
    let stop = match (libc::WIFSTOPPED(status), status >> 16) {
        (false, _) => Stop::Ended,
        (_, libc::PTRACE_EVENT_EXEC) => Stop::Executed,
        (_, 0) if libc::WSTOPSIG(status) == libc::SIGTRAP => Stop::Trap,
        (_, 0) => Stop::Signal(libc::WSTOPSIG(status)),
        _ => Stop::Event,
    };
    Ok(Some((pid, stop)))
}

fn request(request: libc::c_uint, pid: u32, data: usize) -> std::result::Result<(), Errno> {
    // SAFETY: data is a number, or points to registers that outlive the call; the kernel checks the rest.
    check(unsafe { libc::ptrace(request, pid as libc::pid_t, 0usize, data) }).map(drop)
}
