//! `pty(7)`, `ioctl_tty(2)`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::pty::OpenptFlags;

use crate::error::Errno;

/// The slave of an open master: unlocked, and opened without a path, so that nothing in a container can stand in its way.
pub fn open_slave(master: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::pty::unlockpt(&master)?;
    rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
}

/// Sets rows and columns.
pub fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}

/// Makes it the controlling terminal of our session.
pub fn set_controlling(terminal: impl AsFd) -> Result<(), Errno> {
    rustix::process::ioctl_tiocsctty(terminal)
}

/// Lets lines end as the program ends them (`-ONLCR`), for a terminal whose output goes to another terminal, which adds the carriage
/// return itself.
pub fn leave_line_ends(terminal: impl AsFd) -> Result<(), Errno> {
    use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};
    let mut modes = tcgetattr(&terminal)?;
    modes.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(&terminal, OptionalActions::Now, &modes)
}
