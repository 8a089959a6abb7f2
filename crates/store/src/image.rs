//! Images: documents, names and the layers they stand on.
//!
//! Law: one transaction makes an image visible, with everything it needs already on disk; the same transaction checks that
//! nothing of it was collected in between.
//! Not here: removal (`image_remove`), finding by name (`image_find`).

use knarr_spec::{DiffId, Digest, Reference};
use rusqlite::Connection;

use crate::database::{Durability, Fault};
use crate::error::{Error, Result};
use crate::records::{ImageRecord, NewImage};
use crate::store::{Store, now_ns};
use crate::{blob, image_find, layer};

impl Store {
    /// Makes an image visible under its names. Survives a power cut when this returns.
    pub fn put_image(&self, image: NewImage) -> Result<ImageRecord> {
        let id = image.config.digest();
        check(&id, &image)?;
        let mut documents = vec![image.config.bytes(), image.manifest.bytes()];
        documents.extend(image.index.as_ref().map(|index| index.bytes()));
        self.put_blobs(&documents)?;
        let implied = self.implied_layer(&image.layers)?;
        let numbers = image.layers.iter().map(|layer| layer.number).chain(implied).collect();
        let synced = layer::sync(self, numbers)?;
        let record = self.database().write("add image", Durability::Full, |c| {
            insert(c, &id, &image, implied)?;
            layer::mark_synced(c, &synced)?;
            image_find::load(c, id.as_str())?.ok_or_else(|| Error::NoSuchImage(id.to_string()).into())
        })?;
        self.database().settle();
        Ok(record)
    }

    /// Whether a document or layer the image came with is not in the store any more.
    pub fn lacks_blobs(&self, image: &Digest) -> Result<bool> {
        self.database().read("look at image", |c| {
            let sql = "SELECT EXISTS (SELECT 1 FROM image_blobs WHERE image = ?1
                                      AND digest NOT IN (SELECT digest FROM blobs))";
            Ok(c.prepare_cached(sql)?.query_row([image.as_str()], |row| row.get(0))?)
        })
    }

    /// Gives the image another name; a tag moves here from whatever image has it.
    pub fn tag(&self, image: &Digest, name: &Reference) -> Result<()> {
        self.database().write("tag image", Durability::Full, |c| {
            let record = image_find::load(c, image.as_str())?;
            let record = record.ok_or_else(|| Error::NoSuchImage(image.to_string()))?;
            put_name(c, &record.id, &record.manifest_digest, name)
        })
    }

    /// Takes a name from its image, which stays. Whether there was such a name.
    pub fn untag(&self, name: &Reference) -> Result<bool> {
        self.database().write("untag image", Durability::Full, |c| drop_name(c, name))
    }
}

/// Whether manifest, config, layers and names belong together.
fn check(id: &Digest, image: &NewImage) -> Result<()> {
    let wrong = |document, expected: &Digest, actual: &Digest| {
        Err(Error::WrongDocument { image: id.clone(), document, expected: expected.clone(), actual: actual.clone() })
    };
    let manifest = image.manifest.digest();
    if image.manifest.config.digest != *id {
        return wrong("config", &image.manifest.config.digest, id);
    }
    let index = image.index.as_ref();
    if let Some(index) = index
        && !index.manifests.iter().any(|entry| entry.digest == manifest)
    {
        return wrong("manifest of index", &index.digest(), &manifest);
    }
    let known = |digest: &Digest| *digest == manifest || index.is_some_and(|index| index.digest() == *digest);
    if let Some(digest) = image.names.iter().filter_map(|name| name.digest()).find(|digest| !known(digest)) {
        return wrong("name", digest, &manifest);
    }
    let diff_ids = &image.config.rootfs.diff_ids;
    let text = |diff_id: Option<&DiffId>| diff_id.map_or_else(|| "nothing".to_owned(), DiffId::to_string);
    for position in 0..diff_ids.len().max(image.layers.len()) {
        let (expected, actual) = (diff_ids.get(position), image.layers.get(position).map(|layer| &layer.diff_id));
        if expected != actual {
            let (expected, actual) = (text(expected), text(actual));
            return Err(Error::WrongLayer { image: id.clone(), position, expected, actual });
        }
    }
    Ok(())
}

fn insert(c: &Connection, id: &Digest, image: &NewImage, implied: Option<i64>) -> Result<(), Fault> {
    let manifest = image.manifest.digest();
    let index = image.index.as_ref().map(|index| index.digest());
    c.prepare_cached(
        "INSERT INTO images (id, manifest, document, config, implied, stored_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET manifest = ?2, document = ?3, implied = ?5",
    )?
    .execute((
        id.as_str(),
        manifest.as_str(),
        index.as_ref().map(Digest::as_str),
        image.config.bytes(),
        implied,
        now_ns(),
    ))?;
    let mut digests = vec![id, &manifest];
    digests.extend(&index);
    digests.extend(image.manifest.layers.iter().map(|layer| &layer.digest));
    let mut add = c.prepare_cached("INSERT OR IGNORE INTO image_blobs (image, digest) VALUES (?1, ?2)")?;
    for digest in digests {
        blob::row(c, digest)?.ok_or_else(|| Error::NoSuchBlob(digest.clone()))?;
        add.execute((id.as_str(), digest.as_str()))?;
    }
    let mut add =
        c.prepare_cached("INSERT OR IGNORE INTO image_layers (image, position, diff_id) VALUES (?1, ?2, ?3)")?;
    for (position, record) in image.layers.iter().enumerate() {
        layer::find(c, &record.diff_id)?.ok_or_else(|| Error::NoSuchLayer(record.diff_id.clone()))?;
        add.execute((id.as_str(), position, record.diff_id.0.as_str()))?;
    }
    image.names.iter().try_for_each(|name| put_name(c, id, &manifest, name))
}

fn put_name(c: &Connection, id: &Digest, manifest: &Digest, name: &Reference) -> Result<(), Fault> {
    if let Some(tag) = name.tag() {
        c.prepare_cached("INSERT OR REPLACE INTO tags (name, tag, image, manifest) VALUES (?1, ?2, ?3, ?4)")?
            .execute((name.name(), tag, id.as_str(), manifest.as_str()))?;
    }
    if let Some(digest) = name.digest() {
        c.prepare_cached("INSERT OR REPLACE INTO repo_digests (name, digest, image) VALUES (?1, ?2, ?3)")?
            .execute((name.name(), digest.as_str(), id.as_str()))?;
    }
    Ok(())
}

/// Deletes a tag, or a repository digest where the reference has no tag.
pub(crate) fn drop_name(c: &Connection, name: &Reference) -> Result<bool, Fault> {
    let gone = match (name.tag(), name.digest()) {
        (Some(tag), _) => {
            c.prepare_cached("DELETE FROM tags WHERE name = ?1 AND tag = ?2")?.execute((name.name(), tag))?
        }
        (None, Some(digest)) => c
            .prepare_cached("DELETE FROM repo_digests WHERE name = ?1 AND digest = ?2")?
            .execute((name.name(), digest.as_str()))?,
        (None, None) => 0,
    };
    Ok(gone > 0)
}
