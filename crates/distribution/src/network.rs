//! Everything that decides how servers are reached, as values.

use std::path::PathBuf;
use std::time::Duration;

use crate::{AuthConfig, Lookaside, Registries};

/// How servers are reached. `Network::default()` reads no file: anonymous, no mirrors, system trust roots.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Who we are.
    pub auth: AuthConfig,
    /// registries.conf: mirrors, blocked and insecure registries, rewrites.
    pub registries: Registries,
    /// registries.d: where signatures lie beside registries.
    pub lookaside: Lookaside,
    /// `certs.d` directories, the most important first (`/etc/containers/certs.d`, `/etc/docker/certs.d`).
    pub certificate_dirs: Vec<PathBuf>,
    /// `--cert-dir`: the certificates for whatever server is asked, instead of those of `certificate_dirs`.
    pub certificate_dir: Option<PathBuf>,
    /// `--tls-verify`: overrides what registries.conf says of insecurity; `None` where the user did not say.
    pub tls_verify: Option<bool>,
    /// Proxies.
    pub proxies: Proxies,
    /// Patience.
    pub timeouts: Timeouts,
    /// Perseverance.
    pub retry: Retry,
    /// Hears of every request and its answer: method, URL without its query, status.
    pub heard: Option<fn(&str)>,
}

/// Proxy settings as the conventional variables spell them; the caller reads the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `HTTP_PROXY`: for http URLs.
    pub http: Option<String>,
    /// `HTTPS_PROXY`: for https URLs.
    pub https: Option<String>,
    /// `NO_PROXY`: names and networks reached directly. Loopback always is.
    pub no_proxy: Option<String>,
}

/// How long is waited for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the next byte of an answer.
    pub stall: Duration,
    /// For a whole small answer (manifest, token, config).
    pub document: Duration,
    /// A download that brings less than `slow_bytes_min` in this time is given up and taken up again.
    pub slow_window: Duration,
    /// See `slow_window`.
    pub slow_bytes_min: u64,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            document: Duration::from_secs(120),
            slow_window: Duration::from_secs(60),
            slow_bytes_min: 16 << 10,
        }
    }
}

/// How often what failed for a while is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts that bring nothing before giving up; an attempt that brought bytes starts the count again.
    pub attempts: u32,
    /// Wait before the first repetition; doubled each time.
    pub delay: Duration,
    /// The longest wait between two attempts.
    pub delay_max: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { attempts: 5, delay: Duration::from_millis(250), delay_max: Duration::from_secs(10) }
    }
}
