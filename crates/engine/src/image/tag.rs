//! `tag`.

use knarr_spec::Reference;

use crate::{Context, Result};

/// Gives the image that `source` means the name `target`; a name with a digest cannot be given.
pub fn tag(context: &Context, source: &str, target: &str) -> Result<()> {
    let image = context.store.resolve_image(source)?;
    let target: Reference = target.parse()?;
    if target.digest().is_some() {
        return Err(knarr_spec::ReferenceError::Malformed(target.to_string()).into());
    }
    Ok(context.store.tag(&image.id, &target)?)
}
