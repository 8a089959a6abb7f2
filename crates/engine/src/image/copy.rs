//! `image copy` where the store is one of the two places.

use knarr_distribution::{Copied, CopyOptions, Place};

use super::pull::unpack_options;
use crate::{Context, Result};

/// Copies an image; `local:` is the store.
pub fn copy(context: &Context, from: &Place, to: &Place, options: &CopyOptions<'_>) -> Result<Copied> {
    let options = CopyOptions {
        spool: context.store.state().to_owned(),
        unpack: Some(unpack_options(context)),
        ..options.clone()
    };
    Ok(knarr_distribution::copy(Some(&context.store), from, to, &options)?)
}
