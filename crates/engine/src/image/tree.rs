//! `image tree`: the layers of an image, and the images that stand on them; `image mount` as data.

use knarr_spec::ChainId;
use knarr_store::{ImageRecord, RootMounts};

use knarr_sys::Root;

use crate::{Context, Error, Result};

/// A layer of the tree.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Digest of the chain up to here.
    pub chain: String,
    /// Bytes of file content.
    pub bytes: u64,
    /// Names of images that end here.
    pub top_of: Vec<String>,
}

/// The layers of the image, from the base upwards; with `above` also those of images that stand on it.
pub fn layers(context: &Context, text: &str) -> Result<(ImageRecord, Vec<Layer>)> {
    let image = context.store.resolve_image(text)?;
    let all = context.store.images()?;
    let mut list = Vec::new();
    for (at, layer) in image.layers.iter().enumerate() {
        let ids = &image.config.rootfs.diff_ids[..=at];
        let ends_here = |other: &&ImageRecord| other.config.rootfs.diff_ids == ids;
        let names = all.iter().filter(ends_here).flat_map(|other| other.names.iter().map(ToString::to_string));
        let chain = ChainId::of(ids).map(|chain| chain.0.encoded().to_owned()).unwrap_or_default();
        list.push(Layer { chain, bytes: layer.tree_bytes, top_of: names.collect() });
    }
    Ok((image, list))
}

/// Images that have all layers of this one and more.
pub fn what_requires(context: &Context, image: &ImageRecord) -> Result<Vec<ImageRecord>> {
    let below = &image.config.rootfs.diff_ids;
    let stands_on = |other: &ImageRecord| {
        let ids = &other.config.rootfs.diff_ids;
        ids.len() > below.len() && ids.starts_with(below)
    };
    Ok(context.store.images()?.into_iter().filter(stands_on).collect())
}

/// The image's tree as its layers show it, read-only.
pub fn view(context: &Context, text: &str) -> Result<Root> {
    crate::container::tree::view(&mounts(context, text)?).map_err(Error::sys("look into the image"))
}

/// What would have to be mounted to see the image's tree.
pub fn mounts(context: &Context, text: &str) -> Result<RootMounts> {
    Ok(context.store.image_mounts(&context.store.resolve_image(text)?)?)
}
