//! `termios(3)`: raw mode, and the way back from it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::{Call, Fd, Result};

/// Whether the descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    isatty(fd)
}

/// Rows and columns; `None` where there is no terminal or it does not say.
pub fn size(fd: impl AsFd) -> Option<(u16, u16)> {
    tcgetwinsize(fd).ok().map(|size| (size.ws_row, size.ws_col)).filter(|size| *size != (0, 0))
}

/// A terminal in raw mode; what it was before is restored on drop.
#[derive(Debug)]
pub struct Raw<'fd> {
    fd: BorrowedFd<'fd>,
    before: Termios,
}

impl<'fd> Raw<'fd> {
    /// Switches the terminal to raw mode: every key is passed on as it is typed.
    pub fn enter(fd: BorrowedFd<'fd>) -> Result<Raw<'fd>> {
        Raw::change(fd, |raw| raw.make_raw())
    }

    /// The same for keys only: what is written to it is processed as before.
    pub fn enter_keys(fd: BorrowedFd<'fd>) -> Result<Raw<'fd>> {
        Raw::change(fd, |raw| {
            let output_modes = raw.output_modes;
            raw.make_raw();
            raw.output_modes = output_modes;
        })
    }

    fn change(fd: BorrowedFd<'fd>, change: impl FnOnce(&mut Termios)) -> Result<Raw<'fd>> {
        let before = tcgetattr(fd).call(|| format!("tcgetattr({})", Fd(fd)))?;
        let mut raw = before.clone();
        change(&mut raw);
        tcsetattr(fd, OptionalActions::Drain, &raw).call(|| format!("tcsetattr({}, raw)", Fd(fd)))?;
        Ok(Raw { fd, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.fd, OptionalActions::Drain, &self.before);
    }
}

/// A terminal that does not show what is typed; what it was before is restored on drop.
#[derive(Debug)]
pub struct NoEcho<'fd> {
    fd: BorrowedFd<'fd>,
    before: Termios,
}

impl<'fd> NoEcho<'fd> {
    /// Switches the echo off, and forgets what was typed ahead.
    pub fn enter(fd: BorrowedFd<'fd>) -> Result<NoEcho<'fd>> {
        let before = tcgetattr(fd).call(|| format!("tcgetattr({})", Fd(fd)))?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(fd, OptionalActions::Flush, &silent).call(|| format!("tcsetattr({}, no echo)", Fd(fd)))?;
        Ok(NoEcho { fd, before })
    }
}

impl Drop for NoEcho<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.fd, OptionalActions::Drain, &self.before);
    }
}
