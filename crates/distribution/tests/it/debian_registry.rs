//! Pulls from Debian's docker-registry: plain, with htpasswd, with TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use knarr_distribution::{AuthConfig, Credentials, ErrorKind, Network, PullOptions};
use knarr_spec::{Digest, Reference};

use crate::image::{Layer, Shelf};
use crate::setup::{Place, fails, options};
use crate::tls::{Authority, with_certificates};

const PROGRAM: &str = "/usr/bin/docker-registry";

/// How long a registry may take to open its port.
const START: Duration = Duration::from_secs(20);

/// A running registry; it dies with the test.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    /// `None`, with a word why, where it is not installed. `more` is added to its configuration.
    fn start(storage: &Path, more: &str) -> Option<Registry> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("skipped: {PROGRAM} is not installed (apt-get install docker-registry)");
            return None;
        }
        // Another process may take the port between our look and the registry's bind; then the next is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = storage.join("config.yml");
            std::fs::write(&config, configuration(storage, port, more)).unwrap();
            let mut child = Command::new(PROGRAM)
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let begun = Instant::now();
            while begun.elapsed() < START && child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(Registry { child, port });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("{PROGRAM} does not start");
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(storage: &Path, port: u16, more: &str) -> String {
    let root = storage.join("registry");
    format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: 127.0.0.1:{port}\n  secret: x\n{more}",
        root.display()
    )
}

/// One exchange over a connection of its own; returns the status and the `Location`.
fn exchange(host: &str, method: &str, path: &str, media_type: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    reader.read_to_end(&mut Vec::new()).unwrap();
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let location = lines.iter().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default();
    (status, location.to_owned())
}

/// Pushes what is on the shelf to the repository `app`.
fn push(host: &str, shelf: &Shelf) {
    for (digest, blob) in &shelf.blobs {
        let (status, location) = exchange(host, "POST", "/v2/app/blobs/uploads/", "text/plain", b"");
        assert_eq!(status, 202);
        let path = &location[location.find("/v2/").unwrap()..];
        let path = format!("{path}&digest={digest}");
        assert_eq!(exchange(host, "PUT", &path, "application/octet-stream", blob).0, 201);
    }
    let mut manifests: Vec<_> = shelf.manifests.iter().collect();
    // What an index names must be there before it.
    manifests.sort_by_key(|(_, (media_type, _))| media_type.contains("index"));
    for (reference, (media_type, bytes)) in manifests {
        assert_eq!(exchange(host, "PUT", &format!("/v2/app/manifests/{reference}"), media_type, bytes).0, 201);
    }
}

/// A directory with a registry's storage that holds an image of three layers.
fn stocked() -> Option<(tempfile::TempDir, Layer, Digest)> {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(dir.path(), "")?;
    let big = Layer::big();
    let shelf = Shelf::of(&[big.clone(), Layer::zstd(&[("b", b"2")]), Layer::plain(&[("c", b"3")])]);
    push(&registry.host(), &shelf);
    let digest = Digest::sha256_of(&shelf.manifests["v1"].1);
    Some((dir, big, digest))
}

#[test]
fn an_image_comes_by_tag_and_by_digest_over_plain_http() {
    let Some((dir, _, digest)) = stocked() else { return };
    let registry = Registry::start(dir.path(), "").unwrap();
    let place = Place::new();
    let by_tag = place.pull(&format!("{}/app:v1", registry.host())).unwrap();
    assert_eq!(by_tag.manifest_digest, digest);
    assert_eq!(place.file(&by_tag, 2, "c"), b"3");
    let by_digest = Place::new().pull(&format!("{}/app@{digest}", registry.host())).unwrap();
    assert_eq!(by_digest.id, by_tag.id);
}

#[test]
fn an_interrupted_blob_goes_on_by_range() {
    let Some((dir, big, _)) = stocked() else { return };
    let registry = Registry::start(dir.path(), "").unwrap();
    let place = Place::new();
    let partial = place.partial(&big.digest());
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::fs::write(&partial, &big.blob[..1 << 20]).unwrap();
    let image = place.pull(&format!("{}/app:v1", registry.host())).unwrap();
    assert_eq!(image.layers[0].diff_id, big.diff_id);
}

#[test]
fn what_is_not_there_is_said_to_be_unknown() {
    let Some((dir, _, _)) = stocked() else { return };
    let registry = Registry::start(dir.path(), "").unwrap();
    for name in ["app:none", "nowhere:v1"] {
        let error = fails(Place::new().pull(&format!("{}/{name}", registry.host())), "manifest unknown");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

fn htpasswd(dir: &Path) -> Option<PathBuf> {
    let output = Command::new("htpasswd").args(["-Bbn", "user", "secret"]).output().ok();
    let Some(output) = output.filter(|output| output.status.success()) else {
        eprintln!("skipped: no htpasswd program (apt-get install apache2-utils)");
        return None;
    };
    let path = dir.join("htpasswd");
    std::fs::write(&path, output.stdout).unwrap();
    Some(path)
}

fn with_password(password: Option<&str>, options: PullOptions<'static>) -> PullOptions<'static> {
    let explicit =
        password.map(|password| Credentials::Password { user: "user".to_owned(), password: password.to_owned() });
    let auth = AuthConfig { explicit, ..AuthConfig::default() };
    PullOptions { network: Network { auth, ..options.network }, ..options }
}

#[test]
fn htpasswd_wants_the_right_password() {
    let Some((dir, _, _)) = stocked() else { return };
    let Some(file) = htpasswd(dir.path()) else { return };
    let more = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display());
    let registry = Registry::start(dir.path(), &more).unwrap();
    let name = format!("{}/app:v1", registry.host());
    Place::new().pull_with(&name, &with_password(Some("secret"), options())).unwrap();
    let wrong = Place::new().pull_with(&name, &with_password(Some("wrong"), options()));
    assert_eq!(fails(wrong, "unauthorized").kind(), ErrorKind::Unauthorized);
    let none = Place::new().pull_with(&name, &with_password(None, options()));
    fails(none, "pull access denied");
}

#[test]
fn tls_wants_the_authority_and_carries_the_password() {
    let Some((dir, _, _)) = stocked() else { return };
    let (Some(authority), Some(file)) = (Authority::new(), htpasswd(dir.path())) else { return };
    let more = format!(
        "  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: test\n    path: {}\n",
        authority.path("server.crt").display(),
        authority.path("server.key").display(),
        file.display()
    );
    let registry = Registry::start(dir.path(), &more).unwrap();
    let name = format!("{}/app:v1", registry.host());
    fails(Place::new().pull_with(&name, &with_password(Some("secret"), options())), "certificate");
    let certs = authority.certs_d(&registry.host(), &[("ca.crt", "ca.crt")]);
    let trusting = with_password(Some("secret"), with_certificates(&certs));
    let image = Place::new().pull_with(&name, &trusting).unwrap();
    assert_eq!(image.names, [name.parse::<Reference>().unwrap()]);
    let by_name = format!("localhost:{}/app:v1", registry.port);
    let certs = authority.certs_d(&format!("localhost:{}", registry.port), &[("ca.crt", "ca.crt")]);
    Place::new().pull_with(&by_name, &with_password(Some("secret"), with_certificates(&certs))).unwrap();
}
