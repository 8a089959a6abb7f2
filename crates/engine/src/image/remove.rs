//! `rmi`.

use knarr_store::{ImageRemoval, RemovedImage};

use crate::record::short;
use crate::{Context, Error, Result, container};

/// Removes the name or the image that `text` means. With `force`, names in several repositories and containers at rest are no
/// obstacle; a running container always is.
pub fn remove(context: &Context, text: &str, force: bool) -> Result<RemovedImage> {
    match context.store.remove_image(text, false)? {
        ImageRemoval::Done(removed) => return Ok(removed),
        ImageRemoval::InUse { containers, .. } => {
            for (id, _) in &containers {
                if container::is_running(context, id)? {
                    return Err(Error::ImageRuns { image: text.to_owned(), container: short(id).to_owned() });
                }
            }
            if let Some((id, _)) = containers.first().filter(|_| !force) {
                return Err(Error::ImageInUse { image: text.to_owned(), container: short(id).to_owned() });
            }
        }
        ImageRemoval::SeveralNames { .. } if !force => return Err(Error::ImageHasNames { image: text.to_owned() }),
        ImageRemoval::SeveralNames { .. } => {}
    }
    match context.store.remove_image(text, true)? {
        ImageRemoval::Done(removed) => Ok(removed),
        ImageRemoval::InUse { containers, .. } => {
            let container = containers.first().map(|(id, _)| short(id).to_owned()).unwrap_or_default();
            Err(Error::ImageInUse { image: text.to_owned(), container })
        }
        ImageRemoval::SeveralNames { .. } => Err(Error::ImageHasNames { image: text.to_owned() }),
    }
}
