//! What the database knows and the disk lacks.
//!
//! Law: looks, changes nothing (`repair` does). Each finding names one thing. What is on disk and not in the database is no
//! finding but garbage (`gc`). The files inside a layer are not compared with anything: no digest of them is kept.

use std::fmt;
use std::io::Read;
use std::path::Path;

use knarr_spec::{DiffId, Digest, Reference};
use rusqlite::Connection;

use crate::database::Fault;
use crate::error::{Error, IoContext, Result};
use crate::hash::Hasher;
use crate::store::Store;

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// Read every blob and compare it with its digest; takes as long as reading the disk.
    pub contents: bool,
}

/// One thing that is not as the database says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// SQLite finds its own file inconsistent.
    Database(String),
    /// A blob has no file.
    BlobMissing(Digest),
    /// A blob's file has another size.
    BlobSize {
        /// The blob.
        digest: Digest,
        /// Bytes by the database.
        expected: u64,
        /// Bytes on disk.
        actual: u64,
    },
    /// A blob's content has another digest.
    BlobContent(Digest),
    /// A layer has no directory.
    LayerMissing {
        /// The layer.
        diff_id: DiffId,
        /// Its directory's number.
        number: i64,
    },
    /// The directory of an image's implied directories is missing.
    ImpliedMissing(i64),
    /// An image needs a blob that has no row.
    ImageLacksBlob {
        /// The image.
        image: Digest,
        /// The blob.
        digest: Digest,
    },
    /// An image needs a layer that has no row.
    ImageLacksLayer {
        /// The image.
        image: Digest,
        /// The layer.
        diff_id: DiffId,
    },
    /// A list or artifact needs a blob that has no row.
    DocumentLacksBlob {
        /// The list or artifact.
        name: Reference,
        /// The blob.
        digest: Digest,
    },
    /// A container's writable directories are missing.
    SnapshotMissing(String),
    /// A layer below a container has no row.
    SnapshotIncomplete(String),
    /// A volume's directory is missing.
    VolumeMissing(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Database(problem) => write!(f, "database: {problem}"),
            Finding::BlobMissing(digest) => write!(f, "blob {digest}: its file is missing"),
            Finding::BlobSize { digest, expected, actual } => {
                write!(f, "blob {digest}: its file has {actual} bytes, not {expected}")
            }
            Finding::BlobContent(digest) => write!(f, "blob {digest}: its content has another digest"),
            Finding::LayerMissing { diff_id, number } => write!(f, "layer {diff_id}: layers/{number} is missing"),
            Finding::ImpliedMissing(number) => write!(f, "implied directories: layers/{number} is missing"),
            Finding::ImageLacksBlob { image, digest } => write!(f, "image {image}: blob {digest} is not in the store"),
            Finding::ImageLacksLayer { image, diff_id } => {
                write!(f, "image {image}: layer {diff_id} is not in the store")
            }
            Finding::DocumentLacksBlob { name, digest } => write!(f, "{name}: blob {digest} is not in the store"),
            Finding::SnapshotMissing(container) => write!(f, "container {container}: its writable layer is missing"),
            Finding::SnapshotIncomplete(container) => write!(f, "container {container}: a layer below it is missing"),
            Finding::VolumeMissing(name) => write!(f, "volume {name}: its directory is missing"),
        }
    }
}

impl Store {
    /// Compares the database with itself and with the disk. A damaged page is a finding and ends only what reads it.
    pub fn check(&self, options: &CheckOptions) -> Result<Vec<Finding>> {
        let mut damage = Vec::new();
        let mut findings = self.look(&mut damage, integrity)?;
        findings.extend(self.look(&mut damage, dangling)?);
        for (digest, bytes, made_of) in self.look(&mut damage, blobs)? {
            findings.extend(match made_of {
                Some(number) if !self.blob_path(&digest).exists() => self.check_dropped(digest, number, options),
                _ => self.check_blob(digest, bytes, options)?,
            });
        }
        for (number, diff_id) in self.look(&mut damage, layers)? {
            if !self.layer_fs(number).is_dir() {
                findings.push(match diff_id {
                    Some(diff_id) => Finding::LayerMissing { diff_id, number },
                    None => Finding::ImpliedMissing(number),
                });
            }
        }
        let is_whole = |dir: &Path| dir.join("upper").is_dir() && dir.join("work").is_dir();
        let snapshots = self.look(&mut damage, |c| Ok(texts(c, "SELECT container FROM snapshots")?))?;
        let lost = snapshots.into_iter().filter(|container| !is_whole(&self.snapshot_dir(container)));
        findings.extend(lost.map(Finding::SnapshotMissing));
        let volumes = self.look(&mut damage, |c| Ok(texts(c, "SELECT name FROM volumes WHERE removing = 0")?))?;
        let lost = volumes.into_iter().filter(|name| !self.volume_data(name).is_dir());
        findings.extend(lost.map(Finding::VolumeMissing));
        damage.dedup();
        damage.append(&mut findings);
        Ok(damage)
    }

    /// Reads something from the database; nothing and a finding where a page is damaged.
    fn look<T: Default>(
        &self,
        damage: &mut Vec<Finding>,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T> {
        match self.database().read("check store", read) {
            Err(Error::Damaged { source, .. }) => {
                damage.push(Finding::Database(source.to_string()));
                Ok(T::default())
            }
            other => other,
        }
    }

    /// A blob that was dropped: whether it can be made again.
    fn check_dropped(&self, digest: Digest, number: i64, options: &CheckOptions) -> Option<Finding> {
        if !self.recipe_path(&digest).exists() || !self.layer_fs(number).is_dir() {
            return Some(Finding::BlobMissing(digest));
        }
        let is_bad = options.contents && !self.can_be_made(&digest, number).unwrap_or(false);
        is_bad.then_some(Finding::BlobContent(digest))
    }

    fn check_blob(&self, digest: Digest, expected: u64, options: &CheckOptions) -> Result<Option<Finding>> {
        let path = self.blob_path(&digest);
        let Ok(mut file) = std::fs::File::open(&path) else { return Ok(Some(Finding::BlobMissing(digest))) };
        let actual = file.metadata().doing("stat", &path)?.len();
        if actual != expected {
            return Ok(Some(Finding::BlobSize { digest, expected, actual }));
        }
        if !options.contents {
            return Ok(None);
        }
        let mut hasher = Hasher::for_digest(&digest)?;
        let mut chunk = vec![0; 256 << 10];
        loop {
            // Sectors that cannot be read are damage of this blob, not of the check.
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(got) => hasher.update(&chunk[..got]),
                Err(_) => return Ok(Some(Finding::BlobContent(digest))),
            }
        }
        Ok((hasher.finish() != digest).then_some(Finding::BlobContent(digest)))
    }
}

/// What SQLite itself finds wrong.
fn integrity(c: &Connection) -> Result<Vec<Finding>, Fault> {
    let problems = texts(c, "PRAGMA integrity_check(20)")?;
    Ok(problems.into_iter().filter(|problem| problem != "ok").map(Finding::Database).collect())
}

/// Rows that need rows which are not there.
fn dangling(c: &Connection) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    let pairs = |sql: &str| -> Result<Vec<(String, String)>, Fault> {
        let mut query = c.prepare(sql)?;
        Ok(query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
    };
    let lacking = "SELECT image, digest FROM image_blobs WHERE digest NOT IN (SELECT digest FROM blobs)";
    for (image, blob) in pairs(lacking)? {
        findings.push(Finding::ImageLacksBlob { image: digest(&image)?, digest: digest(&blob)? });
    }
    let lacking = "SELECT DISTINCT image, diff_id FROM image_layers
                   WHERE diff_id NOT IN (SELECT diff_id FROM layers WHERE diff_id IS NOT NULL)";
    for (image, layer) in pairs(lacking)? {
        findings.push(Finding::ImageLacksLayer { image: digest(&image)?, diff_id: DiffId(digest(&layer)?) });
    }
    let mut query = c.prepare(
        "SELECT name || ':' || tag, digest FROM document_blobs WHERE digest NOT IN (SELECT digest FROM blobs)",
    )?;
    let lacking = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for pair in lacking.collect::<rusqlite::Result<Vec<(String, String)>>>()? {
        let name = pair.0.parse().map_err(|_| Error::BadRecord { record: pair.0, field: "name" })?;
        findings.push(Finding::DocumentLacksBlob { name, digest: digest(&pair.1)? });
    }
    // Positions are without a gap, unless a lost layer has taken its row with it.
    let gaps = "SELECT container FROM snapshot_layers GROUP BY container HAVING max(position) + 1 <> count(*)";
    findings.extend(texts(c, gaps)?.into_iter().map(Finding::SnapshotIncomplete));
    Ok(findings)
}

/// Digest, size, and the layer that a dropped one is made of.
fn blobs(c: &Connection) -> Result<Vec<(Digest, u64, Option<i64>)>, Fault> {
    let mut query = c.prepare(
        "SELECT digest, bytes, (SELECT number FROM layers WHERE dropped AND diff_id = digest AND boot IS NULL) FROM blobs",
    )?;
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
    let blob = |(text, bytes, made_of): (String, _, _)| Ok((digest(&text)?, bytes, made_of));
    rows.map(|row| row.map_err(Fault::from).and_then(blob)).collect()
}

fn layers(c: &Connection) -> Result<Vec<(i64, Option<DiffId>)>, Fault> {
    // A layer that a power cut may have torn counts no more, so nothing is missing.
    let mut query = c.prepare("SELECT number, diff_id FROM layers WHERE boot IS NULL OR boot = ?1")?;
    let rows = query.query_map([crate::layer::boot()], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)))?;
    let layer =
        |(number, text): (i64, Option<String>)| Ok((number, text.map(|text| digest(&text)).transpose()?.map(DiffId)));
    rows.map(|row| row.map_err(Fault::from).and_then(layer)).collect()
}

fn texts(c: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    c.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

fn digest(text: &str) -> Result<Digest, Fault> {
    let bad = |_| Error::BadRecord { record: text.to_owned(), field: "digest" };
    Ok(text.parse().map_err(bad)?)
}
