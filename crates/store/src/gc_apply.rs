//! Removes what the plan lists.
//!
//! Law: each thing is checked once more, in one transaction, under the lock its makers take; whatever came into use since
//! the plan was made stays. The row goes first, then the bytes: a death in between leaves garbage, never a hole. One
//! failure stops nothing else.

use std::io;
use std::path::Path;

use knarr_spec::Digest;
use rusqlite::Connection;

use crate::database::{Durability, Fault};
use crate::error::{Error, IoContext, Result};
use crate::gc::{self, BlobFact, Doomed, Facts, LayerFact, OnDisk, PartialFact, Plan, Policy, Why};
use crate::partial::open_partial;
use crate::store::Store;
use crate::{lease, lock, trash};

/// What a collection did.
#[derive(Debug, Default)]
pub struct Collected {
    /// What went, and why.
    pub removed: Vec<(Doomed, Why)>,
    /// Bytes given back: content of blobs, layers and partial blobs.
    pub bytes: u64,
    /// What could not be removed.
    pub problems: Vec<Error>,
}

impl Store {
    /// Plans and removes in one go.
    pub fn collect(&self, policy: &Policy) -> Result<Collected> {
        let drop_remakeable = policy.drop_remakeable || self.budget()?.drop_remakeable;
        Ok(self.collect_of(&self.facts()?, &Policy { drop_remakeable, ..policy.clone() }))
    }

    /// The same of facts that were gathered before; what came into use since stays.
    pub(crate) fn collect_of(&self, facts: &Facts, policy: &Policy) -> Collected {
        let mut collected = self.apply(gc::plan(facts, policy));
        if let Err(problem) = self.finish_removals(None) {
            collected.problems.push(problem);
        }
        self.database().settle();
        self.keep_reserve();
        collected
    }

    /// Removes what is on the plan and still garbage.
    pub fn apply(&self, plan: Plan) -> Collected {
        let mut collected = Collected::default();
        for (doomed, why) in plan.doomed {
            match self.freeing(|| self.remove(&doomed, why)) {
                Ok(true) => {
                    collected.bytes += bytes(&doomed);
                    collected.removed.push((doomed, why));
                }
                Ok(false) => {}
                Err(problem) => collected.problems.push(problem),
            }
        }
        collected
    }

    /// Whether it went; `false` where it came into use, or is gone already.
    fn remove(&self, doomed: &Doomed, why: Why) -> Result<bool> {
        match doomed {
            Doomed::Image(id) => self.remove_unused_image(id, why == Why::Dangling),
            Doomed::Blob(blob) => self.remove_blob(&blob.digest),
            Doomed::Copy(BlobFact { digest, tar_of: Some(number), .. }) => self.remove_copy(digest, *number),
            Doomed::Copy(_) => Ok(false),
            Doomed::Layer(layer) => self.remove_layer(layer.number),
            Doomed::Partial(partial) => self.remove_partial(&partial.digest, partial.modified_ns),
            Doomed::Stray(OnDisk::Blob(digest)) => self.remove_blob(digest),
            Doomed::Stray(OnDisk::Recipe(digest)) => self.remove_recipe(digest),
            Doomed::Stray(OnDisk::Layer(number)) => self.remove_layer(*number),
            Doomed::Stray(OnDisk::Snapshot(container)) => self.remove_stray_snapshot(container),
            Doomed::Stray(OnDisk::Rubbish(path)) => remove_rubbish(path),
            Doomed::Stray(OnDisk::Lease(token)) | Doomed::Lease(token) => self.end_dead_lease(token),
        }
    }

    fn remove_unused_image(&self, id: &Digest, untagged_only: bool) -> Result<bool> {
        self.database().write("prune image", Durability::Full, |c| {
            let sql = "DELETE FROM images WHERE id = ?1
                       AND NOT EXISTS (SELECT 1 FROM containers WHERE image = ?1)
                       AND NOT (?2 AND EXISTS (SELECT 1 FROM tags WHERE image = ?1))";
            Ok(c.prepare_cached(sql)?.execute((id.as_str(), untagged_only))? > 0)
        })
    }

    fn remove_blob(&self, digest: &Digest) -> Result<bool> {
        self.with_blob_locked(digest, || {
            let gone = self.database().write("collect blob", Durability::Normal, |c| forget_blob(c, digest))?;
            let file_only = !gone && self.is_dropped(digest)?;
            if gone || file_only {
                unlink(&self.blob_path(digest))?;
            }
            if gone {
                unlink(&self.recipe_path(digest))?;
            }
            Ok(gone || file_only)
        })
    }

    fn remove_copy(&self, digest: &Digest, number: i64) -> Result<bool> {
        // Another collection may have been faster.
        self.with_blob_locked(digest, || Ok(!self.is_dropped(digest)? && self.drop_blob(digest, number)?))
    }

    fn remove_recipe(&self, digest: &Digest) -> Result<bool> {
        self.with_blob_locked(digest, || {
            let dropped = self.is_dropped(digest)?;
            if !dropped {
                unlink(&self.recipe_path(digest))?;
            }
            Ok(!dropped)
        })
    }

    fn is_dropped(&self, digest: &Digest) -> Result<bool> {
        self.database().read("find blob", |c| {
            let sql = "SELECT EXISTS (SELECT 1 FROM blobs WHERE digest = ?1 AND dropped)";
            Ok(c.prepare_cached(sql)?.query_row([digest.as_str()], |row| row.get(0))?)
        })
    }

    /// Under the lock that a writer of the same blob takes, so that a new file is never mistaken for the old one. `false`
    /// where somebody has it.
    fn with_blob_locked(&self, digest: &Digest, remove: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let partial = self.partial_path(digest)?;
        let Some(_lock) = lock::try_lock(open_partial(&partial)?, &partial)? else { return Ok(false) };
        let gone = remove()?;
        if std::fs::metadata(&partial).is_ok_and(|metadata| metadata.len() == 0) {
            unlink(&partial)?;
        }
        Ok(gone)
    }

    fn remove_layer(&self, number: i64) -> Result<bool> {
        let dir = self.inner.state.join("layers").join(number.to_string());
        let lock = lock::try_lock_existing(&dir)?;
        if lock.is_none() && dir.exists() {
            return Ok(false);
        }
        let gone = self.database().write("collect layer", Durability::Normal, |c| forget_layer(c, number))?;
        if gone {
            trash::discard(self, &dir)?;
        }
        Ok(gone)
    }

    fn remove_partial(&self, digest: &Digest, modified_ns: i64) -> Result<bool> {
        let path = self.partial_path(digest)?;
        let Some(file) = lock::try_lock_existing(&path)? else { return Ok(false) };
        let metadata = file.metadata().doing("stat", &path)?;
        if crate::gc_facts::modified_ns(&metadata) != modified_ns {
            return Ok(false);
        }
        unlink(&path.with_extension("state"))?;
        unlink(&path.with_extension("state.new"))?;
        unlink(&path)?;
        Ok(true)
    }

    pub(crate) fn remove_stray_snapshot(&self, container: &str) -> Result<bool> {
        let dir = self.snapshot_dir(container);
        let Some(_lock) = lock::try_lock_existing(&dir)? else { return Ok(false) };
        if self.has_snapshot(container)? {
            return Ok(false);
        }
        trash::discard(self, &dir).map(|()| true)
    }

    fn end_dead_lease(&self, token: &str) -> Result<bool> {
        let path = self.inner.state.join("leases").join(token);
        let lock = lock::try_lock_existing(&path)?;
        if lock.is_none() && path.exists() {
            return Ok(false);
        }
        self.database().write("end lease", Durability::Normal, |c| Ok(lease::end(c, token)?))?;
        unlink(&path).map(|()| true)
    }
}

/// Deletes the row of a blob nothing needs. Whether the bytes may go: also where there was no row.
fn forget_blob(c: &Connection, digest: &Digest) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM image_blobs WHERE digest = ?1)
                   OR EXISTS (SELECT 1 FROM lease_blobs WHERE digest = ?1)
                   OR EXISTS (SELECT 1 FROM document_blobs WHERE digest = ?1)";
    if c.prepare_cached(sql)?.query_row([digest.as_str()], |row| row.get(0))? {
        return Ok(false);
    }
    c.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([digest.as_str()])?;
    Ok(true)
}

/// Deletes the row of a layer nothing needs. Whether the tree may go: also where there was no row.
fn forget_layer(c: &Connection, number: i64) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM snapshot_layers WHERE number = ?1)
                   OR EXISTS (SELECT 1 FROM lease_layers WHERE number = ?1)
                   OR EXISTS (SELECT 1 FROM images WHERE implied = ?1)
                   OR EXISTS (SELECT 1 FROM layers JOIN blobs ON digest = diff_id WHERE number = ?1 AND dropped)
                   OR EXISTS (SELECT 1 FROM layers JOIN image_layers USING (diff_id) WHERE number = ?1)";
    if c.prepare_cached(sql)?.query_row([number], |row| row.get(0))? {
        return Ok(false);
    }
    c.prepare_cached("DELETE FROM layers WHERE number = ?1")?.execute([number])?;
    Ok(true)
}

fn bytes(doomed: &Doomed) -> u64 {
    match doomed {
        Doomed::Blob(BlobFact { bytes, .. })
        | Doomed::Copy(BlobFact { bytes, .. })
        | Doomed::Layer(LayerFact { bytes, .. })
        | Doomed::Partial(PartialFact { bytes, .. }) => *bytes,
        Doomed::Image(_) | Doomed::Stray(_) | Doomed::Lease(_) => 0,
    }
}

/// Removes a file that may be gone.
pub(crate) fn unlink(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.doing("remove", path),
    }
}

/// Removes a file or tree, which another collection may be removing too.
fn remove_rubbish(path: &Path) -> Result<bool> {
    let is_dir = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).doing("remove", path),
    }
}
