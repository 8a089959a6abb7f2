//! `push`: images of the store to registries.

use knarr_distribution::{Copied, CopyOptions};
use knarr_spec::{Platform, Reference};
use knarr_store::{ImageRecord, Kind};

use crate::{Context, Error, Result};

/// The image of this name, for the platform if one is wanted.
pub fn find(context: &Context, name: &Reference, platform: Option<&Platform>) -> Result<ImageRecord> {
    let image = match context.store.resolve_image(&name.to_string()) {
        Err(error) if error.kind() == Kind::NotFound => return Err(Error::NotLocal(name.familiar_name())),
        found => found?,
    };
    let have = &image.config.platform;
    match platform {
        Some(wanted) if wanted.preference(have).is_none() => {
            Err(Error::OtherPlatform { image: name.familiar(), wanted: wanted.to_string(), have: have.to_string() })
        }
        _ => Ok(image),
    }
}

/// All names of the repository of `name`.
pub fn all_tags(context: &Context, name: &Reference) -> Result<Vec<Reference>> {
    let names = context.store.images()?.into_iter().flat_map(|image| image.names);
    let mut names: Vec<Reference> =
        names.filter(|other| other.tag().is_some() && other.name() == name.name()).collect();
    names.sort();
    if names.is_empty() { Err(Error::NotLocal(name.familiar_name())) } else { Ok(names) }
}

/// Pushes `image` as `name`.
pub fn push(context: &Context, image: &ImageRecord, name: &Reference, options: &CopyOptions<'_>) -> Result<Copied> {
    Ok(knarr_distribution::push(&context.store, image, name, options)?)
}
