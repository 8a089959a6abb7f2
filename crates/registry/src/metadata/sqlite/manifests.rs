//! What is asked and changed about manifests, inside a transaction of the caller's.

use std::collections::BTreeMap;

use knarr_spec::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use super::find_repository;
use crate::clock::now;
use crate::manifest::Parsed;
use crate::metadata::Recorded;

/// The record of this manifest is to be written again.
pub(super) fn changed(db: &Connection, repository: &str, digest: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO changes(repository, digest) VALUES(?1, ?2)")?.execute([repository, digest])?;
    Ok(())
}

pub(super) fn insert_manifest(
    db: &Connection,
    repository: i64,
    manifest: &Parsed,
    bytes: &[u8],
    pushed: i64,
) -> rusqlite::Result<i64> {
    let annotations = match manifest.annotations.is_empty() {
        true => None,
        false => Some(serde_json::to_string(&manifest.annotations).expect("a map of strings")),
    };
    let id = db
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
                pushed
            ],
            |row| row.get(0),
        )?;
    let mut uses = db.prepare_cached("INSERT OR IGNORE INTO uses(repository, digest, manifest) VALUES(?1, ?2, ?3)")?;
    for digest in manifest.blobs.iter().chain(&manifest.children) {
        uses.execute(params![repository, digest.as_str(), id])?;
    }
    db.prepare_cached("INSERT INTO blobs(digest, size, stored) VALUES(?1, ?2, ?3) ON CONFLICT(digest) DO NOTHING")?
        .execute(params![manifest.digest.as_str(), bytes.len(), now()])?;
    Ok(id)
}

pub(super) fn point(db: &Connection, repository: i64, tag: &str, manifest: i64, moved: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO tags(repository, name, manifest, moved) VALUES(?1, ?2, ?3, ?4)
         ON CONFLICT(repository, name) DO UPDATE SET manifest = ?3, moved = ?4",
    )?
    .execute(params![repository, tag, manifest, moved])?;
    Ok(())
}

pub(super) fn tag_target(db: &Connection, repository: i64, tag: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached(
        "SELECT manifests.digest FROM tags JOIN manifests ON manifests.id = tags.manifest
         WHERE tags.repository = ?1 AND tags.name = ?2",
    )?
    .query_row(params![repository, tag], |row| row.get(0))
    .optional()
}

pub(super) fn tags_of(db: &Connection, repository: i64, digest: &str) -> rusqlite::Result<BTreeMap<String, i64>> {
    db.prepare_cached(
        "SELECT name, moved FROM tags
         WHERE manifest = (SELECT id FROM manifests WHERE repository = ?1 AND digest = ?2)",
    )?
    .query_map(params![repository, digest], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

/// `false` where there was none.
pub(super) fn remove_manifest(db: &Connection, repository: i64, name: &str, digest: &str) -> rusqlite::Result<bool> {
    let id: Option<i64> = db
        .prepare_cached("DELETE FROM manifests WHERE repository = ?1 AND digest = ?2 RETURNING id")?
        .query_row(params![repository, digest], |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(false) };
    db.prepare_cached("DELETE FROM tags WHERE manifest = ?1")?.execute([id])?;
    db.prepare_cached("DELETE FROM uses WHERE manifest = ?1")?.execute([id])?;
    changed(db, name, digest)?;
    Ok(true)
}

pub(super) fn retire_tag(
    db: &Connection,
    repository: i64,
    name: &str,
    tag: &str,
    moved: i64,
) -> rusqlite::Result<bool> {
    let Some(digest) = tag_target(db, repository, tag)? else { return Ok(false) };
    let removed = db
        .prepare_cached("DELETE FROM tags WHERE repository = ?1 AND name = ?2 AND moved = ?3")?
        .execute(params![repository, tag, moved])?;
    if removed > 0 {
        changed(db, name, &digest)?;
    }
    Ok(removed > 0)
}

pub(super) fn retire_manifest(
    db: &Connection,
    repository: i64,
    name: &str,
    digest: &str,
    pushed: i64,
) -> rusqlite::Result<bool> {
    let free = db
        .prepare_cached(
            "SELECT 1 FROM manifests WHERE repository = ?1 AND digest = ?2 AND pushed = ?3
             AND NOT EXISTS(SELECT 1 FROM tags WHERE tags.manifest = manifests.id)
             AND NOT EXISTS(SELECT 1 FROM uses WHERE uses.repository = ?1 AND uses.digest = ?2)",
        )?
        .exists(params![repository, digest, pushed])?;
    if free { remove_manifest(db, repository, name, digest) } else { Ok(false) }
}

pub(super) fn recorded_state(db: &Connection, repository: &str, digest: &str) -> rusqlite::Result<Option<Recorded>> {
    let Some(id) = find_repository(db, repository)? else { return Ok(None) };
    let found = db
        .prepare_cached("SELECT media_type, bytes, pushed FROM manifests WHERE repository = ?1 AND digest = ?2")?
        .query_row(params![id, digest], |row| {
            Ok(Recorded { media_type: row.get(0)?, bytes: row.get(1)?, pushed: row.get(2)?, tags: BTreeMap::new() })
        })
        .optional()?;
    match found {
        Some(state) => Ok(Some(Recorded { tags: tags_of(db, id, digest)?, ..state })),
        None => Ok(None),
    }
}
