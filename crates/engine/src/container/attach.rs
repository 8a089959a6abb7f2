//! `attach`: a connection to a running container.

use std::io::ErrorKind;

use knarr_monitor::Client;

use super::find;
use crate::record::Container;
use crate::{Context, Error, Result};

/// The container that `text` means and a connection to its monitor.
pub fn connect(context: &Context, text: &str) -> Result<(Container, Client)> {
    let container = find(context, text)?;
    // Its monitor may still be clearing up, and would take what we say.
    let client = if container.state.is_final() { None } else { client(context, &container.record.id)? };
    Ok((container, client.ok_or_else(|| Error::NotRunning(text.to_owned()))?))
}

/// A connection to the monitor of the container with this id; `None` when none lives.
pub(super) fn client(context: &Context, id: &str) -> Result<Option<Client>> {
    match Client::connect(&context.paths.container_run(id)) {
        Ok(client) => Ok(Some(client)),
        Err(knarr_monitor::Error::Io { source, .. })
            if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
