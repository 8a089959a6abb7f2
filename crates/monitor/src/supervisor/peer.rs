//! One connection as the monitor sees it: what the client wants, what is on its way to it, what it sent.
//!
//! Law: never blocks. What the socket does not take is queued up to a limit; a client beyond it is dropped with an error,
//! unless it asked for every byte ([`Attach::lossless`]): then the container is made to wait.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use crate::protocol::{Attach, Failure, Frame, HEADER_BYTES, STDIN_WINDOW_BYTES};
use crate::supervisor::poll::EventFlags;

/// How far a client that did not ask for every byte may fall behind: four times what a pipe holds, beyond what its socket holds.
pub(crate) const BACKLOG_BYTES_MAX: usize = 256 * 1024;

/// Beyond this backlog of a client that wants every byte, the container's output is left unread.
pub(crate) const BACKLOG_BYTES_PAUSE: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) number: u64,
    pub(crate) wants: Attach,
    /// It started the monitor and may say `start`.
    pub(crate) is_launcher: bool,
    /// Bytes it sent that are no whole frame yet.
    pub(crate) inbox: Vec<u8>,
    /// How much stdin it may still send.
    pub(crate) stdin_window: usize,
    /// It said that there is no more.
    pub(crate) stdin_eof: bool,
    /// Nothing is read from it or sent to it any more, beyond what is queued.
    pub(crate) is_closing: bool,
    /// It has closed its side: what it sent before is still to be read, but it hears nothing any more.
    is_deaf: bool,
    /// What epoll was told to look for.
    pub(crate) watched: EventFlags,
    socket: OwnedFd,
    outbox: Vec<u8>,
    sent: usize,
}

impl Peer {
    pub(crate) fn new(number: u64, socket: OwnedFd, is_launcher: bool) -> Peer {
        Peer {
            number,
            wants: Attach::default(),
            is_launcher,
            inbox: Vec::new(),
            stdin_window: STDIN_WINDOW_BYTES,
            stdin_eof: false,
            is_closing: false,
            is_deaf: false,
            watched: EventFlags::empty(),
            socket,
            outbox: Vec::new(),
            sent: 0,
        }
    }

    /// What epoll should look for.
    pub(crate) fn interest(&self) -> EventFlags {
        let input = if self.is_closing { EventFlags::empty() } else { EventFlags::IN };
        let output = if self.backlog() > 0 { EventFlags::OUT } else { EventFlags::empty() };
        input | output
    }

    /// Bytes queued and not yet taken by the socket.
    pub(crate) fn backlog(&self) -> usize {
        self.outbox.len() - self.sent
    }

    /// The container must wait for it.
    pub(crate) fn is_full(&self) -> bool {
        self.wants.lossless && self.backlog() >= BACKLOG_BYTES_PAUSE
    }

    /// The monitor must not end before it: bytes that were promised, or a cleanup that it promised.
    pub(crate) fn is_awaited(&self) -> bool {
        self.wants.cleanup || (self.wants.lossless && self.backlog() > 0)
    }

    /// Reads what is there; `None` when nothing is, 0 at the end.
    pub(crate) fn receive(&self, into: &mut [u8]) -> Result<Option<usize>, Errno> {
        match rustix::net::recv(&self.socket, into, RecvFlags::DONTWAIT) {
            Ok((count, _)) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Sends a frame, or queues what the socket does not take.
    pub(crate) fn send(&mut self, frame: Frame) {
        if self.is_closing || self.is_deaf {
            return;
        }
        if self.try_to_send(frame).is_err() {
            self.deafen();
        }
    }

    fn try_to_send(&mut self, frame: Frame) -> Result<(), Errno> {
        match frame {
            Frame::Stdout(bytes) | Frame::Stderr(bytes) => self.send_output(frame.kind(), bytes)?,
            frame => {
                frame.encode(&mut self.outbox);
                self.try_to_flush()?;
            }
        }
        if self.backlog() > BACKLOG_BYTES_MAX && !self.wants.lossless {
            self.drop_behind();
        }
        Ok(())
    }

    /// The common case copies nothing: header and payload go to the socket as they are.
    fn send_output(&mut self, kind: u8, bytes: &[u8]) -> Result<(), Errno> {
        let mut header = [kind, 0, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
        let taken = if self.backlog() == 0 { self.try_send(&[&header, bytes])? } else { 0 };
        if taken < HEADER_BYTES + bytes.len() {
            self.outbox.extend_from_slice(&header);
            self.outbox.extend_from_slice(bytes);
            self.sent += taken;
        }
        Ok(())
    }

    fn try_send(&self, parts: &[&[u8]]) -> Result<usize, Errno> {
        let parts: [IoSlice; 2] = [IoSlice::new(parts[0]), IoSlice::new(parts.get(1).unwrap_or(&&[][..]))];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), flags) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            other => other,
        }
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        if self.try_to_flush().is_err() {
            self.deafen();
        }
    }

    /// Writing failed: the client is gone, but may have sent something before it went.
    fn deafen(&mut self) {
        (self.is_deaf, self.sent) = (true, 0);
        self.outbox = Vec::new();
    }

    fn try_to_flush(&mut self) -> Result<(), Errno> {
        while self.backlog() > 0 {
            let taken = self.try_send(&[&self.outbox[self.sent..]])?;
            self.sent += taken;
            if taken == 0 {
                break;
            }
        }
        self.forget_sent_frames();
        Ok(())
    }

    /// Frees the frames that are wholly sent; the queue always begins with a frame's header.
    fn forget_sent_frames(&mut self) {
        if self.backlog() == 0 {
            self.sent = 0;
            // Most clients are never behind: they should hold no memory.
            self.outbox = Vec::new();
            return;
        }
        if self.sent < BACKLOG_BYTES_PAUSE {
            return;
        }
        let whole = self.frames_until(|end, sent| end <= sent);
        self.outbox.drain(..whole);
        self.sent -= whole;
    }

    /// The length of the leading frames for which `goes_on(end, sent)` holds.
    fn frames_until(&self, goes_on: impl Fn(usize, usize) -> bool) -> usize {
        let mut end = 0;
        while let Some(&[.., a, b, c, d]) = self.outbox[end..].first_chunk::<HEADER_BYTES>() {
            let next = end + HEADER_BYTES + u32::from_be_bytes([a, b, c, d]) as usize;
            if !goes_on(next, self.sent) {
                break;
            }
            end = next;
        }
        end
    }

    /// Too far behind: finishes the frame it is reading, tells it why, and is done with it.
    fn drop_behind(&mut self) {
        let whole = self.frames_until(|end, sent| end <= sent);
        let begun = &self.outbox[whole..];
        let length =
            begun.first_chunk::<HEADER_BYTES>().map_or(0, |&[.., a, b, c, d]| u32::from_be_bytes([a, b, c, d]));
        let keep = if whole == self.sent { whole } else { whole + HEADER_BYTES + length as usize };
        self.outbox.truncate(keep);
        self.refuse(&format!("dropped: more than {BACKLOG_BYTES_MAX} bytes of output were not read in time"));
    }

    /// Queues an error as the last frame.
    pub(crate) fn refuse(&mut self, message: &str) {
        let failure = Failure { message: message.to_owned(), hint: None, exit_code: None };
        let json = serde_json::to_vec(&failure).unwrap_or_default();
        Frame::Error(&json).encode(&mut self.outbox);
        self.is_closing = true;
        self.flush();
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn connected(wants: Attach) -> (Peer, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut peer = Peer::new(0, ours.into(), false);
        peer.wants = wants;
        (peer, theirs)
    }

    /// All frames until the end of the stream: kind and payload.
    fn read_frames(mut stream: UnixStream) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((frame, length)) = Frame::decode(rest).unwrap() {
            frames.push((frame.kind(), rest[HEADER_BYTES..length].to_vec()));
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "the stream ends inside a frame");
        frames
    }

    #[test]
    fn a_client_that_never_reads_is_dropped_with_an_error_and_a_bounded_queue() {
        let (mut peer, stream) = connected(Attach { stdout: true, ..Attach::default() });
        let block = [7; 1000];
        for _ in 0..10_000 {
            peer.send(Frame::Stdout(&block));
            assert!(peer.backlog() <= BACKLOG_BYTES_MAX + 2000);
        }
        assert!(peer.is_closing);
        assert!(peer.backlog() < 2000, "the queue was given back: {}", peer.backlog());
        let reader = std::thread::spawn(move || read_frames(stream));
        while peer.backlog() > 0 {
            peer.flush();
        }
        drop(peer);
        let frames = reader.join().unwrap();
        let (last, output) = frames.split_last().unwrap();
        assert!(output.iter().all(|(kind, bytes)| *kind == 130 && bytes[..] == block));
        assert!(String::from_utf8_lossy(&last.1).contains("dropped"), "{last:?}");
    }

    #[test]
    fn a_client_that_wants_every_byte_makes_the_container_wait() {
        let (mut peer, stream) = connected(Attach { stdout: true, lossless: true, ..Attach::default() });
        let mut sent = 0u32;
        while !peer.is_full() {
            peer.send(Frame::Stdout(&sent.to_be_bytes().repeat(500)));
            sent += 1;
        }
        assert!(!peer.is_closing);
        let reader = std::thread::spawn(move || read_frames(stream));
        while peer.backlog() > 0 {
            peer.flush();
        }
        drop(peer);
        let frames = reader.join().unwrap();
        assert_eq!(frames.len(), sent as usize);
        assert!(frames.iter().zip(0u32..).all(|((_, bytes), number)| *bytes == number.to_be_bytes().repeat(500)));
    }
}
