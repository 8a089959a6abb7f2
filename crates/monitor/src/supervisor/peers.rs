//! Clients come, ask, and go.

use std::os::fd::OwnedFd;

use rustix::net::SocketFlags;

use super::peer::Peer;
use super::poll::{EventFlags, Token};
use super::{Phase, SIGKILL, Supervisor};
use crate::protocol::{Attach, Frame, ProtocolError};
use crate::{Error, StdinMode};

/// So many clients are served at once: leaves descriptors of the usual 1024 to spare.
const PEERS_MAX: usize = 256;

/// Signals are numbered from 1 to 64.
const SIGNAL_MAX: u32 = 64;

impl Supervisor {
    pub(super) fn add_peer(&mut self, socket: OwnedFd, is_launcher: bool) -> u64 {
        let number = self.peers_seen;
        self.peers_seen += 1;
        let mut peer = Peer::new(number, socket, is_launcher);
        peer.watched = EventFlags::IN;
        if self.poll.add(&peer, Token::Peer(number), peer.watched).is_ok() {
            self.peers.push(peer);
        }
        number
    }

    /// Takes the next connection and tells it where the container stands.
    pub(super) fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let Ok(socket) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC) else { return };
        if self.peers.len() >= PEERS_MAX {
            return Peer::new(0, socket, false).refuse(&format!("refused: {PEERS_MAX} clients are attached already"));
        }
        let number = self.add_peer(socket, false);
        let pid = self.child.as_ref().map_or(0, |child| child.pid);
        self.with_peer(number, |peer| {
            peer.send(Frame::Created(pid));
            peer.send(Frame::Started);
        });
    }

    /// Something happened on a connection.
    pub(super) fn on_peer(&mut self, number: u64, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.with_peer(number, Peer::flush);
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read_peer(number);
        }
        self.forget_served_peers();
        self.update_pause();
    }

    fn read_peer(&mut self, number: u64) {
        let mut buffer = self.take_buffer();
        let received = self.peer(number).map(|peer| peer.receive(&mut buffer));
        match received {
            Some(Ok(Some(0)) | Err(_)) => self.lose_peer(number),
            Some(Ok(Some(count))) => self.take_bytes(number, &buffer[..count]),
            Some(Ok(None)) | None => {}
        }
        self.buffer = buffer;
    }

    /// Handles the whole frames in what was held and what came now.
    fn take_bytes(&mut self, number: u64, fresh: &[u8]) {
        let Some(mut held) = self.peer(number).map(|peer| std::mem::take(&mut peer.inbox)) else { return };
        held.extend_from_slice(fresh);
        let mut used = 0;
        loop {
            match Frame::decode(&held[used..]) {
                Ok(Some((frame, length))) => {
                    self.on_frame(number, frame);
                    used += length;
                }
                Ok(None) => break,
                Err(error) => return self.refuse(number, &error.to_string()),
            }
        }
        held.drain(..used);
        if let Some(peer) = self.peer(number) {
            peer.inbox = held;
        }
    }

    fn on_frame(&mut self, number: u64, frame: Frame) {
        let Some(peer) = self.peer(number).filter(|peer| !peer.is_closing) else { return };
        match frame {
            Frame::Attach(wants) => self.on_attach(number, wants),
            Frame::Start if peer.is_launcher => self.start(),
            Frame::Start => self.refuse(number, "only the launcher may start the container"),
            Frame::Stdin(bytes) => self.on_stdin(number, bytes),
            Frame::StdinEof => {
                peer.stdin_eof = true;
                self.close_stdin_once();
            }
            Frame::Resize { rows, columns } => self.resize(rows, columns),
            Frame::Signal(signal @ 1..=SIGNAL_MAX) => self.kill(signal as i32),
            Frame::Signal(signal) => self.refuse(number, &format!("{signal} is no signal")),
            Frame::Cleaned(rubbish) if peer.wants.cleanup => {
                peer.wants.cleanup = false;
                self.cleaned = Some(rubbish.to_vec());
            }
            Frame::Cleaned(_) => self.refuse(number, "only who promised to clean up may say that it is done"),
            other => self.refuse(number, &ProtocolError::UnknownKind(other.kind()).to_string()),
        }
    }

    fn on_attach(&mut self, number: u64, wants: Attach) {
        if let Some(peer) = self.peer(number) {
            peer.wants = wants;
        }
    }

    fn on_stdin(&mut self, number: u64, bytes: &[u8]) {
        let Some(peer) = self.peer(number) else { return };
        if !peer.wants.stdin || peer.stdin_eof || bytes.len() > peer.stdin_window {
            return self.refuse(number, "stdin beyond what was asked for or granted");
        }
        peer.stdin_window -= bytes.len();
        self.stdin.push(number, bytes);
        self.flush_stdin();
    }

    /// Writes what the container takes and gives the clients that much window back. Before the process is made nothing is.
    pub(super) fn flush_stdin(&mut self) {
        if self.child.is_none() && matches!(self.phase, Phase::Waiting(_)) {
            return;
        }
        for (number, count) in self.stdin.flush() {
            self.with_peer(number, |peer| {
                peer.stdin_window += count;
                peer.send(Frame::StdinTaken(count as u32));
            });
        }
        self.watch_stdin();
    }

    /// Looks for room only while something waits for it.
    fn watch_stdin(&mut self) {
        let Some(fd) = &self.stdin.fd else { return };
        let waits = !self.stdin.is_empty();
        if waits != self.stdin.is_watched {
            let _ = if waits { self.poll.add(fd, Token::Stdin, EventFlags::OUT) } else { self.poll.remove(fd) };
            self.stdin.is_watched = waits;
        }
    }

    /// docker's StdinOnce: the container's input ends when one client says so or the last one that could type has left. A
    /// terminal has no end; the user types one.
    fn close_stdin_once(&mut self) {
        let is_open = self.peers.iter().any(|peer| peer.wants.stdin && !peer.stdin_eof);
        if self.task.stdin == StdinMode::Once && !self.task.terminal && !is_open {
            self.stdin.closes_when_empty = true;
            self.flush_stdin();
        }
    }

    fn resize(&mut self, rows: u16, columns: u16) {
        self.terminal_size = Some((rows, columns));
        if let (true, Some(master)) = (self.task.terminal, &self.stdout) {
            let _ = knarr_sys::pty::set_size(master, rows, columns);
        }
    }

    /// A connection ended.
    fn lose_peer(&mut self, number: u64) {
        let Some(at) = self.peers.iter().position(|peer| peer.number == number) else { return };
        let peer = self.peers.swap_remove(at);
        let _ = self.poll.remove(&peer);
        if peer.wants.stdin {
            self.close_stdin_once();
        }
        if peer.is_launcher && matches!(self.phase, Phase::Waiting(_)) {
            self.kill(SIGKILL);
            self.fail(Error::Abandoned);
        }
    }

    fn refuse(&mut self, number: u64, message: &str) {
        self.with_peer(number, |peer| peer.refuse(message));
    }

    /// Lets go of clients that were refused, once their last frame is sent.
    fn forget_served_peers(&mut self) {
        let served: Vec<u64> =
            self.peers.iter().filter(|peer| peer.is_closing && peer.backlog() == 0).map(|peer| peer.number).collect();
        served.into_iter().for_each(|number| self.lose_peer(number));
    }

    pub(super) fn tell_all(&mut self, frame: Frame) {
        self.tell(frame, |_| true);
    }

    pub(super) fn tell(&mut self, frame: Frame, is_wanted: impl Fn(Attach) -> bool) {
        let numbers: Vec<u64> =
            self.peers.iter().filter(|peer| is_wanted(peer.wants)).map(|peer| peer.number).collect();
        numbers.into_iter().for_each(|number| self.with_peer(number, |peer| peer.send(frame)));
    }

    /// Does something with a connection, and tells epoll what it now waits for.
    fn with_peer(&mut self, number: u64, act: impl FnOnce(&mut Peer)) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.number == number) else { return };
        act(peer);
        let interest = peer.interest();
        if interest != peer.watched {
            peer.watched = interest;
            let _ = self.poll.modify(&*peer, Token::Peer(number), interest);
        }
    }

    fn peer(&mut self, number: u64) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.number == number)
    }
}
