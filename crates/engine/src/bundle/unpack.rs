//! `image unpack`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use knarr_layer::{IdMap, Index, Limits, Owners, UnpackOptions, WhiteoutForm};
use knarr_spec::{Manifest, Platform};
use knarr_sys::Root;

use super::{Paths, Record, VERSION, document};
use crate::image::problem::ImageProblem;
use crate::image::shelf::{Layout, Picked, Shelf};
use crate::{Error, Result};

/// How trees are made outside of the store.
#[derive(Debug, Clone)]
pub struct Unpacking {
    /// The owners there are here.
    pub ids: IdMap,
    /// We are root of a user namespace only.
    pub nested: bool,
    /// Owners are written down in attributes, everything is ours: umoci's `--rootless`.
    pub rootless: bool,
    /// Our user and group outside of that namespace, for the runtime document.
    pub outside: (u32, u32),
}

impl Unpacking {
    /// For the layer unpacker: layers one over the other.
    pub(crate) fn options(&self) -> UnpackOptions {
        UnpackOptions {
            compression: None,
            whiteouts: WhiteoutForm::Apply,
            ids: self.ids.clone(),
            owners: if self.rootless { Owners::Record } else { Owners::Set },
            limits: Limits::default(),
            rootless: self.nested || self.rootless,
            pipeline: true,
        }
    }
}

/// Makes a bundle of the image `tag`. Returns what could not be made here.
pub fn unpack(layout: &Layout, tag: &str, bundle: &Path, how: &Unpacking) -> Result<Vec<knarr_layer::Skipped>> {
    let picked = layout.pick(tag, &Platform::host())?;
    let paths = Paths(bundle);
    for path in [paths.rootfs(), paths.record()] {
        if path.exists() {
            return Err(ImageProblem::Exists(path).into());
        }
    }
    let rootfs = paths.rootfs();
    fs::create_dir_all(bundle).and_then(|()| fs::create_dir(&rootfs)).map_err(Error::io("create", &rootfs))?;
    let root = Root::open(&rootfs).map_err(Error::sys("open the bundle"))?;
    fs::set_permissions(&rootfs, Permissions::from_mode(0o755)).map_err(Error::io("chmod", &rootfs))?;
    let skipped = layers(layout, &picked, &root, how)?;
    document::write(&paths.config(), &root, &picked, how)?;
    let index = Index::of(&root).map_err(|source| Error::Layer { what: "look at the tree".to_owned(), source })?;
    let record = Record { version: VERSION, manifest: picked.manifest.digest(), rootless: how.rootless };
    paths.save(&record, &index)?;
    Ok(skipped)
}

/// Puts all layers of an image over one another.
pub(crate) fn layers(
    shelf: &dyn Shelf,
    picked: &Picked,
    root: &Root,
    how: &Unpacking,
) -> Result<Vec<knarr_layer::Skipped>> {
    let manifest: &Manifest = &picked.manifest;
    let diff_ids = &picked.config.rootfs.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        let why = format!("the manifest has {} layers, the config {}", manifest.layers.len(), diff_ids.len());
        return Err(ImageProblem::Mismatch(why).into());
    }
    let mut skipped = Vec::new();
    for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
        let what = || format!("layer {}", layer.digest);
        let unpacked = knarr_layer::unpack(shelf.blob(&layer.digest)?, root, &how.options());
        let unpacked = unpacked.map_err(|source| Error::Layer { what: what(), source })?;
        if unpacked.diff_id != *diff_id {
            let why = format!("{}: its diff id is {}, the config has {diff_id}", what(), unpacked.diff_id);
            return Err(ImageProblem::Mismatch(why).into());
        }
        skipped.extend(unpacked.skipped);
    }
    Ok(skipped)
}
