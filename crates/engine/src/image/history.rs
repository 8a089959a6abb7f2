//! `history`: the steps of an image, the newest first.

use knarr_spec::image::History;

use super::compose::steps;
use crate::{Context, Result};

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// The image, at its last step.
    pub id: Option<String>,
    /// What the config says of the step.
    pub history: History,
    /// Bytes of file content in the layer it made.
    pub bytes: u64,
    /// The image's names, at its last step.
    pub tags: Vec<String>,
}

/// The steps of the image that `text` means.
pub fn history(context: &Context, text: &str) -> Result<Vec<Step>> {
    let image = context.store.resolve_image(text)?;
    let bytes = |layer: Option<usize>| layer.and_then(|at| image.layers.get(at)).map_or(0, |layer| layer.tree_bytes);
    let steps = steps(&image.config, image.config.rootfs.diff_ids.len());
    let step = |(history, layer)| Step { id: None, history, bytes: bytes(layer), tags: Vec::new() };
    let mut steps: Vec<Step> = steps.into_iter().map(step).rev().collect();
    if let Some(last) = steps.first_mut() {
        last.id = Some(image.id.to_string());
        last.tags = image.names.iter().map(knarr_spec::Reference::familiar).collect();
    }
    Ok(steps)
}
