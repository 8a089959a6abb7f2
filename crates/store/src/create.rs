//! How a database comes to be, and how an older one becomes current.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::database::{connect, in_words};
use crate::error::{IoContext, Result};
use crate::partial::sync_dir;
use crate::schema;

/// Makes a complete database beside its place and links it in: whoever sees the name sees a finished one, and of two
/// creators one wins.
pub(crate) fn create(path: &Path) -> Result<()> {
    let token = crate::store::token()?;
    let fresh = path.with_file_name(format!("knarr.new-{token}"));
    let made = make(&fresh).and_then(|()| link(&fresh, path));
    remove_scaffold(&fresh);
    made
}

/// Removes what is left of a database that was made at `fresh`.
pub(crate) fn remove_scaffold(fresh: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = fresh.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
}

/// Makes a complete, empty database at `fresh`, all of it in one file.
pub(crate) fn make(fresh: &Path) -> Result<()> {
    let connection = connect(fresh, true)?;
    let fill = || -> rusqlite::Result<()> {
        connection.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        // Nobody sees it yet, and it is synced below as a whole.
        connection.pragma_update(None, "synchronous", "OFF")?;
        let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
        steps(&transaction, 0)?;
        transaction.commit()?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    };
    fill().map_err(|source| in_words("create store", fresh, source))
}

fn link(fresh: &Path, path: &Path) -> Result<()> {
    std::fs::File::open(fresh).and_then(|file| file.sync_all()).doing("sync", fresh)?;
    match std::fs::hard_link(fresh, path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.doing("create", path),
    }?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

pub(crate) fn steps(connection: &Connection, from: i64) -> rusqlite::Result<()> {
    for (index, step) in (0i64..).zip(schema::STEPS).skip_while(|(index, _)| *index < from) {
        connection.execute_batch(step)?;
        connection.pragma_update(None, "user_version", index + 1)?;
    }
    Ok(())
}
