//! What is asked and changed about manifests, inside a transaction of the caller's, who holds the repository.

use std::collections::BTreeMap;

use knarr_spec::Digest;

use super::{Db, find_repository};
use crate::clock::now;
use crate::manifest::Parsed;
use crate::metadata::Recorded;

/// The record of this manifest is to be written again.
pub async fn changed(db: &mut Db, repository: &str, digest: &str) -> sqlx::Result<()> {
    let query = "INSERT INTO changes(repository, digest) VALUES($1, $2)";
    sqlx::query(query).bind(repository).bind(digest).execute(db).await?;
    Ok(())
}

pub async fn insert_manifest(
    db: &mut Db,
    repository: i64,
    manifest: &Parsed,
    bytes: &[u8],
    pushed: i64,
) -> sqlx::Result<i64> {
    let annotations = match manifest.annotations.is_empty() {
        true => None,
        false => Some(serde_json::to_string(&manifest.annotations).expect("a map of strings")),
    };
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO manifests(repository, digest, media_type, bytes, subject, artifact_type, annotations, pushed)
         VALUES($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT(repository, digest) DO UPDATE SET media_type = $3, pushed = $8 RETURNING id",
    )
    .bind(repository)
    .bind(manifest.digest.as_str())
    .bind(&manifest.media_type)
    .bind(bytes)
    .bind(manifest.subject.as_ref().map(Digest::as_str))
    .bind(&manifest.artifact_type)
    .bind(annotations)
    .bind(pushed)
    .fetch_one(&mut *db)
    .await?;
    let used: Vec<String> = manifest.blobs.iter().chain(&manifest.children).map(ToString::to_string).collect();
    let query =
        "INSERT INTO uses(repository, digest, manifest) SELECT $1, digest, $3 FROM unnest($2::text[]) AS used(digest)
                 ON CONFLICT DO NOTHING";
    sqlx::query(query).bind(repository).bind(used).bind(id).execute(&mut *db).await?;
    let query = "INSERT INTO blobs(digest, size, stored) VALUES($1, $2, $3) ON CONFLICT(digest) DO NOTHING";
    let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    sqlx::query(query).bind(manifest.digest.as_str()).bind(size).bind(now()).execute(db).await?;
    Ok(id)
}

pub async fn point(db: &mut Db, repository: i64, tag: &str, manifest: i64, moved: i64) -> sqlx::Result<()> {
    let query = "INSERT INTO tags(repository, name, manifest, moved) VALUES($1, $2, $3, $4)
                 ON CONFLICT(repository, name) DO UPDATE SET manifest = $3, moved = $4";
    sqlx::query(query).bind(repository).bind(tag).bind(manifest).bind(moved).execute(db).await?;
    Ok(())
}

pub async fn tag_target(db: &mut Db, repository: i64, tag: &str) -> sqlx::Result<Option<String>> {
    let query = "SELECT manifests.digest FROM tags JOIN manifests ON manifests.id = tags.manifest
                 WHERE tags.repository = $1 AND tags.name = $2";
    sqlx::query_scalar(query).bind(repository).bind(tag).fetch_optional(db).await
}

pub async fn tags_of(db: &mut Db, repository: i64, digest: &str) -> sqlx::Result<BTreeMap<String, i64>> {
    let query = "SELECT name, moved FROM tags
                 WHERE manifest = (SELECT id FROM manifests WHERE repository = $1 AND digest = $2)";
    let tags: Vec<(String, i64)> = sqlx::query_as(query).bind(repository).bind(digest).fetch_all(db).await?;
    Ok(tags.into_iter().collect())
}

/// `false` where there was none.
pub async fn remove_manifest(db: &mut Db, repository: i64, name: &str, digest: &str) -> sqlx::Result<bool> {
    let query = "DELETE FROM manifests WHERE repository = $1 AND digest = $2 RETURNING id";
    let id: Option<i64> = sqlx::query_scalar(query).bind(repository).bind(digest).fetch_optional(&mut *db).await?;
    let Some(id) = id else { return Ok(false) };
    sqlx::query("DELETE FROM tags WHERE manifest = $1").bind(id).execute(&mut *db).await?;
    sqlx::query("DELETE FROM uses WHERE manifest = $1").bind(id).execute(&mut *db).await?;
    changed(db, name, digest).await?;
    Ok(true)
}

pub async fn retire_tag(db: &mut Db, repository: i64, name: &str, tag: &str, moved: i64) -> sqlx::Result<bool> {
    let Some(digest) = tag_target(db, repository, tag).await? else { return Ok(false) };
    let query = "DELETE FROM tags WHERE repository = $1 AND name = $2 AND moved = $3";
    let removed =
        sqlx::query(query).bind(repository).bind(tag).bind(moved).execute(&mut *db).await?.rows_affected() > 0;
    if removed {
        changed(db, name, &digest).await?;
    }
    Ok(removed)
}

pub async fn retire_manifest(
    db: &mut Db,
    repository: i64,
    name: &str,
    digest: &str,
    pushed: i64,
) -> sqlx::Result<bool> {
    let free = sqlx::query(
        "SELECT 1 FROM manifests WHERE repository = $1 AND digest = $2 AND pushed = $3
         AND NOT EXISTS(SELECT 1 FROM tags WHERE tags.manifest = manifests.id)
         AND NOT EXISTS(SELECT 1 FROM uses WHERE uses.repository = $1 AND uses.digest = $2)",
    )
    .bind(repository)
    .bind(digest)
    .bind(pushed)
    .fetch_optional(&mut *db)
    .await?;
    if free.is_some() { remove_manifest(db, repository, name, digest).await } else { Ok(false) }
}

/// What the manifest is now; `None` where it is gone.
pub async fn recorded_state(db: &mut Db, repository: &str, digest: &str) -> sqlx::Result<Option<Recorded>> {
    let Some(id) = find_repository(db, repository).await? else { return Ok(None) };
    let query = "SELECT media_type, bytes, pushed FROM manifests WHERE repository = $1 AND digest = $2";
    let found: Option<(String, Vec<u8>, i64)> =
        sqlx::query_as(query).bind(id).bind(digest).fetch_optional(&mut *db).await?;
    let Some((media_type, bytes, pushed)) = found else { return Ok(None) };
    Ok(Some(Recorded { media_type, bytes, pushed, tags: tags_of(db, id, digest).await? }))
}
