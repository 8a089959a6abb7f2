//! Staying with a process until it ends: signals go to it, and with a terminal of its own, keys and characters go between it and ours.

use std::{
    io::{stdin, stdout},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use knarr_sys::{
    Errno, io,
    pidfd::{self, Exit},
    poll, pty,
    signalfd::SignalFd,
    termios,
};

use super::failure::Failure;
use crate::Running;

/// What is passed on: all that a person or a service manager sends. Not SIGCHLD, which is about us.
const PASSED_ON: [i32; 11] = [1, 2, 3, 10, 12, 14, 15, 18, 20, SIGWINCH, 34];
const SIGWINCH: i32 = 28;
/// A terminal's own buffer is as large.
const BUFFER_BYTES: usize = 4096;

/// Signals wait here from before the process is made.
pub(crate) struct Attendant {
    signals: SignalFd,
}

impl Attendant {
    pub(crate) fn new() -> Result<Attendant, Failure> {
        Ok(Attendant { signals: SignalFd::block(&PASSED_ON)? })
    }

    /// Until it ends; its terminal is emptied before we return.
    pub(crate) fn attend(&self, running: &Running, console: Option<OwnedFd>) -> Result<Exit, Failure> {
        let (keys, screen) = (stdin(), stdout());
        let (keys, screen) = (keys.as_fd(), screen.as_fd());
        let ours = console.is_some() && termios::is_terminal(keys);
        let _raw = if ours { Some(termios::Raw::enter_keys(keys)?) } else { None };
        let mut relay = Relay { console, keys: Some(keys), screen };
        relay.resize();
        loop {
            let ready = poll::readable(&[
                Some(running.pidfd.as_fd()),
                Some(self.signals.as_fd()),
                relay.console.as_ref().map(AsFd::as_fd),
                relay.keys.filter(|_| relay.console.is_some()),
            ])?;
            if ready[1] {
                self.pass_on(running, &relay)?;
            }
            if ready[2] {
                relay.show();
            }
            if ready[3] {
                relay.type_in();
            }
            // Last: what it wrote before it ended is shown first.
            if ready[0] && !ready[2] {
                return Ok(running.wait()?);
            }
        }
    }

    fn pass_on(&self, running: &Running, relay: &Relay<'_>) -> Result<(), Failure> {
        while let Some(signal) = self.signals.next()? {
            if signal == SIGWINCH && relay.console.is_some() {
                relay.resize();
            } else {
                // It may have ended meanwhile.
                let _ = pidfd::send_signal(&running.pidfd, signal);
            }
        }
        Ok(())
    }
}

/// What a program wrote to its terminal before it ended without having been attended to.
pub(crate) fn last_words(console: OwnedFd) {
    let screen = stdout();
    let mut relay = Relay { console: Some(console), keys: None, screen: screen.as_fd() };
    while relay.console.as_ref().is_some_and(|console| poll::readable_within(console, Some(NOW)).unwrap_or(false)) {
        relay.show();
    }
}

/// Without waiting.
const NOW: Duration = Duration::ZERO;

/// Between two terminals.
struct Relay<'a> {
    console: Option<OwnedFd>,
    keys: Option<BorrowedFd<'a>>,
    screen: BorrowedFd<'a>,
}

impl Relay<'_> {
    fn resize(&self) {
        if let (Some(console), Some((rows, columns))) = (&self.console, termios::size(self.screen)) {
            let _ = pty::set_size(console, rows, columns);
        }
    }

    /// EIO: nobody has the other end open any more.
    fn show(&mut self) {
        let mut buffer = [0; BUFFER_BYTES];
        let Some(console) = &self.console else { return };
        match io::read(console, &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.console = None,
            Ok(count) => all(self.screen, &buffer[..count]),
        }
    }

    fn type_in(&mut self) {
        let mut buffer = [0; BUFFER_BYTES];
        let (Some(console), Some(keys)) = (&self.console, self.keys) else { return };
        match io::read(keys, &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.keys = None,
            Ok(count) => all(console.as_fd(), &buffer[..count]),
        }
    }
}

/// A reader that is gone loses what it would have read.
fn all(to: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match io::write(to, bytes) {
            Err(Errno::INTR) => {}
            Ok(count) if count > 0 => bytes = &bytes[count..],
            _ => return,
        }
    }
}
