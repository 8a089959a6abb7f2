//! What this process has in its hands, so that nobody collects it.
//!
//! Law: the lease's file is locked before its row exists, so a row whose file is free belongs to a dead process. A store
//! takes one lease, at the first unfinished thing it touches, and gives it back when it is dropped.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::PoisonError;

use rusqlite::Connection;

use crate::database::{Durability, Fault};
use crate::error::{IoContext, Result};
use crate::lock::Locked;
use crate::store::{Inner, Store, now_ns, token};

pub(crate) struct Lease {
    token: String,
    path: PathBuf,
    _lock: Locked,
}

impl Store {
    /// The token of this store's lease, which is taken now if it was not before.
    pub(crate) fn lease(&self) -> Result<String> {
        let mut held = self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(self.take_lease()?);
        }
        Ok(held.as_ref().map(|lease| lease.token.clone()).unwrap_or_default())
    }

    fn take_lease(&self) -> Result<Lease> {
        let dir = self.dir("leases")?;
        loop {
            let token = token()?;
            let path = dir.join(&token);
            let file = OpenOptions::new().write(true).create_new(true).open(&path).doing("create", &path)?;
            // A collector may take an unlocked lease file for a dead one in this moment; then there is another token.
            let Some(lock) = crate::lock::try_lock(file, &path)? else { continue };
            self.database().write("take lease", Durability::Normal, |c| {
                c.prepare_cached("INSERT INTO leases (token, created_ns) VALUES (?1, ?2)")?
                    .execute((&token, now_ns()))?;
                Ok(())
            })?;
            return Ok(Lease { token, path, _lock: lock });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let held = self.lease.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lease) = held {
            // What fails here the next collection does: the lock ends with us.
            let _ = self.database.write("end lease", Durability::Normal, |c| Ok(end(c, &lease.token)?));
            let _ = std::fs::remove_file(&lease.path);
        }
    }
}

/// Forgets a lease and what it protected.
pub(crate) fn end(connection: &Connection, token: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM leases WHERE token = ?1")?.execute([token])?;
    Ok(())
}

/// Notes that the lease protects a blob.
pub(crate) fn hold_blob(connection: &Connection, token: &str, digest: &str) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO lease_blobs (token, digest) VALUES (?1, ?2)")?
        .execute((token, digest))?;
    Ok(())
}

/// Notes that the lease protects a layer.
pub(crate) fn hold_layer(connection: &Connection, token: &str, number: i64) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO lease_layers (token, number) VALUES (?1, ?2)")?
        .execute((token, number))?;
    Ok(())
}
