//! Starting a program without copying the caller's address space: posix_spawn(3).
//!
//! glibc uses `CLONE_VM | CLONE_VFORK`, so the price does not grow with the caller's memory.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{Call, Result};

/// Above the descriptors anyone maps to; sources are moved here first, so that no mapping overwrites another's source.
const PARKED_FROM: RawFd = 64;

unsafe extern "C" {
    static environ: *const *mut libc::c_char;
}

/// A program to start.
#[derive(Debug)]
pub struct Program<'a> {
    /// Its path.
    pub path: &'a CStr,
    /// Its arguments, the name included.
    pub args: &'a [&'a CStr],
    /// Which of our descriptors it gets under which number. All others should be close-on-exec.
    pub fds: &'a [(BorrowedFd<'a>, RawFd)],
}

/// Starts it with our environment, no signal blocked and every disposition at its default.
pub fn spawn(program: &Program) -> Result<Pid> {
    let words = || format!("posix_spawn({:?}, {:?})", program.path, program.args);
    let parked = park(program.fds).call(words)?;
    let mut argv: Vec<*mut libc::c_char> = program.args.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    argv.push(std::ptr::null_mut());
    let actions = Actions::new(program.fds, &parked).call(words)?;
    let attributes = Attributes::clean().call(words)?;
    let mut pid = 0;
    // SAFETY: path, argv (null-terminated) and every string in it outlive the call; actions and attributes are initialized;
    // nobody changes `environ` while we read it, as these programs have one thread when they start others.
    let number = unsafe {
        libc::posix_spawn(&mut pid, program.path.as_ptr(), &actions.0, &attributes.0, argv.as_ptr(), environ.cast())
    };
    check(number).call(words)?;
    Pid::from_raw(pid).ok_or(Errno::INVAL).call(words)
}

fn park(fds: &[(BorrowedFd, RawFd)]) -> std::result::Result<Vec<OwnedFd>, Errno> {
    fds.iter().map(|(fd, _)| rustix::io::fcntl_dupfd_cloexec(fd, PARKED_FROM)).collect()
}

fn check(number: libc::c_int) -> std::result::Result<(), Errno> {
    if number == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(number)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(fds: &[(BorrowedFd, RawFd)], parked: &[OwnedFd]) -> std::result::Result<Actions, Errno> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is given.
        check(unsafe { libc::posix_spawn_file_actions_init(raw.as_mut_ptr()) })?;
        // SAFETY: just initialized.
        let mut actions = Actions(unsafe { raw.assume_init() });
        for ((_, target), source) in fds.iter().zip(parked) {
            // SAFETY: the actions are initialized; the numbers are only used in the child, where `source` is still open.
            check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut actions.0, source.as_raw_fd(), *target) })?;
        }
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialized by `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn clean() -> std::result::Result<Attributes, Errno> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is given.
        check(unsafe { libc::posix_spawnattr_init(raw.as_mut_ptr()) })?;
        // SAFETY: just initialized.
        let mut attributes = Attributes(unsafe { raw.assume_init() });
        let flags = (libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF) as libc::c_short;
        // Every bit, not sigfillset(3): that leaves out the two signals glibc keeps for itself, which the new program would
        // then begin with ignored, and pass on to whatever it executes.
        // SAFETY: a signal set is plain data, for which all zeros and all ones are valid.
        let (none, all) = unsafe { (MaybeUninit::zeroed().assume_init(), every_bit()) };
        // SAFETY: all three take initialized attributes and signal sets that outlive the calls.
        unsafe {
            check(libc::posix_spawnattr_setsigmask(&mut attributes.0, &none))?;
            check(libc::posix_spawnattr_setsigdefault(&mut attributes.0, &all))?;
            check(libc::posix_spawnattr_setflags(&mut attributes.0, flags))?;
        }
        Ok(attributes)
    }
}

/// # Safety
/// `libc::sigset_t` is an array of integers, which may have any value.
unsafe fn every_bit() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: one value's worth of bytes of our own.
    unsafe {
        set.as_mut_ptr().write_bytes(0xff, 1);
        set.assume_init()
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialized by `clean`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_program_gets_its_descriptors_even_where_numbers_cross() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let fds = [(null.as_fd(), 0), (writer.as_fd(), 1), (writer.as_fd(), 3)];
        let program = Program { path: c"/bin/sh", args: &[c"sh", c"-c", c"echo out; echo three >&3"], fds: &fds };
        let pid = spawn(&program).unwrap();
        drop(writer);
        let mut text = String::new();
        std::fs::File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "out\nthree\n");
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_of_the_caller() {
        let program = Program { path: c"/nowhere", args: &[c"nowhere"], fds: &[] };
        assert_eq!(spawn(&program).unwrap_err().errno, Errno::NOENT);
    }
}
