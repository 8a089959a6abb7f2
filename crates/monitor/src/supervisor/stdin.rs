//! Towards the container's standard input.
//!
//! Law: never blocks; bytes are written in the order they came; what the container does not read is bounded by the windows of
//! the clients. When the last byte is written and nobody will send more, the pipe is closed ([`StdinMode::Once`]).

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

#[derive(Debug, Default)]
pub(crate) struct Stdin {
    /// The pipe's end or a duplicate of the terminal's master; `None` when closed.
    pub(crate) fd: Option<OwnedFd>,
    /// Whose bytes they are, and the bytes.
    queue: VecDeque<(u64, Vec<u8>)>,
    /// How much of the first is written.
    written: usize,
    /// Nobody will send more.
    pub(crate) closes_when_empty: bool,
    /// epoll looks for room.
    pub(crate) is_watched: bool,
}

/// How many bytes of which client were taken.
pub(crate) type Taken = Vec<(u64, usize)>;

impl Stdin {
    pub(crate) fn push(&mut self, peer: u64, bytes: &[u8]) {
        match self.queue.back_mut() {
            Some((last, queued)) if *last == peer => queued.extend_from_slice(bytes),
            _ => self.queue.push_back((peer, bytes.to_vec())),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Writes as much as the container's side takes. A container that closed its input takes everything, like `/dev/null`.
    pub(crate) fn flush(&mut self) -> Taken {
        let mut taken = Taken::new();
        while let Some((peer, bytes)) = self.queue.front() {
            let rest = &bytes[self.written..];
            let count = match self.fd.as_ref().map(|fd| rustix::io::write(fd, rest)) {
                Some(Ok(count)) => count,
                Some(Err(Errno::AGAIN | Errno::INTR)) => break,
                Some(Err(_)) | None => {
                    self.fd = None;
                    rest.len()
                }
            };
            taken.push((*peer, count));
            self.written += count;
            if self.written == bytes.len() {
                self.queue.pop_front();
                self.written = 0;
            }
        }
        if self.queue.is_empty() && self.closes_when_empty {
            self.fd = None;
        }
        taken
    }
}
