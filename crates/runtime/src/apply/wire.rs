//! What child and parent say to each other: one message, one packet.
//!
//! ```text
//! byte 0        1..3           3..7           7..
//! sync number
//! 0xff failed   step (u16)     errno (i32)    what the kernel said beside it
//! 0xfe process  –              pid (u32)                                      (with its pidfd)
//! ```
//!
//! Law: a sync point is sent without allocating.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use knarr_sys::{Errno, scm_rights};

use crate::plan::Sync;

/// Longest message; file systems say less.
const MESSAGE_BYTES_MAX: usize = 512;
const HEADER_BYTES: usize = 7;
const FAILED: u8 = 0xff;
const PROCESS: u8 = 0xfe;

/// Why a step of the child failed.
pub(crate) struct Trouble {
    pub errno: Errno,
    /// What is known beside it: our words, or the kernel's.
    pub note: Option<Cow<'static, str>>,
}

impl Trouble {
    pub fn new(errno: Errno, note: &'static str) -> Trouble {
        Trouble { errno, note: Some(Cow::Borrowed(note)) }
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Trouble {
        Trouble { errno, note: None }
    }
}

impl From<knarr_sys::Error> for Trouble {
    fn from(error: knarr_sys::Error) -> Trouble {
        Trouble::from(error.errno)
    }
}

/// A message as the parent reads it.
pub(crate) enum Message {
    Sync { number: u8, fd: Option<OwnedFd> },
    Failed { step: usize, errno: Errno, note: Option<String> },
    Process { pid: u32, pidfd: Option<OwnedFd> },
    Closed,
}

pub(crate) fn say(socket: impl AsFd, sync: Sync, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    scm_rights::send(socket, &[sync as u8], fd)
}

pub(crate) fn say_failed(socket: impl AsFd, step: usize, trouble: &Trouble) -> Result<(), Errno> {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    bytes[0] = FAILED;
    bytes[1..3].copy_from_slice(&(step as u16).to_ne_bytes());
    bytes[3..7].copy_from_slice(&trouble.errno.raw_os_error().to_ne_bytes());
    let note = trouble.note.as_ref().map_or(&b""[..], |note| note.as_bytes());
    let note = &note[..note.len().min(MESSAGE_BYTES_MAX - HEADER_BYTES)];
    bytes[HEADER_BYTES..HEADER_BYTES + note.len()].copy_from_slice(note);
    scm_rights::send(socket, &bytes[..HEADER_BYTES + note.len()], None)
}

pub(crate) fn say_process(socket: impl AsFd, pid: u32, pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0] = PROCESS;
    bytes[3..7].copy_from_slice(&pid.to_ne_bytes());
    scm_rights::send(socket, &bytes, Some(pidfd))
}

pub(crate) fn hear(socket: impl AsFd) -> Result<Message, Errno> {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let received = scm_rights::receive(socket, &mut bytes);
    message(&bytes, received)
}

/// The same where the answer is on its way.
pub(crate) fn hear_soon(socket: impl AsFd) -> Result<Message, Errno> {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let received = scm_rights::receive_soon(socket, &mut bytes);
    message(&bytes, received)
}

fn message(
    bytes: &[u8; MESSAGE_BYTES_MAX],
    received: Result<(usize, Option<OwnedFd>), Errno>,
) -> Result<Message, Errno> {
    let (length, fd) = match received {
        Err(Errno::CONNRESET) => (0, None),
        other => other?,
    };
    let number = i32::from_ne_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]);
    Ok(match bytes[0] {
        _ if length == 0 => Message::Closed,
        FAILED if length >= HEADER_BYTES => Message::Failed {
            step: u16::from_ne_bytes([bytes[1], bytes[2]]).into(),
            errno: Errno::from_raw_os_error(number),
            note: text(&bytes[HEADER_BYTES..length]),
        },
        PROCESS if length >= HEADER_BYTES => Message::Process { pid: number as u32, pidfd: fd },
        number => Message::Sync { number, fd },
    })
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
