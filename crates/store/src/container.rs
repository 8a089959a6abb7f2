//! Records of containers.
//!
//! Law: the database says that a container exists and what was asked for; what it does, its monitor says. Lookup order is
//! docker's: complete id, name, beginning of an id.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use crate::database::{Durability, Fault};
use crate::error::{Error, Result};
use crate::records::ContainerRecord;
use crate::snapshot::check_id;
use crate::store::Store;
use crate::trash;

const COLUMNS: &str = "id, name, image, image_name, created_ns, command, labels, options";

impl Store {
    /// Records a new container. Its image, where it has one, must be in the store.
    pub fn insert_container(&self, record: &ContainerRecord, durability: Durability) -> Result<()> {
        check_id(&record.id)?;
        self.database().write("add container", durability, |c| {
            check_free(c, record)?;
            if let Some(image) = &record.image_id {
                crate::image_find::must_exist(c, image)?;
            }
            insert(c, record)
        })
    }

    /// The container that `text` means: its id, its name (a leading slash is allowed) or the beginning of its id.
    pub fn container(&self, text: &str) -> Result<ContainerRecord> {
        self.database().read("find container", |c| {
            let id = resolve(c, text)?;
            select(c, "WHERE id = ?1", &id)?.pop().ok_or_else(|| Error::NoSuchContainer(text.to_owned()).into())
        })
    }

    /// Every container, the newest first.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>> {
        self.database().read("list containers", |c| select(c, "WHERE ?1 = '' ORDER BY created_ns DESC, id", ""))
    }

    /// Replaces the record with the same id: name, labels, options and the rest.
    pub fn update_container(&self, record: &ContainerRecord, durability: Durability) -> Result<()> {
        self.database().write("update container", durability, |c| {
            let holder: Option<String> = c
                .prepare_cached("SELECT id FROM containers WHERE name = ?1 AND id <> ?2")?
                .query_row((&record.name, &record.id), |row| row.get(0))
                .optional()?;
            if let Some(holder) = holder {
                return Err(Error::ContainerNameInUse { name: record.name.clone(), holder }.into());
            }
            update(c, record)
        })
    }

    /// Forgets the container and its snapshot, and removes what it wrote. Whether there was one.
    pub fn remove_container(&self, id: &str) -> Result<bool> {
        let there = self.forget_container(id)?;
        trash::discard(self, &self.snapshot_dir(id))?;
        Ok(there)
    }

    /// The same, but what it wrote is only moved into the trash ([`Store::bury`]): its place there.
    pub fn bury_container(&self, id: &str) -> Result<Option<PathBuf>> {
        self.forget_container(id)?;
        self.bury(&self.snapshot_dir(id))
    }

    fn forget_container(&self, id: &str) -> Result<bool> {
        check_id(id)?;
        let delete = |c: &Connection| -> Result<bool, Fault> {
            Ok(c.prepare_cached("DELETE FROM containers WHERE id = ?1")?.execute([id])? > 0)
        };
        self.freeing(|| self.database().write("remove container", Durability::Normal, delete))
    }
}

fn check_free(c: &Connection, record: &ContainerRecord) -> Result<(), Fault> {
    let mut query = c.prepare_cached("SELECT id FROM containers WHERE id = ?1 OR name = ?2")?;
    let holder: Option<String> = query.query_row((&record.id, &record.name), |row| row.get(0)).optional()?;
    match holder {
        None => Ok(()),
        Some(id) if id == record.id => Err(Error::ContainerExists(id).into()),
        Some(holder) => Err(Error::ContainerNameInUse { name: record.name.clone(), holder }.into()),
    }
}

fn insert(c: &Connection, record: &ContainerRecord) -> Result<(), Fault> {
    put(
        c,
        record,
        "INSERT INTO containers (id, name, image, image_name, created_ns, command, labels, options)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    add_volumes(c, record)
}

fn update(c: &Connection, record: &ContainerRecord) -> Result<(), Fault> {
    let changed = put(
        c,
        record,
        "UPDATE containers SET name = ?2, image = ?3, image_name = ?4, created_ns = ?5, command = ?6, labels = ?7,
         options = ?8 WHERE id = ?1",
    )?;
    if changed == 0 {
        return Err(Error::NoSuchContainer(record.id.clone()).into());
    }
    c.prepare_cached("DELETE FROM container_volumes WHERE container = ?1")?.execute([&record.id])?;
    add_volumes(c, record)
}

/// Runs `sql` with the columns of [`COLUMNS`]; the number of rows it changed.
fn put(c: &Connection, record: &ContainerRecord, sql: &str) -> rusqlite::Result<usize> {
    c.prepare_cached(sql)?.execute((
        &record.id,
        &record.name,
        record.image_id.as_ref().map(knarr_spec::Digest::as_str),
        &record.image_name,
        record.created_ns,
        Value::from(record.command.clone()).to_string(),
        serde_json::json!(record.labels).to_string(),
        record.options.to_string(),
    ))
}

fn add_volumes(c: &Connection, record: &ContainerRecord) -> Result<(), Fault> {
    let mut add = c.prepare_cached("INSERT OR IGNORE INTO container_volumes (container, volume) VALUES (?1, ?2)")?;
    for volume in &record.volumes {
        add.execute((&record.id, volume))?;
    }
    Ok(())
}

/// The id of the container that `text` means.
fn resolve(c: &Connection, text: &str) -> Result<String, Fault> {
    let mut named = c.prepare_cached("SELECT id FROM containers WHERE id = ?1 OR name = ?2 ORDER BY id = ?1 DESC")?;
    let name = text.strip_prefix('/').unwrap_or(text);
    if let Some(id) = named.query_row((text, name), |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let mut starting = c.prepare_cached("SELECT id FROM containers WHERE id >= ?1 AND id < ?2 LIMIT 2")?;
    let ids = starting.query_map((text, format!("{text}g")), |row| row.get(0))?;
    match ids.collect::<rusqlite::Result<Vec<String>>>()?.as_slice() {
        [id] if !text.is_empty() => Ok(id.clone()),
        [_, _] if !text.is_empty() => Err(Error::AmbiguousContainer(text.to_owned()).into()),
        _ => Err(Error::NoSuchContainer(text.to_owned()).into()),
    }
}

fn select(c: &Connection, condition: &str, argument: &str) -> Result<Vec<ContainerRecord>, Fault> {
    let mut query = c.prepare_cached(&format!("SELECT {COLUMNS} FROM containers {condition}"))?;
    let rows = query.query_map([argument], |row| Ok(from_row(row)))?;
    let mut records = rows.collect::<rusqlite::Result<Result<Vec<_>, Fault>>>()??;
    let mut volumes = c.prepare_cached("SELECT volume FROM container_volumes WHERE container = ?1 ORDER BY volume")?;
    for record in &mut records {
        record.volumes = volumes.query_map([&record.id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    }
    Ok(records)
}

/// [`COLUMNS`]; the volumes are read apart.
fn from_row(row: &Row<'_>) -> Result<ContainerRecord, Fault> {
    let id: String = row.get(0)?;
    let bad = |field: &'static str| Error::BadRecord { record: format!("containers {id}"), field };
    let text = |column: usize| -> rusqlite::Result<String> { row.get(column) };
    let image_id = row.get::<_, Option<String>>(2)?;
    Ok(ContainerRecord {
        name: row.get(1)?,
        image_id: image_id.map(|text| text.parse()).transpose().map_err(|_| bad("image"))?,
        image_name: row.get(3)?,
        created_ns: row.get(4)?,
        command: serde_json::from_str(&text(5)?).map_err(|_| bad("command"))?,
        labels: serde_json::from_str(&text(6)?).map_err(|_| bad("labels"))?,
        options: serde_json::from_str(&text(7)?).map_err(|_| bad("options"))?,
        volumes: Vec::new(),
        id,
    })
}
