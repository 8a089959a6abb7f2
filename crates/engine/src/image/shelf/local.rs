//! The store as a shelf.

use std::fs::File;

use knarr_spec::{Digest, ImageConfig, Index, Manifest, Platform, Raw, Reference};
use knarr_store::{ImageRecord, NewImage};

use super::{Picked, Shelf};
use crate::image::problem::ImageProblem;
use crate::image::pull::unpack_options;
use crate::{Context, Error, Result};

/// Largest manifest or index that is read; registries take 4 MiB.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// The store.
pub struct Local<'c>(pub &'c Context);

impl Local<'_> {
    /// The documents of an image.
    pub fn documents(&self, image: &ImageRecord) -> Result<Picked> {
        let document = |digest: &Digest| -> Result<Vec<u8>> {
            let bytes = self.0.store.blob_bytes(digest, DOCUMENT_BYTES_MAX)?;
            bytes.ok_or_else(|| ImageProblem::NoBlob(digest.clone()).into())
        };
        let malformed = |what: String| move |source| Error::from(ImageProblem::Document { what, source });
        let digest = &image.manifest_digest;
        let manifest = Raw::<Manifest>::parse(document(digest)?).map_err(malformed(format!("manifest {digest}")))?;
        let index = image
            .index_digest
            .as_ref()
            .map(|digest| Raw::<Index>::parse(document(digest)?).map_err(malformed(format!("index {digest}"))));
        Ok(Picked { manifest, index: index.transpose()?, config: image.config.clone() })
    }

    /// Makes an image visible and says which it is.
    pub fn store(
        &self,
        manifest: Raw<Manifest>,
        config: Raw<ImageConfig>,
        names: Vec<Reference>,
    ) -> Result<ImageRecord> {
        let mut layers = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            layers.push(match self.0.store.layer(diff_id)? {
                Some(layer) => layer,
                None => self.unpack(&descriptor.digest)?,
            });
        }
        Ok(self.0.store.put_image(NewImage { manifest, index: None, config, layers, names })?)
    }

    fn unpack(&self, blob: &Digest) -> Result<knarr_store::LayerRecord> {
        let file = self.blob(blob)?;
        let build = self.0.store.begin_layer()?;
        let unpacked = knarr_layer::unpack(file, build.root(), &unpack_options(self.0));
        let unpacked = unpacked.map_err(|source| Error::Layer { what: format!("unpack {blob}"), source })?;
        Ok(build.commit(unpacked, blob)?)
    }
}

impl Shelf for Local<'_> {
    fn pick(&self, name: &str, _: &Platform) -> Result<Picked> {
        self.documents(&self.0.store.resolve_image(name)?)
    }

    fn blob(&self, digest: &Digest) -> Result<File> {
        let held = self.0.store.blob_file(digest)?;
        held.ok_or_else(|| ImageProblem::NoBlob(digest.clone()).into())
    }

    fn spool(&self) -> Result<File> {
        Ok(self.0.store.spool()?)
    }

    fn keep(&self, spool: File, digest: &Digest, bytes: u64) -> Result<()> {
        self.0.store.keep(spool, digest, bytes)?;
        Ok(())
    }

    fn put(&self, manifest: Raw<Manifest>, config: Raw<ImageConfig>, name: Option<&str>) -> Result<()> {
        let names = name.map(str::parse).transpose()?.into_iter().collect();
        self.store(manifest, config, names).map(drop)
    }
}
