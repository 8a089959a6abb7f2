//! Manifests that are no images of ours: lists of images for several platforms, and artifacts, under their names.
//!
//! Law: as with images: what a document needs is there before its row, in one transaction, and stays while the row does.

use knarr_spec::{Digest, Reference};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::blob;
use crate::database::{Durability, Fault};
use crate::error::{Error, Result};
use crate::store::{Store, now_ns};

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// An index of images.
    List,
    /// A manifest of an artifact.
    Artifact,
}

impl DocumentKind {
    fn word(self) -> &'static str {
        match self {
            DocumentKind::List => "list",
            DocumentKind::Artifact => "artifact",
        }
    }
}

/// A named document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRecord {
    /// Its name, with a tag.
    pub name: Reference,
    /// What it is.
    pub kind: DocumentKind,
    /// Digest of its bytes, which are a blob.
    pub digest: Digest,
    /// When it was stored, in nanoseconds since 1970.
    pub stored_ns: i64,
}

impl Store {
    /// Stores a document under a name, in the place of what had the name. `needs` are the blobs it stands on, which are
    /// there already.
    pub fn put_document(&self, name: &Reference, kind: DocumentKind, bytes: &[u8], needs: &[Digest]) -> Result<Digest> {
        let digest = self.put_blob(bytes)?;
        let tag = name.tag().unwrap_or("latest").to_owned();
        self.database().write("add document", Durability::Full, |c| {
            c.prepare_cached("DELETE FROM documents WHERE name = ?1 AND tag = ?2")?.execute((name.name(), &tag))?;
            c.prepare_cached("INSERT INTO documents (name, tag, kind, digest, stored_ns) VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute((name.name(), &tag, kind.word(), digest.as_str(), now_ns()))?;
            let sql = "INSERT OR IGNORE INTO document_blobs (name, tag, digest) VALUES (?1, ?2, ?3)";
            let mut add = c.prepare_cached(sql)?;
            for need in needs.iter().chain([&digest]) {
                blob::row(c, need)?.ok_or_else(|| Error::NoSuchBlob(need.clone()))?;
                add.execute((name.name(), &tag, need.as_str()))?;
            }
            Ok(())
        })?;
        Ok(digest)
    }

    /// Every document, by name.
    pub fn documents(&self) -> Result<Vec<DocumentRecord>> {
        self.database().read("list documents", |c| {
            let mut query =
                c.prepare_cached("SELECT name, tag, kind, digest, stored_ns FROM documents ORDER BY name, tag")?;
            let rows = query.query_map([], |row| Ok(from_row(row)))?;
            rows.map(|row| row.map_err(Fault::from)?).collect()
        })
    }

    /// The document of that name.
    pub fn document(&self, name: &Reference) -> Result<Option<DocumentRecord>> {
        self.database().read("find document", |c| {
            let sql = "SELECT name, tag, kind, digest, stored_ns FROM documents WHERE name = ?1 AND tag = ?2";
            let mut query = c.prepare_cached(sql)?;
            let tag = name.tag().unwrap_or("latest");
            let found = query.query_row((name.name(), tag), |row| Ok(from_row(row))).optional()?;
            found.transpose()
        })
    }

    /// Forgets a name; what only that document needed is garbage then. Whether there was such a name.
    pub fn remove_document(&self, name: &Reference) -> Result<bool> {
        self.database().write("remove document", Durability::Full, |c| {
            let tag = name.tag().unwrap_or("latest");
            let sql = "DELETE FROM documents WHERE name = ?1 AND tag = ?2";
            Ok(c.prepare_cached(sql)?.execute((name.name(), tag))? > 0)
        })
    }
}

fn from_row(row: &Row<'_>) -> Result<DocumentRecord, Fault> {
    let (name, tag, kind, digest): (String, String, String, String) =
        (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    let bad = |field| Error::BadRecord { record: format!("documents {name}:{tag}"), field };
    Ok(DocumentRecord {
        name: format!("{name}:{tag}").parse().map_err(|_| bad("name"))?,
        kind: if kind == "list" { DocumentKind::List } else { DocumentKind::Artifact },
        digest: digest.parse().map_err(|_| bad("digest"))?,
        stored_ns: row.get(4)?,
    })
}

/// Every blob that a document needs.
pub(crate) fn needs(c: &Connection) -> rusqlite::Result<Vec<String>> {
    c.prepare_cached("SELECT digest FROM document_blobs")?.query_map([], |row| row.get(0))?.collect()
}
