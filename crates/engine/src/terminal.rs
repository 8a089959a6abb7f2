//! What a face needs of the kernel to sit at a terminal, so that it need not know the kernel's edge itself.

pub use knarr_sys::signalfd::SignalFd;
pub use knarr_sys::termios::{NoEcho, Raw, is_terminal, size};
