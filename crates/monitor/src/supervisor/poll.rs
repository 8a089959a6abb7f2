//! The one place where a monitor waits: epoll(7).

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::io::Errno;

pub(crate) use rustix::event::epoll::EventFlags;

/// How many events are taken at once.
const EVENTS_MAX: usize = 16;

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Signals,
    Listener,
    Stdin,
    Stdout,
    Stderr,
    /// By number, which is never used twice, so that an event for one that is gone finds nobody.
    Peer(u64),
}

const PEERS: u64 = 16;

impl Token {
    fn to_data(self) -> EventData {
        EventData::new_u64(match self {
            Token::Signals => 0,
            Token::Listener => 1,
            Token::Stdin => 2,
            Token::Stdout => 3,
            Token::Stderr => 4,
            Token::Peer(number) => PEERS + number,
        })
    }

    fn from_data(data: EventData) -> Token {
        match data.u64() {
            0 => Token::Signals,
            1 => Token::Listener,
            2 => Token::Stdin,
            3 => Token::Stdout,
            4 => Token::Stderr,
            number => Token::Peer(number.saturating_sub(PEERS)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Poll(OwnedFd);

impl Poll {
    pub(crate) fn new() -> Result<Poll, Errno> {
        epoll::create(CreateFlags::CLOEXEC).map(Poll)
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.0, fd, token.to_data(), flags)
    }

    pub(crate) fn modify(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.0, fd, token.to_data(), flags)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> Result<(), Errno> {
        epoll::delete(&self.0, fd)
    }

    /// Waits for events, at most `timeout_ms`.
    pub(crate) fn wait(&self, timeout_ms: Option<u32>) -> Result<Vec<(Token, EventFlags)>, Errno> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS_MAX];
        let timeout = timeout_ms.map(|ms| rustix::event::Timespec {
            tv_sec: i64::from(ms / 1000),
            tv_nsec: i64::from(ms % 1000) * 1_000_000,
        });
        match epoll::wait(&self.0, &mut events[..], timeout.as_ref()) {
            Ok(count) => Ok(events[..count].iter().map(|event| (Token::from_data(event.data), event.flags)).collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(errno),
        }
    }
}
