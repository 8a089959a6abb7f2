//! Which image a text means, and how an image's rows become a record.
//!
//! Order, as docker's: a complete id, a name (`alpine`, `alpine:3`, `name@sha256:…`), the beginning of an id.

use knarr_spec::{Digest, ImageConfig, Raw, Reference};
use rusqlite::{Connection, OptionalExtension};

use crate::database::Fault;
use crate::error::{Error, Result};
use crate::layer;
use crate::records::ImageRecord;
use crate::store::Store;

impl Store {
    /// Every image, the newest first.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        self.database().read("list images", |c| {
            let mut query = c.prepare_cached("SELECT id FROM images ORDER BY stored_ns DESC, id")?;
            let ids = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
            let records = ids.iter().map(|id| load(c, id)).collect::<Result<Vec<_>, Fault>>()?;
            Ok(records.into_iter().flatten().collect())
        })
    }

    /// The image that `text` means: a name, a name with digest, an id or the beginning of one, with or without `sha256:`.
    pub fn resolve_image(&self, text: &str) -> Result<ImageRecord> {
        self.database().read("find image", |c| {
            let id = resolve(c, text)?;
            load(c, &id)?.ok_or_else(|| Error::NoSuchImage(text.to_owned()).into())
        })
    }

    /// The image with this id.
    pub fn image(&self, id: &Digest) -> Result<Option<ImageRecord>> {
        self.database().read("find image", |c| load(c, id.as_str()))
    }
}

/// The id of the image that `text` means.
pub(crate) fn resolve(c: &Connection, text: &str) -> Result<String, Fault> {
    let complete = |id: &str| -> rusqlite::Result<Option<String>> {
        c.prepare_cached("SELECT id FROM images WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()
    };
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_hex && let Some(id) = complete(&format!("sha256:{digits}"))? {
        return Ok(id);
    }
    // `app:1` is a digest by its grammar too; only one that could be an image's is none of a name.
    let is_digest = text.parse::<Digest>().is_ok_and(|digest| digest.algorithm().hasher_known());
    if !is_digest
        && let Ok(name) = text.parse::<Reference>()
        && let Some(id) = named(c, &name)?
    {
        return Ok(id);
    }
    if is_hex && digits.len() < 64 {
        return by_prefix(c, digits)?.ok_or_else(|| Error::NoSuchImage(text.to_owned()).into());
    }
    if !is_hex && !is_digest {
        text.parse::<Reference>().map_err(Error::from)?;
    }
    Err(Error::NoSuchImage(text.to_owned()).into())
}

/// The id of the image with this name; a digest decides where there is one.
fn named(c: &Connection, name: &Reference) -> Result<Option<String>, Fault> {
    let found = match (name.digest(), name.tag()) {
        (Some(digest), _) => c
            .prepare_cached(
                "SELECT image FROM repo_digests WHERE name = ?1 AND digest = ?2
                 UNION SELECT image FROM tags WHERE name = ?1 AND manifest = ?2 LIMIT 1",
            )?
            .query_row((name.name(), digest.as_str()), |row| row.get(0))
            .optional()?,
        (None, Some(tag)) => c
            .prepare_cached("SELECT image FROM tags WHERE name = ?1 AND tag = ?2")?
            .query_row((name.name(), tag), |row| row.get(0))
            .optional()?,
        (None, None) => None,
    };
    Ok(found)
}

fn by_prefix(c: &Connection, digits: &str) -> Result<Option<String>, Fault> {
    let (from, to) = (format!("sha256:{digits}"), format!("sha256:{digits}g"));
    let mut query = c.prepare_cached("SELECT id FROM images WHERE id >= ?1 AND id < ?2 LIMIT 2")?;
    let ids = query.query_map((from, to), |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    match <[String; 1]>::try_from(ids) {
        Ok([id]) => Ok(Some(id)),
        Err(ids) if ids.is_empty() => Ok(None),
        Err(_) => Err(Error::AmbiguousImage(digits.to_owned()).into()),
    }
}

/// The record of an image; `None` where there is none.
pub(crate) fn load(c: &Connection, id: &str) -> Result<Option<ImageRecord>, Fault> {
    let bad = |field: &'static str| Error::BadRecord { record: format!("images {id}"), field };
    let mut query =
        c.prepare_cached("SELECT manifest, document, config, implied, stored_ns FROM images WHERE id = ?1")?;
    type Columns = (String, Option<String>, Vec<u8>, Option<i64>, i64);
    let columns: Option<Columns> = query
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .optional()?;
    let Some((manifest, index, config, implied, stored_ns)) = columns else { return Ok(None) };
    let config: Raw<ImageConfig> = Raw::parse(config).map_err(|_| bad("config"))?;
    let layers = layers(c, id)?;
    Ok(Some(ImageRecord {
        id: id.parse().map_err(|_| bad("id"))?,
        manifest_digest: manifest.parse().map_err(|_| bad("manifest"))?,
        index_digest: index.map(|text| text.parse()).transpose().map_err(|_| bad("document"))?,
        names: names(c, "SELECT name || ':' || tag FROM tags WHERE image = ?1 ORDER BY 1", id)?,
        repo_digests: names(c, "SELECT name || '@' || digest FROM repo_digests WHERE image = ?1 ORDER BY 1", id)?,
        created: config.created.clone(),
        stored_ns,
        bytes: layers.iter().map(|layer| layer.tree_bytes).sum(),
        config,
        layers,
        implied,
    }))
}

fn layers(c: &Connection, id: &str) -> Result<Vec<crate::LayerRecord>, Fault> {
    let mut query = c.prepare_cached("SELECT diff_id FROM image_layers WHERE image = ?1 ORDER BY position")?;
    let diff_ids = query.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let mut found = Vec::with_capacity(diff_ids.len());
    for text in diff_ids {
        let bad = |_| Error::BadRecord { record: format!("image_layers {id}"), field: "diff_id" };
        found.extend(layer::find(c, &knarr_spec::DiffId(text.parse().map_err(bad)?))?);
    }
    Ok(found)
}

fn names(c: &Connection, sql: &str, id: &str) -> Result<Vec<Reference>, Fault> {
    let mut query = c.prepare_cached(sql)?;
    let texts = query.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let bad = |_| Error::BadRecord { record: format!("images {id}"), field: "name" };
    Ok(texts.iter().map(|text| text.parse().map_err(bad)).collect::<Result<_, Error>>()?)
}

/// Fails where there is no image with this id.
pub(crate) fn must_exist(c: &Connection, id: &Digest) -> Result<(), Fault> {
    let mut query = c.prepare_cached("SELECT 1 FROM images WHERE id = ?1")?;
    let found = query.query_row([id.as_str()], |_| Ok(())).optional()?;
    found.ok_or_else(|| Error::NoSuchImage(id.to_string()).into())
}
