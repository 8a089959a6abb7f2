//! `stop`: the stop signal, patience, SIGKILL.

use std::time::Duration;

use super::{attach, find, wait};
use crate::record::Container;
use crate::wanted::parse_signal;
use crate::{Context, Error, Result};

pub(super) const SIGKILL: u32 = 9;

/// How long the kernel may take to end a killed process before we report it.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How to stop; `None` takes what container and image say.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Another signal.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; below zero waits for ever.
    pub timeout_s: Option<i64>,
}

/// Stops the container that `text` means. One at rest stays so.
pub fn stop(context: &Context, text: &str, options: &StopOptions) -> Result<Container> {
    let container = find(context, text)?;
    let effective = &container.options.effective;
    let signal = options.signal.as_deref().map(|signal| parse_signal("signal", signal)).transpose()?;
    let Some(mut client) = attach::client(context, &container.record.id)? else { return Ok(container) };
    client.signal(signal.unwrap_or(effective.stop_signal) as u32)?;
    let seconds = options.timeout_s.unwrap_or(effective.stop_timeout_s.into());
    let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
    if wait::ended_within(context, &container.record.id, &mut client, patience)?.is_none() {
        kill_now(context, &container.record.id, &mut client, text)?;
    }
    Ok(container)
}

/// SIGKILL, and its effect.
pub(super) fn kill_now(context: &Context, id: &str, client: &mut knarr_monitor::Client, name: &str) -> Result<()> {
    client.signal(SIGKILL)?;
    match wait::ended_within(context, id, client, Some(KILL_PATIENCE))? {
        Some(_) => Ok(()),
        None => Err(Error::WillNotDie { name: name.to_owned(), seconds: KILL_PATIENCE.as_secs() }),
    }
}
