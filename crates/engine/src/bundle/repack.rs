//! `image repack`.

use std::collections::BTreeSet;
use std::path::Path;

use knarr_layer::{Compression, IdMap, Index, PackOptions, pack_chosen};
use knarr_spec::Digest;
use knarr_spec::image::History;
use knarr_sys::Root;

use super::{Paths, Record};
use crate::image::compose::Draft;
use crate::image::shelf::{Layout, Shelf, add_layer, compression_like};
use crate::{Error, Result};

/// How to repack.
#[derive(Debug, Clone)]
pub struct RepackWanted {
    /// The owners there are here.
    pub ids: IdMap,
    /// What the history says of the step; `None` for no step in it.
    pub history: Option<History>,
    /// Paths whose changes do not count.
    pub masked: Vec<String>,
    /// Changes in the image's volumes count too.
    pub volumes: bool,
    /// The bundle is afterwards one of the new image.
    pub refresh: bool,
    /// How the layer is compressed; as the image's without.
    pub compression: Option<Compression>,
}

/// Adds what changed in `bundle` to its image as a layer, and calls the result `tag`. Returns the manifest's digest and how
/// many paths changed.
pub fn repack(layout: &Layout, tag: &str, bundle: &Path, wanted: &RepackWanted) -> Result<(Digest, usize)> {
    let paths = Paths(bundle);
    let (record, old) = paths.load()?;
    let picked = layout.pick_manifest(&record.manifest)?;
    let root = Root::open(&paths.rootfs()).map_err(Error::sys("open the bundle"))?;
    let looked = |source| Error::Layer { what: "look at the tree".to_owned(), source };
    let new = Index::of(&root).map_err(looked)?;
    let mut difference = old.to(&new, |old, new| old == new);
    let volumes = picked.config.config.volumes.keys().filter(|_| !wanted.volumes);
    let masked: Vec<&str> = wanted.masked.iter().chain(volumes).map(|path| path.trim_matches('/')).collect();
    for paths in [&mut difference.added, &mut difference.modified, &mut difference.removed] {
        paths.retain(|path| !masked.iter().any(|mask| is_below(path, mask.as_bytes())));
    }
    let changed: BTreeSet<Vec<u8>> = difference.added.into_iter().chain(difference.modified).collect();
    let count = changed.len() + difference.removed.len();
    let compression = wanted.compression.unwrap_or_else(|| compression_like(&picked.manifest));
    let (ids, recorded_owners) = (wanted.ids.clone(), record.rootless);
    let pack = PackOptions { compression, ids, recorded_owners, ..PackOptions::default() };
    let layer = match count {
        0 => None,
        _ => {
            Some(add_layer(layout, &pack, |out, pack| pack_chosen(&root, &changed, &difference.removed, out, pack))?.0)
        }
    };
    let mut draft = Draft::of(&picked.manifest, &picked.config);
    let history = wanted.history.clone().unwrap_or_default();
    if layer.is_some() || wanted.history.is_some() {
        draft.config.created.clone_from(&history.created);
        draft.push(layer, history);
        if wanted.history.is_none() {
            draft.config.history.pop();
        }
    }
    let (manifest, config) = draft.seal();
    let digest = manifest.digest();
    layout.put(manifest, config, Some(tag))?;
    if wanted.refresh {
        let old = paths.mtree(&record.manifest);
        paths.save(&Record { manifest: digest.clone(), ..record }, &new)?;
        if old != paths.mtree(&digest) {
            std::fs::remove_file(&old).map_err(Error::io("remove", &old))?;
        }
    }
    Ok((digest, count))
}

/// Whether `path` is `mask` or stands in it.
fn is_below(path: &[u8], mask: &[u8]) -> bool {
    path.strip_prefix(mask).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
