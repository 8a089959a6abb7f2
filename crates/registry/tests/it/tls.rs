//! TLS: our certificate, its reload, and names in the certificates of clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, mpsc};

use knarr_registry::config::Settings;
use knarr_registry::{Registry, serve};
use knarr_testkit::wait;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::Server;

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// An authority `NAME.crt`, or a certificate signed by one.
fn certificate(directory: &Path, name: &str, more: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.args(["-subj", &format!("/CN={name}"), "-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    let output = command.args(more).current_dir(directory).output().expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

const FOR_SERVERS: [&str; 4] =
    ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];

/// An authority of clients and the certificates of two of them.
fn clients(directory: &Path) {
    certificate(directory, "ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
    for name in ["ship", "boat"] {
        let leaf = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
        certificate(directory, name, &leaf);
    }
}

fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: openssl is not installed");
    }
    found
}

fn connect(address: &str, trusted: &Path, client: Option<&str>) -> std::io::Result<Stream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let directory = trusted.parent().expect("a directory");
            let chain =
                vec![CertificateDer::from_pem_file(directory.join(format!("{name}.crt"))).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_file(directory.join(format!("{name}.key"))).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(wait::patience()))?;
    Ok(StreamOwned::new(connection, stream))
}

/// Status line of an answer whose body is short; the connection stays.
fn get(stream: &mut Stream, path: &str) -> std::io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: r\r\n\r\n")?;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        seen.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.and_then(|text| text.parse().ok()).unwrap_or(0) {
            return Ok(head.lines().next().unwrap_or_default().to_owned());
        }
    }
}

fn peer(stream: &Stream) -> Vec<u8> {
    stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    if !has_openssl() {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    certificate(root.path(), "first", &FOR_SERVERS);
    certificate(root.path(), "second", &FOR_SERVERS);
    let place = |name: &str| root.path().join(name);
    let show = |name: &str| {
        std::fs::copy(place(&format!("{name}.key")), place("r.key")).expect("copied");
        std::fs::copy(place(&format!("{name}.crt")), place("r.crt")).expect("copied");
    };
    show("first");
    let text = "[tls]\ncertificate = \"{root}/r.crt\"\nkey = \"{root}/r.key\"\n[http]\nlisten = \"127.0.0.1:0\"\n[storage]\nroot = \"{root}\"\n";
    let text = text.replace("{root}", root.path().to_str().expect("UTF-8"));
    let settings = move || Settings::parse(&text, Path::new("r.toml"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let _handled = runtime.block_on(async { tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) });
    let registry = Registry::open(settings().expect("settings")).expect("a registry");
    let (tell, told) = mpsc::channel();
    runtime.spawn(serve(registry, settings, move |address| tell.send(address.to_string()).expect("somebody waits")));
    let address = told.recv_timeout(wait::patience()).expect("the server listens");
    let mut old = connect(&address, &place("first.crt"), None).expect("connected");
    assert_eq!(get(&mut old, "/v2/").expect("an answer"), "HTTP/1.1 200 OK");
    show("second");
    wait::until("the second certificate is shown", || {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("sent");
        let mut new = connect(&address, &place("second.crt"), None).ok()?;
        get(&mut new, "/v2/").ok()?;
        (peer(&new) != peer(&old)).then_some(())
    });
    assert_eq!(get(&mut old, "/v2/").expect("an answer"), "HTTP/1.1 200 OK");
    drop(old);
    runtime.shutdown_timeout(wait::patience());
}

#[test]
fn a_name_in_a_certificate_is_a_subject() {
    if !has_openssl() {
        return;
    }
    let server = Server::configured(
        "[tls]\ncertificate = \"{root}/r.crt\"\nkey = \"{root}/r.key\"\nclient_ca = \"{root}/ca.crt\"\n\
         client_certificate = \"optional\"\n[[policy]]\nsubjects = [\"ship\"]\nrepositories = [\"a\"]",
        |root| {
            certificate(root, "r", &FOR_SERVERS);
            clients(root);
        },
    );
    let trusted = server.root().join("r.crt");
    let ask = |client: Option<&str>| {
        let mut stream = connect(&server.address, &trusted, client).expect("connected");
        get(&mut stream, "/v2/a/tags/list").expect("an answer")
    };
    assert_eq!(ask(Some("ship")), "HTTP/1.1 404 Not Found");
    assert_eq!(ask(Some("boat")), "HTTP/1.1 403 Forbidden");
    assert_eq!(ask(None), "HTTP/1.1 401 Unauthorized");
}

#[test]
fn silent_clients_leave_room_for_one_that_speaks() {
    if !has_openssl() {
        return;
    }
    let server = Server::configured("[tls]\ncertificate = \"{root}/r.crt\"\nkey = \"{root}/r.key\"", |root| {
        certificate(root, "r", &FOR_SERVERS);
    });
    let mut silent: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(&server.address).expect("connected")).collect();
    for (number, stream) in silent.iter_mut().enumerate().filter(|(number, _)| number % 2 == 0) {
        // The head of a record that never comes, of a kind that is or is none.
        stream.write_all(&[[0x16, 3, 1, 0x40, 0], [0x47, 0x45, 0x54, 0x20, 0x2f]][number / 2 % 2]).expect("sent");
    }
    let mut speaks = connect(&server.address, &server.root().join("r.crt"), None).expect("connected");
    assert_eq!(get(&mut speaks, "/v2/").expect("an answer"), "HTTP/1.1 200 OK");
}

#[test]
fn who_shows_no_certificate_where_one_is_required_is_not_talked_to() {
    if !has_openssl() {
        return;
    }
    let server = Server::configured(
        "[tls]\ncertificate = \"{root}/r.crt\"\nkey = \"{root}/r.key\"\nclient_ca = \"{root}/ca.crt\"",
        |root| {
            certificate(root, "r", &FOR_SERVERS);
            clients(root);
            let elsewhere = root.join("elsewhere");
            std::fs::create_dir(&elsewhere).expect("made");
        },
    );
    let trusted = server.root().join("r.crt");
    let mut ship = connect(&server.address, &trusted, Some("ship")).expect("connected");
    assert_eq!(get(&mut ship, "/v2/").expect("an answer"), "HTTP/1.1 200 OK");
    let mut nobody = connect(&server.address, &trusted, None).expect("connected");
    assert!(get(&mut nobody, "/v2/").is_err());
    let mut stranger = connect(&server.address, &trusted, Some("r")).expect("connected");
    assert!(get(&mut stranger, "/v2/").is_err());
}
