//! TLS: whom we believe, what we show, and to whom.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use knarr_distribution::{ErrorKind, Network, PullOptions, Registries};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::image::{Layer, Shelf};
use crate::server::{Reply, Server};
use crate::setup::{Place, fails, options};

/// Certificates made for one test.
pub struct Authority {
    pub dir: tempfile::TempDir,
}

impl Authority {
    /// `None`, with a word why, where there is no openssl.
    pub fn new() -> Option<Authority> {
        let authority = Authority { dir: tempfile::tempdir().unwrap() };
        let made = authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-ca \
             -keyout ca.key -out ca.crt",
        );
        if !made {
            eprintln!("skipped: no openssl program to make certificates with");
            return None;
        }
        std::fs::write(authority.path("server.ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost").unwrap();
        std::fs::write(authority.path("client.ext"), "extendedKeyUsage=clientAuth").unwrap();
        for name in ["server", "client"] {
            assert!(authority.openssl(&format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
            )));
            assert!(authority.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.crt"
            )));
        }
        Some(authority)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, arguments: &str) -> bool {
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(self.dir.path()).output();
        output.is_ok_and(|output| output.status.success())
    }

    fn server_config(&self, wants_client: bool) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_file(self.path("server.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if wants_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.path("ca.crt")).unwrap()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        Arc::new(builder.with_single_cert(vec![certificate], key).unwrap())
    }

    /// A `certs.d` whose directory for `host` holds `files` (name there, name here).
    pub fn certs_d(&self, host: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.path("certs.d").join(host);
        std::fs::create_dir_all(&dir).unwrap();
        for (there, here) in files {
            std::fs::copy(self.path(here), dir.join(there)).unwrap();
        }
        self.path("certs.d")
    }
}

fn shelf() -> Shelf {
    Shelf::of(&[Layer::gzip(&[("a", b"1")])])
}

pub fn with_certificates(dir: &Path) -> PullOptions<'static> {
    let options = options();
    PullOptions { network: Network { certificate_dirs: vec![dir.to_owned()], ..options.network }, ..options }
}

#[test]
fn an_unknown_authority_is_refused_with_a_way_out() {
    let Some(authority) = Authority::new() else { return };
    let server = Server::start_tls(authority.server_config(false), shelf().into_handler());
    let error = fails(Place::new().pull(&format!("{}/app:v1", server.host())), "certificate");
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.hint().unwrap().contains("certs.d"), "{error}");
}

#[test]
fn an_authority_in_certs_d_is_believed() {
    let Some(authority) = Authority::new() else { return };
    let server = Server::start_tls(authority.server_config(false), shelf().into_handler());
    let certs = authority.certs_d(&server.host(), &[("ca.crt", "ca.crt")]);
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &with_certificates(&certs)).unwrap();
}

#[test]
fn who_says_insecure_gets_any_certificate() {
    let Some(authority) = Authority::new() else { return };
    let server = Server::start_tls(authority.server_config(false), shelf().into_handler());
    let name = format!("{}/app:v1", server.host());
    let mut options = options();
    options.network.tls_verify = Some(false);
    Place::new().pull_with(&name, &options).unwrap();
    options.network.tls_verify = None;
    let conf = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", server.host());
    options.network.registries = Registries::parse(&conf).unwrap();
    Place::new().pull_with(&name, &options).unwrap();
    options.network.tls_verify = Some(true);
    fails(Place::new().pull_with(&name, &options), "certificate");
}

#[test]
fn a_server_that_wants_a_client_certificate_gets_the_one_of_its_directory() {
    let Some(authority) = Authority::new() else { return };
    let server = Server::start_tls(authority.server_config(true), shelf().into_handler());
    let name = format!("{}/app:v1", server.host());
    let certs = authority.certs_d(&server.host(), &[("ca.crt", "ca.crt")]);
    Place::new().pull_with(&name, &with_certificates(&certs)).unwrap_err();
    authority.certs_d(&server.host(), &[("client.cert", "client.crt"), ("client.key", "client.key")]);
    Place::new().pull_with(&name, &with_certificates(&certs)).unwrap();
}

#[test]
fn plain_http_where_tls_is_configured_is_said_in_dockers_words() {
    let Some(authority) = Authority::new() else { return };
    let server = Server::start(|_| Reply::new(200, ""));
    let certs = authority.certs_d(&server.host(), &[("ca.crt", "ca.crt")]);
    let result = Place::new().pull_with(&format!("{}/app:v1", server.host()), &with_certificates(&certs));
    assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::Network);
    assert!(server.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_redirect_out_of_tls_is_not_followed() {
    let Some(authority) = Authority::new() else { return };
    let plain = Server::start(shelf().into_handler());
    let (target, shelf) = (plain.host(), shelf());
    let server =
        Server::start_tls(authority.server_config(false), move |request| match request.path.contains("/blobs/") {
            true => Reply::new(307, "").with("Location", format!("http://{target}{}", request.path)),
            false => shelf.answer(request),
        });
    let certs = authority.certs_d(&server.host(), &[("ca.crt", "ca.crt")]);
    let result = Place::new().pull_with(&format!("{}/app:v1", server.host()), &with_certificates(&certs));
    fails(result, "a way out of TLS");
    assert!(plain.requests().is_empty());
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let Some(authority) = Authority::new() else { return };
    let certs = authority.certs_d("127.0.0.1:1", &[("ca.crt", "server.ext")]);
    fails(Place::new().pull_with("127.0.0.1:1/app:v1", &with_certificates(&certs)), "ca.crt: no certificate in it");
}

#[test]
fn a_certificate_that_is_its_own_authority_is_believed_where_it_is_configured_for_the_host_and_has_its_name() {
    let Some(authority) = Authority::new() else { return };
    for (name, expect) in [("IP:127.0.0.1", None), ("IP:127.0.0.9", Some("certificate"))] {
        let made = authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=own \
             -addext subjectAltName={name} -keyout server.key -out server.crt"
        ));
        assert!(made, "openssl");
        let server = Server::start_tls(authority.server_config(false), Shelf::of(&[Layer::big()]).into_handler());
        let certificates = tempfile::tempdir().unwrap();
        std::fs::copy(authority.path("server.crt"), certificates.path().join("server.crt")).unwrap();
        let mut options = options();
        options.network.certificate_dir = Some(certificates.path().to_owned());
        let pulled = Place::new().pull_with(&format!("{}/app:v1", server.host()), &options);
        match expect {
            None => drop(pulled.unwrap()),
            Some(expect) => drop(fails(pulled, expect)),
        }
        fails(Place::new().pull(&format!("{}/app:v1", server.host())), "");
    }
}
