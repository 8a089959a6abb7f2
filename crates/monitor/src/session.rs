//! Copies a user's streams to and from a monitor until the container ends: the foreground of `run`, `start -a`, `attach`, `exec`.
//!
//! Law: one thread, poll(2). A slow reader of our output slows the container; signals and resizes get through all the same.
//! Not here: raw mode, which signals to block, what to print at the end (the command line).

use std::os::fd::{AsFd, BorrowedFd};

use knarr_sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::Error;
use crate::client::{Client, Event};
use crate::protocol::Exit;

/// What is written at once where a write may block although poll said it would not (a pipe promises one page).
const PIPE_CHUNK_BYTES: usize = 4096;

/// SIGWINCH.
const WINDOW_CHANGED: i32 = 28;

/// The user's side.
#[derive(Debug, Default)]
pub struct Session<'a> {
    /// Read and sent; `None` sends nothing.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Where standard output goes; `None` drops it.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Where standard error goes; `None` drops it.
    pub stderr: Option<BorrowedFd<'a>>,
    /// Signals to forward. SIGWINCH is not forwarded but read as a resize of `terminal`.
    pub signals: Option<&'a SignalFd>,
    /// The terminal whose size the container's follows.
    pub terminal: Option<BorrowedFd<'a>>,
    /// The keys that end the session and leave the container alone (docker: 16, 17); empty for none.
    pub detach_keys: &'a [u8],
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The container ended and every byte was written.
    Exited(Exit),
    /// The user typed the detach keys.
    Detached,
    /// Whoever reads our output is gone (`| head`).
    OutputClosed,
}

/// The streams of one session in motion.
struct Copier<'s, 'a> {
    session: &'s Session<'a>,
    client: &'s mut Client,
    /// Output on its way to the user, from which offset, and where to.
    pending: Option<(Vec<u8>, usize, BorrowedFd<'a>)>,
    stdin_open: bool,
    typed: Vec<u8>,
    keys_matched: usize,
}

impl Session<'_> {
    /// Copies until the end. Errors of the start come as [`Error::Remote`], a monitor that vanished as [`Error::Lost`].
    pub fn run(&self, client: &mut Client) -> Result<Ended, Error> {
        self.send_size(client)?;
        let stdin_open = self.stdin.is_some();
        let mut copier =
            Copier { session: self, client, pending: None, stdin_open, typed: Vec::new(), keys_matched: 0 };
        loop {
            if let Some(ended) = copier.step()? {
                return Ok(ended);
            }
        }
    }

    fn send_size(&self, client: &mut Client) -> Result<(), Error> {
        match self.terminal.map(rustix::termios::tcgetwinsize) {
            Some(Ok(size)) => client.resize(size.ws_row, size.ws_col),
            _ => Ok(()),
        }
    }
}

/// What poll(2) found ready.
struct Ready {
    monitor: bool,
    stdin: bool,
    signals: bool,
    output: bool,
}

impl<'a> Copier<'_, 'a> {
    fn step(&mut self) -> Result<Option<Ended>, Error> {
        if self.pending.is_none() && self.client.has_event() {
            return self.take_event();
        }
        let ready = self.wait()?;
        if ready.signals {
            self.forward_signals()?;
        }
        if ready.output && !self.write_output()? {
            return Ok(Some(Ended::OutputClosed));
        }
        if ready.stdin && self.forward_stdin()? {
            return Ok(Some(Ended::Detached));
        }
        if ready.monitor && self.pending.is_none() { self.take_event() } else { Ok(None) }
    }

    /// Waits for output first: while some is unwritten nothing more is taken from the monitor.
    fn wait(&self) -> Result<Ready, Error> {
        let window = self.client.stdin_window().saturating_sub(self.typed.len());
        let stdin = self.session.stdin.filter(|_| self.stdin_open && window > 0);
        let output = self.pending.as_ref().map(|(_, _, fd)| *fd);
        let sources = [
            (Some(self.client.as_fd()).filter(|_| output.is_none()), PollFlags::IN),
            (stdin, PollFlags::IN),
            (self.session.signals.map(|signals| signals.as_fd()), PollFlags::IN),
            (output, PollFlags::OUT),
        ];
        let mut fds: Vec<PollFd> =
            sources.iter().filter_map(|(fd, flags)| Some(PollFd::from_borrowed_fd((*fd)?, *flags))).collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::call("wait for the monitor")(errno)),
        }
        let mut answers = fds.iter().map(|fd| !fd.revents().is_empty());
        let [monitor, stdin, signals, output] =
            sources.map(|(fd, _)| fd.is_some() && answers.next().unwrap_or_default());
        Ok(Ready { monitor, stdin, signals, output })
    }

    fn forward_signals(&mut self) -> Result<(), Error> {
        let Some(signals) = self.session.signals else { return Ok(()) };
        while let Some(number) = signals.next().map_err(Error::call("read a signal"))? {
            match number {
                WINDOW_CHANGED => self.session.send_size(self.client)?,
                number => self.client.signal(number as u32)?,
            }
        }
        Ok(())
    }

    /// Whether the user wants to leave.
    fn forward_stdin(&mut self) -> Result<bool, Error> {
        let Some(stdin) = self.session.stdin else { return Ok(false) };
        let mut buffer = [0; 16 * 1024];
        let window = self.client.stdin_window().min(buffer.len());
        let count = match rustix::io::read(stdin, &mut buffer[..window]) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            // A terminal that was hung up has ended as well.
            Err(_) => 0,
        };
        if count == 0 {
            self.stdin_open = false;
            self.client.stdin_eof()?;
            return Ok(false);
        }
        let detach = self.type_keys(&buffer[..count]);
        self.send_typed()?;
        Ok(detach)
    }

    /// Moves what was typed to the outgoing bytes, holding back what may be the beginning of the detach keys.
    fn type_keys(&mut self, keys: &[u8]) -> bool {
        let sequence = self.session.detach_keys;
        for key in keys {
            if sequence.get(self.keys_matched) != Some(key) {
                self.typed.extend_from_slice(&sequence[..self.keys_matched]);
                self.keys_matched = 0;
            }
            if sequence.get(self.keys_matched) != Some(key) {
                self.typed.push(*key);
                continue;
            }
            self.keys_matched += 1;
            if self.keys_matched == sequence.len() {
                return true;
            }
        }
        false
    }

    fn send_typed(&mut self) -> Result<(), Error> {
        while !self.typed.is_empty() && self.client.stdin_window() > 0 {
            let sent = self.client.stdin(&self.typed)?;
            self.typed.drain(..sent);
        }
        Ok(())
    }

    fn take_event(&mut self) -> Result<Option<Ended>, Error> {
        while self.pending.is_none() {
            let Some(event) = self.client.poll_event()? else { break };
            match event {
                Event::Stdout(bytes) => self.pending = self.session.stdout.map(|fd| (bytes, 0, fd)),
                Event::Stderr(bytes) => self.pending = self.session.stderr.map(|fd| (bytes, 0, fd)),
                Event::Exited(exit) => return Ok(Some(Ended::Exited(exit))),
                Event::Failed(failure) => return Err(Error::Remote(failure)),
                Event::Created(_) | Event::Started => {}
            }
        }
        self.send_typed()?;
        Ok(None)
    }

    /// Writes a part of the pending output; `false` when nobody reads it any more.
    fn write_output(&mut self) -> Result<bool, Error> {
        let Some((bytes, offset, fd)) = &mut self.pending else { return Ok(true) };
        let rest = &bytes[*offset..];
        match rustix::io::write(*fd, &rest[..rest.len().min(chunk_bytes(*fd))]) {
            Ok(count) => *offset += count,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::PIPE) => return Ok(false),
            Err(errno) => return Err(Error::call("write the container's output")(errno)),
        }
        if *offset == bytes.len() {
            self.pending = None;
        }
        Ok(true)
    }
}

fn chunk_bytes(fd: BorrowedFd) -> usize {
    let is_file = |status: rustix::fs::Stat| FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    if rustix::fs::fstat(fd).is_ok_and(is_file) { usize::MAX } else { PIPE_CHUNK_BYTES }
}
