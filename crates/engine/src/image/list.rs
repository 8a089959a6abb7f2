//! `images`.

use knarr_store::ImageRecord;

use crate::{Context, Result};

/// Every image, the newest first.
pub fn list(context: &Context) -> Result<Vec<ImageRecord>> {
    Ok(context.store.images()?)
}
