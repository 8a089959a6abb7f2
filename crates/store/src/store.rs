//! The root directory and what belongs to an open store.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::database::Database;
use crate::error::{Error, IoContext, Result};
use crate::lease::Lease;

/// How a store is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreOptions {
    /// Whether we are root only in our own user namespace: overlay marks are then `user.overlay.*`, and snapshots say
    /// `userxattr`.
    pub rootless: bool,
}

/// An open store. Clones share one connection and one lease; threads may share them.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) state: PathBuf,
    pub(crate) options: StoreOptions,
    pub(crate) database: Database,
    pub(crate) lease: Mutex<Option<Lease>>,
}

impl Store {
    /// Opens the store in the directory `state`, and makes one where there is none. Costs one file open and one query
    /// where the schema is current; nothing is checked that need not be.
    pub fn open(state: &Path, options: &StoreOptions) -> Result<Store> {
        let owner = match std::fs::metadata(state) {
            Ok(metadata) => metadata.uid(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_private(state)?.uid(),
            Err(error) => return Err(error).doing("open store", state),
        };
        let us = knarr_sys::credentials::effective_user();
        if owner != us {
            return Err(Error::NotOurs { path: state.to_owned(), owner, us });
        }
        let (database, is_new) = Database::open(&state.join("knarr.db"))?;
        let inner = Inner { state: state.to_owned(), options: *options, database, lease: Mutex::new(None) };
        let store = Store { inner: Arc::new(inner) };
        if is_new {
            store.keep_reserve();
        }
        Ok(store)
    }

    /// The directory this store is in.
    pub fn state(&self) -> &Path {
        &self.inner.state
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    /// `<state>/<name>`, made where it is missing.
    pub(crate) fn dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.inner.state.join(name);
        if !path.is_dir() {
            make_private(&path)?;
        }
        Ok(path)
    }
}

/// Makes a directory that only its owner may enter: images hold set-uid programs of all ages, which no other user of the
/// machine is to reach.
fn make_private(path: &Path) -> Result<std::fs::Metadata> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).doing("create", path)?;
    std::fs::metadata(path).doing("stat", path)
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A name nobody else has: 32 random hex digits.
pub(crate) fn token() -> Result<String> {
    use std::io::Read;
    let path = Path::new("/dev/urandom");
    let mut bytes = [0u8; 16];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).doing("read", path)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
