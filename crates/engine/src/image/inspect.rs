//! `image inspect`.

use knarr_store::ImageRecord;

use crate::{Context, Result};

/// The image that `text` means.
pub fn find(context: &Context, text: &str) -> Result<ImageRecord> {
    Ok(context.store.resolve_image(text)?)
}
