//! `kill`.

use super::attach;
use crate::wanted::parse_signal;
use crate::{Context, Result};

/// Sends a signal, by number or name, to the first process of the container that `text` means.
pub fn kill(context: &Context, text: &str, signal: &str) -> Result<()> {
    let number = parse_signal("signal", signal)?;
    let (_, mut client) = attach::connect(context, text)?;
    Ok(client.signal(number as u32)?)
}
