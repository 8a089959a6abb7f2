//! How far uploads have come, for `upload::shared`.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Postgres, Result};

/// An upload between two requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub repository: String,
    pub algorithm: String,
    /// Counts the acknowledgements: who has seen another number may not add to it.
    pub version: i64,
    pub size: u64,
    /// Objects that hold the bytes so far, in order, and their sizes.
    pub segments: Vec<(String, u64)>,
    /// The digest of the bytes so far, where it is known.
    pub digest: Option<String>,
}

/// What an upload leaves behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Objects.
    pub segments: Vec<String>,
    /// Objects that are being written, and what the store calls the writing.
    pub writing: Vec<(String, String)>,
}

/// A name with a word before it, as one text.
fn joined(word: impl std::fmt::Display, name: &str) -> String {
    format!("{word} {name}")
}

/// The name and the word before it.
fn split(text: &str) -> (String, String) {
    let (word, name) = text.split_once(' ').unwrap_or(("", text));
    (name.to_owned(), word.to_owned())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

impl Postgres {
    /// Begins an upload; one that comes whole is found by nobody.
    pub fn begin_upload(&self, id: &str, repository: &str, algorithm: &str, whole: bool) -> Result<()> {
        self.ask(async |db| {
            let query =
                "INSERT INTO uploads(id, repository, algorithm, whole, version, size, segments, writing, touched_ms)
                         VALUES($1, $2, $3, $4, 0, 0, '{}', '{}', $5)";
            sqlx::query(query).bind(id).bind(repository).bind(algorithm).bind(whole).bind(now_ms()).execute(db).await?;
            Ok(())
        })
    }

    /// How far an upload has come.
    pub fn upload(&self, id: &str) -> Result<Option<Progress>> {
        type Found = (String, String, i64, i64, Vec<String>, Option<String>);
        let found: Option<Found> = self.ask(async |db| {
            let query = "SELECT repository, algorithm, version, size, segments, digest FROM uploads WHERE id = $1 AND NOT whole";
            sqlx::query_as(query).bind(id).fetch_optional(db).await
        })?;
        Ok(found.map(|(repository, algorithm, version, size, segments, digest)| {
            let segments = segments.iter().map(|text| split(text));
            let segments = segments.map(|(name, size)| (name, size.parse().unwrap_or(0))).collect();
            Progress { repository, algorithm, version, size: size.cast_unsigned(), segments, digest }
        }))
    }

    /// Notes that bytes arrive, and under which names, so that they can be found when we are gone. `false` where the
    /// upload is.
    pub fn touch_upload(&self, id: &str, name: &str, writing: &str) -> Result<bool> {
        self.ask(async |db| {
            let query = "UPDATE uploads SET touched_ms = $2,
                           writing = CASE WHEN $3 = ANY(writing) THEN writing ELSE array_append(writing, $3) END WHERE id = $1";
            let touched = sqlx::query(query).bind(id).bind(now_ms()).bind(joined(writing, name)).execute(db).await?;
            Ok(touched.rows_affected() > 0)
        })
    }

    /// Acknowledges what an upload has come to, if nobody else did since `progress.version`.
    pub fn acknowledge_upload(&self, id: &str, progress: &Progress) -> Result<bool> {
        let segments: Vec<String> = progress.segments.iter().map(|(name, size)| joined(size, name)).collect();
        self.ask(async |db| {
            let acknowledged = sqlx::query(
                "UPDATE uploads SET version = version + 1, size = $3, segments = $4, digest = $5, touched_ms = $6
                 WHERE id = $1 AND version = $2",
            )
            .bind(id)
            .bind(progress.version)
            .bind(progress.size.cast_signed())
            .bind(&segments)
            .bind(&progress.digest)
            .bind(now_ms())
            .execute(db)
            .await?;
            Ok(acknowledged.rows_affected() > 0)
        })
    }

    /// Ends an upload; what it leaves behind.
    pub fn end_upload(&self, id: &str) -> Result<Remains> {
        let found: Option<(Vec<String>, Vec<String>)> = self.ask(async |db| {
            let query = "DELETE FROM uploads WHERE id = $1 RETURNING segments, writing";
            sqlx::query_as(query).bind(id).fetch_optional(db).await
        })?;
        let Some((segments, writing)) = found else { return Ok(Remains::default()) };
        Ok(Remains {
            segments: segments.iter().map(|text| split(text).0).collect(),
            writing: writing.iter().map(|text| split(text)).collect(),
        })
    }

    /// Repositories somebody uploads to.
    pub fn uploading(&self) -> Result<HashSet<String>> {
        let names: Vec<String> =
            self.ask(async |db| sqlx::query_scalar("SELECT DISTINCT repository FROM uploads").fetch_all(db).await)?;
        Ok(names.into_iter().collect())
    }

    /// Uploads, and whether nobody has touched them for `idle_max`.
    pub fn uploads(&self, idle_max: Duration) -> Result<Vec<(String, bool)>> {
        let before = now_ms().saturating_sub(i64::try_from(idle_max.as_millis()).unwrap_or(i64::MAX));
        self.ask(async |db| sqlx::query_as("SELECT id, touched_ms <= $1 FROM uploads").bind(before).fetch_all(db).await)
    }
}
