//! The server: one registry shared by all requests, and the clean-up that runs beside them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

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
use crate::limits::{BLOB_GRACE, CACHE_BYTES_MAX, GC_INTERVAL, UPLOAD_IDLE_MAX};
use crate::live::{Live, LiveError};
use crate::log::Log;
use crate::meta::Meta;
use crate::metrics::Metrics;
use crate::route::ManifestReference;
use crate::upload::Uploads;

/// Blobs removed in one step of garbage collection, so that no step holds the database for long.
const GC_STEP: usize = 100;

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
    meta: Meta,
    blobs: Blobs,
    uploads: Uploads,
    manifests: Cache<ManifestReference, Entry>,
    small_blobs: Cache<Digest, Bytes>,
}

impl Registry {
    /// Opens or makes the registry at `storage.root`.
    pub fn open(settings: Settings) -> Result<Registry, ServeError> {
        let root = settings.storage.root.clone();
        let failed = |error: StorageError| ServeError::Root { root: root.clone(), source: error.into() };
        let blobs = Blobs::open(root.join("blobs")).map_err(failed)?;
        let uploads = Uploads::open(root.join("uploads")).map_err(failed)?;
        let meta = Meta::open(&root.join("registry.db")).map_err(failed)?;
        let (manifests, small_blobs) = (Cache::new(CACHE_BYTES_MAX), Cache::new(CACHE_BYTES_MAX));
        let (log, metrics) = (Arc::new(Log::new(settings.log.clone())), Arc::<Metrics>::default());
        let live = RwLock::new(Arc::new(Live::open(settings, &metrics, &log)?));
        let doors = Doors::default();
        Ok(Registry(Arc::new(Inner { live, log, metrics, doors, meta, blobs, uploads, manifests, small_blobs })))
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

    pub(crate) fn meta(&self) -> &Meta {
        &self.0.meta
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.0.blobs
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

    /// One round of garbage collection: blobs no manifest uses and uploads nobody continues. Returns the blobs removed.
    pub(crate) fn collect_garbage(&self) -> Result<usize, StorageError> {
        self.uploads().expire(UPLOAD_IDLE_MAX)?;
        let mut removed = 0;
        loop {
            let gone = self.meta().collect(BLOB_GRACE, GC_STEP)?;
            for digest in &gone {
                let mut outcome = Ok(());
                self.meta().if_still_unknown(digest, || outcome = self.blobs().remove(digest))?;
                outcome?;
            }
            removed += gone.len();
            if gone.len() < GC_STEP {
                return Ok(removed);
            }
        }
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
    let janitor = tokio::spawn(keep_clean(registry.clone()));
    let reloader = tokio::spawn(keep_current(registry.clone(), settings));
    connection::serve(listener, registry, asked_to_end()).await;
    janitor.abort();
    reloader.abort();
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

async fn keep_clean(registry: Registry) {
    let mut ticks = tokio::time::interval(GC_INTERVAL);
    loop {
        ticks.tick().await;
        let registry = registry.clone();
        let janitor = registry.clone();
        // A failed round is tried again at the next tick.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || janitor.collect_garbage()).await {
            registry.log().error("garbage collection failed", &[("error", &error)]);
        }
    }
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
