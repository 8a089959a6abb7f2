//! A new database from what can still be read of a damaged one.
//!
//! Law: the damaged file is kept beside the new one, never changed. Every table is read from both ends up to the damage, so
//! one bad page costs the rows on it. What had its row there comes back by itself where its bytes are on disk: blobs and
//! layers with the next pull, volumes at once; writable layers of unknown containers are moved to `lost/`, where no
//! collection looks.

use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::create;
use crate::error::{Error, IoContext, Result};
use crate::gc_facts::entries;
use crate::schema;
use crate::store::{Store, StoreOptions, now_ns, token};

/// What was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Where the damaged database is kept.
    pub damaged: PathBuf,
    /// Rows that could be read, by table.
    pub rows: Vec<(String, usize)>,
    /// Tables with rows that could not be read.
    pub incomplete: Vec<String>,
    /// Volumes that were found on disk and have a record again.
    pub volumes: Vec<String>,
    /// Containers whose record is lost; what they wrote is in `lost/<id>`.
    pub snapshots: Vec<String>,
}

/// Rebuilds the database of the store in `state`. No other process may have the store open.
pub fn salvage(state: &Path, options: &StoreOptions) -> Result<Salvaged> {
    let path = state.join("knarr.db");
    let fresh = state.join(format!("knarr.new-{}", token()?));
    let mut salvaged =
        Salvaged { damaged: state.join(format!("knarr.db.damaged-{}", now_ns())), ..Salvaged::default() };
    create::make(&fresh)?;
    copy_all(&path, &fresh, &mut salvaged)?;
    std::fs::File::open(&fresh).and_then(|file| file.sync_all()).doing("sync", &fresh)?;
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (with_suffix(&path, suffix), with_suffix(&salvaged.damaged, suffix));
        if from.exists() {
            std::fs::rename(&from, to).doing("rename", from)?;
        }
    }
    std::fs::rename(&fresh, &path).doing("rename", &fresh)?;
    create::remove_scaffold(&fresh);
    crate::partial::sync_dir(state)?;
    let store = Store::open(state, options)?;
    salvaged.volumes = store.readopt_volumes()?;
    salvaged.snapshots = store.set_aside_snapshots()?;
    Ok(salvaged)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn copy_all(from: &Path, to: &Path, salvaged: &mut Salvaged) -> Result<()> {
    let in_words = |source| Error::Database { action: "salvage", path: to.to_owned(), source };
    let new = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(in_words)?;
    // Rows may come before those they refer to; what refers to nothing in the end goes.
    new.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; BEGIN").map_err(in_words)?;
    let old = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE);
    for table in schema::TABLES {
        let copied = match &old {
            Ok(old) => copy_table(old, &new, table).map_err(in_words)?,
            Err(_) => Copied { rows: 0, whole: false },
        };
        salvaged.rows.push(((*table).to_owned(), copied.rows));
        if !copied.whole {
            salvaged.incomplete.push((*table).to_owned());
        }
    }
    schema::ORPHANS.iter().try_for_each(|sql| new.execute(sql, []).map(drop)).map_err(in_words)?;
    new.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").map_err(in_words)
}

struct Copied {
    rows: usize,
    whole: bool,
}

/// Copies a table from both ends. Errors are the new database's; the old one's only end the reading.
fn copy_table(old: &Connection, new: &Connection, table: &str) -> rusqlite::Result<Copied> {
    // An older database has fewer columns.
    let Ok(query) = old.prepare(&format!("SELECT * FROM {table}")) else { return Ok(Copied { rows: 0, whole: false }) };
    let names: Vec<&str> = query.column_names().collect();
    let (columns, names) = (names.len(), names.join(", "));
    // The order of the table's own pages: a damaged index is not touched.
    let key = if new.prepare(&format!("SELECT rowid FROM {table}")).is_ok() { "rowid" } else { "1" };
    let marks = vec!["?"; columns].join(", ");
    let mut insert = new.prepare(&format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"))?;
    let mut copied = Copied { rows: 0, whole: true };
    for order in ["ASC", "DESC"] {
        let rows =
            read_until_damage(old, &format!("SELECT * FROM {table} NOT INDEXED ORDER BY {key} {order}"), columns);
        for row in rows.0 {
            copied.rows += insert.execute(rusqlite::params_from_iter(row))?;
        }
        if rows.1 {
            copied.whole = order == "ASC";
            break;
        }
        copied.whole = false;
    }
    Ok(copied)
}

/// The rows up to the first that cannot be read, and whether that was all.
fn read_until_damage(old: &Connection, sql: &str, columns: usize) -> (Vec<Vec<Value>>, bool) {
    let mut found = Vec::new();
    let Ok(mut statement) = old.prepare(sql) else { return (found, false) };
    let Ok(mut rows) = statement.query([]) else { return (found, false) };
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let Ok(row) = (0..columns).map(|column| row.get(column)).collect() else { return (found, false) };
                found.push(row);
            }
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}

impl Store {
    /// Gives volumes without a record one.
    fn readopt_volumes(&self) -> Result<Vec<String>> {
        let known: Vec<String> = self.volumes()?.into_iter().map(|volume| volume.name).collect();
        let mut found = Vec::new();
        for entry in entries(&self.inner.state.join("volumes"))? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if known.contains(&name) || !entry.path().join("_data").is_dir() {
                continue;
            }
            self.create_volume(&crate::VolumeRecord {
                name: name.clone(),
                created_ns: now_ns(),
                anonymous: name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()),
                driver: "local".to_owned(),
                labels: Default::default(),
                options: Default::default(),
            })?;
            found.push(name);
        }
        Ok(found)
    }

    /// Moves writable layers without a record where no collection looks.
    fn set_aside_snapshots(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in entries(&self.inner.state.join("snapshots"))? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !self.has_snapshot(&name)? {
                let place = self.dir("lost")?.join(&name);
                std::fs::rename(entry.path(), place).doing("rename", entry.path())?;
                found.push(name);
            }
        }
        Ok(found)
    }
}
