//! The server: one registry shared by all requests, and the clean-up that runs beside them.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Bytes;
use knarr_spec::Digest;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::blobs::Blobs;
use crate::cache::{Cache, Entry};
use crate::config::{ConfigError, Settings};
use crate::connection;
use crate::error::StorageError;
use crate::front::Doors;
use crate::limits::CACHE_BYTES_MAX;
use crate::live::{Live, LiveError};
use crate::log::Log;
use crate::metadata::Metadata;
use crate::metrics::Metrics;
use crate::mirror::{self, MirrorError, Mirrors};
use crate::pulls::Pulls;
use crate::route::ManifestReference;
use crate::storage::{Storage, Use};
use crate::upkeep;
use crate::upload::{self, Uploads};

/// Between two looks at settings that may be just being written.
const SETTLE: Duration = Duration::from_millis(300);
/// Looks after which they are taken as they are.
const SETTLE_LOOKS_MAX: usize = 100;

/// Why a registry could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The root could not be opened.
    #[error("{}: {source}{}", root.display(), elsewhere(source.as_ref()))]
    Root {
        /// The directory named.
        root: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object store could not be used.
    #[error("storage.blobs: {url}: {source}")]
    Blobs {
        /// Its address.
        url: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database server could not be used.
    #[error("storage.metadata: {source}")]
    Database {
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process uses what must be ours alone.
    #[error("{what} is in use by another process\nhint: end that process, or use another one")]
    InUse {
        /// The root, or the database.
        what: String,
    },
    /// A mirror cannot be set up.
    #[error("{0}")]
    Mirror(#[from] MirrorError),
    /// The address could not be listened on.
    #[error("listen on {address}: {source}{}", another_address(source))]
    Listen {
        /// The address named.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// What the settings name could not be read or opened.
    #[error("{0}")]
    Settings(#[from] LiveError),
    /// The server ended with an error.
    #[error("{0}")]
    Serve(std::io::Error),
}

/// What helps who may not use the directory.
fn elsewhere(why: &(dyn std::error::Error + Send + Sync + 'static)) -> &'static str {
    let why = match why.downcast_ref::<StorageError>() {
        Some(StorageError::Io { source, .. }) => Some(source),
        _ => why.downcast_ref::<std::io::Error>(),
    };
    match why.map(std::io::Error::kind) {
        Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            "\nhint: --root DIR (storage.root) keeps everything in another directory"
        }
        _ => "",
    }
}

/// What helps who cannot listen.
fn another_address(why: &std::io::Error) -> &'static str {
    match why.kind() {
        ErrorKind::AddrInUse => {
            "\nhint: another process listens there; --listen :PORT (http.listen) names another port"
        }
        ErrorKind::AddrNotAvailable => "\nhint: this machine has no such address; --listen (http.listen) names another",
        ErrorKind::PermissionDenied => {
            "\nhint: ports below 1024 are for root or CAP_NET_BIND_SERVICE; --listen :PORT (http.listen) names another"
        }
        _ => "",
    }
}

/// A registry; clones share everything.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    live: RwLock<Arc<Live>>,
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    doors: Doors,
    storage: Storage,
    pulls: Pulls,
    mirrors: Mirrors,
    manifests: Cache<ManifestReference, Entry>,
    small_blobs: Cache<Digest, Bytes>,
}

impl Registry {
    /// Opens or makes the registry that the settings name; `storage.root` is then this process's alone.
    pub fn open(settings: Settings) -> Result<Registry, ServeError> {
        Registry::open_with(settings, Use::Serve)
    }

    /// Opens the registry beside another process that may use it; to look, not to change.
    pub fn open_beside(settings: Settings) -> Result<Registry, ServeError> {
        Registry::open_with(settings, Use::Look)
    }

    fn open_with(settings: Settings, how: Use) -> Result<Registry, ServeError> {
        let storage = Storage::open(&settings, how)?;
        let (pulls, mirrors) = (Pulls::default(), Mirrors::new(&settings)?);
        // What others may change at any time is asked for each time.
        let cache_bytes_max = if storage.shared { 0 } else { CACHE_BYTES_MAX };
        let (manifests, small_blobs) = (Cache::new(cache_bytes_max), Cache::new(cache_bytes_max));
        let (log, metrics) = (Arc::new(Log::new(settings.log.clone())), Arc::<Metrics>::default());
        let live = RwLock::new(Arc::new(Live::open(settings, &metrics, &log)?));
        let doors = Doors::default();
        Ok(Registry(Arc::new(Inner { live, log, metrics, doors, storage, pulls, mirrors, manifests, small_blobs })))
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
        &*self.0.storage.meta
    }

    pub(crate) fn blobs(&self) -> &dyn Blobs {
        &*self.0.storage.blobs
    }

    pub(crate) fn mirrors(&self) -> &Mirrors {
        &self.0.mirrors
    }

    pub(crate) fn pulls(&self) -> &Pulls {
        &self.0.pulls
    }

    pub(crate) fn uploads(&self) -> &dyn Uploads {
        &*self.0.storage.uploads
    }

    /// For files on their way in.
    pub(crate) fn spool(&self) -> &upload::Files {
        &self.0.storage.spool
    }

    pub(crate) fn manifests(&self) -> &Cache<ManifestReference, Entry> {
        &self.0.manifests
    }

    pub(crate) fn small_blobs(&self) -> &Cache<Digest, Bytes> {
        &self.0.small_blobs
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
        // A file that is just being written may be a valid one at any moment: it counts when it has stopped changing.
        let mut read = settings();
        for _ in 0..SETTLE_LOOKS_MAX {
            tokio::time::sleep(SETTLE).await;
            let again = settings();
            let settled = matches!((&read, &again), (Ok(before), Ok(now)) if before == now)
                || matches!((&read, &again), (Err(before), Err(now)) if before.to_string() == now.to_string());
            read = again;
            if settled {
                break;
            }
        }
        match read {
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
