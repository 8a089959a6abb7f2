//! The tables, brought up to date by whoever opens them.

use rusqlite::Connection;

use crate::error::StorageError;
use crate::metadata::Result;

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
", "
    -- Who uses a blob is asked per repository: the empty config is used by every artifact of every one.
    CREATE TABLE uses_by_repository(repository INTEGER NOT NULL, digest TEXT NOT NULL, manifest INTEGER NOT NULL,
                                    PRIMARY KEY(repository, digest, manifest)) WITHOUT ROWID;
    INSERT INTO uses_by_repository SELECT manifests.repository, uses.digest, uses.manifest FROM uses
      JOIN manifests ON manifests.id = uses.manifest;
    DROP TABLE uses;
    ALTER TABLE uses_by_repository RENAME TO uses;
    CREATE INDEX uses_by_manifest ON uses(manifest);
    CREATE INDEX manifests_by_digest ON manifests(digest);
    ALTER TABLE manifests ADD COLUMN pulled INTEGER;
    ALTER TABLE tags ADD COLUMN pulled INTEGER;
    -- Manifests are blobs too, and have records: both are written from here.
    INSERT INTO blobs(digest, size, stored) SELECT digest, length(bytes), pushed FROM manifests WHERE true
      ON CONFLICT(digest) DO NOTHING;
    CREATE TABLE changes(number INTEGER PRIMARY KEY AUTOINCREMENT, repository TEXT NOT NULL, digest TEXT NOT NULL);
    INSERT INTO changes(repository, digest) SELECT repositories.name, manifests.digest FROM manifests
      JOIN repositories ON repositories.id = manifests.repository;
", "
    -- Blobs nobody knows any more whose bytes may still be there.
    CREATE TABLE leaving(digest TEXT PRIMARY KEY) WITHOUT ROWID;
"];

/// Brings the schema up to date.
pub(super) fn migrate(db: &mut Connection) -> Result<()> {
    let version: usize = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > MIGRATIONS.len() {
        return Err(StorageError::TooNew { found: version, known: MIGRATIONS.len() });
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let step = db.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", at + 1)?;
        step.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metadata::{Metadata, Sqlite};

    #[test]
    fn a_database_of_the_first_version_is_brought_up_to_date() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO repositories VALUES(1, 'a');
             INSERT INTO manifests VALUES(1, 1, 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
                                          'x/y', CAST('{}' AS BLOB), NULL, NULL, NULL, 7);
             INSERT INTO uses VALUES(1, 'sha256:1'); INSERT INTO tags VALUES(1, 'v1', 1, 8); PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let new = Sqlite::open(&path).unwrap();
        let changes = crate::metadata::contract::changes(&new);
        let state = changes[0].state.as_ref().unwrap();
        assert_eq!((changes.len(), state.pushed, &state.tags), (1, 7, &BTreeMap::from([("v1".to_owned(), 8)])));
        assert_eq!(new.facts("a").unwrap().1[0].uses, ["sha256:1"]);
        assert_eq!(new.known_blobs("", 10).unwrap().entries.len(), 1);
    }

    #[test]
    fn a_database_of_a_later_version_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        drop(Sqlite::open(&path).unwrap());
        let later = Connection::open(&path).unwrap();
        later.pragma_update(None, "user_version", MIGRATIONS.len() + 1).unwrap();
        drop(later);
        let error = Sqlite::open(&path).err().unwrap();
        assert!(error.to_string().contains("this program knows"), "{error}");
        let version: usize =
            Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, MIGRATIONS.len() + 1);
    }
}
