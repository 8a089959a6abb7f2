//! Blobs that are not kept: an uncompressed layer is in its tree already, and its blob is made of it again when it is asked for.
//!
//! ```text
//! recipes/<alg>/<hex>     what the tree does not say (`knarr_layer::recipe`); its writer holds the blob's flock
//! ```
//! Law: a blob is dropped only after it was made again from the recipe on the disk, and found the same. The row says that it
//! was dropped before its file goes, and keeps its layer from collection; what is made again is verified like any blob.
//! Not here: which blobs go (`gc`).

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use knarr_layer::{Limits, recipe};
use knarr_spec::Digest;
use knarr_sys::Root;

use crate::database::Durability;
use crate::error::{Error, IoContext, Result};
use crate::gc_apply::unlink;
use crate::hash::Hasher;
use crate::partial::{IngestState, sync_dir};
use crate::store::Store;

/// Blobs that are smaller stay: a recipe takes a block of the disk too.
pub(crate) const DROPPED_BYTES_MIN: u64 = 64 << 10;

/// A recipe that is not smaller than the blob by this factor saves too little to be worth making it again.
const SAVED_FACTOR: u64 = 2;

impl Store {
    /// Puts a recipe in the place of the blob, which is the tar of `layers/<number>`. `false` where that saves nothing.
    /// The caller holds the blob's lock.
    pub(crate) fn drop_blob(&self, digest: &Digest, number: i64) -> Result<bool> {
        let worth_it = self.write_recipe(digest, number);
        let dropped = match worth_it {
            Ok(true) => self.database().write("drop blob", Durability::Full, |c| {
                let sql = "UPDATE blobs SET dropped = 1 WHERE digest = ?1
                           AND EXISTS (SELECT 1 FROM layers WHERE number = ?2 AND boot IS NULL)
                           AND NOT EXISTS (SELECT 1 FROM lease_blobs WHERE digest = ?1)";
                Ok(c.prepare_cached(sql)?.execute((digest.as_str(), number))? > 0)
            }),
            other => other,
        };
        unlink(&if matches!(dropped, Ok(true)) { self.blob_path(digest) } else { self.recipe_path(digest) })?;
        dropped
    }

    /// Whether the recipe is on the disk and does what it must.
    fn write_recipe(&self, digest: &Digest, number: i64) -> Result<bool> {
        let blob = self.blob_path(digest);
        let blob = File::open(&blob).doing("open", blob)?;
        let bytes = blob.metadata().doing("stat", self.blob_path(digest))?.len();
        let dir = self.dir(&format!("recipes/{}", digest.algorithm().as_str()))?;
        let path = self.recipe_path(digest);
        let mut file = File::create(&path).doing("create", &path)?;
        let tree = self.layer_root(number)?;
        let failed = |source| Error::NotMade { digest: digest.clone(), number, source };
        recipe::write(&blob, &tree, &Limits::default(), &mut file).map_err(failed)?;
        file.sync_all().doing("sync", &path)?;
        sync_dir(&dir)?;
        let recipe_bytes = file.metadata().doing("stat", &path)?.len();
        Ok(recipe_bytes.saturating_mul(SAVED_FACTOR) <= bytes && self.can_be_made(digest, number)?)
    }

    /// Follows the recipe without keeping what it makes.
    pub(crate) fn can_be_made(&self, digest: &Digest, number: i64) -> Result<bool> {
        let mut hashed = Hashed(Hasher::for_digest(digest)?);
        self.follow(digest, number, &mut hashed)?;
        Ok(hashed.0.finish() == *digest)
    }

    /// The blob's file, made again.
    pub(crate) fn make_again(&self, digest: &Digest, bytes: u64, number: i64) -> Result<File> {
        loop {
            match self.ingest_unless(digest, Some(bytes), Store::held_file)? {
                IngestState::Present(_) => {}
                IngestState::Busy(busy) => busy.wait()?,
                IngestState::Partial(mut ingest) => {
                    ingest.restart()?;
                    self.follow(digest, number, &mut ingest)?;
                    ingest.commit()?;
                }
            }
            if let Some(file) = self.open_blob(digest, bytes)? {
                return Ok(file);
            }
        }
    }

    fn follow(&self, digest: &Digest, number: i64, out: impl Write) -> Result<()> {
        let path = self.recipe_path(digest);
        let recipe = File::open(&path).doing("open", path)?;
        let failed = |source| Error::NotMade { digest: digest.clone(), number, source };
        recipe::remake(recipe, &self.layer_root(number)?, out).map(drop).map_err(failed)
    }

    fn layer_root(&self, number: i64) -> Result<Root> {
        Root::open(&self.layer_fs(number)).map_err(|source| Error::Sys { action: "open layer", source })
    }

    /// `recipes/<alg>/<hex>`.
    pub(crate) fn recipe_path(&self, digest: &Digest) -> PathBuf {
        self.inner.state.join("recipes").join(digest.algorithm().as_str()).join(digest.encoded())
    }
}

struct Hashed(Hasher);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
