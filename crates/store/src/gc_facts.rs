//! What database and disk say, for the planner.
//!
//! Law: the disk is listed before the database is read, so what was finished in between has its row; what a living process
//! is making is locked and is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirEntry;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use knarr_spec::Digest;
use rusqlite::Connection;

use crate::database::Fault;
use crate::error::{IoContext, Result};
use crate::gc::{BlobFact, Facts, ImageFact, LayerFact, OnDisk, PartialFact};
use crate::lock;
use crate::store::Store;

/// Age after which the scaffolding of a database that never came to be belongs to nobody: making one takes milliseconds.
const SCAFFOLD_AGE: Duration = Duration::from_secs(3600);

impl Store {
    /// Everything that collection needs to know.
    pub fn facts(&self) -> Result<Facts> {
        let mut facts = Facts { disk: self.on_disk()?, partials: self.partials()?, ..Facts::default() };
        let leases = self.database().read("gather facts", |c| {
            read_rows(c, &mut facts)?;
            read_leases(c)
        })?;
        for (token, (blobs, layers)) in leases {
            if self.is_held(&token)? {
                facts.leased_blobs.extend(blobs);
                facts.leased_layers.extend(layers);
            } else {
                facts.dead_leases.push(token);
            }
        }
        Ok(facts)
    }

    fn is_held(&self, token: &str) -> Result<bool> {
        let path = self.inner.state.join("leases").join(token);
        Ok(path.exists() && lock::look(&path)?.is_none())
    }

    /// Files and directories by their place; locked ones, which are in the making, are left out.
    fn on_disk(&self) -> Result<Vec<OnDisk>> {
        let state = &self.inner.state;
        let mut found = Vec::new();
        found.extend(by_digest(&state.join("blobs"), OnDisk::Blob)?);
        found.extend(by_digest(&state.join("recipes"), OnDisk::Recipe)?);
        for algorithm in entries(&state.join("ingest"))? {
            let unnamed =
                |entry: &DirEntry| entry.file_name().to_string_lossy().contains(crate::ingest::TAKE_OVER_MARK);
            for entry in entries(&algorithm.path())?.into_iter().filter(unnamed) {
                if lock::look(&entry.path())?.is_some() {
                    found.push(OnDisk::Rubbish(entry.path()));
                }
            }
        }
        for algorithm in entries(&state.join("uploads"))? {
            for entry in entries(&algorithm.path())? {
                if crate::upload::is_stale(&entry.path())? {
                    found.push(OnDisk::Rubbish(entry.path()));
                }
            }
        }
        for entry in entries(&state.join("layers"))? {
            match entry.file_name().to_string_lossy().parse() {
                Ok(crate::snapshot::EMPTY_LAYER) => {}
                Ok(number) if lock::look(&entry.path())?.is_some() => found.push(OnDisk::Layer(number)),
                _ => {}
            }
        }
        for entry in entries(&state.join("snapshots"))? {
            if lock::look(&entry.path())?.is_some() {
                found.push(OnDisk::Snapshot(entry.file_name().to_string_lossy().into_owned()));
            }
        }
        for entry in entries(&state.join("leases"))? {
            if lock::look(&entry.path())?.is_some() {
                found.push(OnDisk::Lease(entry.file_name().to_string_lossy().into_owned()));
            }
        }
        found.extend(entries(&state.join("trash"))?.into_iter().map(|entry| OnDisk::Rubbish(entry.path())));
        found.extend(entries(state)?.into_iter().filter(is_scaffold).map(|entry| OnDisk::Rubbish(entry.path())));
        Ok(found)
    }

    fn partials(&self) -> Result<Vec<PartialFact>> {
        let mut found = Vec::new();
        for algorithm in entries(&self.inner.state.join("ingest"))? {
            let name = algorithm.file_name();
            for entry in entries(&algorithm.path())? {
                let digest = digest_of(&name.to_string_lossy(), &entry.file_name().to_string_lossy());
                let Some(digest) = digest else { continue };
                let Some(metadata) = lock::look(&entry.path())? else { continue };
                found.push(PartialFact { digest, bytes: metadata.len(), modified_ns: modified_ns(&metadata) });
            }
        }
        Ok(found)
    }
}

/// The files of `<dir>/<alg>/<hex>`.
fn by_digest(dir: &Path, what: impl Fn(Digest) -> OnDisk) -> Result<Vec<OnDisk>> {
    let mut found = Vec::new();
    for algorithm in entries(dir)? {
        let name = algorithm.file_name();
        let digest = |entry: &DirEntry| digest_of(&name.to_string_lossy(), &entry.file_name().to_string_lossy());
        let named = |entry: DirEntry| digest(&entry).map_or(OnDisk::Rubbish(entry.path()), &what);
        found.extend(entries(&algorithm.path())?.into_iter().map(named));
    }
    Ok(found)
}

/// When a file was last written to, in nanoseconds since 1970.
pub(crate) fn modified_ns(metadata: &std::fs::Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// The entries of a directory; none where it is missing.
pub(crate) fn entries(dir: &Path) -> Result<Vec<DirEntry>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => entries.collect::<io::Result<_>>().doing("list", dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).doing("list", dir),
    }
}

fn digest_of(algorithm: &str, encoded: &str) -> Option<Digest> {
    format!("{algorithm}:{encoded}").parse::<Digest>().ok().filter(|digest| digest.algorithm().hasher_known())
}

fn is_scaffold(entry: &DirEntry) -> bool {
    let old = |modified: std::time::SystemTime| modified.elapsed().is_ok_and(|age| age > SCAFFOLD_AGE);
    entry.file_name().to_string_lossy().starts_with("knarr.new-")
        && entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(old)
}

fn read_rows(c: &Connection, facts: &mut Facts) -> Result<(), Fault> {
    let sql = "SELECT digest, iif(dropped, 0, bytes), number, dropped FROM blobs
               LEFT JOIN layers ON diff_id = digest AND boot IS NULL";
    facts.blobs = collect(c, sql, |row| {
        Ok(BlobFact { digest: digest(row.get(0)?)?, bytes: row.get(1)?, tar_of: row.get(2)?, dropped: row.get(3)? })
    })?;
    facts.layers = collect(c, "SELECT number, tree_bytes FROM layers", |row| {
        Ok(LayerFact { number: row.get(0)?, bytes: row.get(1)? })
    })?;
    facts.snapshots = collect(c, "SELECT container FROM snapshots", |row| row.get(0))?.into_iter().collect();
    let below = collect(c, "SELECT DISTINCT number FROM snapshot_layers", |row| row.get(0))?;
    facts.snapshot_layers = below.into_iter().collect();
    facts.images = read_images(c)?;
    let needs = crate::document::needs(c)?.into_iter().map(digest).collect::<rusqlite::Result<_>>();
    facts.document_blobs = needs?;
    Ok(())
}

fn read_images(c: &Connection) -> Result<Vec<ImageFact>, Fault> {
    let mut images: BTreeMap<String, ImageFact> = BTreeMap::new();
    let sql = "SELECT id, implied, EXISTS (SELECT 1 FROM tags WHERE image = id),
               EXISTS (SELECT 1 FROM containers WHERE image = images.id) FROM images";
    for (id, fact) in collect(c, sql, |row| {
        let (id, implied): (String, Option<i64>) = (row.get(0)?, row.get(1)?);
        let layers = implied.into_iter().collect();
        let blobs = BTreeSet::new();
        Ok((id.clone(), ImageFact { id: digest(id)?, tagged: row.get(2)?, used: row.get(3)?, blobs, layers }))
    })? {
        images.insert(id, fact);
    }
    let blobs: Vec<(String, String)> =
        collect(c, "SELECT image, digest FROM image_blobs", |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (image, blob) in blobs {
        if let Some(fact) = images.get_mut(&image) {
            fact.blobs.insert(digest(blob)?);
        }
    }
    let sql = "SELECT image, number FROM image_layers JOIN layers USING (diff_id)";
    let layers: Vec<(String, i64)> = collect(c, sql, |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (image, number) in layers {
        if let Some(fact) = images.get_mut(&image) {
            fact.layers.insert(number);
        }
    }
    Ok(images.into_values().collect())
}

type Held = BTreeMap<String, (Vec<Digest>, Vec<i64>)>;

fn read_leases(c: &Connection) -> Result<Held, Fault> {
    let mut held: Held = BTreeMap::new();
    for token in collect(c, "SELECT token FROM leases", |row| row.get::<_, String>(0))? {
        held.insert(token, Default::default());
    }
    for (token, blob) in
        collect(c, "SELECT token, digest FROM lease_blobs", |row| Ok((row.get::<_, String>(0)?, digest(row.get(1)?)?)))?
    {
        held.entry(token).or_default().0.push(blob);
    }
    for (token, number) in
        collect(c, "SELECT token, number FROM lease_layers", |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?
    {
        held.entry(token).or_default().1.push(number);
    }
    Ok(held)
}

fn collect<T>(
    c: &Connection,
    sql: &str,
    row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    c.prepare_cached(sql)?.query_map([], row)?.collect()
}

/// A digest column.
fn digest(text: String) -> rusqlite::Result<Digest> {
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}
