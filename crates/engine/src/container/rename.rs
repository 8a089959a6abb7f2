//! `rename`.

use knarr_store::Durability;

use crate::wanted::check_container_name;
use crate::{Context, Result};

/// Gives the container that `text` means another name.
pub fn rename(context: &Context, text: &str, name: &str) -> Result<()> {
    check_container_name(name)?;
    let mut record = context.store.container(text)?;
    record.name = name.to_owned();
    Ok(context.store.update_container(&record, Durability::Full)?)
}
