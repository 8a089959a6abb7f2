//! What the settings mean while they hold: users and keys read, certificate loaded, files opened.
//!
//! Law: all of it or nothing. A request keeps what it began with; SIGHUP puts another in its place.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::audit::Audit;
use crate::auth::{Auth, AuthError};
use crate::config::Settings;
use crate::events::Events;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::outbound::{Outbound, OutboundError};
use crate::tls::{self, TlsError};

/// Settings in force.
pub struct Live {
    pub settings: Arc<Settings>,
    pub auth: Arc<Auth>,
    pub tls: Option<Arc<ServerConfig>>,
    pub audit: Audit,
    pub events: Events,
}

/// Why settings cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Users, keys or issuers.
    #[error("{0}")]
    Auth(#[from] AuthError),
    /// The certificate.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The audit log.
    #[error("audit.file: {}: {source}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Webhooks.
    #[error("webhook: {0}")]
    Events(OutboundError),
}

impl Live {
    /// Reads and opens what `settings` name.
    pub fn open(settings: Settings, metrics: &Arc<Metrics>, log: &Arc<Log>) -> Result<Live, LiveError> {
        let auth = Auth::open(&settings, true)?;
        let tls = settings.tls.as_ref().map(tls::server_config).transpose()?;
        let audit = Audit::open(&settings.audit).map_err(|source| {
            let path = settings.audit.file.clone().unwrap_or_default();
            LiveError::Audit { path, source }
        })?;
        let outbound = || Outbound::new(settings.outbound.authorities.as_ref());
        let events =
            Events::open(&settings.webhook, outbound, metrics.clone(), log.clone()).map_err(LiveError::Events)?;
        Ok(Live { auth: Arc::new(auth), tls, audit, events, settings: Arc::new(settings) })
    }

    /// Says whether [`open`](Live::open) would work, and makes nothing.
    pub fn check(settings: &Settings) -> Result<(), LiveError> {
        Auth::open(settings, false)?;
        settings.tls.as_ref().map(tls::server_config).transpose()?;
        Ok(())
    }
}
