//! Mends what `check` found.
//!
//! Law: nothing that can still be read is thrown away. A blob that is lost or wrong is forgotten, so that the next pull
//! fetches it; a layer is unpacked again from its blob where that is there; what only existed in the lost place (a
//! container's own files, a volume) comes back empty, and the report says so.

use std::path::PathBuf;

use knarr_layer::UnpackOptions;
use knarr_spec::{DiffId, Digest, Manifest, Raw};
use rusqlite::OptionalExtension;

use crate::check::Finding;
use crate::database::Durability;
use crate::error::{Error, IoContext, Result};
use crate::layer;
use crate::store::Store;

/// Largest manifest that is read to find a layer's blob; registries take 4 MiB.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// What was done about a finding.
#[derive(Debug)]
pub enum Mended {
    /// As it was.
    Whole,
    /// Forgotten: pulling its image again fetches it.
    PullAgain,
    /// There again, but empty: what was in it is lost.
    Empty,
    /// Only a rebuilt database helps: [`crate::salvage`].
    Salvage,
    /// Not mended.
    Failed(Error),
}

impl Store {
    /// Mends each finding as far as it can be. `unpack` says how layers are unpacked here.
    pub fn repair(&self, findings: Vec<Finding>, unpack: &UnpackOptions) -> Vec<(Finding, Mended)> {
        let mend = |finding: Finding| {
            let mended = self.mend(&finding, unpack).unwrap_or_else(Mended::Failed);
            (finding, mended)
        };
        findings.into_iter().map(mend).collect()
    }

    fn mend(&self, finding: &Finding, unpack: &UnpackOptions) -> Result<Mended> {
        match finding {
            Finding::Database(_) => Ok(Mended::Salvage),
            Finding::BlobMissing(digest) | Finding::BlobSize { digest, .. } | Finding::BlobContent(digest) => {
                self.forget_blob(digest).map(|()| Mended::PullAgain)
            }
            Finding::ImageLacksBlob { .. } | Finding::DocumentLacksBlob { .. } => Ok(Mended::PullAgain),
            Finding::LayerMissing { diff_id, .. } => {
                let blob = self.database().read("find layer", |c| layer::find(c, diff_id))?.map(|record| record.blob);
                self.unpack_again(diff_id, blob, unpack)
            }
            Finding::ImageLacksLayer { image, diff_id } => {
                let blob = self.blob_of_layer(image, diff_id)?;
                self.unpack_again(diff_id, blob, unpack)
            }
            Finding::ImpliedMissing(number) => self.make_implied_again(*number),
            Finding::SnapshotIncomplete(_) => Ok(Mended::PullAgain),
            Finding::SnapshotMissing(container) => self
                .make_dirs(["upper", "work"].map(|name| self.snapshot_dir(container).join(name)).into_iter().collect()),
            Finding::VolumeMissing(name) => self.make_dirs(vec![self.volume_data(name)]),
        }
    }

    fn make_dirs(&self, dirs: Vec<PathBuf>) -> Result<Mended> {
        for dir in dirs {
            std::fs::create_dir_all(&dir).doing("create", dir)?;
        }
        Ok(Mended::Empty)
    }

    /// Forgets a blob and removes what is left of its file, which would else be adopted.
    fn forget_blob(&self, digest: &Digest) -> Result<()> {
        self.database().write("forget blob", Durability::Normal, |c| {
            c.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([digest.as_str()])?;
            Ok(())
        })?;
        let path = self.blob_path(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).doing("remove", path),
            _ => Ok(()),
        }
    }

    /// Unpacks a layer again; its record takes everything that stands on it along.
    fn unpack_again(&self, diff_id: &DiffId, blob: Option<Digest>, unpack: &UnpackOptions) -> Result<Mended> {
        let Some(blob) = blob else { return Ok(Mended::PullAgain) };
        let Some(file) = self.blob_file(&blob)? else { return Ok(Mended::PullAgain) };
        let build = self.begin_layer()?;
        let unpacked = knarr_layer::unpack(file, build.root(), unpack)
            .map_err(|source| Error::Unpack { diff_id: diff_id.clone(), source })?;
        if unpacked.diff_id != *diff_id {
            return Err(Error::WrongDigest { expected: diff_id.0.clone(), actual: unpacked.diff_id.0 });
        }
        build.commit(unpacked, &blob)?;
        Ok(Mended::Whole)
    }

    /// The blob that the image's manifest has for a layer.
    fn blob_of_layer(&self, image: &Digest, diff_id: &DiffId) -> Result<Option<Digest>> {
        let Some(record) = self.image(image)? else { return Ok(None) };
        let Some(position) = record.config.rootfs.diff_ids.iter().position(|other| other == diff_id) else {
            return Ok(None);
        };
        let Some(bytes) = self.blob_bytes(&record.manifest_digest, MANIFEST_BYTES_MAX)? else { return Ok(None) };
        let manifest = Raw::<Manifest>::parse(bytes).ok();
        Ok(manifest.and_then(|manifest| Some(manifest.layers.get(position)?.digest.clone())))
    }

    fn make_implied_again(&self, number: i64) -> Result<Mended> {
        let id: Option<String> = self.database().read("find image on layer", |c| {
            let mut query = c.prepare_cached("SELECT id FROM images WHERE implied = ?1")?;
            Ok(query.query_row([number], |row| row.get(0)).optional()?)
        })?;
        let Some(record) = id.map(|id| self.resolve_image(&id)).transpose()? else { return Ok(Mended::PullAgain) };
        if record.layers.len() < record.config.rootfs.diff_ids.len() {
            return Ok(Mended::PullAgain);
        }
        self.implied_layer(&record.layers)?;
        Ok(Mended::Whole)
    }
}
