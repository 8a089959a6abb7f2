//! What the settings say about storage, opened: blobs, metadata and uploads that go together.
//!
//! Law: whatever is chosen, one process uses a root. With blobs in an object store and metadata in Postgres the root holds
//! nothing but scratch, and any number of instances, each with a root of its own, serve one content; otherwise a database
//! or a bucket has one registry.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;

use crate::blobs::{self, Blobs};
use crate::config::Settings;
use crate::error::StorageError;
use crate::metadata::{Metadata, Sqlite};
use crate::server::ServeError;
use crate::upload::{self, Uploads};

/// How a process means to use a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To serve or change it, beside other instances where that can be.
    Serve,
    /// To look, beside whoever serves it.
    Look,
    /// To mend it, when nobody serves it.
    Mend,
}

/// An open store.
pub struct Storage {
    pub blobs: Arc<dyn Blobs>,
    pub meta: Arc<dyn Metadata>,
    pub uploads: Arc<dyn Uploads>,
    /// Files on their way in, for whom an upload of this process is enough.
    pub spool: Arc<upload::Files>,
    /// Whether other instances may change the content at any time, so that nothing of it may be remembered.
    pub shared: bool,
    /// Locked while this process uses the root.
    _lock: Option<RootLock>,
}

impl Storage {
    /// Opens or makes what the settings name.
    pub fn open(settings: &Settings, how: Use) -> Result<Storage, ServeError> {
        let lock = (how != Use::Look).then(|| lock(&settings.storage.root)).transpose()?;
        Storage::open_locked(settings, how, lock)
    }

    /// As [`open`](Storage::open), for who has locked the root.
    pub fn open_locked(settings: &Settings, how: Use, lock: Option<RootLock>) -> Result<Storage, ServeError> {
        let root = &settings.storage.root;
        let failed = |error: StorageError| ServeError::Root { root: root.clone(), source: error.into() };
        std::fs::create_dir_all(root)
            .map_err(|source| ServeError::Root { root: root.clone(), source: source.into() })?;
        let mut backend = Backend::default();
        let blobs = backend.blobs(settings)?;
        backend.occupy_database(settings, how)?;
        let meta: Arc<dyn Metadata> = match backend.metadata() {
            Some(postgres) => postgres,
            None => Arc::new(Sqlite::open(&root.join(DATABASE)).map_err(failed)?),
        };
        let spool = Arc::new(upload::Files::open(root.join("uploads"), blobs.clone()).map_err(failed)?);
        let shared = backend.uploads();
        let is_shared = shared.is_some();
        let uploads = shared.unwrap_or_else(|| spool.clone());
        Ok(Storage { blobs, meta, uploads, spool, shared: is_shared, _lock: lock })
    }
}

/// The database of a root.
pub const DATABASE: &str = "registry.db";

/// The root is ours until this is dropped.
///
/// Given back by name, not by closing: a process that another thread of ours is starting has a copy of every descriptor until
/// it executes, and would hold the lock that long.
#[derive(Debug)]
pub struct RootLock(File);

impl Drop for RootLock {
    fn drop(&mut self) {
        // Where this fails, closing does it.
        let _ = self.0.unlock();
    }
}

/// Makes sure that no other process uses the root.
pub fn lock(root: &Path) -> Result<RootLock, ServeError> {
    let failed = |source: std::io::Error| ServeError::Root { root: root.to_owned(), source: source.into() };
    std::fs::create_dir_all(root).map_err(failed)?;
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).to_owned();
    let file = options.open(root.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(RootLock(file)),
        Err(TryLockError::WouldBlock) => Err(ServeError::InUse { what: root.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The blobs alone.
pub fn blobs(settings: &Settings) -> Result<Arc<dyn Blobs>, ServeError> {
    Backend::default().blobs(settings)
}

/// Stores outside the root.
#[derive(Default)]
struct Backend {
    #[cfg(any(feature = "objects", feature = "postgres"))]
    driver: Option<crate::driver::Driver>,
    #[cfg(feature = "objects")]
    objects: Option<Arc<blobs::Objects>>,
    #[cfg(feature = "postgres")]
    postgres: Option<Arc<crate::metadata::Postgres>>,
}

impl Backend {
    #[cfg(any(feature = "objects", feature = "postgres"))]
    fn driver(&mut self) -> Result<crate::driver::Driver, ServeError> {
        if let Some(driver) = &self.driver {
            return Ok(driver.clone());
        }
        let driver = crate::driver::Driver::new().map_err(ServeError::Serve)?;
        Ok(self.driver.insert(driver).clone())
    }

    fn blobs(&mut self, settings: &Settings) -> Result<Arc<dyn Blobs>, ServeError> {
        #[cfg(feature = "objects")]
        if let Some(wanted) = &settings.storage.blobs {
            let failed = |source| ServeError::Blobs { url: wanted.url.to_string(), source };
            let client = crate::outbound::content_client(settings.outbound.authorities.as_ref());
            let client = client.map_err(|error| failed(error.into()))?;
            let objects = blobs::Objects::open(wanted, client, self.driver()?).map_err(|error| failed(error.into()))?;
            return Ok(self.objects.insert(Arc::new(objects)).clone());
        }
        let root = &settings.storage.root;
        let files = blobs::Files::open(root);
        Ok(Arc::new(files.map_err(|error| ServeError::Root { root: root.clone(), source: error.into() })?))
    }

    /// Connects to a database server, and says there that we use it: alone, unless the blobs are where others find them too.
    #[cfg(feature = "postgres")]
    fn occupy_database(&mut self, settings: &Settings, how: Use) -> Result<(), ServeError> {
        let Some(wanted) = &settings.storage.metadata else { return Ok(()) };
        let failed = |error: StorageError| ServeError::Database { source: error.into() };
        let postgres = crate::metadata::Postgres::open(wanted, self.driver()?).map_err(failed)?;
        let alone = how == Use::Mend || settings.storage.blobs.is_none();
        if how != Use::Look && !postgres.occupy(alone).map_err(failed)? {
            return Err(ServeError::InUse { what: "the database".into() });
        }
        self.postgres = Some(Arc::new(postgres));
        Ok(())
    }

    #[cfg(not(feature = "postgres"))]
    fn occupy_database(&mut self, _: &Settings, _: Use) -> Result<(), ServeError> {
        Ok(())
    }

    fn metadata(&self) -> Option<Arc<dyn Metadata>> {
        #[cfg(feature = "postgres")]
        return self.postgres.clone().map(|postgres| postgres as Arc<dyn Metadata>);
        #[cfg(not(feature = "postgres"))]
        None
    }

    /// Uploads that several instances work on.
    fn uploads(&self) -> Option<Arc<dyn Uploads>> {
        #[cfg(all(feature = "objects", feature = "postgres"))]
        if let (Some(objects), Some(postgres)) = (&self.objects, &self.postgres) {
            return Some(Arc::new(upload::Shared::new(objects.clone(), postgres.clone())));
        }
        None
    }
}
