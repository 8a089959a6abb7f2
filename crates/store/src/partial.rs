//! Who may write a blob, and how a finished one gets its name.
//!
//! Law: the file `ingest/<alg>/<hex>` is the lock of that digest, for writers and for collectors; its name leads to the
//! writer's file until the blob's row is there.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use knarr_spec::Digest;

use crate::blob::{self, Blob};
use crate::database::Durability;
use crate::error::{IoContext, Result};
use crate::hash::Hasher;
use crate::ingest::Ingest;
use crate::lock::Locked;
use crate::store::Store;
use crate::{lease, lock};

/// How far a blob is.
pub enum IngestState {
    /// It is there.
    Present(Blob),
    /// Another living thread or process is writing it.
    Busy(IngestBusy),
    /// It is ours to write, from [`Ingest::offset`] on.
    Partial(Ingest),
}

/// A blob that somebody else writes.
pub struct IngestBusy {
    file: File,
    path: PathBuf,
}

impl IngestBusy {
    /// Blocks until the writer finished, gave up or died. Then call [`Store::ingest`] again.
    pub fn wait(self) -> Result<()> {
        lock::wait_for(self.file, &self.path)
    }
}

impl Store {
    /// Starts or continues the blob `digest`, of `size` bytes where that is known. From here on the blob is protected from
    /// collection as long as this store is open.
    pub fn ingest(&self, digest: &Digest, size: Option<u64>) -> Result<IngestState> {
        self.ingest_unless(digest, size, Store::present)
    }

    /// Starts or continues a blob unless `present` says it is there.
    pub(crate) fn ingest_unless(
        &self,
        digest: &Digest,
        size: Option<u64>,
        present: impl Fn(&Store, &Digest) -> Result<Option<Blob>>,
    ) -> Result<IngestState> {
        Hasher::for_digest(digest)?;
        if let Some(blob) = present(self, digest)? {
            return Ok(IngestState::Present(blob));
        }
        let path = self.partial_path(digest)?;
        let Some(mut file) = lock::try_lock(open_partial(&path)?, &path)? else {
            return Ok(IngestState::Busy(IngestBusy { file: open_partial(&path)?, path }));
        };
        // Between the look and the lock the last writer may have finished.
        if let Some(blob) = present(self, digest)? {
            let _ = std::fs::remove_file(&path);
            return Ok(IngestState::Present(blob));
        }
        if let Some(orphan) = self.adopt(digest, &path)? {
            file = orphan;
        }
        let ingest = Ingest::begin(self.clone(), digest.clone(), size, path, file)?;
        ingest.catch_up().map(IngestState::Partial)
    }

    /// `ingest/<alg>/<hex>`.
    pub(crate) fn partial_path(&self, digest: &Digest) -> Result<PathBuf> {
        Ok(self.dir(&format!("ingest/{}", digest.algorithm().as_str()))?.join(digest.encoded()))
    }

    /// Makes finished blobs visible together.
    pub(crate) fn commit_all(&self, mut ingests: Vec<Ingest>) -> Result<()> {
        let token = self.lease()?;
        let mut dirs = BTreeSet::new();
        for ingest in &mut ingests {
            dirs.insert(self.dir(&format!("blobs/{}", ingest.digest().algorithm().as_str()))?);
            ingest.place()?;
        }
        dirs.iter().try_for_each(|dir| sync_dir(dir))?;
        self.database().write("add blob", Durability::Normal, |c| {
            ingests.iter().try_for_each(|ingest| ingest.record(c, &token))
        })?;
        ingests.iter_mut().for_each(Ingest::tidy);
        Ok(())
    }

    /// The blob if it is there, now protected by our lease. A row that lost its file is forgotten.
    fn present(&self, digest: &Digest) -> Result<Option<Blob>> {
        if self.database().read("find blob", |c| blob::row(c, digest))?.is_none() {
            return Ok(None);
        }
        let token = self.lease()?;
        let there = self.blob(digest)?;
        self.database().write("hold blob", Durability::Normal, |c| {
            if there.is_none() {
                c.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([digest.as_str()])?;
                return Ok(None);
            }
            lease::hold_blob(c, &token, digest.as_str())?;
            Ok(blob::row(c, digest)?.and(there))
        })
    }

    /// A finished file without a row, left by a death between its link and the commit, becomes the partial blob again; its
    /// bytes are verified like any.
    fn adopt(&self, digest: &Digest, partial: &Path) -> Result<Option<Locked>> {
        let path = self.blob_path(digest);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => reopen_writable(&path)?,
        };
        let Some(file) = lock::try_lock(file, &path)? else { return Ok(None) };
        std::fs::rename(&path, partial).doing("rename", &path)?;
        Ok(Some(file))
    }
}

/// Gives the finished file its place. Not a rename: the name that writers and collectors lock must lead to our locked
/// file until the row is there, or a collector takes the new blob for a stray.
pub(crate) fn link(partial: &Path, place: &Path) -> Result<()> {
    match std::fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("replace", place),
        _ => std::fs::hard_link(partial, place).doing("link", place),
    }
}

/// Finished files are read-only, which stops an ordinary user's `open` for writing.
fn reopen_writable(path: &Path) -> Result<File> {
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).doing("chmod", path)?;
    OpenOptions::new().read(true).write(true).open(path).doing("open", path)
}

pub(crate) fn open_partial(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    match options.open(path) {
        // A death between the last steps of a commit leaves the name of the finished, read-only file.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => reopen_writable(path),
        other => other.doing("open", path),
    }
}

/// Makes renames into `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).doing("sync", dir)
}
