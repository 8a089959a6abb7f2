//! The first process of a container, held by a descriptor, so that its number cannot become another's between a look and a signal.
//!
//! Kernels before 5.3, and filters older than that, have no pidfd_open(2): there it is its number, and when it started is asked again.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use knarr_sys::{Errno, pidfd};

use super::container::Container;

/// How often a process without a descriptor is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// A container's first process, which was there when it was opened.
pub(crate) struct Init<'a> {
    container: &'a Container,
    /// `None`: there is no such call.
    handle: Option<OwnedFd>,
}

impl<'a> Init<'a> {
    /// `None`: it has ended.
    pub(crate) fn open(container: &'a Container) -> Result<Option<Init<'a>>, knarr_sys::Error> {
        let handle = match pidfd::open(container.record.pid) {
            Err(error) if pidfd::is_missing(&error) => None,
            Err(error) if error.errno == Errno::SRCH => return Ok(None),
            handle => Some(handle?),
        };
        // The number may have been given to another process before it was opened.
        Ok(container.alive().then_some(Init { container, handle }))
    }

    /// Sends a signal; whether it was there to get it.
    pub(crate) fn signal(&self, signal: i32) -> Result<bool, knarr_sys::Error> {
        let sent = match &self.handle {
            Some(handle) => pidfd::send_signal(handle, signal),
            None => pidfd::kill(self.container.record.pid, signal),
        };
        match sent {
            Err(error) if error.errno == Errno::SRCH => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Whether it ended within this time.
    pub(crate) fn ended_within(&self, time: Duration) -> bool {
        let Some(handle) = &self.handle else { return self.asked(time) };
        pidfd::ended_within(handle, Some(time)).unwrap_or(true)
    }

    fn asked(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while self.container.alive() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        true
    }
}
