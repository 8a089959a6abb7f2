//! `kill`.

use super::{attach, stop};
use crate::wanted::parse_signal;
use crate::{Context, Result};

/// Sends a signal, by number or name, to the first process of the container that `text` means. SIGKILL is waited for, as docker
/// does: `kill` and then `rm` must work.
pub fn kill(context: &Context, text: &str, signal: &str) -> Result<()> {
    let number = parse_signal("signal", signal)? as u32;
    let (container, mut client) = attach::connect(context, text)?;
    if number == stop::SIGKILL {
        return stop::kill_now(context, &container.record.id, &mut client, text);
    }
    Ok(client.signal(number)?)
}
