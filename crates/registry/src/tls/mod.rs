//! TLS: our certificate, and whom we believe to be who theirs says.
//!
//! Spec: RFC 8446, RFC 5246. Law: the certificate is read again at SIGHUP; connections that stand keep what they began with.
//! Not here: when TLS is demanded (`config`), what a name may do (`auth`).

mod certificate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;

pub use certificate::{NameSource, name};

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file: our certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// PEM file: its private key.
    pub key: PathBuf,
    /// PEM file: authorities whose certificates clients may show.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show one.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// What in a client's certificate is its name.
    #[serde(default)]
    pub client_name: NameSource,
}

impl TlsSettings {
    /// A certificate and its key, and nothing asked of clients.
    pub fn new(certificate: PathBuf, key: PathBuf) -> TlsSettings {
        let (client_certificate, client_name) = (ClientCertificate::default(), NameSource::default());
        TlsSettings { certificate, key, client_ca: None, client_certificate, client_name }
    }
}

/// What is expected of clients where `client_ca` is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// Who shows none is asked for something else.
    Optional,
    /// Who shows none is not talked to.
    #[default]
    Required,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("tls.{setting}: {}: {source}", path.display())]
    File { setting: &'static str, path: PathBuf, source: pem::Error },
    #[error("tls.{setting}: {}: no certificate in it", path.display())]
    Empty { setting: &'static str, path: PathBuf },
    #[error("tls: {0}")]
    Unusable(#[from] rustls::Error),
    #[error("tls.client_ca: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// Where the algorithms come from, for both directions.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads what the settings name.
pub fn server_config(settings: &TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates("certificate", &settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|source| TlsError::File {
        setting: "key",
        path: settings.key.clone(),
        source,
    })?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("client_ca", path)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = match settings.client_certificate {
                ClientCertificate::Required => verifier,
                ClientCertificate::Optional => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { setting, path: path.to_owned(), source };
    let all = CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if all.is_empty() { Err(TlsError::Empty { setting, path: path.to_owned() }) } else { Ok(all) }
}
