//! Requests the registry itself makes: for keys of issuers, and to tell others what happened.
//!
//! Law: bounded in time and bytes; nothing of a client's request goes along; no redirect is followed, since the address is
//! somebody's setting and not for others to choose.
//! Not here: fetching content from other registries.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A request that has no answer after this time has failed.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// An object store that sends and takes nothing for so long has failed.
#[cfg(feature = "objects")]
const CONTENT_STALL_MAX: Duration = Duration::from_secs(60);
/// Connections kept open for the next request, for each host.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// A client; clones share its connections.
#[derive(Clone)]
pub struct Outbound(reqwest::Client);

/// Why something could not be fetched or sent.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("{}: {source}", path.display())]
    Authorities { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("outbound requests cannot be made: {0}")]
    Client(reqwest::Error),
    #[error("{url}: {why}")]
    Request { url: String, why: String },
    #[error("{url}: answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url}: the answer has more than {bytes_max} bytes")]
    TooLarge { url: String, bytes_max: usize },
}

impl Outbound {
    /// Trusts whom the machine trusts, and the authorities in `file`.
    pub fn new(file: Option<&PathBuf>) -> Result<Outbound, OutboundError> {
        let builder = trusting(file)?.timeout(ANSWER_MAX).pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
        builder.build().map(Outbound).map_err(OutboundError::Client)
    }

    /// Fetches a document.
    pub async fn get(&self, url: &str, bytes_max: usize) -> Result<Vec<u8>, OutboundError> {
        let failed = |error: reqwest::Error| OutboundError::Request { url: url.to_owned(), why: deepest(&error) };
        let mut response = self.0.get(url).send().await.map_err(failed)?;
        check_status(url, response.status())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > bytes_max {
                return Err(OutboundError::TooLarge { url: url.to_owned(), bytes_max });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Sends a document. What is answered is not read.
    pub async fn post(&self, url: &str, headers: &[(String, String)], body: String) -> Result<(), OutboundError> {
        let failed = |error: reqwest::Error| OutboundError::Request { url: url.to_owned(), why: deepest(&error) };
        let request = headers.iter().fold(self.0.post(url), |request, (name, value)| request.header(name, value));
        let response = request.body(body).send().await.map_err(failed)?;
        check_status(url, response.status())
    }
}

/// A client for content, which may take any time as long as some of it comes.
#[cfg(feature = "objects")]
pub fn content_client(file: Option<&PathBuf>) -> Result<reqwest::Client, OutboundError> {
    let builder = trusting(file)?.connect_timeout(ANSWER_MAX).read_timeout(CONTENT_STALL_MAX);
    builder.build().map_err(OutboundError::Client)
}

/// Trusts whom the machine trusts, and the authorities in `file`.
fn trusting(file: Option<&PathBuf>) -> Result<reqwest::ClientBuilder, OutboundError> {
    let mut roots = rustls::RootCertStore::empty();
    // A machine without certificates can still reach those its settings name.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = file {
        let failed = |source| OutboundError::Authorities { path: path.clone(), source };
        let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?;
        roots.add_parsable_certificates(certificates.collect::<Result<Vec<_>, _>>().map_err(failed)?);
    }
    let config = rustls::ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(Arc::new(roots))
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("knarr-registry/", env!("CARGO_PKG_VERSION"))))
}

fn check_status(url: &str, status: reqwest::StatusCode) -> Result<(), OutboundError> {
    if status.is_success() {
        Ok(())
    } else {
        Err(OutboundError::Status { url: url.to_owned(), status: status.as_u16() })
    }
}

/// reqwest's own words name the address again and leave the reason to its sources.
fn deepest(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    source.to_string()
}
