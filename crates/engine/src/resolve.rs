//! From the name a user wrote to an image in the store, fetching it where the policy says so.

use knarr_spec::{Platform, Reference};
use knarr_store::{ImageRecord, Kind};

use crate::image::{hello, pull};
use crate::wanted::PullPolicy;
use crate::{Context, Error, Result};

/// The image `name` means.
pub fn image(
    context: &Context,
    name: &str,
    policy: PullPolicy,
    platform: Option<&str>,
    pulls: &dyn pull::Pulls,
) -> Result<ImageRecord> {
    let platform = platform.map(str::parse::<Platform>).transpose()?;
    let here = local(context, name, platform.as_ref())?;
    if hello::is_hello(name) {
        return hello::ensure(context, here);
    }
    match (policy, here) {
        (PullPolicy::Never | PullPolicy::Missing, Some(image)) => Ok(image),
        (PullPolicy::Never, None) => Err(Error::NotPulled(name.to_owned())),
        // An image here may have been named by its id, which no registry knows.
        (PullPolicy::Always, Some(image)) if name.parse::<Reference>().is_err() => Ok(image),
        (policy, _) => {
            let reference: Reference = name.parse()?;
            if policy == PullPolicy::Missing {
                for meant in pulls.network()?.registries.candidates(name)? {
                    if let Some(image) = local(context, &meant.to_string(), platform.as_ref())? {
                        return Ok(image);
                    }
                }
                pulls.missing(&reference);
            }
            pull::pull_meant(context, name, platform.as_ref(), pulls).map(|(_, image)| image)
        }
    }
}

/// The image, if it is here, complete, and for the wanted platform.
fn local(context: &Context, name: &str, platform: Option<&Platform>) -> Result<Option<ImageRecord>> {
    let image = match context.store.resolve_image(name) {
        Ok(image) => image,
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let complete = image.layers.len() == image.config.rootfs.diff_ids.len();
    let fits = platform.is_none_or(|wanted| wanted.preference(&image.config.platform).is_some());
    Ok(Some(image).filter(|_| complete && fits))
}
