//! Unpacked layers: one directory each, shared by every image that has the layer.
//!
//! Law: a layer is there when its row is there and counts. Until its files are on the disk (one `syncfs` for all layers of an
//! image, before the image becomes visible) the row has the boot it was written in: the death of a process changes nothing,
//! and after a power cut the row counts no more. A directory without row and without lock is garbage.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use knarr_layer::Unpacked;
use knarr_spec::{DiffId, Digest};
use knarr_sys::Root;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::database::{Durability, Fault};
use crate::error::{Error, IoContext, Result};
use crate::lock::Locked;
use crate::records::LayerRecord;
use crate::store::{Store, now_ns};
use crate::{lease, lock};

/// A layer in the making. Dropping it removes the tree.
pub struct LayerBuild {
    store: Store,
    number: i64,
    dir: PathBuf,
    root: Root,
    keep: bool,
    lock: Locked,
}

impl Store {
    /// The layer, from here on protected from collection as long as this store is open. A row that lost its directory is
    /// `None`: unpack it again, which mends it.
    pub fn layer(&self, diff_id: &DiffId) -> Result<Option<LayerRecord>> {
        let Some(found) = self.database().read("find layer", |c| find(c, diff_id))? else { return Ok(None) };
        if !self.layer_fs(found.number).is_dir() {
            return Ok(None);
        }
        let token = self.lease()?;
        self.database().write("hold layer", Durability::Normal, |c| {
            lease::hold_layer(c, &token, found.number)?;
            find(c, diff_id)
        })
    }

    /// An empty directory for a layer.
    pub fn begin_layer(&self) -> Result<LayerBuild> {
        let layers = self.dir("layers")?;
        let mut number = self.database().read("number layer", next_number)?;
        loop {
            let dir = layers.join(number.to_string());
            if let Some(lock) = lock::make_locked_dir(&dir)? {
                let fs = dir.join("fs");
                std::fs::create_dir(&fs).doing("create", &fs)?;
                let root = Root::open(&fs).map_err(|source| Error::Sys { action: "open layer", source })?;
                return Ok(LayerBuild { store: self.clone(), number, dir, root, keep: false, lock });
            }
            number += 1;
        }
    }

    /// `layers/<number>/fs`.
    pub(crate) fn layer_fs(&self, number: i64) -> PathBuf {
        self.inner.state.join("layers").join(number.to_string()).join("fs")
    }
}

impl LayerBuild {
    /// The directory to unpack into.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The directory's path, for messages.
    pub fn path(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// Makes the layer visible. Where another process was faster with the same layer, its record comes back and this tree
    /// goes.
    pub fn commit(mut self, unpacked: Unpacked, blob: &Digest) -> Result<LayerRecord> {
        let record = LayerRecord {
            number: self.number,
            diff_id: unpacked.diff_id,
            blob: blob.clone(),
            tar_bytes: unpacked.tar_bytes,
            tree_bytes: unpacked.tree_bytes,
            entries: unpacked.entries,
            opaque_root: unpacked.opaque_root,
            implied_dirs: unpacked.implied_dirs,
        };
        let store = self.store.clone();
        self.store.share_files(self.number);
        // An image that stands on it already will not be stored again, so nobody else syncs it.
        let awaited = self.store.database().read("find layer", |c| Ok(is_awaited(c, &record.diff_id)?))?;
        let boot = if awaited { None } else { boot() };
        self.make_visible(boot.clone(), |c| {
            match find(c, &record.diff_id)? {
                Some(there) if store.layer_fs(there.number).is_dir() => return Ok((there.number, there)),
                _ => match number_of(c, &record.diff_id)? {
                    Some(lost) => relocate(c, lost, record.number, boot.as_deref())?,
                    None => insert(c, &record, boot.as_deref())?,
                },
            }
            Ok((record.number, record))
        })
    }

    /// Brings the tree to the disk, then its row into the database. `record` says which layer counts: this one, or an equal
    /// one that was faster, and then this tree goes.
    /// With a `boot` the tree is not brought to the disk yet: [`sync`] does it.
    pub(crate) fn make_visible<T>(
        &mut self,
        boot: Option<String>,
        record: impl FnOnce(&Connection) -> Result<(i64, T), Fault>,
    ) -> Result<T> {
        let token = self.store.lease()?;
        if boot.is_none() {
            knarr_sys::syncfs::syncfs(&*self.lock).map_err(|source| Error::Sys { action: "sync layer", source })?;
        }
        let (number, stored) = self.store.database().write("add layer", Durability::Normal, |c| {
            let (number, stored) = record(c)?;
            lease::hold_layer(c, &token, number)?;
            Ok((number, stored))
        })?;
        self.keep = number == self.number;
        Ok(stored)
    }

    pub(crate) fn number(&self) -> i64 {
        self.number
    }
}

impl Drop for LayerBuild {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now has no row, so the next collection removes it.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Above every number that ever had a row.
fn next_number(connection: &Connection) -> Result<i64, Fault> {
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'layers'), 0) + 1";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

fn insert(connection: &Connection, record: &LayerRecord, boot: Option<&str>) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO layers (number, diff_id, blob, tar_bytes, tree_bytes, entries, opaque, stored_ns, boot)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            record.number,
            record.diff_id.0.as_str(),
            record.blob.as_str(),
            record.tar_bytes,
            record.tree_bytes,
            record.entries,
            record.opaque_root,
            now_ns(),
            boot,
        ))?;
    let mut add = connection.prepare_cached("INSERT INTO layer_implied (number, path) VALUES (?1, ?2)")?;
    for path in &record.implied_dirs {
        add.execute((record.number, path.as_os_str().as_bytes()))?;
    }
    Ok(())
}

/// Gives a layer that lost its directory the one it was unpacked into again. Images and containers that stand on it follow.
pub(crate) fn relocate(connection: &Connection, lost: i64, number: i64, boot: Option<&str>) -> rusqlite::Result<()> {
    let sql = "UPDATE layers SET number = ?2, boot = ?3 WHERE number = ?1";
    connection.prepare_cached(sql)?.execute((lost, number, boot))?;
    // An update does not count up by itself.
    let sql = "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'layers'";
    connection.prepare_cached(sql)?.execute([number])?;
    Ok(())
}

/// This boot, for rows whose files may not be on the disk yet; `None` where the kernel does not tell.
pub(crate) fn boot() -> Option<String> {
    Some(crate::ingest::boot_id()).filter(|id| !id.is_empty())
}

/// Whether an image stands on the layer.
fn is_awaited(c: &Connection, diff_id: &DiffId) -> rusqlite::Result<bool> {
    let mut query = c.prepare_cached("SELECT EXISTS (SELECT 1 FROM image_layers WHERE diff_id = ?1)")?;
    query.query_row([diff_id.0.as_str()], |row| row.get(0))
}

/// The number of a layer's row, whether it counts or not.
fn number_of(c: &Connection, diff_id: &DiffId) -> rusqlite::Result<Option<i64>> {
    let mut query = c.prepare_cached("SELECT number FROM layers WHERE diff_id = ?1")?;
    query.query_row([diff_id.0.as_str()], |row| row.get(0)).optional()
}

/// Brings the files of these layers to the disk, all at once. What comes back goes into the transaction that makes the
/// image visible ([`mark_synced`]).
pub(crate) fn sync(store: &Store, numbers: Vec<i64>) -> Result<Vec<i64>> {
    let waiting: Vec<i64> = store.database().read("find layers", |c| {
        let mut query = c.prepare_cached("SELECT 1 FROM layers WHERE number = ?1 AND boot IS NOT NULL")?;
        let mut waiting = Vec::new();
        for number in numbers {
            if query.query_row([number], |_| Ok(())).optional()?.is_some() {
                waiting.push(number);
            }
        }
        Ok(waiting)
    })?;
    if !waiting.is_empty() {
        let path = store.state();
        let dir = File::open(path).doing("open", path)?;
        knarr_sys::syncfs::syncfs(&dir).map_err(|source| Error::Sys { action: "sync layers", source })?;
    }
    Ok(waiting)
}

/// Notes that the layers are on the disk.
pub(crate) fn mark_synced(c: &Connection, numbers: &[i64]) -> Result<(), Fault> {
    let mut update = c.prepare_cached("UPDATE layers SET boot = NULL WHERE number = ?1")?;
    for number in numbers {
        update.execute([number])?;
    }
    Ok(())
}

/// The row of a layer.
pub(crate) fn find(connection: &Connection, diff_id: &DiffId) -> Result<Option<LayerRecord>, Fault> {
    let mut query = connection.prepare_cached(
        "SELECT number, diff_id, blob, tar_bytes, tree_bytes, entries, opaque FROM layers
         WHERE diff_id = ?1 AND (boot IS NULL OR boot = ?2)",
    )?;
    let Some(row) = query.query_row((diff_id.0.as_str(), boot()), |row| Ok(from_row(row))).optional()? else {
        return Ok(None);
    };
    let mut record = row?;
    record.implied_dirs = implied(connection, record.number)?;
    Ok(Some(record))
}

/// Columns number, diff_id, blob, tar_bytes, tree_bytes, entries, opaque; the implied directories are read apart.
fn from_row(row: &Row<'_>) -> Result<LayerRecord, Fault> {
    let number = row.get(0)?;
    let digest = |column: usize, field: &'static str| -> Result<Digest, Fault> {
        let text: String = row.get(column)?;
        text.parse().map_err(|_| Error::BadRecord { record: format!("layers {number}"), field }.into())
    };
    Ok(LayerRecord {
        number,
        diff_id: DiffId(digest(1, "diff_id")?),
        blob: digest(2, "blob")?,
        tar_bytes: row.get(3)?,
        tree_bytes: row.get(4)?,
        entries: row.get(5)?,
        opaque_root: row.get(6)?,
        implied_dirs: Vec::new(),
    })
}

fn implied(connection: &Connection, number: i64) -> Result<Vec<PathBuf>, Fault> {
    let mut query = connection.prepare_cached("SELECT path FROM layer_implied WHERE number = ?1 ORDER BY path")?;
    let paths = query.query_map([number], |row| {
        let bytes = row.get_ref(0)?.as_blob().unwrap_or_default();
        Ok(Path::new(OsStr::from_bytes(bytes)).to_owned())
    })?;
    Ok(paths.collect::<rusqlite::Result<_>>()?)
}
