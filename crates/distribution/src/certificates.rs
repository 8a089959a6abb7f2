//! TLS: system trust roots, `certs.d` directories, client certificates.
//!
//! Spec: containers-certs.d(5): `HOST[:PORT]/*.crt` are authorities, `*.cert` with `*.key` of the same name is our own.
//! Law: a host sees the client certificate of its own directory and of no other, also after a redirect.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Problem;

/// What `certs.d` says of one host.
#[derive(Debug, Default)]
struct HostFiles {
    authorities: Vec<PathBuf>,
    /// Certificate and key.
    identity: Option<(PathBuf, PathBuf)>,
}

/// Makes TLS configurations; loads the system's roots once, and only if somebody speaks TLS.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    dirs: Vec<PathBuf>,
    /// For every host, in place of `dirs`.
    own: Option<PathBuf>,
    system: OnceLock<RootCertStore>,
}

impl Certificates {
    pub(crate) fn new(dirs: &[PathBuf], own: Option<&Path>) -> Certificates {
        Certificates { dirs: dirs.to_owned(), own: own.map(Path::to_owned), system: OnceLock::new() }
    }

    /// Whether somebody configured certificates for `host` (`name[:port]`), which says that it speaks TLS.
    pub(crate) fn configured_for(&self, host: &str) -> bool {
        let has_files = |dir: &Path| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        match &self.own {
            Some(own) => has_files(own),
            None => self.host_dirs(host).any(|dir| dir.is_dir()),
        }
    }

    /// The configuration for `host`; `verify` false accepts any certificate.
    pub(crate) fn client_config(&self, host: &str, verify: bool) -> Result<ClientConfig, Problem> {
        let files = self.host_files(host)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring offers TLS 1.2 and 1.3");
        let builder = if verify {
            let own = files.authorities.iter().map(|path| certificates(path)).collect::<Result<Vec<_>, _>>()?.concat();
            let roots = Arc::new(self.roots(&files.authorities)?);
            let usual = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            let usual = usual.map_err(|_| Problem::NoTrustRoots)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Verified { usual, own }))
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        };
        match files.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let chain = certificates(&certificate)?;
                let key_der = PrivateKeyDer::from_pem_file(&key).map_err(|error| pem_problem(&key, error))?;
                let refused = |error: rustls::Error| Problem::ConfigFile { path: key, what: error.to_string() };
                builder.with_client_auth_cert(chain, key_der).map_err(refused)
            }
        }
    }

    fn roots(&self, extra: &[PathBuf]) -> Result<RootCertStore, Problem> {
        let mut roots = self.system.get_or_init(system_roots).clone();
        for path in extra {
            for certificate in certificates(path)? {
                let refused =
                    |error: rustls::Error| Problem::ConfigFile { path: path.clone(), what: error.to_string() };
                roots.add(certificate).map_err(refused)?;
            }
        }
        Ok(roots)
    }

    fn host_dirs<'a>(&'a self, host: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        let dirs = if self.own.is_some() { &[][..] } else { &self.dirs };
        self.own.iter().cloned().chain(dirs.iter().map(move |dir| dir.join(host)))
    }

    /// The files of the first directory that has any for `host`.
    fn host_files(&self, host: &str) -> Result<HostFiles, Problem> {
        for dir in self.host_dirs(host) {
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Problem::File { path: dir, source }),
            };
            let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            paths.sort();
            return Ok(sort_files(&paths));
        }
        Ok(HostFiles::default())
    }
}

fn sort_files(paths: &[PathBuf]) -> HostFiles {
    let with_extension = |wanted: &'static str| {
        paths.iter().filter(move |path| path.extension().is_some_and(|extension| extension == wanted))
    };
    let mut identity = with_extension("cert").map(|cert| (cert.clone(), cert.with_extension("key")));
    HostFiles {
        authorities: with_extension("crt").cloned().collect(),
        identity: identity.rfind(|(_, key)| paths.contains(key)),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let parsed = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match parsed.map_err(|error| pem_problem(path, error))? {
        empty if empty.is_empty() => {
            Err(Problem::ConfigFile { path: path.to_owned(), what: "no certificate in it".to_owned() })
        }
        certificates => Ok(certificates),
    }
}

fn pem_problem(path: &Path, error: rustls::pki_types::pem::Error) -> Problem {
    match error {
        rustls::pki_types::pem::Error::Io(source) => Problem::File { path: path.to_owned(), source },
        other => Problem::ConfigFile { path: path.to_owned(), what: other.to_string() },
    }
}

/// Certificates of the system that cannot be parsed are left out, as everybody does: bundles carry old oddities.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// As everybody, and the very certificates that are configured for the host: `openssl req -x509` makes one that is an
/// authority and a server's in one, which the usual verification takes for the former alone. Go believes it too.
#[derive(Debug)]
struct Verified {
    usual: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.usual.verify_server_cert(server, chain, name, ocsp, now) {
            // Found after its validity was: what is left to compare is the name.
            Err(error) if is_authority(&error) && self.own.iter().any(|own| own == server) => {
                verify_server_name(&ParsedCertificate::try_from(server)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether the only complaint is that an authority's certificate is a server's; rustls has no variant for that.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(cause)) = error else { return false };
    cause.0.to_string() == "CaUsedAsEndEntity"
}

/// `--tls-verify=false`: encrypts, but believes anybody.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
