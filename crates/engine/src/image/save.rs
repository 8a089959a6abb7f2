//! `save`: which images go into an archive, and under which names.
//!
//! Not here: the archive (`distribution`).

use knarr_distribution::archive::Saved;
use knarr_spec::{Platform, Reference};
use knarr_store::ImageRecord;

pub use knarr_distribution::archive::Output;

use super::problem::ImageProblem;
use crate::{Context, Result};

/// Decides what goes into the archive: for a name without tag every tag of that repository, as docker has it.
pub fn plan(context: &Context, names: &[String], platform: Option<&Platform>) -> Result<Vec<Saved>> {
    let mut chosen: Vec<Saved> = Vec::new();
    for name in names {
        for (image, name) in choose(context, name)? {
            if let Some(wanted) = platform.filter(|wanted| wanted.preference(&image.config.platform).is_none()) {
                let what = name.as_ref().map_or_else(|| image.id.to_string(), Reference::familiar);
                return Err(ImageProblem::Mismatch(format!(
                    "image {what} is for {}, not {wanted}",
                    image.config.platform
                ))
                .into());
            }
            match chosen.iter_mut().find(|known| known.image.id == image.id) {
                Some(known) => known.names.extend(name),
                None => chosen.push(Saved { image, names: name.into_iter().collect(), with_index: platform.is_none() }),
            }
        }
    }
    for saved in &mut chosen {
        saved.names.sort_by_key(Reference::to_string);
        saved.names.dedup();
    }
    Ok(chosen)
}

/// The images a name means, each with the name it was meant by.
fn choose(context: &Context, text: &str) -> Result<Vec<(ImageRecord, Option<Reference>)>> {
    let tagged = text.contains('@') || text.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if let Some(repository) = text.parse::<Reference>().ok().filter(|_| !tagged) {
        let mut all = Vec::new();
        for image in context.store.images()? {
            let same = image.names.iter().filter(|name| name.name() == repository.name());
            all.extend(same.cloned().collect::<Vec<_>>().into_iter().map(|name| (image.clone(), Some(name))));
        }
        if !all.is_empty() {
            return Ok(all);
        }
    }
    let image = context.store.resolve_image(text)?;
    let name = text.parse::<Reference>().ok().filter(|name| image.names.contains(name));
    Ok(vec![(image, name)])
}

/// Writes the archive.
pub fn write(context: &Context, images: &[Saved], to: Output) -> Result<()> {
    Ok(knarr_distribution::archive::save(&context.store, images, to)?)
}
