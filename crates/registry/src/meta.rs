//! The registry's database: which repository holds which blobs, manifests and tags.
//!
//! Law: transactions are short and never span I/O on blobs. A blob file is in place and synced before its row is written,
//! and a row is gone before its file is removed; so the database never promises what the disk lacks.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use knarr_spec::Digest;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::StorageError;
use crate::manifest::Parsed;
use crate::route::ManifestReference;

type Result<T> = std::result::Result<T, StorageError>;

/// Each entry brings a database from the version of its index to the next.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE repositories(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE blobs(id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, stored INTEGER NOT NULL);
    CREATE TABLE links(repository INTEGER NOT NULL, blob INTEGER NOT NULL, linked INTEGER NOT NULL,
                       PRIMARY KEY(repository, blob)) WITHOUT ROWID;
    CREATE INDEX links_by_blob ON links(blob);
    CREATE TABLE manifests(id INTEGER PRIMARY KEY, repository INTEGER NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL,
                           bytes BLOB NOT NULL, subject TEXT, artifact_type TEXT, annotations TEXT, pushed INTEGER NOT NULL,
                           UNIQUE(repository, digest));
    CREATE INDEX referrers ON manifests(repository, subject, digest) WHERE subject IS NOT NULL;
    CREATE TABLE uses(manifest INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY(manifest, digest)) WITHOUT ROWID;
    CREATE INDEX uses_by_digest ON uses(digest);
    CREATE TABLE tags(repository INTEGER NOT NULL, name TEXT NOT NULL, manifest INTEGER NOT NULL, moved INTEGER NOT NULL,
                      PRIMARY KEY(repository, name)) WITHOUT ROWID;
    CREATE INDEX tags_by_manifest ON tags(manifest);
"];

/// Readers kept open; more are opened under load and closed again.
const READERS_KEPT: usize = 4;
/// How long a writer waits for another process (`registry check`) that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The database.
pub struct Meta {
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    path: std::path::PathBuf,
}

/// A manifest with what is sent beside it.
pub struct StoredManifest {
    pub digest: String,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

/// One entry of a referrers list.
pub struct Referrer {
    pub digest: String,
    pub media_type: String,
    pub size: u64,
    pub artifact_type: Option<String>,
    pub annotations: Option<String>,
}

/// A page and whether more follows.
pub struct Page<T> {
    pub entries: Vec<T>,
    pub more: bool,
}

impl<T> Page<T> {
    fn of(mut entries: Vec<T>, limit: usize) -> Page<T> {
        let more = entries.len() > limit;
        entries.truncate(limit);
        Page { entries, more }
    }
}

impl Meta {
    /// Opens or makes the database at `path`.
    pub fn open(path: &Path) -> Result<Meta> {
        let mut writer = connect(path)?;
        migrate(&mut writer)?;
        Ok(Meta { writer: Mutex::new(writer), readers: Mutex::default(), path: path.to_owned() })
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let pooled = self.readers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        let answer = query(&connection);
        let mut readers = self.readers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if readers.len() < READERS_KEPT {
            readers.push(connection);
        }
        Ok(answer?)
    }

    fn write<T>(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let answer = change(&transaction)?;
        transaction.commit()?;
        Ok(answer)
    }

    /// Size of a blob that is visible in `repository`.
    pub fn blob_size(&self, repository: &str, digest: &Digest) -> Result<Option<u64>> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT blobs.size FROM blobs JOIN links ON links.blob = blobs.id
                 JOIN repositories ON repositories.id = links.repository WHERE blobs.digest = ?1 AND repositories.name = ?2",
            )?
            .query_row(params![digest.as_str(), repository], |row| row.get(0))
            .optional()
        })
    }

    /// Records a blob that is on disk and links it to `repository`.
    pub fn add_blob(&self, repository: &str, digest: &Digest, size: u64) -> Result<()> {
        self.write(|db| {
            db.prepare_cached("INSERT INTO blobs(digest, size, stored) VALUES(?1, ?2, ?3) ON CONFLICT(digest) DO UPDATE SET stored = ?3")?
                .execute(params![digest.as_str(), size, now()])?;
            link(db, repository, digest).map(|_| ())
        })
    }

    /// Links a blob another repository has. `false` where no such blob is visible there (or anywhere, without `from`).
    pub fn mount_blob(&self, repository: &str, digest: &Digest, from: Option<&str>) -> Result<bool> {
        if let Some(from) = from
            && self.blob_size(from, digest)?.is_none()
        {
            return Ok(false);
        }
        self.write(|db| link(db, repository, digest))
    }

    /// Takes a blob out of a repository. `false` where it was not in it.
    pub fn unlink_blob(&self, repository: &str, digest: &Digest) -> Result<bool> {
        self.write(|db| {
            let removed = db
                .prepare_cached(
                    "DELETE FROM links WHERE repository = (SELECT id FROM repositories WHERE name = ?1)
                     AND blob = (SELECT id FROM blobs WHERE digest = ?2)",
                )?
                .execute(params![repository, digest.as_str()])?;
            Ok(removed > 0)
        })
    }

    /// Which of `digests` are not visible blobs of `repository`.
    pub fn missing_blobs(&self, repository: &str, digests: &[&Digest]) -> Result<Vec<String>> {
        self.read(|db| {
            let mut find = db.prepare_cached(
                "SELECT 1 FROM links JOIN repositories ON repositories.id = links.repository JOIN blobs ON blobs.id = links.blob
                 WHERE repositories.name = ?1 AND blobs.digest = ?2",
            )?;
            let mut missing = Vec::new();
            for digest in digests {
                if !find.exists(params![repository, digest.as_str()])? {
                    missing.push(digest.to_string());
                }
            }
            Ok(missing)
        })
    }

    /// A manifest by tag or digest.
    pub fn manifest(&self, repository: &str, reference: &ManifestReference) -> Result<Option<StoredManifest>> {
        let by_tag =
            "SELECT manifests.digest, media_type, bytes FROM manifests JOIN tags ON tags.manifest = manifests.id
                      WHERE tags.repository = (SELECT id FROM repositories WHERE name = ?1) AND tags.name = ?2";
        let by_digest = "SELECT digest, media_type, bytes FROM manifests
                         WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND digest = ?2";
        let query = match reference {
            ManifestReference::Tag(_) => by_tag,
            ManifestReference::Digest(_) => by_digest,
        };
        let read =
            |row: &Row<'_>| Ok(StoredManifest { digest: row.get(0)?, media_type: row.get(1)?, bytes: row.get(2)? });
        self.read(|db| db.prepare_cached(query)?.query_row(params![repository, reference.as_str()], read).optional())
    }

    /// Stores a manifest and points `tags` at it, all or nothing.
    pub fn put_manifest(&self, repository: &str, manifest: &Parsed, bytes: &[u8], tags: &[String]) -> Result<()> {
        self.write(|db| {
            let repository = repository_id(db, repository)?;
            let annotations = (!manifest.annotations.is_empty())
                .then(|| serde_json::to_string(&manifest.annotations).expect("a map of strings"));
            let id: i64 = db
                .prepare_cached(
                    "INSERT INTO manifests(repository, digest, media_type, bytes, subject, artifact_type, annotations, pushed)
                     VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     ON CONFLICT(repository, digest) DO UPDATE SET media_type = ?3, pushed = ?8 RETURNING id",
                )?
                .query_row(
                    params![
                        repository,
                        manifest.digest.as_str(),
                        manifest.media_type,
                        bytes,
                        manifest.subject.as_ref().map(Digest::as_str),
                        manifest.artifact_type,
                        annotations,
                        now()
                    ],
                    |row| row.get(0),
                )?;
            let mut uses = db.prepare_cached("INSERT OR IGNORE INTO uses(manifest, digest) VALUES(?1, ?2)")?;
            for digest in manifest.blobs.iter().chain(&manifest.children) {
                uses.execute(params![id, digest.as_str()])?;
            }
            let mut point = db.prepare_cached(
                "INSERT INTO tags(repository, name, manifest, moved) VALUES(?1, ?2, ?3, ?4)
                 ON CONFLICT(repository, name) DO UPDATE SET manifest = ?3, moved = ?4",
            )?;
            for tag in tags {
                point.execute(params![repository, tag, id, now()])?;
            }
            Ok(())
        })
    }

    /// Removes a tag, or a manifest with every tag that points to it. `false` where there was none.
    pub fn delete_manifest(&self, repository: &str, reference: &ManifestReference) -> Result<bool> {
        self.write(|db| {
            let Some(repository) = find_repository(db, repository)? else { return Ok(false) };
            match reference {
                ManifestReference::Tag(tag) => {
                    let removed = db
                        .prepare_cached("DELETE FROM tags WHERE repository = ?1 AND name = ?2")?
                        .execute(params![repository, tag])?;
                    Ok(removed > 0)
                }
                ManifestReference::Digest(digest) => {
                    let id: Option<i64> = db
                        .prepare_cached("DELETE FROM manifests WHERE repository = ?1 AND digest = ?2 RETURNING id")?
                        .query_row(params![repository, digest.as_str()], |row| row.get(0))
                        .optional()?;
                    let Some(id) = id else { return Ok(false) };
                    db.prepare_cached("DELETE FROM tags WHERE manifest = ?1")?.execute([id])?;
                    db.prepare_cached("DELETE FROM uses WHERE manifest = ?1")?.execute([id])?;
                    Ok(true)
                }
            }
        })
    }

    /// Tags behind `last` in byte order; `None` for an unknown repository.
    pub fn tags(&self, repository: &str, last: &str, limit: usize) -> Result<Option<Page<String>>> {
        self.read(|db| {
            let Some(id) = find_repository(db, repository)? else { return Ok(None) };
            let names = db
                .prepare_cached("SELECT name FROM tags WHERE repository = ?1 AND name > ?2 ORDER BY name LIMIT ?3")?
                .query_map(params![id, last, limit + 1], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            Ok(Some(Page::of(names, limit)))
        })
    }

    /// Repositories behind `last` in byte order that hold a manifest.
    pub fn repositories(&self, last: &str, limit: usize) -> Result<Page<String>> {
        self.read(|db| {
            let names = db
                .prepare_cached(
                    "SELECT name FROM repositories WHERE name > ?1
                     AND EXISTS(SELECT 1 FROM manifests WHERE repository = repositories.id) ORDER BY name LIMIT ?2",
                )?
                .query_map(params![last, limit + 1], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            Ok(Page::of(names, limit))
        })
    }

    /// Manifests of `repository` whose subject is `subject`, behind `last` in digest order.
    pub fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: &str,
        limit: usize,
    ) -> Result<Page<Referrer>> {
        let read = |row: &Row<'_>| {
            Ok(Referrer {
                digest: row.get(0)?,
                media_type: row.get(1)?,
                size: row.get(2)?,
                artifact_type: row.get(3)?,
                annotations: row.get(4)?,
            })
        };
        self.read(|db| {
            let entries = db
                .prepare_cached(
                    "SELECT digest, media_type, length(bytes), artifact_type, annotations FROM manifests
                     WHERE repository = (SELECT id FROM repositories WHERE name = ?1) AND subject = ?2 AND digest > ?3
                     AND (?4 IS NULL OR artifact_type = ?4) ORDER BY digest LIMIT ?5",
                )?
                .query_map(params![repository, subject.as_str(), last, artifact_type, limit + 1], read)?
                .collect::<rusqlite::Result<Vec<Referrer>>>()?;
            Ok(Page::of(entries, limit))
        })
    }

    /// Links that no manifest of their repository uses and that are older than `grace` go; then blobs without any link
    /// go, and are returned so that their files can follow. One step of garbage collection, at most `limit` blobs.
    pub fn collect(&self, grace: Duration, limit: usize) -> Result<Vec<Digest>> {
        let before = now() - i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        self.write(|db| {
            db.prepare_cached(
                "DELETE FROM links WHERE (repository, blob) IN (
                   SELECT links.repository, links.blob FROM links JOIN blobs ON blobs.id = links.blob
                   WHERE links.linked < ?1 AND NOT EXISTS(
                     SELECT 1 FROM uses JOIN manifests ON manifests.id = uses.manifest
                     WHERE uses.digest = blobs.digest AND manifests.repository = links.repository)
                   LIMIT ?2)",
            )?
            .execute(params![before, limit])?;
            let gone = db
                .prepare_cached(
                    "DELETE FROM blobs WHERE id IN (SELECT id FROM blobs WHERE stored < ?1
                       AND NOT EXISTS(SELECT 1 FROM links WHERE links.blob = blobs.id) LIMIT ?2) RETURNING digest",
                )?
                .query_map(params![before, limit], |row| row.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            Ok(gone.iter().filter_map(|text| text.parse().ok()).collect())
        })
    }

    /// Runs `remove` while no blob can be recorded, unless the blob has come back meanwhile.
    pub fn if_still_unknown(&self, digest: &Digest, remove: impl FnOnce()) -> Result<()> {
        let writer = self.writer();
        if !writer.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([digest.as_str()])? {
            remove();
        }
        Ok(())
    }
}

fn link(db: &Connection, repository: &str, digest: &Digest) -> rusqlite::Result<bool> {
    let blob: Option<i64> = db
        .prepare_cached("SELECT id FROM blobs WHERE digest = ?1")?
        .query_row([digest.as_str()], |row| row.get(0))
        .optional()?;
    let Some(blob) = blob else { return Ok(false) };
    let repository = repository_id(db, repository)?;
    db.prepare_cached(
        "INSERT INTO links(repository, blob, linked) VALUES(?1, ?2, ?3) ON CONFLICT(repository, blob) DO UPDATE SET linked = ?3",
    )?
    .execute(params![repository, blob, now()])?;
    Ok(true)
}

fn find_repository(db: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM repositories WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

fn repository_id(db: &Connection, name: &str) -> rusqlite::Result<i64> {
    if let Some(id) = find_repository(db, name)? {
        return Ok(id);
    }
    db.prepare_cached("INSERT INTO repositories(name) VALUES(?1) RETURNING id")?.query_row([name], |row| row.get(0))
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -1024)?;
    Ok(connection)
}

fn migrate(db: &mut Connection) -> Result<()> {
    let version: usize = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let step = db.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", at + 1)?;
        step.commit()?;
    }
    Ok(())
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}
