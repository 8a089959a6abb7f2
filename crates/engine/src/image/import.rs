//! `import`: a tar of a file system becomes an image of one layer.
//!
//! Law: the tar's bytes stay as they are, so its diff id is its own digest; it is compressed anew.

use std::io::Read;

use knarr_layer::{PackOptions, recompress};
use knarr_spec::image::History;
use knarr_spec::{Platform, Reference};
use knarr_store::ImageRecord;

use super::change;
use super::compose::Draft;
use super::shelf::{Local, add_layer};
use crate::{Context, Result};

/// What the image is to be.
#[derive(Debug, Clone, Default)]
pub struct ImportWanted {
    /// Changes in Dockerfile words.
    pub changes: Vec<String>,
    /// A remark for the history; docker's own without one.
    pub message: Option<String>,
    /// The image's platform, the host's by default.
    pub platform: Option<Platform>,
    /// Where the tar is from, for the remark.
    pub source: String,
    /// Its name.
    pub name: Option<Reference>,
}

/// Makes the image.
pub fn import(context: &Context, tar: impl Read, wanted: &ImportWanted) -> Result<ImageRecord> {
    let shelf = Local(context);
    let mut draft = Draft::scratch(wanted.platform.clone().unwrap_or_else(Platform::host));
    change::apply(&mut draft.config.config, &wanted.changes)?;
    let (layer, _) = add_layer(&shelf, &PackOptions::default(), |out, options| recompress(tar, out, options))?;
    let now = crate::clock::now_text();
    draft.config.created = Some(now.clone());
    let comment = wanted.message.clone().unwrap_or_else(|| format!("Imported from {}", wanted.source));
    draft.push(Some(layer), History { created: Some(now), comment: Some(comment), ..History::default() });
    let (manifest, config) = draft.seal();
    let image = shelf.store(manifest, config, wanted.name.clone().into_iter().collect())?;
    super::budget::keep(context, &[&image]);
    Ok(image)
}
