//! The frames spoken on the launcher's socket (descriptor 3) and on `attach.sock`.
//!
//! ```text
//! 0      1               4                       8
//! ┌──────┬───────────────┬───────────────────────┬──────────────┐
//! │ kind │ zero zero zero│ payload length, u32 BE│ payload …    │
//! └──────┴───────────────┴───────────────────────┴──────────────┘
//!
//! client → monitor                         monitor → client
//!   1 attach        flags u8                128 created      pid u32
//!   2 start         —                       129 started      —
//!   3 stdin         bytes                   130 stdout       bytes
//!   4 stdin-eof     —                       131 stderr       bytes
//!   5 resize        rows u16, columns u16   132 stdin-taken  count u32
//!   6 signal        number u32              133 exited       code u32, flags u8 (1: out of memory)
//!   7 cleaned       paths, each + NUL       134 error        JSON `Failure`
//!   8 container     path
//!   9 exec          path
//! ```
//!
//! A client may send at most [`STDIN_WINDOW_BYTES`] of stdin beyond what `stdin-taken` has given back, so that a `signal` or a
//! `resize` is never stuck behind input the container does not read.
//!
//! Law: a length beyond [`FRAME_BYTES_MAX`], a reserved byte that is not zero, an unknown kind or a payload of the wrong size
//! is an error, and the connection that sent it ends. Nothing is allocated by an announced length.
//! Not here: sockets and queues.

use serde::{Deserialize, Serialize};

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

/// The largest payload. Twice the largest read of a container's output; bounds what one client can make the monitor hold.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// How much stdin of one client may be on its way, unread by the container: as much as a pipe holds.
pub const STDIN_WINDOW_BYTES: usize = 64 * 1024;

/// What a client wants, the payload of `attach`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attach {
    /// It will send stdin.
    pub stdin: bool,
    /// It wants the container's standard output (with a terminal: everything).
    pub stdout: bool,
    /// It wants the container's standard error.
    pub stderr: bool,
    /// It must get every byte: when it reads slowly the container waits, as with a pipe. Others are dropped when too far behind.
    pub lossless: bool,
    /// It promises to clean up after the end (`--rm` in the foreground) and to say `cleaned`; if it is gone without, the
    /// monitor runs the exit command.
    pub cleanup: bool,
}

const ATTACH_BITS: [u8; 5] = [1, 2, 4, 8, 16];

impl Attach {
    /// The flags byte.
    pub fn to_byte(self) -> u8 {
        let wants = [self.stdin, self.stdout, self.stderr, self.lossless, self.cleanup];
        ATTACH_BITS.iter().zip(wants).filter(|(_, want)| *want).map(|(bit, _)| bit).sum()
    }

    /// From the flags byte; unknown bits are ignored, so that newer clients can ask for more.
    pub fn from_byte(byte: u8) -> Attach {
        let [stdin, stdout, stderr, lossless, cleanup] = ATTACH_BITS.map(|bit| byte & bit != 0);
        Attach { stdin, stdout, stderr, lossless, cleanup }
    }
}

/// How a container or an exec'd process ended, the payload of `exited`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exit {
    /// The program's exit code, or 128 + the signal that ended it.
    pub code: u8,
    /// The kernel killed a process of the container for lack of memory.
    pub oom_killed: bool,
}

/// Why a start failed or a connection ends, the payload of `error`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What, where, why: the error and its sources, joined by `: `.
    pub message: String,
    /// How to fix it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// For a failed start: docker's exit code (125 ours, 126 not executable, 127 not found).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Subscribe; may be sent again to change the wish.
    Attach(Attach),
    /// Let the created container execute its program. Only the launcher may send it.
    Start,
    /// Bytes for the container's standard input.
    Stdin(&'a [u8]),
    /// This client has no more input.
    StdinEof,
    /// The terminal's new size.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Send this signal to the container's init (or the exec'd process).
    Signal(u32),
    /// The promise of `Attach::cleanup` is kept, but for these directories, which the monitor takes off the disk when nobody
    /// waits for it any more. Each path is followed by a NUL.
    Cleaned(&'a [u8]),
    /// The first frame to a monitor that was launched before its job was known: the container's directory.
    Container(&'a [u8]),
    /// The same: the exec session's directory.
    Exec(&'a [u8]),
    /// The container exists and waits for `start`.
    Created(u32),
    /// The program runs.
    Started,
    /// The container wrote this to its standard output or its terminal.
    Stdout(&'a [u8]),
    /// The container wrote this to its standard error.
    Stderr(&'a [u8]),
    /// So many bytes of this client's stdin were taken; it may send as many more.
    StdinTaken(u32),
    /// It ended; all output was sent before.
    Exited(Exit),
    /// A [`Failure`] as JSON.
    Error(&'a [u8]),
}

/// A frame no well-behaved peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The announced payload is beyond the limit.
    #[error("frame of {0} bytes: at most {FRAME_BYTES_MAX} are accepted")]
    TooLong(u32),
    /// A kind this version does not know.
    #[error("frame of unknown kind {0}")]
    UnknownKind(u8),
    /// Bytes 1 to 3 are not zero: probably not our protocol at all.
    #[error("reserved header bytes are not zero")]
    Reserved,
    /// The payload has the wrong size for its kind.
    #[error("frame of kind {kind} with a payload of {length} bytes")]
    Malformed {
        /// The kind.
        kind: u8,
        /// The payload's length.
        length: usize,
    },
}

impl<'a> Frame<'a> {
    /// The byte on the wire.
    pub fn kind(&self) -> u8 {
        match self {
            Frame::Attach(_) => 1,
            Frame::Start => 2,
            Frame::Stdin(_) => 3,
            Frame::StdinEof => 4,
            Frame::Resize { .. } => 5,
            Frame::Signal(_) => 6,
            Frame::Cleaned(_) => 7,
            Frame::Container(_) => 8,
            Frame::Exec(_) => 9,
            Frame::Created(_) => 128,
            Frame::Started => 129,
            Frame::Stdout(_) => 130,
            Frame::Stderr(_) => 131,
            Frame::StdinTaken(_) => 132,
            Frame::Exited(_) => 133,
            Frame::Error(_) => 134,
        }
    }

    /// Appends header and payload to `out`. A payload beyond [`FRAME_BYTES_MAX`] is the caller's to split.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), 0, 0, 0, 0, 0, 0, 0]);
        match self {
            Frame::Attach(attach) => out.push(attach.to_byte()),
            Frame::Stdin(bytes)
            | Frame::Cleaned(bytes)
            | Frame::Container(bytes)
            | Frame::Exec(bytes)
            | Frame::Stdout(bytes)
            | Frame::Stderr(bytes)
            | Frame::Error(bytes) => out.extend_from_slice(bytes),
            Frame::Resize { rows, columns } => {
                out.extend_from_slice(&rows.to_be_bytes());
                out.extend_from_slice(&columns.to_be_bytes());
            }
            Frame::Signal(number) | Frame::Created(number) | Frame::StdinTaken(number) => {
                out.extend_from_slice(&number.to_be_bytes())
            }
            Frame::Exited(exit) => {
                out.extend_from_slice(&u32::from(exit.code).to_be_bytes());
                out.push(u8::from(exit.oom_killed));
            }
            Frame::Start | Frame::StdinEof | Frame::Started => {}
        }
        let length = (out.len() - start - HEADER_BYTES) as u32;
        out[start + 4..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    }

    /// The first frame in `bytes` and how many bytes it takes; `None` while it is incomplete.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, ProtocolError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [kind, zeros @ .., a, b, c, d] = *header;
        let length = u32::from_be_bytes([a, b, c, d]);
        if zeros != [0; 3] {
            return Err(ProtocolError::Reserved);
        }
        if length as usize > FRAME_BYTES_MAX {
            return Err(ProtocolError::TooLong(length));
        }
        let Some(payload) = rest.get(..length as usize) else { return Ok(None) };
        Ok(Some((Frame::parse(kind, payload)?, HEADER_BYTES + payload.len())))
    }

    fn parse(kind: u8, payload: &'a [u8]) -> Result<Frame<'a>, ProtocolError> {
        let malformed = ProtocolError::Malformed { kind, length: payload.len() };
        let number = || payload.try_into().map(u32::from_be_bytes).map_err(|_| malformed);
        let empty = |frame| if payload.is_empty() { Ok(frame) } else { Err(malformed) };
        match (kind, payload) {
            (1, [flags]) => Ok(Frame::Attach(Attach::from_byte(*flags))),
            (2, _) => empty(Frame::Start),
            (3, bytes) => Ok(Frame::Stdin(bytes)),
            (4, _) => empty(Frame::StdinEof),
            (5, &[a, b, c, d]) => {
                Ok(Frame::Resize { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) })
            }
            (6, _) => number().map(Frame::Signal),
            (7, paths) => Ok(Frame::Cleaned(paths)),
            (8, path) => Ok(Frame::Container(path)),
            (9, path) => Ok(Frame::Exec(path)),
            (128, _) => number().map(Frame::Created),
            (129, _) => empty(Frame::Started),
            (130, bytes) => Ok(Frame::Stdout(bytes)),
            (131, bytes) => Ok(Frame::Stderr(bytes)),
            (132, _) => number().map(Frame::StdinTaken),
            (133, &[_, _, _, code, flags]) => Ok(Frame::Exited(Exit { code, oom_killed: flags & 1 != 0 })),
            (134, bytes) => Ok(Frame::Error(bytes)),
            (1 | 5 | 133, _) => Err(malformed),
            _ => Err(ProtocolError::UnknownKind(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(frame: Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(Frame::decode(&bytes), Ok(Some((frame, bytes.len()))));
        for cut in 0..bytes.len() {
            assert_eq!(Frame::decode(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    fn refused(bytes: &[u8], error: ProtocolError) {
        assert_eq!(Frame::decode(bytes), Err(error));
    }

    #[test]
    fn every_kind_survives_the_wire_and_waits_for_its_last_byte() {
        let attach = Attach { stdin: true, stderr: true, cleanup: true, ..Attach::default() };
        let exit = Exit { code: 137, oom_killed: true };
        [
            Frame::Attach(attach),
            Frame::Start,
            Frame::Stdin(b"in"),
            Frame::StdinEof,
            Frame::Cleaned(b"/a\0"),
            Frame::Container(b"/b"),
            Frame::Exec(b"/c"),
        ]
        .into_iter()
        .for_each(round_trip);
        [Frame::Resize { rows: 24, columns: 80 }, Frame::Signal(15), Frame::Created(4_000_000)]
            .into_iter()
            .for_each(round_trip);
        [Frame::Started, Frame::Stdout(b"\0\xff"), Frame::Stderr(b""), Frame::StdinTaken(65536)]
            .into_iter()
            .for_each(round_trip);
        [Frame::Exited(exit), Frame::Error(b"{}")].into_iter().for_each(round_trip);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_payload_arrives() {
        refused(&[3, 0, 0, 0, 0, 1, 0, 1], ProtocolError::TooLong(65537));
        refused(&[3, 0, 0, 0, 255, 255, 255, 255], ProtocolError::TooLong(u32::MAX));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        refused(&[99, 0, 0, 0, 0, 0, 0, 0], ProtocolError::UnknownKind(99));
    }

    #[test]
    fn another_protocol_is_refused_at_its_first_bytes() {
        refused(b"GET / HTTP/1.1\r\n", ProtocolError::Reserved);
    }

    #[test]
    fn a_payload_of_the_wrong_size_is_refused() {
        refused(&[2, 0, 0, 0, 0, 0, 0, 1, 7], ProtocolError::Malformed { kind: 2, length: 1 });
        refused(&[5, 0, 0, 0, 0, 0, 0, 2, 7, 7], ProtocolError::Malformed { kind: 5, length: 2 });
        refused(&[6, 0, 0, 0, 0, 0, 0, 0], ProtocolError::Malformed { kind: 6, length: 0 });
    }
}
