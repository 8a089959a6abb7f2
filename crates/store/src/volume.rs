//! Volumes: directories that outlive containers.
//!
//! Law: what is in a volume is the user's and is never garbage. Removal is marked in the database first and finished by
//! whoever comes next, so a name never leads to half-removed data. A directory without a record, which only a lost database
//! leaves, becomes the data of the volume that is created under its name.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::database::{Durability, Fault};
use crate::error::{Error, IoContext, Result};
use crate::records::VolumeRecord;
use crate::store::Store;
use crate::trash;

/// Longest volume name: it is a file name, and docker's API puts it into paths.
const NAME_BYTES_MAX: usize = 255;

const COLUMNS: &str = "name, created_ns, anonymous, driver, labels, options";

impl Store {
    /// Makes the volume and its directory. An existing volume of the name stays as it is and comes back.
    pub fn create_volume(&self, volume: &VolumeRecord) -> Result<VolumeRecord> {
        check_name(&volume.name)?;
        self.finish_removals(Some(&volume.name))?;
        let data = self.volume_data(&volume.name);
        std::fs::create_dir_all(&data).doing("create", &data)?;
        self.database().write("add volume", Durability::Full, |c| {
            if let Some(there) = find(c, &volume.name)? {
                return Ok(there);
            }
            insert(c, volume)?;
            Ok(volume.clone())
        })
    }

    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Result<VolumeRecord> {
        let found = self.database().read("find volume", |c| find(c, name))?;
        found.ok_or_else(|| Error::NoSuchVolume(name.to_owned()))
    }

    /// Every volume, by name.
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>> {
        self.database().read("list volumes", |c| {
            let sql = format!("SELECT {COLUMNS} FROM volumes WHERE removing = 0 ORDER BY name");
            let mut query = c.prepare_cached(&sql)?;
            query.query_map([], |row| Ok(from_row(row)))?.collect::<rusqlite::Result<Result<_, Fault>>>()?
        })
    }

    /// The directory that containers see, whether it is there or not.
    pub fn volume_data(&self, name: &str) -> PathBuf {
        self.volume_dir(name).join("_data")
    }

    /// Ids of the containers that use the volume.
    pub fn volume_users(&self, name: &str) -> Result<Vec<String>> {
        self.database().read("find users of volume", |c| users(c, name))
    }

    /// Removes the volume and everything in it, unless a container uses it.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        let begin = |c: &Connection| -> Result<(), Fault> {
            find(c, name)?.ok_or_else(|| Error::NoSuchVolume(name.to_owned()))?;
            let containers = users(c, name)?;
            if !containers.is_empty() {
                return Err(Error::VolumeInUse { name: name.to_owned(), containers }.into());
            }
            c.prepare_cached("UPDATE volumes SET removing = 1 WHERE name = ?1")?.execute([name])?;
            Ok(())
        };
        self.freeing(|| self.database().write("remove volume", Durability::Full, begin))?;
        self.finish_removals(Some(name)).map(drop)
    }

    /// Finishes removals that were begun, of one volume or of all; their names.
    pub(crate) fn finish_removals(&self, name: Option<&str>) -> Result<Vec<String>> {
        let begun = self.database().read("find removed volumes", |c| {
            let mut query =
                c.prepare_cached("SELECT name FROM volumes WHERE removing = 1 AND (?1 IS NULL OR name = ?1)")?;
            Ok(query.query_map([name], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?)
        })?;
        for name in &begun {
            trash::discard(self, &self.volume_dir(name))?;
            self.database().write("forget volume", Durability::Normal, |c| {
                c.prepare_cached("DELETE FROM volumes WHERE name = ?1 AND removing = 1")?.execute([name])?;
                Ok(())
            })?;
        }
        Ok(begun)
    }

    fn volume_dir(&self, name: &str) -> PathBuf {
        self.inner.state.join("volumes").join(name)
    }
}

fn find(c: &Connection, name: &str) -> Result<Option<VolumeRecord>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM volumes WHERE name = ?1 AND removing = 0");
    c.prepare_cached(&sql)?.query_row([name], |row| Ok(from_row(row))).optional()?.transpose()
}

fn insert(c: &Connection, volume: &VolumeRecord) -> Result<(), Fault> {
    c.prepare_cached(
        "INSERT INTO volumes (name, created_ns, anonymous, driver, labels, options) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        &volume.name,
        volume.created_ns,
        volume.anonymous,
        &volume.driver,
        serde_json::json!(volume.labels).to_string(),
        serde_json::json!(volume.options).to_string(),
    ))?;
    Ok(())
}

fn users(c: &Connection, name: &str) -> Result<Vec<String>, Fault> {
    let mut query = c.prepare_cached("SELECT container FROM container_volumes WHERE volume = ?1 ORDER BY container")?;
    Ok(query.query_map([name], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

fn from_row(row: &Row<'_>) -> Result<VolumeRecord, Fault> {
    let name: String = row.get(0)?;
    let map = |column: usize, field: &'static str| -> Result<_, Fault> {
        let text: String = row.get(column)?;
        serde_json::from_str(&text).map_err(|_| Error::BadRecord { record: format!("volumes {name}"), field }.into())
    };
    Ok(VolumeRecord {
        created_ns: row.get(1)?,
        anonymous: row.get(2)?,
        driver: row.get(3)?,
        labels: map(4, "labels")?,
        options: map(5, "options")?,
        name,
    })
}

/// The name is a directory's and docker's: letters, digits, `_`, `.` and `-`, not one of the last three first.
fn check_name(name: &str) -> Result<()> {
    let word = |b: u8| b.is_ascii_alphanumeric();
    let first = name.bytes().next().is_some_and(word);
    let rest = name.bytes().all(|b| word(b) || matches!(b, b'_' | b'.' | b'-'));
    let good = first && rest && name.len() <= NAME_BYTES_MAX;
    if good { Ok(()) } else { Err(Error::BadVolumeName(name.to_owned())) }
}
