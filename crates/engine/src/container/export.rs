//! `export`: what a container has in its file system, as a tar. Volumes and other mounts are not in it, as in docker's.

use std::io::Write;

use knarr_layer::{Compression, PackOptions, archive};

use super::{find, tree};
use crate::image::pull::unpack_options;
use crate::{Context, Error, Result};

/// Writes the tar into `out`.
pub fn export(context: &Context, text: &str, out: impl Write) -> Result<()> {
    let container = find(context, text)?;
    let root = tree::read_only(context, &container)?;
    let ids = unpack_options(context).ids;
    let options = PackOptions { compression: Compression::None, ids, ..PackOptions::default() };
    let packed = archive(&root, out, &options);
    packed.map_err(|source| Error::Layer { what: format!("export {text}"), source })?;
    Ok(())
}
