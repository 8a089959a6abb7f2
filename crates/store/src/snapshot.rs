//! The writable top of a container, as mounts to be made.
//!
//! Law: nothing is mounted here. A snapshot's rows keep its layers from collection, whatever happens to the image.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use crate::database::{Durability, Fault};
use crate::error::{Error, IoContext, Result};
use crate::records::{ImageRecord, RootMounts};
use crate::store::{Store, now_ns};
use crate::{lock, trash};

/// The layer that is always there and always empty: overlayfs wants at least one, an image from scratch has none.
pub(crate) const EMPTY_LAYER: i64 = 0;

impl Store {
    /// Makes the writable directories of a container on top of `image`. The container's record comes first
    /// ([`Store::insert_container`]): it is what keeps image and snapshot from collection.
    pub fn snapshot(&self, container_id: &str, image: &ImageRecord) -> Result<RootMounts> {
        check_id(container_id)?;
        let lower = self.lower(image)?;
        let dir = self.dir("snapshots")?.join(container_id);
        let _lock = loop {
            if let Some(lock) = lock::make_locked_dir(&dir)? {
                break lock;
            }
            if self.has_snapshot(container_id)? {
                return Err(Error::ContainerExists(container_id.to_owned()));
            }
            // Left by a death between making and recording: without row and lock it is nobody's.
            lock::wait(&dir)?;
            self.remove_stray_snapshot(container_id)?;
        };
        self.make_upper(&dir, lower.first().copied())?;
        let recorded =
            self.database().write("add snapshot", Durability::Normal, |c| record(c, container_id, image, &lower));
        if recorded.is_err() {
            let _ = std::fs::remove_dir_all(&dir);
        }
        recorded?;
        Ok(self.mounts(container_id, &lower))
    }

    /// The mounts of an existing snapshot.
    pub fn root_mounts(&self, container_id: &str) -> Result<RootMounts> {
        let lower = self.database().read("find snapshot", |c| {
            if !exists(c, container_id)? {
                return Ok(None);
            }
            let mut query =
                c.prepare_cached("SELECT number FROM snapshot_layers WHERE container = ?1 ORDER BY position")?;
            Ok(Some(query.query_map([container_id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?))
        })?;
        let lower = lower.ok_or_else(|| Error::NoSuchSnapshot(container_id.to_owned()))?;
        Ok(self.mounts(container_id, &lower))
    }

    /// The tree of an image alone, read-only: what a container of it would begin with.
    pub fn image_mounts(&self, image: &ImageRecord) -> Result<RootMounts> {
        let lower = self.lower(image)?;
        Ok(RootMounts { upper: None, work: None, ..self.mounts("", &lower) })
    }

    /// Forgets the snapshot and removes what the container wrote. Nothing happens where there is none.
    pub fn remove_snapshot(&self, container_id: &str) -> Result<()> {
        check_id(container_id)?;
        self.database().write("remove snapshot", Durability::Normal, |c| {
            c.prepare_cached("DELETE FROM snapshots WHERE container = ?1")?.execute([container_id])?;
            Ok(())
        })?;
        trash::discard(self, &self.snapshot_dir(container_id))
    }

    /// `snapshots/<container id>`.
    pub(crate) fn snapshot_dir(&self, container_id: &str) -> PathBuf {
        self.inner.state.join("snapshots").join(container_id)
    }

    pub(crate) fn has_snapshot(&self, container_id: &str) -> Result<bool> {
        self.database().read("find snapshot", |c| exists(c, container_id))
    }

    /// Numbers of the layers below a container of `image`, top first.
    fn lower(&self, image: &ImageRecord) -> Result<Vec<i64>> {
        let diff_ids = &image.config.rootfs.diff_ids;
        let lost = |diff_id: &&knarr_spec::DiffId| {
            let record = image.layers.iter().find(|layer| layer.diff_id == **diff_id);
            record.is_none_or(|layer| !self.layer_fs(layer.number).is_dir())
        };
        if let Some(diff_id) = diff_ids.iter().find(lost) {
            return Err(Error::NoSuchLayer(diff_id.clone()));
        }
        let mut lower: Vec<i64> = image.implied.into_iter().collect();
        for layer in image.layers.iter().rev() {
            lower.push(layer.number);
            if layer.opaque_root {
                break;
            }
        }
        if lower.is_empty() {
            let empty = self.layer_fs(EMPTY_LAYER);
            std::fs::create_dir_all(&empty).doing("create", &empty)?;
        }
        Ok(lower)
    }

    /// `upper` gets owner and mode of the image's own root directory, which it stands for in the container.
    fn make_upper(&self, dir: &Path, top: Option<i64>) -> Result<()> {
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        std::fs::DirBuilder::new().mode(0o755).create(&upper).doing("create", &upper)?;
        std::fs::DirBuilder::new().mode(0o700).create(&work).doing("create", &work)?;
        let Some(top) = top else { return Ok(()) };
        let below = self.layer_fs(top);
        let metadata = std::fs::metadata(&below).doing("stat", &below)?;
        std::os::unix::fs::chown(&upper, Some(metadata.uid()), Some(metadata.gid())).doing("chown", &upper)?;
        let mode = std::fs::Permissions::from_mode(metadata.permissions().mode() & 0o7777);
        std::fs::set_permissions(&upper, mode).doing("chmod", &upper)
    }

    fn mounts(&self, container_id: &str, lower: &[i64]) -> RootMounts {
        let dir = self.snapshot_dir(container_id);
        let lower = if lower.is_empty() { &[EMPTY_LAYER] } else { lower };
        RootMounts {
            base: self.inner.state.join("layers"),
            lower: lower.iter().map(|number| PathBuf::from(format!("{number}/fs"))).collect(),
            upper: Some(dir.join("upper")),
            work: Some(dir.join("work")),
            userxattr: self.inner.options.rootless,
        }
    }
}

fn exists(c: &Connection, container_id: &str) -> Result<bool, Fault> {
    let mut query = c.prepare_cached("SELECT 1 FROM snapshots WHERE container = ?1")?;
    Ok(query.query_row([container_id], |_| Ok(())).optional()?.is_some())
}

fn record(c: &Connection, container_id: &str, image: &ImageRecord, lower: &[i64]) -> Result<(), Fault> {
    let mut owner = c.prepare_cached("SELECT 1 FROM containers WHERE id = ?1")?;
    let owner = owner.query_row([container_id], |_| Ok(())).optional()?;
    owner.ok_or_else(|| Error::NoSuchContainer(container_id.to_owned()))?;
    c.prepare_cached("UPDATE images SET used_ns = ?2 WHERE id = ?1")?.execute((image.id.as_str(), now_ns()))?;
    c.prepare_cached("INSERT INTO snapshots (container, created_ns) VALUES (?1, ?2)")?
        .execute((container_id, now_ns()))?;
    let mut add = c.prepare_cached("INSERT INTO snapshot_layers (container, position, number) VALUES (?1, ?2, ?3)")?;
    let mut there = c.prepare_cached("SELECT 1 FROM layers WHERE number = ?1")?;
    for (position, number) in lower.iter().enumerate() {
        let there = there.query_row([number], |_| Ok(())).optional()?;
        there.ok_or_else(|| Error::NoSuchImage(image.id.to_string()))?;
        add.execute((container_id, position, number))?;
    }
    Ok(())
}

/// Ids become directory names, so nothing but an id may.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let hex = id.len() == 64 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex { Ok(()) } else { Err(Error::BadContainerId(id.to_owned())) }
}
