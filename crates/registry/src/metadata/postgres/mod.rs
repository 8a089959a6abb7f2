//! The metadata in a Postgres database, for any number of instances.
//!
//! Law: what SQLite has from its one writer is locked here, for one transaction:
//! * who changes a repository holds its row, so that what he decides (quota, immutable tag, missing blobs) still holds when he is done;
//! * who adds shares [`GARBAGE`], who collects holds it alone, so that nothing is found unused that is just being used;
//! * who records a blob shares the lock of its digest, who removes its bytes holds it alone;
//! * who records changes holds their rows, so that records of one manifest are written one after the other.
//!
//! A transaction that meets another head on (deadlock) is tried again.

mod manifests;
mod schema;
mod uploads;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use knarr_spec::Digest;
use sha2::Digest as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection, Row};

use super::{
    Change, Decided, Garbage, ManifestFact, Metadata, NewManifest, Page, Pull, Recorded, Referrer, Refusal, Removal,
    Result, StoredManifest, Sweep, TagFact,
};
use crate::clock::now;
use crate::config::storage;
use crate::driver::Driver;
use crate::error::IoContext;
use crate::manifest::Parsed;
use crate::route::ManifestReference;
use manifests::{
    changed, insert_manifest, point, recorded_state, remove_manifest, retire_manifest, retire_tag, tag_target, tags_of,
};

pub use uploads::Progress;

/// Shared by who adds, held by who collects. The keys of digests are drawn from the same numbers, and as good as never meet.
const GARBAGE: i64 = 0x6b6e_6172_7200_0001;
/// Held by the instance that cleans up.
const UPKEEP: i64 = 0x6b6e_6172_7200_0002;
/// Shared by instances that serve, held by who must be alone.
const PRESENCE: i64 = 0x6b6e_6172_7200_0003;
/// Held while the schema is brought up to date.
const SCHEMA: i64 = 0x6b6e_6172_7200_0004;

/// How often a transaction that met another head on is tried.
const TRIES_MAX: usize = 10;
/// How long somebody waits for a free connection.
const ACQUIRE_MAX: Duration = Duration::from_secs(30);

/// The database.
pub struct Postgres {
    pool: PgPool,
    driver: Driver,
    /// Holds the lock that says we are here; ends with us.
    presence: Mutex<Option<PgConnection>>,
    options: PgConnectOptions,
}

type Db = PgConnection;

// A connection goes back to its pool by a task: methods that hold one between two waits are inside the driver until their end.

impl Postgres {
    /// Connects to the database and brings its schema up to date.
    pub fn open(settings: &storage::Postgres, driver: Driver) -> Result<Postgres> {
        let mut options: PgConnectOptions = settings.url.parse()?;
        options = options.application_name("knarr-registry");
        if let Some(path) = &settings.password_file {
            let text = std::fs::read_to_string(path).what(|| format!("read {}", path.display()))?;
            options = options.password(text.lines().next().unwrap_or_default());
        }
        let pool = PgPoolOptions::new().max_connections(settings.connections).acquire_timeout(ACQUIRE_MAX);
        let connected = driver.wait(async {
            // Whoever is wrong about the address is told why, not that time is up.
            PgConnection::connect_with(&options).await?.close().await?;
            pool.connect_with(options.clone()).await
        });
        let postgres = Postgres { pool: connected?, driver, presence: Mutex::default(), options };
        postgres.driver.wait(schema::migrate(&postgres.pool))?;
        Ok(postgres)
    }

    /// Says that this process uses the database; `alone` if nobody else may. `false` where that cannot be.
    pub fn occupy(&self, alone: bool) -> Result<bool> {
        let query = match alone {
            true => "SELECT pg_try_advisory_lock($1)",
            false => "SELECT pg_try_advisory_lock_shared($1)",
        };
        let (connection, occupied) = self.driver.wait(async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            let occupied: bool = sqlx::query_scalar(query).bind(PRESENCE).fetch_one(&mut connection).await?;
            Ok::<_, sqlx::Error>((connection, occupied))
        })?;
        *self.presence.lock().unwrap_or_else(PoisonError::into_inner) = occupied.then_some(connection);
        Ok(occupied)
    }

    /// One statement, or several that need not be of one moment.
    fn ask<T>(&self, query: impl AsyncFnOnce(&mut Db) -> sqlx::Result<T>) -> Result<T> {
        Ok(self.driver.wait(async {
            let mut connection = self.pool.acquire().await?;
            query(&mut connection).await
        })?)
    }

    /// One moment for all that is asked.
    fn read<T>(&self, query: impl AsyncFnOnce(&mut Db) -> sqlx::Result<T>) -> Result<T> {
        Ok(self.driver.wait(async {
            let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let answer = query(&mut transaction).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(answer)
        })?)
    }

    fn write<T>(&self, change: impl AsyncFn(&mut Db) -> sqlx::Result<T>) -> Result<T> {
        match self.decide(async |db| change(db).await.map(Ok))? {
            Ok(answer) => Ok(answer),
            Err(refusal) => unreachable!("a plain change is not refused: {refusal:?}"),
        }
    }

    /// As `write`; what is refused is rolled back.
    fn decide<T>(&self, change: impl AsyncFn(&mut Db) -> sqlx::Result<std::result::Result<T, Refusal>>) -> Decided<T> {
        let mut tries = 0;
        loop {
            let outcome = self.driver.wait(async {
                let mut transaction = self.pool.begin().await?;
                let answer = change(&mut transaction).await?;
                match &answer {
                    Ok(_) => transaction.commit().await?,
                    Err(_) => transaction.rollback().await?,
                }
                Ok(answer)
            });
            tries += 1;
            match outcome {
                Err(error) if tries < TRIES_MAX && met_another(&error) => continue,
                outcome => return Ok(outcome?),
            }
        }
    }
}

impl Drop for Postgres {
    /// The lock goes with its connection, at once and not when the server notices.
    fn drop(&mut self) {
        let presence = self.presence.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let pool = self.pool.clone();
        self.driver.handle().spawn(async move {
            if let Some(connection) = presence {
                let _ = connection.close().await;
            }
            pool.close().await;
        });
    }
}

/// Whether a transaction was ended because it and another waited for each other.
fn met_another(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("40P01" | "40001"))
}

fn key(digest: &str) -> i64 {
    let hash = sha2::Sha256::digest(digest.as_bytes());
    i64::from_be_bytes(hash[..8].try_into().expect("eight bytes"))
}

/// To be called first by who adds: nothing is collected meanwhile, and the bytes of `digest`, if any, are not removed.
async fn adding(db: &mut Db, digest: Option<&str>) -> sqlx::Result<()> {
    match digest {
        None => sqlx::query("SELECT pg_advisory_xact_lock_shared($1)").bind(GARBAGE).execute(db).await?,
        Some(digest) => {
            let query = "SELECT pg_advisory_xact_lock_shared($1), pg_advisory_xact_lock_shared($2)";
            sqlx::query(query).bind(GARBAGE).bind(key(digest)).execute(db).await?
        }
    };
    Ok(())
}

/// To be called first by who collects: nobody adds anything meanwhile.
async fn collecting(db: &mut Db) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(GARBAGE).execute(db).await?;
    Ok(())
}

async fn find_repository(db: &mut Db, name: &str) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("SELECT id FROM repositories WHERE name = $1").bind(name).fetch_optional(db).await
}

/// The repository, its row locked: nobody else changes it until we are done. `None` where there is none.
async fn hold_repository(db: &mut Db, name: &str) -> sqlx::Result<Option<i64>> {
    let query = "SELECT id FROM repositories WHERE name = $1 FOR NO KEY UPDATE";
    sqlx::query_scalar(query).bind(name).fetch_optional(db).await
}

/// As [`hold_repository`]; made where there is none.
async fn hold_or_make_repository(db: &mut Db, name: &str) -> sqlx::Result<i64> {
    if let Some(id) = hold_repository(db, name).await? {
        return Ok(id);
    }
    // Another may make it in the same moment; then its row is waited for and held.
    sqlx::query_scalar(
        "INSERT INTO repositories(name) VALUES($1) ON CONFLICT(name) DO UPDATE SET name = $1 RETURNING id",
    )
    .bind(name)
    .fetch_one(db)
    .await
}

async fn shown_size(db: &mut Db, repository: &str, digest: &Digest) -> sqlx::Result<Option<u64>> {
    let size: Option<i64> = sqlx::query_scalar(
        "SELECT blobs.size FROM blobs JOIN links ON links.blob = blobs.id
         JOIN repositories ON repositories.id = links.repository WHERE blobs.digest = $1 AND repositories.name = $2",
    )
    .bind(digest.as_str())
    .bind(repository)
    .fetch_optional(db)
    .await?;
    Ok(size.map(i64::cast_unsigned))
}

async fn missing_blobs(db: &mut Db, repository: &str, digests: &[Digest]) -> sqlx::Result<Vec<String>> {
    let wanted: Vec<String> = digests.iter().map(ToString::to_string).collect();
    sqlx::query_scalar(
        "SELECT digest FROM unnest($2::text[]) WITH ORDINALITY AS wanted(digest, place) WHERE NOT EXISTS(
           SELECT 1 FROM blobs JOIN links ON links.blob = blobs.id JOIN repositories ON repositories.id = links.repository
           WHERE blobs.digest = wanted.digest AND repositories.name = $1) ORDER BY place",
    )
    .bind(repository)
    .bind(wanted)
    .fetch_all(db)
    .await
}

/// Whether the repository, which is held, holds no more than it may.
async fn within(
    db: &mut Db,
    repository: i64,
    bytes_max: Option<u64>,
) -> sqlx::Result<std::result::Result<(), Refusal>> {
    let Some(bytes_max) = bytes_max else { return Ok(Ok(())) };
    let bytes: i64 = sqlx::query_scalar(
        "SELECT ((SELECT coalesce(sum(blobs.size), 0) FROM links JOIN blobs ON blobs.id = links.blob WHERE links.repository = $1)
               + (SELECT coalesce(sum(length(bytes)), 0) FROM manifests WHERE repository = $1))::bigint",
    )
    .bind(repository)
    .fetch_one(db)
    .await?;
    let bytes = bytes.cast_unsigned();
    Ok(if bytes <= bytes_max { Ok(()) } else { Err(Refusal::OverQuota { bytes, bytes_max }) })
}

/// `false` where there is no such blob.
async fn link(db: &mut Db, repository: i64, digest: &Digest) -> sqlx::Result<bool> {
    let linked = sqlx::query(
        "INSERT INTO links(repository, blob, linked) SELECT $1, id, $3 FROM blobs WHERE digest = $2
         ON CONFLICT(repository, blob) DO UPDATE SET linked = $3",
    )
    .bind(repository)
    .bind(digest.as_str())
    .bind(now())
    .execute(db)
    .await?;
    Ok(linked.rows_affected() > 0)
}

/// A digest from a column in which only digests stand.
fn parsed(text: &str) -> sqlx::Result<Digest> {
    text.parse().map_err(|error| sqlx::Error::Decode(format!("{error}").into()))
}

/// A number of rows as the database wants it.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Metadata for Postgres {
    fn blob_size(&self, repository: &str, digest: &Digest) -> Result<Option<u64>> {
        self.ask(async |db| shown_size(db, repository, digest).await)
    }

    fn add_blob(&self, repository: &str, digest: &Digest, size: u64, bytes_max: Option<u64>) -> Decided<()> {
        self.decide(async |db| {
            adding(db, Some(digest.as_str())).await?;
            let repository = hold_or_make_repository(db, repository).await?;
            sqlx::query(
                "INSERT INTO blobs(digest, size, stored) VALUES($1, $2, $3)
                 ON CONFLICT(digest) DO UPDATE SET size = $2, stored = $3",
            )
            .bind(digest.as_str())
            .bind(size.cast_signed())
            .bind(now())
            .execute(&mut *db)
            .await?;
            link(db, repository, digest).await?;
            within(db, repository, bytes_max).await
        })
    }

    fn mount_blob(
        &self,
        repository: &str,
        digest: &Digest,
        from: Option<&str>,
        bytes_max: Option<u64>,
    ) -> Decided<bool> {
        self.decide(async |db| {
            adding(db, None).await?;
            let visible = match from {
                Some(from) => shown_size(db, from, digest).await?.is_some(),
                // A manifest is a blob nobody shows as one.
                None => {
                    let query =
                        "SELECT 1 FROM links JOIN blobs ON blobs.id = links.blob WHERE blobs.digest = $1 LIMIT 1";
                    sqlx::query(query).bind(digest.as_str()).fetch_optional(&mut *db).await?.is_some()
                }
            };
            if !visible {
                return Ok(Ok(false));
            }
            let repository = hold_or_make_repository(db, repository).await?;
            if !link(db, repository, digest).await? {
                return Ok(Ok(false));
            }
            Ok(within(db, repository, bytes_max).await?.map(|()| true))
        })
    }

    fn unlink_blob(&self, repository: &str, digest: &Digest) -> Result<bool> {
        self.write(async |db| {
            let Some(repository) = hold_repository(db, repository).await? else { return Ok(false) };
            let query = "DELETE FROM links WHERE repository = $1 AND blob = (SELECT id FROM blobs WHERE digest = $2)";
            let removed = sqlx::query(query).bind(repository).bind(digest.as_str()).execute(db).await?;
            Ok(removed.rows_affected() > 0)
        })
    }

    fn manifest(&self, repository: &str, reference: &ManifestReference) -> Result<Option<StoredManifest>> {
        let query = match reference {
            ManifestReference::Tag(_) => {
                "SELECT manifests.digest, media_type, bytes FROM manifests JOIN tags ON tags.manifest = manifests.id
                 WHERE tags.repository = (SELECT id FROM repositories WHERE name = $1) AND tags.name = $2"
            }
            ManifestReference::Digest(_) => {
                "SELECT digest, media_type, bytes FROM manifests
                 WHERE repository = (SELECT id FROM repositories WHERE name = $1) AND digest = $2"
            }
        };
        self.ask(async |db| {
            let row = sqlx::query(query).bind(repository).bind(reference.as_str()).fetch_optional(db).await?;
            let read = |row: sqlx::postgres::PgRow| {
                Ok(StoredManifest { digest: row.try_get(0)?, media_type: row.try_get(1)?, bytes: row.try_get(2)? })
            };
            row.map(read).transpose()
        })
    }

    fn put_manifest(&self, new: &NewManifest<'_>) -> Decided<()> {
        self.decide(async |db| {
            let digest = new.manifest.digest.as_str();
            adding(db, Some(digest)).await?;
            let repository = hold_or_make_repository(db, new.repository).await?;
            if new.blobs_required {
                let missing = missing_blobs(db, new.repository, &new.manifest.blobs).await?;
                if !missing.is_empty() {
                    return Ok(Err(Refusal::MissingBlobs(missing)));
                }
            }
            for tag in new.tags {
                if let Some(old) = tag_target(db, repository, tag).await?
                    && old != digest
                {
                    if (new.immutable)(tag) {
                        return Ok(Err(Refusal::Immutable(tag.clone())));
                    }
                    changed(db, new.repository, &old).await?;
                }
            }
            let id = insert_manifest(db, repository, new.manifest, new.bytes, now()).await?;
            for tag in new.tags {
                point(db, repository, tag, id, now()).await?;
            }
            changed(db, new.repository, digest).await?;
            within(db, repository, new.bytes_max).await
        })
    }

    fn delete_manifest(
        &self,
        repository: &str,
        reference: &ManifestReference,
        immutable: &dyn Fn(&str) -> bool,
    ) -> Decided<bool> {
        self.decide(async |db| {
            let Some(id) = hold_repository(db, repository).await? else { return Ok(Ok(false)) };
            match reference {
                ManifestReference::Tag(tag) => {
                    let Some(digest) = tag_target(db, id, tag).await? else { return Ok(Ok(false)) };
                    if immutable(tag) {
                        return Ok(Err(Refusal::Immutable(tag.clone())));
                    }
                    let query = "DELETE FROM tags WHERE repository = $1 AND name = $2";
                    sqlx::query(query).bind(id).bind(tag).execute(&mut *db).await?;
                    changed(db, repository, &digest).await?;
                    Ok(Ok(true))
                }
                ManifestReference::Digest(digest) => {
                    let tags = tags_of(db, id, digest.as_str()).await?;
                    if let Some(tag) = tags.into_keys().find(|tag| immutable(tag)) {
                        return Ok(Err(Refusal::Immutable(tag)));
                    }
                    remove_manifest(db, id, repository, digest.as_str()).await.map(Ok)
                }
            }
        })
    }

    fn tags(&self, repository: &str, last: &str, limit: usize) -> Result<Option<Page<String>>> {
        self.ask(async |db| {
            let Some(id) = find_repository(db, repository).await? else { return Ok(None) };
            let query = "SELECT name FROM tags WHERE repository = $1 AND name > $2 ORDER BY name LIMIT $3";
            let names = sqlx::query_scalar(query).bind(id).bind(last).bind(rows(limit + 1)).fetch_all(db).await?;
            Ok(Some(Page::of(names, limit)))
        })
    }

    fn repositories(&self, last: &str, limit: usize) -> Result<Page<String>> {
        self.ask(async |db| {
            let query = "SELECT name FROM repositories WHERE name > $1
                         AND EXISTS(SELECT 1 FROM manifests WHERE repository = repositories.id) ORDER BY name LIMIT $2";
            let names = sqlx::query_scalar(query).bind(last).bind(rows(limit + 1)).fetch_all(db).await?;
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
        self.ask(async |db| {
            let found = sqlx::query(
                "SELECT digest, media_type, length(bytes), artifact_type, annotations FROM manifests
                 WHERE repository = (SELECT id FROM repositories WHERE name = $1) AND subject = $2 AND digest > $3
                 AND ($4::text IS NULL OR artifact_type = $4) ORDER BY digest LIMIT $5",
            )
            .bind(repository)
            .bind(subject.as_str())
            .bind(last)
            .bind(artifact_type)
            .bind(rows(limit + 1))
            .fetch_all(db)
            .await?;
            let read = |row: sqlx::postgres::PgRow| {
                Ok(Referrer {
                    digest: row.try_get(0)?,
                    media_type: row.try_get(1)?,
                    size: row.try_get::<i32, _>(2)?.unsigned_abs().into(),
                    artifact_type: row.try_get(3)?,
                    annotations: row.try_get(4)?,
                })
            };
            let entries = found.into_iter().map(read).collect::<sqlx::Result<Vec<Referrer>>>()?;
            Ok(Page::of(entries, limit))
        })
    }

    fn named_by(&self, repository: &str, digest: &Digest) -> Result<Option<Vec<u8>>> {
        self.ask(async |db| {
            sqlx::query_scalar(
                "SELECT bytes FROM manifests JOIN uses ON uses.manifest = manifests.id
                 WHERE uses.repository = (SELECT id FROM repositories WHERE name = $1) AND uses.digest = $2 LIMIT 1",
            )
            .bind(repository)
            .bind(digest.as_str())
            .fetch_optional(db)
            .await
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
        let query = "SELECT digest FROM leaving LIMIT $1";
        let texts: Vec<String> =
            self.ask(async |db| sqlx::query_scalar(query).bind(rows(limit)).fetch_all(db).await)?;
        Ok(texts.iter().map(|text| parsed(text)).collect::<sqlx::Result<_>>()?)
    }

    fn left(&self, digests: &[Digest]) -> Result<()> {
        let texts: Vec<&str> = digests.iter().map(Digest::as_str).collect();
        let query = "DELETE FROM leaving WHERE digest = ANY($1)";
        self.write(async |db| sqlx::query(query).bind(&texts).execute(db).await.map(drop))
    }

    fn while_unknown(&self, digest: &Digest, remove: &mut dyn FnMut()) -> Result<()> {
        let _inside = self.driver.handle().enter();
        // The lock is held over the removal, which waits for another store and so must not run inside async code.
        let (transaction, known) = self.driver.wait(async {
            let mut transaction = self.pool.begin().await?;
            let lock = "SELECT pg_advisory_xact_lock($1)";
            sqlx::query(lock).bind(key(digest.as_str())).execute(&mut *transaction).await?;
            let query = "SELECT 1 FROM blobs WHERE digest = $1";
            let known = sqlx::query(query).bind(digest.as_str()).fetch_optional(&mut *transaction).await?.is_some();
            Ok::<_, sqlx::Error>((transaction, known))
        })?;
        if !known {
            remove();
        }
        Ok(self.driver.wait(transaction.commit())?)
    }

    fn record(&self, limit: usize, write: &mut dyn FnMut(&[Change]) -> Result<()>) -> Result<usize> {
        let _inside = self.driver.handle().enter();
        let (mut transaction, numbers, changes) = self.driver.wait(async {
            let mut transaction = self.pool.begin().await?;
            // Who comes later waits here, and then does not see what was recorded meanwhile.
            let query = "SELECT number, repository, digest FROM changes ORDER BY number LIMIT $1 FOR UPDATE";
            let found: Vec<(i64, String, String)> =
                sqlx::query_as(query).bind(rows(limit)).fetch_all(&mut *transaction).await?;
            let (mut numbers, mut changes) = (Vec::new(), Vec::new());
            for (number, repository, digest) in found {
                let state = recorded_state(&mut transaction, &repository, &digest).await?;
                changes.push(Change { repository, digest: parsed(&digest)?, state });
                numbers.push(number);
            }
            Ok::<_, sqlx::Error>((transaction, numbers, changes))
        })?;
        if !changes.is_empty() {
            write(&changes)?;
        }
        self.driver.wait(async {
            let query = "DELETE FROM changes WHERE number = ANY($1)";
            sqlx::query(query).bind(&numbers).execute(&mut *transaction).await?;
            transaction.commit().await
        })?;
        Ok(changes.len())
    }

    /// Nothing: what is recorded goes from the list at once.
    fn tidy(&self) -> Result<()> {
        Ok(())
    }

    fn note_pulls(&self, pulls: &[Pull]) -> Result<()> {
        self.write(async |db| {
            for pull in pulls {
                let Some(repository) = find_repository(db, &pull.repository).await? else { continue };
                let by_digest =
                    "UPDATE manifests SET pulled = greatest(pulled, $3) WHERE repository = $1 AND digest = $2";
                let by_tag =
                    "WITH tag AS (UPDATE tags SET pulled = greatest(pulled, $3) WHERE repository = $1 AND name = $2
                                           RETURNING manifest)
                              UPDATE manifests SET pulled = greatest(pulled, $3) WHERE id = (SELECT manifest FROM tag)";
                let query = match pull.reference {
                    ManifestReference::Tag(_) => by_tag,
                    ManifestReference::Digest(_) => by_digest,
                };
                sqlx::query(query)
                    .bind(repository)
                    .bind(pull.reference.as_str())
                    .bind(pull.at)
                    .execute(&mut *db)
                    .await?;
            }
            Ok(())
        })
    }

    fn facts(&self, repository: &str) -> Result<(Vec<TagFact>, Vec<ManifestFact>)> {
        self.read(async |db| {
            let Some(repository) = find_repository(db, repository).await? else { return Ok((Vec::new(), Vec::new())) };
            let tags = sqlx::query_as::<_, (String, String, i64, Option<i64>)>(
                "SELECT tags.name, manifests.digest, tags.moved, tags.pulled FROM tags
                 JOIN manifests ON manifests.id = tags.manifest WHERE tags.repository = $1 ORDER BY tags.name",
            )
            .bind(repository)
            .fetch_all(&mut *db)
            .await?;
            let tags = tags.into_iter().map(|(name, digest, moved, pulled)| TagFact { name, digest, moved, pulled });
            let manifests = sqlx::query_as::<_, (String, i64, Option<i64>, Option<String>, Vec<String>)>(
                "SELECT digest, pushed, pulled, subject,
                   array(SELECT uses.digest FROM uses WHERE uses.manifest = manifests.id ORDER BY uses.digest)
                 FROM manifests WHERE repository = $1 ORDER BY digest",
            )
            .bind(repository)
            .fetch_all(&mut *db)
            .await?;
            let fact = |(digest, pushed, pulled, subject, uses)| ManifestFact { digest, pushed, pulled, subject, uses };
            Ok((tags.collect(), manifests.into_iter().map(fact).collect()))
        })
    }

    fn retire(&self, repository: &str, removals: &[Removal]) -> Result<Vec<Removal>> {
        self.write(async |db| {
            let Some(id) = hold_repository(db, repository).await? else { return Ok(Vec::new()) };
            let mut done = Vec::new();
            for removal in removals {
                let removed = match removal {
                    Removal::Tag { name, moved } => retire_tag(db, id, repository, name, *moved).await?,
                    Removal::Manifest { digest, pushed } => {
                        retire_manifest(db, id, repository, digest, *pushed).await?
                    }
                };
                done.extend(removed.then(|| removal.clone()));
            }
            Ok(done)
        })
    }

    fn known_blobs(&self, last: &str, limit: usize) -> Result<Page<(Digest, u64)>> {
        self.ask(async |db| {
            let query = "SELECT digest, size FROM blobs WHERE digest > $1 ORDER BY digest LIMIT $2";
            let found: Vec<(String, i64)> =
                sqlx::query_as(query).bind(last).bind(rows(limit + 1)).fetch_all(db).await?;
            let read = |(digest, size): (String, i64)| Ok((parsed(&digest)?, size.cast_unsigned()));
            let known = found.into_iter().map(read).collect::<sqlx::Result<Vec<(Digest, u64)>>>()?;
            Ok(Page::of(known, limit))
        })
    }

    fn adopt(&self, found: &[(Digest, u64)]) -> Result<()> {
        let digests: Vec<&str> = found.iter().map(|(digest, _)| digest.as_str()).collect();
        let sizes: Vec<i64> = found.iter().map(|(_, size)| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        let query =
            "INSERT INTO blobs(digest, size, stored) SELECT digest, size, $3 FROM unnest($1::text[], $2::bigint[])
                     AS found(digest, size) ON CONFLICT DO NOTHING";
        self.write(async |db| {
            adding(db, None).await?;
            sqlx::query(query).bind(&digests).bind(&sizes).bind(now()).execute(db).await.map(drop)
        })
    }

    fn forget_blob(&self, digest: &Digest) -> Result<Vec<String>> {
        self.write(async |db| {
            collecting(db).await?;
            let repositories = sqlx::query_scalar(
                "DELETE FROM links WHERE blob = (SELECT id FROM blobs WHERE digest = $1)
                 RETURNING (SELECT name FROM repositories WHERE id = repository)",
            )
            .bind(digest.as_str())
            .fetch_all(&mut *db)
            .await?;
            sqlx::query("DELETE FROM blobs WHERE digest = $1").bind(digest.as_str()).execute(db).await?;
            Ok(repositories)
        })
    }

    fn restore(&self, repository: &str, manifest: &Parsed, state: &Recorded, present: &[(Digest, u64)]) -> Result<()> {
        self.write(async |db| {
            adding(db, Some(manifest.digest.as_str())).await?;
            let id = hold_or_make_repository(db, repository).await?;
            let manifest_id = insert_manifest(db, id, manifest, &state.bytes, state.pushed).await?;
            for (tag, moved) in &state.tags {
                let query = "SELECT 1 FROM tags WHERE repository = $1 AND name = $2 AND moved > $3";
                let newer = sqlx::query(query).bind(id).bind(tag).bind(moved).fetch_optional(&mut *db).await?;
                if newer.is_none() {
                    point(db, id, tag, manifest_id, *moved).await?;
                }
            }
            for (digest, size) in present {
                let query = "INSERT INTO blobs(digest, size, stored) VALUES($1, $2, $3) ON CONFLICT(digest) DO NOTHING";
                let size = size.cast_signed();
                sqlx::query(query).bind(digest.as_str()).bind(size).bind(now()).execute(&mut *db).await?;
                link(db, id, digest).await?;
            }
            changed(db, repository, manifest.digest.as_str()).await
        })
    }

    fn changed(&self, repository: &str, digest: &Digest) -> Result<()> {
        self.write(async |db| changed(db, repository, digest.as_str()).await)
    }

    /// The server looks after itself.
    fn complaints(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn alone(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let _inside = self.driver.handle().enter();
        let (mut connection, ours) = self.driver.wait(async {
            let mut connection = self.pool.acquire().await?;
            let query = "SELECT pg_try_advisory_lock($1)";
            let ours: bool = sqlx::query_scalar(query).bind(UPKEEP).fetch_one(&mut *connection).await?;
            Ok::<_, sqlx::Error>((connection, ours))
        })?;
        if !ours {
            return Ok(());
        }
        let outcome = work();
        let unlocked = self.driver.wait(async {
            let query = "SELECT pg_advisory_unlock($1)";
            sqlx::query(query).bind(UPKEEP).execute(&mut *connection).await
        });
        if let Err(error) = unlocked {
            // The lock is this connection's: it goes with it.
            connection.close_on_drop();
            outcome?;
            return Err(error.into());
        }
        outcome
    }
}

impl Postgres {
    /// Looks without holding anybody up, then removes what is still garbage.
    fn sweep_links(
        &self,
        sweep: &mut Sweep,
        after: (i64, i64),
        garbage: &Garbage<'_>,
        limit: usize,
    ) -> Result<Vec<String>> {
        let seen: Vec<(i64, i64, String, bool)> = self.ask(async |db| {
            sqlx::query_as(
                "SELECT links.repository, links.blob, repositories.name, links.linked <= $3 AND NOT EXISTS(
                   SELECT 1 FROM uses WHERE uses.repository = links.repository AND uses.digest = blobs.digest)
                 FROM links JOIN blobs ON blobs.id = links.blob JOIN repositories ON repositories.id = links.repository
                 WHERE (links.repository, links.blob) > ($1, $2) ORDER BY links.repository, links.blob LIMIT $4",
            )
            .bind(after.0)
            .bind(after.1)
            .bind(garbage.before)
            .bind(rows(limit))
            .fetch_all(db)
            .await
        })?;
        *sweep = match seen.last() {
            Some((repository, blob, ..)) if seen.len() == limit => Sweep::Links(*repository, *blob),
            _ => Sweep::Blobs(0),
        };
        let candidates: Vec<_> = seen.into_iter().filter(|(.., name, free)| *free && !(garbage.busy)(name)).collect();
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        self.write(async |db| {
            collecting(db).await?;
            let mut changed: Vec<String> = Vec::new();
            for (repository, blob, name, _) in &candidates {
                let removed = sqlx::query(
                    "DELETE FROM links WHERE repository = $1 AND blob = $2 AND linked <= $3 AND NOT EXISTS(
                       SELECT 1 FROM uses WHERE uses.repository = $1
                       AND uses.digest = (SELECT digest FROM blobs WHERE id = $2))",
                )
                .bind(repository)
                .bind(blob)
                .bind(garbage.before)
                .execute(&mut *db)
                .await?;
                if removed.rows_affected() > 0 && changed.last() != Some(name) {
                    changed.push(name.clone());
                }
            }
            Ok(changed)
        })
    }

    fn sweep_blobs(&self, sweep: &mut Sweep, after: i64, garbage: &Garbage<'_>, limit: usize) -> Result<()> {
        let seen: Vec<(i64, bool)> = self.ask(async |db| {
            sqlx::query_as(
                "SELECT id, stored <= $1 AND NOT EXISTS(SELECT 1 FROM links WHERE links.blob = blobs.id)
                   AND NOT EXISTS(SELECT 1 FROM manifests WHERE manifests.digest = blobs.digest)
                 FROM blobs WHERE id > $2 ORDER BY id LIMIT $3",
            )
            .bind(garbage.before)
            .bind(after)
            .bind(rows(limit))
            .fetch_all(db)
            .await
        })?;
        *sweep = match seen.last() {
            Some((id, _)) if seen.len() == limit => Sweep::Blobs(*id),
            _ => Sweep::Done,
        };
        let candidates: Vec<i64> = seen.into_iter().filter(|(_, free)| *free).map(|(id, _)| id).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        self.write(async |db| {
            collecting(db).await?;
            sqlx::query(
                "WITH gone AS (DELETE FROM blobs WHERE id = ANY($2) AND stored <= $1
                   AND NOT EXISTS(SELECT 1 FROM links WHERE links.blob = blobs.id)
                   AND NOT EXISTS(SELECT 1 FROM manifests WHERE manifests.digest = blobs.digest) RETURNING digest)
                 INSERT INTO leaving(digest) SELECT digest FROM gone ON CONFLICT DO NOTHING",
            )
            .bind(garbage.before)
            .bind(&candidates)
            .execute(db)
            .await
            .map(drop)
        })
    }
}

#[cfg(test)]
pub mod tests {
    use knarr_testkit::postgres::Postgres as Server;

    use super::*;
    use crate::metadata::contract;

    /// The database at an address of a server for tests.
    pub fn open(address: &str) -> Postgres {
        let settings = storage::Postgres { url: address.to_owned(), password_file: None, connections: 8 };
        Postgres::open(&settings, Driver::new().unwrap()).unwrap()
    }

    #[test]
    fn a_server_keeps_the_contract() {
        let Some(server) = Server::start().unwrap() else { return };
        for law in contract::LAWS {
            law(&open(&server.database().unwrap()));
        }
    }

    #[test]
    fn instances_share_a_database_and_who_must_be_alone_is() {
        let Some(server) = Server::start().unwrap() else { return };
        let address = server.database().unwrap();
        let (first, second, third) = (open(&address), open(&address), open(&address));
        assert!(first.occupy(false).unwrap() && second.occupy(false).unwrap());
        assert!(!third.occupy(true).unwrap());
        drop((first, second));
        knarr_testkit::wait::until("the others are gone", || third.occupy(true).unwrap().then_some(()));
        assert!(!open(&address).occupy(false).unwrap());
    }

    #[test]
    fn one_of_several_cleans_up_and_the_others_let_it() {
        let Some(server) = Server::start().unwrap() else { return };
        let address = server.database().unwrap();
        let (first, second) = (open(&address), open(&address));
        let mut done = Vec::new();
        first
            .alone(&mut || {
                done.push("first");
                second.alone(&mut || unreachable!("the first is at it"))
            })
            .unwrap();
        second
            .alone(&mut || {
                done.push("second");
                Ok(())
            })
            .unwrap();
        assert_eq!(done, ["first", "second"]);
    }

    #[test]
    fn changes_are_recorded_once_and_in_order_however_many_record() {
        let Some(server) = Server::start().unwrap() else { return };
        let address = server.database().unwrap();
        let (first, second) = (open(&address), open(&address));
        let digest = Digest::sha256_of(b"x");
        first.changed("a", &digest).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let mut seen = 0;
            first
                .record(10, &mut |changes| {
                    seen += changes.len();
                    // Another comes meanwhile, and waits for us.
                    second.changed("a", &digest).unwrap();
                    let (second, tell) = (&second, tell.clone());
                    scope.spawn(move || {
                        let mut seen = 0;
                        let mut show = |changes: &[Change]| {
                            seen += changes.len();
                            Ok(())
                        };
                        second.record(10, &mut show).unwrap();
                        tell.send(seen).unwrap();
                    });
                    assert!(told.recv_timeout(Duration::from_millis(200)).is_err(), "nobody waited");
                    Ok(())
                })
                .unwrap();
            assert_eq!((seen, told.recv().unwrap()), (1, 1));
        });
    }
}
