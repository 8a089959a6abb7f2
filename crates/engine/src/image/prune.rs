//! `image prune`: images nobody names or uses, and what no image needs any more.

use knarr_store::Collected;
use knarr_store::gc::{Policy, PruneImages};

use crate::{Context, Result};

/// Removes images without a name, or with `all` those without a container; then everything that nothing needs.
pub fn prune(context: &Context, all: bool) -> Result<Collected> {
    let images = if all { PruneImages::Unused } else { PruneImages::Dangling };
    Ok(context.store.collect(&Policy { images, ..Policy::default() })?)
}

/// Gives back the room of what was just removed. What fails here the next collection does.
pub fn collect(context: &Context) {
    let _ = context.store.collect(&Policy::default());
}
