//! The metadata in one SQLite database.
//!
//! Law: a blob file is in place and synced before its row is written, and a row is gone before its file is removed; so the
//! database never promises what the disk lacks. One connection writes, others read beside it (WAL).

mod manifests;
mod schema;

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use knarr_spec::Digest;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Change, Decided, Garbage, ManifestFact, Metadata, NewManifest, Page, Pull, Recorded, Referrer, Refusal, Removal,
    Result, StoredManifest, Sweep, TagFact,
};
use crate::clock::now;
use crate::error::StorageError;
use crate::manifest::Parsed;
use crate::route::ManifestReference;
use manifests::{
    changed, insert_manifest, point, recorded_state, remove_manifest, retire_manifest, retire_tag, tag_target, tags_of,
};

/// Readers kept open; more are opened under load and closed again.
const READERS_KEPT: usize = 4;
/// How long a writer waits for another process (`registry check`) that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A blob to be recorded, and who waits for that.
struct NewBlob {
    repository: String,
    digest: Digest,
    size: u64,
    bytes_max: Option<u64>,
    tell: SyncSender<Decided<()>>,
}

/// The database.
pub struct Sqlite {
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    /// Blobs that wait to be written.
    arriving: Mutex<Vec<NewBlob>>,
    /// The number of the last change whose record was written.
    recorded: Mutex<i64>,
    path: std::path::PathBuf,
}

impl Sqlite {
    /// Opens or makes the database at `path`.
    pub fn open(path: &Path) -> Result<Sqlite> {
        let mut writer = connect(path)?;
        schema::migrate(&mut writer)?;
        Ok(Sqlite {
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            arriving: Mutex::default(),
            recorded: Mutex::default(),
            path: path.to_owned(),
        })
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn arriving(&self) -> MutexGuard<'_, Vec<NewBlob>> {
        self.arriving.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let pooled = self.readers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let mut connection = match pooled {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        // One moment for all that is asked.
        let transaction = connection.transaction()?;
        let answer = query(&transaction);
        transaction.finish()?;
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

    /// As `write`; what is refused is rolled back.
    fn decide<T>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<std::result::Result<T, Refusal>>,
    ) -> Decided<T> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let answer = change(&transaction)?;
        match &answer {
            Ok(_) => transaction.commit()?,
            Err(_) => transaction.rollback()?,
        }
        Ok(answer)
    }
}

impl Metadata for Sqlite {
    fn blob_size(&self, repository: &str, digest: &Digest) -> Result<Option<u64>> {
        self.read(|db| shown_size(db, repository, digest))
    }

    /// Whoever gets to write writes for all who wait: one commit, one sync, for as many blobs as arrive together.
    fn add_blob(&self, repository: &str, digest: &Digest, size: u64, bytes_max: Option<u64>) -> Decided<()> {
        let (tell, told) = sync_channel(1);
        let new = NewBlob { repository: repository.to_owned(), digest: digest.clone(), size, bytes_max, tell };
        self.arriving().push(new);
        {
            let mut writer = self.writer();
            let arrived = std::mem::take(&mut *self.arriving());
            add_blobs(&mut writer, arrived);
        }
        told.recv().unwrap_or(Err(StorageError::Worker))
    }

    fn mount_blob(
        &self,
        repository: &str,
        digest: &Digest,
        from: Option<&str>,
        bytes_max: Option<u64>,
    ) -> Decided<bool> {
        self.decide(|db| {
            let visible = match from {
                Some(from) => shown_size(db, from, digest)?.is_some(),
                // A manifest is a blob nobody shows as one.
                None => db
                    .prepare_cached(
                        "SELECT 1 FROM links JOIN blobs ON blobs.id = links.blob WHERE blobs.digest = ?1 LIMIT 1",
                    )?
                    .exists([digest.as_str()])?,
            };
            if !visible || !link(db, repository, digest)? {
                return Ok(Ok(false));
            }
            Ok(within(db, repository, bytes_max)?.map(|()| true))
        })
    }

    fn unlink_blob(&self, repository: &str, digest: &Digest) -> Result<bool> {
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

    fn manifest(&self, repository: &str, reference: &ManifestReference) -> Result<Option<StoredManifest>> {
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

    fn put_manifest(&self, new: &NewManifest<'_>) -> Decided<()> {
        self.decide(|db| {
            if new.blobs_required {
                let missing = missing_blobs(db, new.repository, &new.manifest.blobs)?;
                if !missing.is_empty() {
                    return Ok(Err(Refusal::MissingBlobs(missing)));
                }
            }
            let repository = repository_id(db, new.repository)?;
            let digest = new.manifest.digest.as_str();
            for tag in new.tags {
                if let Some(old) = tag_target(db, repository, tag)?
                    && old != digest
                {
                    if (new.immutable)(tag) {
                        return Ok(Err(Refusal::Immutable(tag.clone())));
                    }
                    changed(db, new.repository, &old)?;
                }
            }
            let id = insert_manifest(db, repository, new.manifest, new.bytes, now())?;
            for tag in new.tags {
                point(db, repository, tag, id, now())?;
            }
            changed(db, new.repository, digest)?;
            within(db, new.repository, new.bytes_max)
        })
    }

    fn delete_manifest(
        &self,
        repository: &str,
        reference: &ManifestReference,
        immutable: &dyn Fn(&str) -> bool,
    ) -> Decided<bool> {
        self.decide(|db| {
            let Some(id) = find_repository(db, repository)? else { return Ok(Ok(false)) };
            match reference {
                ManifestReference::Tag(tag) => {
                    let Some(digest) = tag_target(db, id, tag)? else { return Ok(Ok(false)) };
                    if immutable(tag) {
                        return Ok(Err(Refusal::Immutable(tag.clone())));
                    }
                    db.prepare_cached("DELETE FROM tags WHERE repository = ?1 AND name = ?2")?
                        .execute(params![id, tag])?;
                    changed(db, repository, &digest)?;
                    Ok(Ok(true))
                }
                ManifestReference::Digest(digest) => {
                    let tags = tags_of(db, id, digest.as_str())?;
                    if let Some(tag) = tags.into_keys().find(|tag| immutable(tag)) {
                        return Ok(Err(Refusal::Immutable(tag)));
                    }
                    remove_manifest(db, id, repository, digest.as_str()).map(Ok)
                }
            }
        })
    }

    fn tags(&self, repository: &str, last: &str, limit: usize) -> Result<Option<Page<String>>> {
        self.read(|db| {
            let Some(id) = find_repository(db, repository)? else { return Ok(None) };
            let names = db
                .prepare_cached("SELECT name FROM tags WHERE repository = ?1 AND name > ?2 ORDER BY name LIMIT ?3")?
                .query_map(params![id, last, limit + 1], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            Ok(Some(Page::of(names, limit)))
        })
    }

    fn repositories(&self, last: &str, limit: usize) -> Result<Page<String>> {
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

    fn referrers(
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

    fn named_by(&self, repository: &str, digest: &Digest) -> Result<Option<Vec<u8>>> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT bytes FROM manifests JOIN uses ON uses.manifest = manifests.id
                 WHERE uses.repository = (SELECT id FROM repositories WHERE name = ?1) AND uses.digest = ?2 LIMIT 1",
            )?
            .query_row(params![repository, digest.as_str()], |row| row.get(0))
            .optional()
        })
    }

    fn sweep(&self, sweep: &mut Sweep, garbage: &Garbage<'_>, limit: usize) -> Result<Vec<String>> {
        match *sweep {
            Sweep::Begin => self.sweep_links(sweep, (0, 0), garbage, limit),
            Sweep::Links(repository, blob) => self.sweep_links(sweep, (repository, blob), garbage, limit),
            Sweep::Blobs(after) => self.sweep_blobs(sweep, after, garbage, limit).map(|()| Vec::new()),
            Sweep::Done => Ok(Vec::new()),
        }
    }

    fn leaving(&self, limit: usize) -> Result<Vec<Digest>> {
        let texts = self.read(|db| {
            db.prepare_cached("SELECT digest FROM leaving LIMIT ?1")?
                .query_map([limit], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()
        })?;
        Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }

    fn left(&self, digests: &[Digest]) -> Result<()> {
        self.write(|db| {
            let mut statement = db.prepare_cached("DELETE FROM leaving WHERE digest = ?1")?;
            digests.iter().try_for_each(|digest| statement.execute([digest.as_str()]).map(drop))
        })
    }

    fn while_unknown(&self, digest: &Digest, remove: &mut dyn FnMut()) -> Result<()> {
        self.write(|db| {
            if !db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([digest.as_str()])? {
                remove();
            }
            Ok(())
        })
    }

    /// What was shown last is remembered here and taken off the list now and then: a push need not write for it.
    fn record(&self, limit: usize, write: &mut dyn FnMut(&[Change]) -> Result<()>) -> Result<usize> {
        let mut recorded = self.recorded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (number, changes) = self.read(|db| {
            let rows = db
                .prepare_cached(
                    "SELECT number, repository, digest FROM changes WHERE number > ?1 ORDER BY number LIMIT ?2",
                )?
                .query_map(params![*recorded, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<rusqlite::Result<Vec<(i64, String, String)>>>()?;
            let number = rows.last().map_or(*recorded, |(number, ..)| *number);
            let mut changes = Vec::with_capacity(rows.len());
            for (_, repository, digest) in rows {
                let state = recorded_state(db, &repository, &digest)?;
                changes.push(Change { repository, digest: parsed(&digest)?, state });
            }
            Ok((number, changes))
        })?;
        if !changes.is_empty() {
            write(&changes)?;
            *recorded = number;
        }
        Ok(changes.len())
    }

    fn tidy(&self) -> Result<()> {
        let number = *self.recorded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.write(|db| {
            db.prepare_cached("DELETE FROM changes WHERE number <= ?1")?.execute([number])?;
            Ok(())
        })
    }

    fn note_pulls(&self, pulls: &[Pull]) -> Result<()> {
        self.write(|db| {
            for pull in pulls {
                let Some(repository) = find_repository(db, &pull.repository)? else { continue };
                let values = params![repository, pull.reference.as_str(), pull.at];
                if let ManifestReference::Tag(_) = pull.reference {
                    db.prepare_cached("UPDATE tags SET pulled = ?3 WHERE repository = ?1 AND name = ?2")?
                        .execute(values)?;
                    db.prepare_cached(
                        "UPDATE manifests SET pulled = ?3
                         WHERE id = (SELECT manifest FROM tags WHERE repository = ?1 AND name = ?2)",
                    )?
                    .execute(values)?;
                } else {
                    db.prepare_cached("UPDATE manifests SET pulled = ?3 WHERE repository = ?1 AND digest = ?2")?
                        .execute(values)?;
                }
            }
            Ok(())
        })
    }

    fn facts(&self, repository: &str) -> Result<(Vec<TagFact>, Vec<ManifestFact>)> {
        self.read(|db| {
            let Some(repository) = find_repository(db, repository)? else { return Ok((Vec::new(), Vec::new())) };
            let tags = db
                .prepare_cached(
                    "SELECT tags.name, manifests.digest, tags.moved, tags.pulled FROM tags
                     JOIN manifests ON manifests.id = tags.manifest WHERE tags.repository = ?1 ORDER BY tags.name",
                )?
                .query_map([repository], |row| {
                    Ok(TagFact { name: row.get(0)?, digest: row.get(1)?, moved: row.get(2)?, pulled: row.get(3)? })
                })?
                .collect::<rusqlite::Result<Vec<TagFact>>>()?;
            let mut manifests = db
                .prepare_cached(
                    "SELECT id, digest, pushed, pulled, subject FROM manifests WHERE repository = ?1 ORDER BY digest",
                )?
                .query_map([repository], |row| {
                    let fact = ManifestFact {
                        digest: row.get(1)?,
                        pushed: row.get(2)?,
                        pulled: row.get(3)?,
                        subject: row.get(4)?,
                        uses: Vec::new(),
                    };
                    Ok((row.get::<_, i64>(0)?, fact))
                })?
                .collect::<rusqlite::Result<Vec<(i64, ManifestFact)>>>()?;
            for (id, fact) in &mut manifests {
                fact.uses = db
                    .prepare_cached("SELECT digest FROM uses WHERE manifest = ?1 ORDER BY digest")?
                    .query_map([*id], |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<String>>>()?;
            }
            Ok((tags, manifests.into_iter().map(|(_, fact)| fact).collect()))
        })
    }

    fn retire(&self, repository: &str, removals: &[Removal]) -> Result<Vec<Removal>> {
        self.write(|db| {
            let Some(id) = find_repository(db, repository)? else { return Ok(Vec::new()) };
            let mut done = Vec::new();
            for removal in removals {
                let removed = match removal {
                    Removal::Tag { name, moved } => retire_tag(db, id, repository, name, *moved)?,
                    Removal::Manifest { digest, pushed } => retire_manifest(db, id, repository, digest, *pushed)?,
                };
                done.extend(removed.then(|| removal.clone()));
            }
            Ok(done)
        })
    }

    fn known_blobs(&self, last: &str, limit: usize) -> Result<Page<(Digest, u64)>> {
        self.read(|db| {
            let rows = db
                .prepare_cached("SELECT digest, size FROM blobs WHERE digest > ?1 ORDER BY digest LIMIT ?2")?
                .query_map(params![last, limit + 1], |row| Ok((parsed(&row.get::<_, String>(0)?)?, row.get(1)?)))?
                .collect::<rusqlite::Result<Vec<(Digest, u64)>>>()?;
            Ok(Page::of(rows, limit))
        })
    }

    fn adopt(&self, found: &[(Digest, u64)]) -> Result<()> {
        self.write(|db| {
            let mut add = db.prepare_cached("INSERT OR IGNORE INTO blobs(digest, size, stored) VALUES(?1, ?2, ?3)")?;
            found.iter().try_for_each(|(digest, size)| add.execute(params![digest.as_str(), size, now()]).map(drop))
        })
    }

    fn forget_blob(&self, digest: &Digest) -> Result<Vec<String>> {
        self.write(|db| {
            let repositories = db
                .prepare_cached(
                    "DELETE FROM links WHERE blob = (SELECT id FROM blobs WHERE digest = ?1)
                     RETURNING (SELECT name FROM repositories WHERE id = repository)",
                )?
                .query_map([digest.as_str()], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            db.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([digest.as_str()])?;
            Ok(repositories)
        })
    }

    fn restore(&self, repository: &str, manifest: &Parsed, state: &Recorded, present: &[(Digest, u64)]) -> Result<()> {
        self.write(|db| {
            let id = repository_id(db, repository)?;
            let manifest_id = insert_manifest(db, id, manifest, &state.bytes, state.pushed)?;
            for (tag, moved) in &state.tags {
                let newer: bool = db
                    .prepare_cached("SELECT 1 FROM tags WHERE repository = ?1 AND name = ?2 AND moved > ?3")?
                    .exists(params![id, tag, moved])?;
                if !newer {
                    point(db, id, tag, manifest_id, *moved)?;
                }
            }
            for (digest, size) in present {
                db.prepare_cached(
                    "INSERT INTO blobs(digest, size, stored) VALUES(?1, ?2, ?3) ON CONFLICT(digest) DO NOTHING",
                )?
                .execute(params![digest.as_str(), size, now()])?;
                link(db, repository, digest)?;
            }
            changed(db, repository, manifest.digest.as_str())
        })
    }

    fn changed(&self, repository: &str, digest: &Digest) -> Result<()> {
        self.write(|db| changed(db, repository, digest.as_str()))
    }

    fn complaints(&self) -> Result<Vec<String>> {
        self.read(|db| {
            let lines = db
                .prepare("PRAGMA integrity_check(20)")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect())
        })
    }

    /// There are no others.
    fn alone(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        work()
    }
}

impl Sqlite {
    /// Looks without holding anybody up, then removes what is still garbage.
    fn sweep_links(
        &self,
        sweep: &mut Sweep,
        after: (i64, i64),
        garbage: &Garbage<'_>,
        limit: usize,
    ) -> Result<Vec<String>> {
        let seen = self.read(|db| {
            db.prepare_cached(
                "SELECT links.repository, links.blob, repositories.name, links.linked <= ?3 AND NOT EXISTS(
                   SELECT 1 FROM uses WHERE uses.repository = links.repository AND uses.digest = blobs.digest)
                 FROM links JOIN blobs ON blobs.id = links.blob JOIN repositories ON repositories.id = links.repository
                 WHERE (links.repository, links.blob) > (?1, ?2) ORDER BY links.repository, links.blob LIMIT ?4",
            )?
            .query_map(params![after.0, after.1, garbage.before, limit], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?
            .collect::<rusqlite::Result<Vec<(i64, i64, String, bool)>>>()
        })?;
        *sweep = match seen.last() {
            Some((repository, blob, ..)) if seen.len() == limit => Sweep::Links(*repository, *blob),
            _ => Sweep::Blobs(0),
        };
        let candidates: Vec<_> = seen.into_iter().filter(|(.., name, free)| *free && !(garbage.busy)(name)).collect();
        let mut changed: Vec<String> = Vec::new();
        if candidates.is_empty() {
            return Ok(changed);
        }
        self.write(|db| {
            for (repository, blob, name, _) in candidates {
                let removed = db
                    .prepare_cached(
                        "DELETE FROM links WHERE repository = ?1 AND blob = ?2 AND linked <= ?3 AND NOT EXISTS(
                           SELECT 1 FROM uses WHERE uses.repository = ?1
                           AND uses.digest = (SELECT digest FROM blobs WHERE id = ?2))",
                    )?
                    .execute(params![repository, blob, garbage.before])?;
                if removed > 0 && changed.last() != Some(&name) {
                    changed.push(name);
                }
            }
            Ok(())
        })?;
        Ok(changed)
    }

    fn sweep_blobs(&self, sweep: &mut Sweep, after: i64, garbage: &Garbage<'_>, limit: usize) -> Result<()> {
        const FREE: &str = "stored <= ?1 AND NOT EXISTS(SELECT 1 FROM links WHERE links.blob = blobs.id)
                            AND NOT EXISTS(SELECT 1 FROM manifests WHERE manifests.digest = blobs.digest)";
        let seen = self.read(|db| {
            db.prepare_cached(&format!("SELECT id, {FREE} FROM blobs WHERE id > ?2 ORDER BY id LIMIT ?3"))?
                .query_map(params![garbage.before, after, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<Vec<(i64, bool)>>>()
        })?;
        *sweep = match seen.last() {
            Some((id, _)) if seen.len() == limit => Sweep::Blobs(*id),
            _ => Sweep::Done,
        };
        let candidates: Vec<i64> = seen.into_iter().filter(|(_, free)| *free).map(|(id, _)| id).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        self.write(|db| {
            for id in candidates {
                let gone: Option<String> = db
                    .prepare_cached(&format!("DELETE FROM blobs WHERE id = ?2 AND {FREE} RETURNING digest"))?
                    .query_row(params![garbage.before, id], |row| row.get(0))
                    .optional()?;
                if let Some(digest) = gone {
                    db.prepare_cached("INSERT OR IGNORE INTO leaving(digest) VALUES(?1)")?.execute([digest])?;
                }
            }
            Ok(())
        })
    }
}

/// Records blobs in one transaction, each for itself: what is refused or fails leaves the others alone. Nobody is told before
/// the end, when all of it is on the disk.
fn add_blobs(writer: &mut Connection, arrived: Vec<NewBlob>) {
    if arrived.is_empty() {
        return;
    }
    let mut work = || {
        let mut transaction = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(arrived.len());
        for new in &arrived {
            let step = transaction.savepoint()?;
            let outcome = add_blob(&step, new);
            match &outcome {
                Ok(Ok(())) => step.commit()?,
                // Dropped, it is rolled back.
                _ => drop(step),
            }
            outcomes.push(outcome);
        }
        transaction.commit()?;
        Ok::<_, rusqlite::Error>(outcomes)
    };
    // Who has gone away does not want to know.
    match work() {
        Ok(outcomes) => arrived.iter().zip(outcomes).for_each(|(new, outcome)| {
            let _ = new.tell.send(outcome.map_err(StorageError::from));
        }),
        Err(error) => {
            let why = error.to_string();
            for new in &arrived {
                let source = std::io::Error::other(why.clone());
                let _ = new.tell.send(Err(StorageError::Io { what: "commit".into(), source }));
            }
        }
    }
}

fn add_blob(db: &Connection, new: &NewBlob) -> rusqlite::Result<std::result::Result<(), Refusal>> {
    db.prepare_cached(
        "INSERT INTO blobs(digest, size, stored) VALUES(?1, ?2, ?3)
         ON CONFLICT(digest) DO UPDATE SET size = ?2, stored = ?3",
    )?
    .execute(params![new.digest.as_str(), new.size, now()])?;
    link(db, &new.repository, &new.digest)?;
    within(db, &new.repository, new.bytes_max)
}

/// A digest from a column in which only digests stand.
fn parsed(text: &str) -> rusqlite::Result<Digest> {
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            0,
            rusqlite::types::Type::Text,
            Box::<dyn std::error::Error + Send + Sync>::from(format!("{error}")),
        )
    })
}

fn shown_size(db: &Connection, repository: &str, digest: &Digest) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached(
        "SELECT blobs.size FROM blobs JOIN links ON links.blob = blobs.id
         JOIN repositories ON repositories.id = links.repository WHERE blobs.digest = ?1 AND repositories.name = ?2",
    )?
    .query_row(params![digest.as_str(), repository], |row| row.get(0))
    .optional()
}

fn missing_blobs(db: &Connection, repository: &str, digests: &[Digest]) -> rusqlite::Result<Vec<String>> {
    let mut missing = Vec::new();
    for digest in digests {
        if shown_size(db, repository, digest)?.is_none() {
            missing.push(digest.to_string());
        }
    }
    Ok(missing)
}

fn usage(db: &Connection, repository: &str) -> rusqlite::Result<u64> {
    db.prepare_cached(
        "SELECT (SELECT coalesce(sum(blobs.size), 0) FROM links JOIN blobs ON blobs.id = links.blob
                 WHERE links.repository = (SELECT id FROM repositories WHERE name = ?1))
              + (SELECT coalesce(sum(length(bytes)), 0) FROM manifests
                 WHERE repository = (SELECT id FROM repositories WHERE name = ?1))",
    )?
    .query_row([repository], |row| row.get(0))
}

fn within(
    db: &Connection,
    repository: &str,
    bytes_max: Option<u64>,
) -> rusqlite::Result<std::result::Result<(), Refusal>> {
    let Some(bytes_max) = bytes_max else { return Ok(Ok(())) };
    let bytes = usage(db, repository)?;
    Ok(if bytes <= bytes_max { Ok(()) } else { Err(Refusal::OverQuota { bytes, bytes_max }) })
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

#[cfg(test)]
mod tests {
    use super::*;

    crate::metadata::contract::contract!(|directory: &Path| Sqlite::open(&directory.join("registry.db")).unwrap());
}
