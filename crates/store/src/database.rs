//! One SQLite connection: opened cheaply, written in short transactions, patient with other processes.
//!
//! Law: a write transaction is `BEGIN IMMEDIATE`, so it waits at its first statement and never fails in its middle; no file
//! is read or written inside one. Nobody checkpoints on close: a short command must not pay an fsync for others.
//! Not here: the tables (`schema`).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::create::{create, steps};
use crate::error::{Error, Result};
use crate::schema;

/// Longest wait for other processes' transactions, which take microseconds each: whoever waits this long waits for a
/// process that is stopped, not for one that is busy.
pub const BUSY_WAIT_S_MAX: u64 = 60;

/// Longest nap between two tries for the write lock. A transaction takes well under a millisecond.
const NAP_MAX: Duration = Duration::from_millis(4);

/// Pages of write-ahead log after which a commit copies them into the database. An opener that is alone reads the whole
/// log (about 2 µs a page), a copy costs three fsyncs: this keeps the first under a millisecond and the second rare. Slow
/// operations copy earlier ([`Database::settle`]).
const WAL_PAGES_MAX: i64 = 512;

/// Fewer pages than this are not worth the fsyncs of a copy.
const SETTLE_PAGES_MIN: i64 = 64;

/// Statements kept prepared; more than the crate has.
const STATEMENTS_MAX: usize = 96;

/// What a commit promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives the death of any process. A power cut may take the last commits, in order, and never tears one.
    Normal,
    /// Survives a power cut too: one fsync.
    Full,
}

/// Why the inside of a transaction gave up: SQLite's reason, or ours.
#[derive(Debug)]
pub(crate) enum Fault {
    Sql(rusqlite::Error),
    Ours(Box<Error>),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Ours(Box::new(error))
    }
}

pub(crate) struct Database {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Database {
    /// Opens the database, creates it where there is none, and brings an older one up to date. Whether it is new.
    pub(crate) fn open(path: &Path) -> Result<(Database, bool)> {
        let mut is_new = false;
        let connection = match connect(path, false) {
            // It is missing, or was until another opener made it: then the second attempt finds it.
            Err(Error::Database { source, .. }) if source.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
                if !path.exists() {
                    create(path)?;
                    is_new = true;
                }
                connect(path, false)?
            }
            // What was missing when SQLite wanted to write it and there when it then wanted to read it, it only reads.
            Ok(connection) if connection.is_readonly("main").unwrap_or(false) => connect(path, false)?,
            other => other?,
        };
        let database = Database { path: path.to_owned(), connection: Mutex::new(connection) };
        database.migrate()?;
        Ok((database, is_new))
    }

    /// Several queries that see one moment.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        body: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        transact(&connection, TransactionBehavior::Deferred, body).map_err(|fault| self.in_words(action, fault))
    }

    /// A write transaction. `Full` reaches the disk before this returns.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        durability: Durability,
        body: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T> {
        // Held from the first pragma to the last, or another thread's NORMAL could slip in between.
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let run = || match durability {
            Durability::Normal => transact(&connection, TransactionBehavior::Immediate, body),
            Durability::Full => {
                connection.execute_batch("PRAGMA synchronous = FULL")?;
                let done = transact(&connection, TransactionBehavior::Immediate, body);
                connection.execute_batch("PRAGMA synchronous = NORMAL")?;
                done
            }
        };
        run().map_err(|fault| self.in_words(action, fault))
    }

    /// Copies the log into the database where that is possible without waiting for others. Only saves time later.
    pub(crate) fn settle(&self) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?));
        let (log, copied): (i64, i64) =
            connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], pages).unwrap_or_default();
        if log - copied > SETTLE_PAGES_MIN {
            let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
    }

    fn in_words(&self, action: &'static str, fault: Fault) -> Error {
        match fault {
            Fault::Ours(error) => *error,
            Fault::Sql(source) => in_words(action, &self.path, source),
        }
    }

    fn migrate(&self) -> Result<()> {
        let version = self.read("open store", |c| Ok(user_version(c)?))?;
        if version > schema::VERSION {
            return Err(Error::TooNew { path: self.path.clone(), found: version, known: schema::VERSION });
        }
        if version == schema::VERSION {
            return Ok(());
        }
        // Another process may have been faster: the version counts under the write lock only.
        self.write("migrate store", Durability::Full, |c| Ok(steps(c, user_version(c)?)?))
    }
}

fn transact<T>(
    connection: &Connection,
    behavior: TransactionBehavior,
    body: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let transaction = Transaction::new_unchecked(connection, behavior)?;
    let value = body(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

pub(crate) fn connect(path: &Path, create: bool) -> Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags |= OpenFlags::SQLITE_OPEN_EXRESCODE;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    let connect = || -> rusqlite::Result<Connection> {
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_handler(Some(patience()))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.execute_batch(&format!(
            "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}"
        ))?;
        Ok(connection)
    };
    connect().map_err(|source| in_words("open store", path, source))
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Naps that grow, with a jitter so that 64 waiters do not wake together, until [`BUSY_WAIT_S_MAX`].
fn patience() -> impl FnMut(i32) -> bool + Send + 'static {
    let mut since = Instant::now();
    let mut seed = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |tries| {
        if tries == 0 {
            since = Instant::now();
        }
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let nap = Duration::from_micros(100 << tries.clamp(0, 6)).min(NAP_MAX);
        std::thread::sleep(nap / 2 + nap.mul_f64((seed % 1024) as f64 / 1024.0));
        since.elapsed() < Duration::from_secs(BUSY_WAIT_S_MAX)
    }
}

pub(crate) fn in_words(action: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Damaged { action, path, source },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Busy { action, path, waited_s: BUSY_WAIT_S_MAX }
        }
        _ => Error::Database { action, path, source },
    }
}
