//! Several instances over one store: an object store of each kind and a Postgres server of this test's own.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use knarr_registry::Registry;
use knarr_registry::config::Settings;
use knarr_registry::config::values::Span;
use knarr_spec::Digest;
use knarr_testkit::azure::{self, Azure};
use knarr_testkit::gcs::{self, Gcs};
use knarr_testkit::http::{self, Request};
use knarr_testkit::postgres::Postgres;
use knarr_testkit::s3::{BUCKET, S3};
use knarr_testkit::wait;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Process, Server, artifact, refused, text};
use crate::race;

/// A server of objects.
enum Cloud {
    S3(S3),
    Azure(Azure),
    Gcs(Gcs),
}

impl Cloud {
    /// Its address.
    fn address(&self) -> &str {
        match self {
            Cloud::S3(server) => &server.address,
            Cloud::Azure(server) => &server.address,
            Cloud::Gcs(server) => &server.address,
        }
    }

    /// The URL of its content, its endpoint, and the credentials for it; `scratch` may hold files.
    fn settings(&self, scratch: &Path) -> (String, String, String) {
        let address = self.address();
        match self {
            Cloud::S3(_) => {
                let keys = "AWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=test\n".to_owned();
                (format!("s3://{BUCKET}/here"), format!("http://{address}"), keys)
            }
            Cloud::Azure(_) => {
                let key = format!("AZURE_STORAGE_ACCOUNT_KEY={}\n", azure::KEY);
                let (account, container) = (azure::ACCOUNT, azure::CONTAINER);
                (format!("azure://{account}/{container}/here"), format!("http://{address}/{account}"), key)
            }
            Cloud::Gcs(_) => {
                let account = scratch.join("account.json");
                std::fs::write(&account, gcs::ACCOUNT).expect("written");
                let path = format!("GOOGLE_SERVICE_ACCOUNT={}\n", account.display());
                (format!("gs://{BUCKET}/here"), format!("http://{address}"), path)
            }
        }
    }
}

/// The servers behind the instances, and what the instances are told of them.
struct Store {
    cloud: Cloud,
    postgres: Postgres,
    address: String,
    scratch: TempDir,
}

impl Store {
    fn start() -> Option<Store> {
        Store::over(Cloud::S3(S3::start().expect("moto")?))
    }

    /// One over each kind of objects whose server is installed.
    fn of_each_kind() -> impl Iterator<Item = Store> {
        let clouds: [fn() -> Option<Cloud>; 3] = [
            || S3::start().expect("moto").map(Cloud::S3),
            || Azure::start().expect("azurite").map(Cloud::Azure),
            || Gcs::start().expect("moto").map(Cloud::Gcs),
        ];
        clouds.into_iter().filter_map(|start| Store::over(start()?))
    }

    fn over(cloud: Cloud) -> Option<Store> {
        let postgres = Postgres::start().expect("Postgres")?;
        let address = postgres.database().expect("a database");
        Some(Store { cloud, postgres, address, scratch: tempfile::tempdir().expect("a directory") })
    }

    fn settings(&self) -> String {
        let scratch = self.scratch.path();
        let (url, endpoint, credentials) = self.cloud.settings(scratch);
        std::fs::write(scratch.join("credentials"), credentials).expect("written");
        format!(
            "[storage.blobs]\nurl = \"{url}\"\nendpoint = \"{endpoint}\"\ncredentials = \"{}/credentials\"\n\
             [storage.metadata]\nurl = \"{}\"\n",
            scratch.display(),
            self.address
        )
    }

    /// An instance in this process.
    fn server(&self, adjust: impl FnOnce(&mut Settings)) -> Server {
        let shared = Settings::parse(&self.settings(), Path::new("test.toml")).expect("settings");
        Server::start_with(|settings| {
            (settings.storage.blobs, settings.storage.metadata) = (shared.storage.blobs, shared.storage.metadata);
            adjust(settings);
        })
    }

    /// An instance in a process of its own, in a new root.
    fn process(&self) -> (Process, TempDir) {
        let root = tempfile::tempdir().expect("a directory");
        (Process::configured(root.path(), &self.settings()), root)
    }
}

#[test]
fn a_push_begun_at_one_instance_is_finished_at_another_when_the_first_is_killed() {
    Store::of_each_kind().for_each(|store| push_across_a_kill(&store));
}

fn push_across_a_kill(store: &Store) {
    let ((first, _root), (second, _other)) = (store.process(), store.process());
    let (first_manifest, _, layer) = first.client.push_image("a", "v1", "kept");
    let location = first.client.begin("a");
    let chunk = vec![1u8; 700_000];
    assert_eq!(first.client.send("PATCH", &location, &["content-range: 0-699999"], &chunk).status, 202);
    // The next chunk may come anywhere.
    assert_eq!(second.client.send("PATCH", &location, &["content-range: 700000-1399999"], &chunk).status, 202);
    assert_eq!(first.client.get(&location).header("range"), Some("0-1399999"));
    // Another is on its way, larger than is held in memory, when the end comes.
    let mut stream = TcpStream::connect(&first.client.address).expect("connected");
    write!(stream, "PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 40000000\r\n\r\n").expect("sent");
    stream.write_all(&vec![2u8; 20_000_000]).expect("sent");
    wait::until("part of it has reached the store", || {
        let parts = store.postgres.execute(&store.address, "SELECT array_length(writing, 1) FROM uploads");
        parts.ok().filter(|parts| parts == "1")
    });
    first.kill();

    assert_eq!(second.client.get(&format!("/v2/a/manifests/{first_manifest}")).status, 200);
    assert_eq!(second.client.get(&format!("/v2/a/blobs/{layer}")).body, b"kept");
    assert_eq!(second.client.get(&location).header("range"), Some("0-1399999"));
    let mut whole = [chunk.clone(), chunk].concat();
    whole.resize(12_000_000, 3);
    let digest = Digest::sha256_of(&whole);
    let range = format!("content-range: 1400000-{}", whole.len() - 1);
    let finished = second.client.send("PUT", &format!("{location}?digest={digest}"), &[&range], &whole[1_400_000..]);
    assert_eq!(finished.status, 201, "{}", text(&finished));
    let (third, _root) = store.process();
    assert!(third.client.get(&format!("/v2/a/blobs/{digest}")).body == whole);
    refused(&third.client.get(&location), 404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn what_one_instance_is_told_the_others_know_at_once() {
    let Some(store) = Store::start() else { return };
    let (first, second) = (store.server(|_| {}), store.server(|_| {}));
    for round in 0..20 {
        let (manifest, config, layer) = first.push_image("a", "moving", &format!("content {round}"));
        let got = second.get("/v2/a/manifests/moving");
        assert_eq!(got.header("docker-content-digest"), Some(manifest.as_str()));
        assert_eq!(second.get(&format!("/v2/a/blobs/{config}")).status, 200);
        let mounted = second.send("POST", &format!("/v2/b/blobs/uploads/?mount={layer}&from=a"), &[], b"");
        assert_eq!(mounted.status, 201);
        assert_eq!(first.delete(&format!("/v2/b/blobs/{layer}")).status, 202);
        assert_eq!(second.get(&format!("/v2/b/blobs/{layer}")).status, 404);
        assert_eq!(second.delete(&format!("/v2/a/manifests/{manifest}")).status, 202);
        assert_eq!(first.get("/v2/a/manifests/moving").status, 404);
    }
}

#[test]
fn no_live_blob_is_lost_though_instances_push_and_collect_at_the_same_time() {
    for store in Store::of_each_kind() {
        let servers = [(); 2].map(|()| store.server(|settings| settings.gc.grace = Span::seconds(0)));
        race::race(2, |scripts| race::run(scripts, &[&servers[0], &servers[1]]));
    }
}

/// Blobs that the store's bucket holds.
fn objects(store: &Store) -> usize {
    let path = format!("/{BUCKET}?list-type=2&prefix=here/blobs/&max-keys=1000");
    let headers = vec![format!("authorization: {}", gcs::SOMEBODY)];
    let listed = http::send(store.cloud.address(), &Request { method: "GET", path: &path, headers, body: b"" });
    text(&listed.expect("an answer")).matches("<Key>").count()
}

#[test]
fn a_collection_that_is_killed_among_the_objects_is_finished_by_another_instance() {
    let Some(store) = Store::start() else { return };
    let before = {
        let server = store.server(|_| {});
        server.push_image("a", "v1", "kept");
        for number in 0..300 {
            server.push_blob("a", format!("unused {number}").as_bytes());
        }
        objects(&store)
    };
    assert_eq!(before, 303);
    let root = tempfile::tempdir().expect("a directory");
    let first = Process::configured(root.path(), &format!("[gc]\ngrace = \"0s\"\n{}", store.settings()));
    let listed = || store.postgres.execute(&store.address, "SELECT count(*) FROM leaving").ok();
    wait::until("the collection is among the objects", || listed().filter(|count| count == "300"));
    first.kill();
    assert_eq!(listed().as_deref(), Some("300"), "its rows are gone, its list is not");
    assert!(objects(&store) > before - 300, "it had ended before it was killed");

    let second = store.server(|settings| settings.gc.grace = Span::seconds(0));
    wait::until("another instance finishes it", || listed().filter(|count| count == "0"));
    assert_eq!(second.get("/v2/a/manifests/v1").status, 200);
    drop(second);
    assert_eq!(objects(&store), before - 300);
}

#[test]
fn a_database_behind_tls_is_used_by_who_trusts_its_certificate_and_by_nobody_else() {
    let Some(postgres) = Postgres::start_tls().expect("Postgres") else { return };
    let (address, certificate) = postgres.database_behind_tls().expect("a database").expect("TLS");
    let start = |address: &str| {
        let text = format!("[storage.metadata]\nurl = \"{address}\"\n");
        Settings::parse(&text, Path::new("test.toml")).expect("settings").storage.metadata
    };
    let trusting = format!("{address}&sslrootcert={}", certificate.display());
    let server = Server::start_with(|settings| settings.storage.metadata = start(&trusting));
    let (manifest, ..) = server.push_image("a", "v1", "content");
    assert_eq!(server.get("/v2/a/manifests/v1").header("docker-content-digest"), Some(manifest.as_str()));
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'knarr-registry' AND NOT ssl";
    assert_eq!(postgres.execute(&address, encrypted).expect("counted"), "0");
    drop(server);
    let root = tempfile::tempdir().expect("a directory");
    let mut settings = Settings::default();
    settings.storage.root = root.path().to_owned();
    settings.storage.metadata = start(&address);
    let error = Registry::open(settings).err().expect("an authority nobody knows");
    assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
}

#[test]
fn a_lost_database_is_rebuilt_from_objects() {
    Store::of_each_kind().for_each(rebuild);
}

fn rebuild(mut store: Store) {
    let root = tempfile::tempdir().expect("a directory");
    let before = {
        let server = store.server(|_| {});
        let (first, ..) = server.push_image("a", "v1", "x");
        server.push_blob("a", b"{}");
        server.push_manifest("a", "signature", &artifact(&first, "example/signature", 1));
        let (deleted, ..) = server.push_image("b/c", "gone", "z");
        assert_eq!(server.delete(&format!("/v2/b/c/manifests/{deleted}")).status, 202);
        server.get("/v2/a/manifests/v1").body
    };
    store.address = store.postgres.database().expect("another database");
    let config = root.path().join("r.toml");
    std::fs::write(&config, store.settings()).expect("written");
    let check = |words: &[&str]| {
        let place =
            ["check", "--config", config.to_str().expect("UTF-8"), "--root", root.path().to_str().expect("UTF-8")];
        let words = place.iter().chain(words).map(Into::into).collect();
        format!("{:?}", knarr_registry::applet(words)) == format!("{:?}", std::process::ExitCode::SUCCESS)
    };
    assert!(!check(&[]));
    assert!(check(&["--repair"]));
    assert!(check(&[]), "not mended");
    let server = store.server(|_| {});
    assert!(!check(&["--repair"]), "it repairs below a server");
    assert_eq!(server.get("/v2/a/manifests/v1").body, before);
    assert_eq!(server.json("/v2/a/tags/list")["tags"], json!(["signature", "v1"]));
    assert_eq!(server.get("/v2/b/c/manifests/gone").status, 404);
}

#[test]
fn clients_are_sent_to_the_store_for_what_is_large() {
    let Some(store) = Store::start() else { return };
    let server = store.server(|settings| settings.storage.blobs.as_mut().expect("objects").redirect = true);
    let large = vec![7; 100_000];
    let (small, large_digest) = (server.push_blob("a", b"small"), server.push_blob("a", &large));
    assert_eq!(server.get(&format!("/v2/a/blobs/{small}")).body, b"small");
    let path = format!("/v2/a/blobs/{large_digest}");
    assert_eq!(server.head(&path).header("content-length"), Some("100000"));
    let sent = server.get(&path);
    assert_eq!((sent.status, sent.header("docker-content-digest")), (307, Some(large_digest.as_str())));
    let address = sent.header("location").expect("a location").strip_prefix("http://").expect("plain");
    let (host, path) = address.split_once('/').expect("a path");
    let path = format!("/{path}");
    let followed = http::send(host, &Request { method: "GET", path: &path, headers: Vec::new(), body: b"" });
    assert!(followed.expect("an answer").body == large);
    // Without that it comes through us, also in parts.
    let server = store.server(|_| {});
    let part = server.send("GET", &format!("/v2/a/blobs/{large_digest}"), &["range: bytes=10-19"], b"");
    assert_eq!((part.status, part.body), (206, vec![7; 10]));
    assert!(server.get(&format!("/v2/a/blobs/{large_digest}")).body == large);
}

#[test]
fn objects_alone_and_a_database_alone_serve_too() {
    let Some(store) = Store::start() else { return };
    for (objects, database) in [(true, false), (false, true)] {
        let server = store.server(|settings| {
            settings.storage.blobs.take_if(|_| !objects);
            settings.storage.metadata.take_if(|_| !database);
        });
        let (manifest, _, layer) = server.push_image("a", "v1", "content");
        let location = server.begin("a");
        assert_eq!(server.send("PATCH", &location, &[], b"abc").status, 202);
        let root = server.stop();
        let server = Server::start_in(root, |settings| {
            let shared = Settings::parse(&store.settings(), Path::new("test.toml")).expect("settings").storage;
            settings.storage.blobs = shared.blobs.filter(|_| objects);
            settings.storage.metadata = shared.metadata.filter(|_| database);
        });
        assert_eq!(server.get("/v2/a/manifests/v1").header("docker-content-digest"), Some(manifest.as_str()));
        assert_eq!(server.get(&format!("/v2/a/blobs/{layer}")).body, b"content");
        let digest = Digest::sha256_of(b"abcdef");
        assert_eq!(server.send("PUT", &format!("{location}?digest={digest}"), &[], b"def").status, 201);
        assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).body, b"abcdef");
    }
}

#[test]
fn what_is_wrong_with_a_store_is_said_at_the_start() {
    let Some(store) = Store::start() else { return };
    let open = |from: &str, to: &str| {
        let root = tempfile::tempdir().expect("a directory");
        let text = store.settings();
        assert!(text.contains(from));
        let mut settings = Settings::parse(&text.replace(from, to), Path::new("test.toml")).expect("settings");
        settings.storage.root = root.path().to_owned();
        Registry::open(settings).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").to_string();
    let error = open(store.cloud.address(), &nowhere);
    assert!(error.starts_with("storage.blobs: s3://images/here: object store: look into images: "), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    let error = open("s3://images/here", "s3://nowhere/here");
    assert!(error.contains("look into nowhere") && error.contains("NoSuchBucket"), "{error}");
    let error = open(store.scratch.path().to_str().expect("UTF-8"), "/nowhere");
    assert!(error.contains("/nowhere/credentials: No such file"), "{error}");
    let error = open("/test0", "/test9");
    assert!(error.starts_with("storage.metadata: database: ") && error.contains("test9"), "{error}");
    // A database whose blobs are in a directory has one registry.
    let alone = |settings: &mut Settings| settings.storage.blobs = None;
    let server = store.server(alone);
    let mut second = Settings::parse(&store.settings(), Path::new("test.toml")).expect("settings");
    let root = tempfile::tempdir().expect("a directory");
    second.storage.root = root.path().to_owned();
    alone(&mut second);
    let error = Registry::open(second).err().expect("refused").to_string();
    assert_eq!(error, "the database is in use by another process\nhint: end that process, or use another one");
    drop(server);
}
