//! `image diff`: what an image's last layer changed, or what is different between two images.

use std::collections::BTreeSet;

use knarr_layer::{Change, Index, changes};
use knarr_store::{ImageRecord, RootMounts};
use knarr_sys::Root;

use crate::container::tree::view;
use crate::{Context, Error, Result};

/// What the last layer of `text` changed of those below it.
pub fn last_layer(context: &Context, text: &str) -> Result<Vec<(Vec<u8>, Change)>> {
    let image = context.store.resolve_image(text)?;
    let mounts = context.store.image_mounts(&image)?;
    // A layer of implied directories on top is none of the image's own.
    let layers = &mounts.lower[usize::from(image.implied.is_some())..];
    let open = |path: &std::path::PathBuf| Root::open(&mounts.base.join(path)).map_err(Error::sys("open a layer"));
    let layers = layers.iter().map(open).collect::<Result<Vec<Root>>>()?;
    let Some((upper, lower)) = layers.split_first() else { return Ok(Vec::new()) };
    changes(upper, lower).map_err(|source| Error::Layer { what: format!("compare the layers of {text}"), source })
}

/// What is different in `new`. Files of one size and time count as the same.
pub fn between(context: &Context, old: &str, new: &str) -> Result<Vec<(Vec<u8>, Change)>> {
    let index = |text: &str| -> Result<Index> {
        let image: ImageRecord = context.store.resolve_image(text)?;
        let mounts: RootMounts = context.store.image_mounts(&image)?;
        let root = view(&mounts).map_err(Error::sys("look into the image"))?;
        Index::of(&root).map_err(|source| Error::Layer { what: format!("look into {text}"), source })
    };
    let difference = index(old)?.to(&index(new)?, |old, new| old.looks_like(new));
    let marked = |paths: BTreeSet<Vec<u8>>, change| paths.into_iter().map(move |path| (path, change));
    let mut all: Vec<(Vec<u8>, Change)> = marked(difference.added, Change::Added)
        .chain(marked(difference.modified, Change::Modified))
        .chain(marked(difference.removed, Change::Deleted))
        .filter(|(path, _)| !path.is_empty())
        .collect();
    all.sort_by(|(one, _), (other, _)| one.split(|&b| b == b'/').cmp(other.split(|&b| b == b'/')));
    Ok(all)
}
