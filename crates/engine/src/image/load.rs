//! `load`: every image of an archive, whichever form it has.

use knarr_distribution::Input;
use knarr_spec::Platform;
use knarr_store::ImageRecord;

use super::pull::{Pulls, options};
use crate::{Context, Result};

/// Brings the images of `input` into the store.
pub fn load(
    context: &Context,
    input: Input,
    platform: Option<&Platform>,
    pulls: &dyn Pulls,
) -> Result<Vec<ImageRecord>> {
    let images = knarr_distribution::load(&context.store, input, &options(context, platform, pulls)?)?;
    super::budget::keep(context, &images.iter().collect::<Vec<_>>());
    Ok(images)
}
