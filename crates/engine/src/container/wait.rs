//! `wait`: until a container has ended, and how.

use std::time::{Duration, Instant};

use knarr_monitor::{Client, Error as MonitorError, Event, Status};

use super::{attach, find};
use crate::{Context, Result};

/// Waits for the end of the container that `text` means; its exit code.
pub fn wait(context: &Context, text: &str) -> Result<u8> {
    let container = find(context, text)?;
    if let Some(mut client) = attach::client(context, &container.record.id)?
        && let Some(code) = ended_within(context, &container.record.id, &mut client, None)?
    {
        return Ok(code);
    }
    let state = find(context, &container.record.id)?.state;
    Ok(if state.status == Status::Exited { state.exit_code } else { 0 })
}

/// Waits up to `timeout` for the end; the exit code, or `None` when the time is over.
pub(super) fn ended_within(
    context: &Context,
    id: &str,
    client: &mut Client,
    timeout: Option<Duration>,
) -> Result<Option<u8>> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let readable = client.has_event() || knarr_sys::poll::readable_within(&*client, left).unwrap_or(true);
        if !readable {
            return Ok(None);
        }
        match client.poll_event() {
            Ok(Some(Event::Exited(exit))) => return Ok(Some(exit.code)),
            Ok(Some(Event::Failed(failure))) => return Err(MonitorError::Remote(failure).into()),
            Ok(_) => {}
            Err(MonitorError::Lost) => return code_on_record(context, id).map(Some),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The exit code after the monitor hung up: what it wrote down, once it is gone. A container removed meanwhile, or whose
/// monitor was killed, was killed with it.
fn code_on_record(context: &Context, id: &str) -> Result<u8> {
    /// 128 + SIGKILL.
    const KILLED: u8 = 137;
    let state = || find(context, id).map(|container| container.state);
    let mut last = match state() {
        Ok(state) => state,
        Err(_) => return Ok(KILLED),
    };
    if last.status != Status::Exited
        && let Ok(monitor) = knarr_sys::pidfd::open(last.monitor_pid)
    {
        let _ = knarr_sys::pidfd::ended_within(&monitor, None);
        last = state().unwrap_or(last);
    }
    Ok(if last.status == Status::Exited { last.exit_code } else { KILLED })
}
