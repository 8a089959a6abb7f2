//! The server: one registry shared by all requests, and the clean-up that runs beside them.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Bytes;
use knarr_spec::Digest;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::blobs::{Blobs, Files};
use crate::cache::{Cache, Entry};
use crate::config::{ConfigError, Settings};
use crate::connection;
use crate::error::StorageError;
use crate::front::Doors;
use crate::limits::CACHE_BYTES_MAX;
use crate::live::{Live, LiveError};
use crate::log::Log;
use crate::metadata::{Metadata, Sqlite};
use crate::metrics::Metrics;
use crate::mirror::{self, MirrorError, Mirrors};
use crate::pulls::Pulls;
use crate::records::Recorder;
use crate::route::ManifestReference;
use crate::upkeep;
use crate::upload::Uploads;

/// Why a registry could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The root could not be opened.
    #[error("registry: open {}: {source}", root.display())]
    Root {
        /// The directory named.
        root: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process uses the root.
    #[error("registry: {} is in use by another process", root.display())]
    InUse {
        /// The directory named.
        root: PathBuf,
    },
    /// A mirror cannot be set up.
    #[error("registry: {0}")]
    Mirror(#[from] MirrorError),
    /// The address could not be listened on.
    #[error("registry: listen on {address}: {source}")]
    Listen {
        /// The address named.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// What the settings name could not be read or opened.
    #[error("registry: {0}")]
    Settings(#[from] LiveError),
    /// The server ended with an error.
    #[error("registry: {0}")]
    Serve(std::io::Error),
}

/// A registry; clones share everything.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    live: RwLock<Arc<Live>>,
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    doors: Doors,
    meta: Box<dyn Metadata>,
    blobs: Box<dyn Blobs>,
    uploads: Uploads,
    recorder: Recorder,
    pulls: Pulls,
    mirrors: Mirrors,
    /// Locked while this process uses the root.
    _lock: Option<File>,
    manifests: Cache<ManifestReference, Entry>,
    small_blobs: Cache<Digest, Bytes>,
}

impl Registry {
    /// Opens or makes the registry at `storage.root`, which is then this process's alone.
    pub fn open(settings: Settings) -> Result<Registry, ServeError> {
        let lock = lock(&settings.storage.root)?;
        Registry::open_with(settings, Some(lock))
    }

    /// Opens the registry beside another process that may use it; to look, not to change.
    pub fn open_beside(settings: Settings) -> Result<Registry, ServeError> {
        Registry::open_with(settings, None)
    }

    fn open_with(settings: Settings, lock: Option<File>) -> Result<Registry, ServeError> {
        let root = settings.storage.root.clone();
        let failed = |error: StorageError| ServeError::Root { root: root.clone(), source: error.into() };
        let blobs = Box::new(Files::open(&root).map_err(failed)?);
        let uploads = Uploads::open(root.join("uploads")).map_err(failed)?;
        let meta = Box::new(Sqlite::open(&root.join("registry.db")).map_err(failed)?);
        let (recorder, pulls, mirrors) = (Recorder::default(), Pulls::default(), Mirrors::new(&settings)?);
        let (manifests, small_blobs) = (Cache::new(CACHE_BYTES_MAX), Cache::new(CACHE_BYTES_MAX));
        let (log, metrics) = (Arc::new(Log::new(settings.log.clone())), Arc::<Metrics>::default());
        let live = RwLock::new(Arc::new(Live::open(settings, &metrics, &log)?));
        let doors = Doors::default();
        Ok(Registry(Arc::new(Inner {
            live,
            log,
            metrics,
            doors,
            meta,
            blobs,
            uploads,
            recorder,
            pulls,
            mirrors,
            _lock: lock,
            manifests,
            small_blobs,
        })))
    }

    /// What holds now.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.0.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The settings as they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.live().settings.clone()
    }

    /// Goes on with other settings; what cannot change while serving stays as it was.
    pub(crate) fn apply(&self, mut settings: Settings) {
        let running = self.settings();
        for key in settings.need_restart(&running) {
            self.log().warn("this setting counts from the next start on", &[("setting", &key)]);
        }
        settings.storage = running.storage.clone();
        settings.http.listen = running.http.listen;
        settings.metrics.listen = running.metrics.listen;
        match Live::open(settings, &self.0.metrics, &self.0.log) {
            Ok(live) => {
                self.log().apply(live.settings.log.clone());
                *self.0.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
                self.log().info("settings read again", &[]);
            }
            Err(error) => self.log().error("settings stay as they are", &[("error", &error)]),
        }
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    pub(crate) fn doors(&self) -> &Doors {
        &self.0.doors
    }

    pub(crate) fn log(&self) -> &Log {
        &self.0.log
    }

    pub(crate) fn meta(&self) -> &dyn Metadata {
        &*self.0.meta
    }

    pub(crate) fn blobs(&self) -> &dyn Blobs {
        &*self.0.blobs
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    pub(crate) fn mirrors(&self) -> &Mirrors {
        &self.0.mirrors
    }

    pub(crate) fn pulls(&self) -> &Pulls {
        &self.0.pulls
    }

    pub(crate) fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    pub(crate) fn manifests(&self) -> &Cache<ManifestReference, Entry> {
        &self.0.manifests
    }

    pub(crate) fn small_blobs(&self) -> &Cache<Digest, Bytes> {
        &self.0.small_blobs
    }
}

/// Makes sure that no other process uses the root: caches and records are ours alone.
pub(crate) fn lock(root: &Path) -> Result<File, ServeError> {
    let failed = |source: std::io::Error| ServeError::Root { root: root.to_owned(), source: source.into() };
    std::fs::create_dir_all(root).map_err(failed)?;
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).to_owned();
    let file = options.open(root.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServeError::InUse { root: root.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Serves until the process is asked to end; requests in flight are finished first. At SIGHUP the settings are asked for again.
pub async fn serve(
    registry: Registry,
    settings: impl Fn() -> Result<Settings, ConfigError> + Send + 'static,
    announce: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let running = registry.settings();
    let listener = listen(running.http.listen.0).await?;
    let metrics_listener = match running.metrics.listen {
        Some(address) => Some(listen(address.0).await?),
        None => None,
    };
    announce(listener.local_addr().map_err(ServeError::Serve)?);
    let metrics = metrics_listener.map(|listener| tokio::spawn(connection::serve_metrics(listener, registry.clone())));
    let janitor = tokio::spawn(upkeep::keep_clean(registry.clone()));
    let scheduler = tokio::spawn(mirror::keep_synced(registry.clone()));
    let reloader = tokio::spawn(keep_current(registry.clone(), settings));
    connection::serve(listener, registry.clone(), asked_to_end()).await;
    janitor.abort();
    scheduler.abort();
    let last = registry.clone();
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || last.note_pulls()).await {
        registry.log().error("the last pulls are not noted", &[("error", &error)]);
    }
    reloader.abort();
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

async fn keep_current(registry: Registry, settings: impl Fn() -> Result<Settings, ConfigError>) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        match settings() {
            Ok(settings) => registry.apply(settings),
            Err(error) => registry.log().error("settings stay as they are", &[("error", &error)]),
        }
    }
}

async fn asked_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
