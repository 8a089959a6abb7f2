//! What the container writes: read once, logged first, then handed to every client that wants it.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::Supervisor;
use super::poll::{EventFlags, Token};
use crate::log::Stream;
use crate::protocol::Frame;
use crate::time::now_ns;

/// What a dead container's terminal may still hold; more comes only from a living process that keeps it open.
const TERMINAL_REST_BYTES_MAX: usize = 1024 * 1024;

impl Supervisor {
    /// Reads once.
    pub(super) fn on_output(&mut self, token: Token) {
        if !self.is_paused {
            self.read_output(token, usize::MAX);
            self.update_pause();
        }
    }

    /// Reads at most `limit` bytes once and hands them on; how many, 0 when there are none now or for ever.
    fn read_output(&mut self, token: Token, limit: usize) -> usize {
        let mut buffer = self.take_buffer();
        let fd = if token == Token::Stdout { &self.stdout } else { &self.stderr };
        let Some(fd) = fd else { return 0 };
        let room = buffer.len().min(limit);
        let count = match rustix::io::read(fd, &mut buffer[..room]) {
            Ok(0) => self.close_output(token),
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => self.close_output(token),
        };
        if count > 0 {
            self.hand_on(token, &buffer[..count]);
        }
        self.buffer = buffer;
        count
    }

    fn close_output(&mut self, token: Token) -> usize {
        let fd = if token == Token::Stdout { self.stdout.take() } else { self.stderr.take() };
        if let Some(fd) = fd {
            let _ = self.poll.remove(&fd);
        }
        0
    }

    fn hand_on(&mut self, token: Token, bytes: &[u8]) {
        let stream = if token == Token::Stdout { Stream::Stdout } else { Stream::Stderr };
        if let Some(log) = &mut self.log {
            log.append(stream, bytes, now_ns());
            if self.record.log_loss(log.loss()) {
                self.record.write();
            }
        }
        match stream {
            Stream::Stdout => self.tell(Frame::Stdout(bytes), |wants| wants.stdout),
            Stream::Stderr => self.tell(Frame::Stderr(bytes), |wants| wants.stderr),
        }
    }

    /// Stops reading while a client that wants every byte is behind, and goes on when it has caught up.
    pub(super) fn update_pause(&mut self) {
        let must_pause = self.peers.iter().any(|peer| peer.is_full());
        if must_pause == self.is_paused {
            return;
        }
        self.is_paused = must_pause;
        let flags = if must_pause { EventFlags::empty() } else { EventFlags::IN };
        for (fd, token) in [(&self.stdout, Token::Stdout), (&self.stderr, Token::Stderr)] {
            if let Some(fd) = fd {
                // A hangup is reported whatever is asked for: only leaving the set silences it.
                let _ = if must_pause { self.poll.remove(fd) } else { self.poll.add(fd, token, flags) };
            }
        }
    }

    /// After the end: what the process wrote is in the pipes now, whoever else holds them. Bounded, as such others may go on
    /// writing for ever.
    pub(super) fn drain_output(&mut self) {
        for token in [Token::Stdout, Token::Stderr] {
            let mut rest = self.waiting_bytes(token);
            while rest > 0 {
                match self.read_output(token, rest) {
                    0 => break,
                    count => rest -= count,
                }
            }
        }
    }

    fn waiting_bytes(&self, token: Token) -> usize {
        let fd = if token == Token::Stdout { &self.stdout } else { &self.stderr };
        match fd {
            // Its bytes may still be on their way through the line discipline, which a read waits for and a count does not.
            Some(_) if self.task.terminal => TERMINAL_REST_BYTES_MAX,
            Some(fd) => rustix::io::ioctl_fionread(fd.as_fd()).map_or(0, |count| count as usize),
            None => 0,
        }
    }
}
