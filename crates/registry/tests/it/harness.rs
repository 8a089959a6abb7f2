//! A registry in this process, or in one of its own that can be killed, and the requests tests make of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use knarr_registry::config::{Listen, Settings};
use knarr_registry::{Registry, ServeError, serve};
use knarr_spec::Digest;
use knarr_testkit::http::{self, Request, Response};
use knarr_testkit::wait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Settings of a server process beside its root and its port, in its root.
const CHILD_SETTINGS: &str = "test-settings.toml";

/// Names the root of a server process, and where it writes its address.
const CHILD_ROOT: &str = "KNARR_REGISTRY_TEST_ROOT";

/// A server in this process; ends with its runtime, on drop.
pub struct Server {
    pub client: Client,
    runtime: Runtime,
    pub registry: Registry,
    pub root: TempDir,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(|_| {})
    }

    pub fn start_with(adjust: impl FnOnce(&mut Settings)) -> Server {
        Server::start_in(tempfile::tempdir().expect("a directory"), adjust)
    }

    pub fn start_in(root: TempDir, adjust: impl FnOnce(&mut Settings)) -> Server {
        let mut settings = settings(root.path());
        adjust(&mut settings);
        let (runtime, address, registry) = start(settings);
        Server { client: Client { address }, runtime, registry, root }
    }

    /// A server whose settings are `text`, in which `{root}` is its directory; `prepare` may put files there first.
    pub fn configured(text: &str, prepare: impl FnOnce(&Path)) -> Server {
        let root = tempfile::tempdir().expect("a directory");
        prepare(root.path());
        let text = text.replace("{root}", root.path().to_str().expect("UTF-8"));
        let configured = Settings::parse(&text, Path::new("test.toml")).expect("settings");
        Server::start_in(root, |settings| {
            let (storage, listen) = (settings.storage.clone(), settings.http.listen);
            *settings = configured;
            (settings.storage, settings.http.listen) = (storage, listen);
        })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Ends the server and keeps what it stored.
    pub fn stop(self) -> TempDir {
        let Server { client: _, runtime, registry, root } = self;
        runtime.shutdown_timeout(wait::patience());
        drop(registry);
        root
    }
}

impl std::ops::Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The defaults, with a port of its own.
fn settings(root: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.storage.root = root.to_owned();
    settings.http.listen = Listen(([127, 0, 0, 1], 0).into());
    settings
}

fn start(settings: Settings) -> (Runtime, String, Registry) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    // A program that another test is just starting has our files open until it is executed, and so their locks.
    let registry = wait::until("the files are let go of", || match Registry::open(settings.clone()) {
        Err(ServeError::InUse { .. }) => None,
        opened => Some(opened),
    });
    let registry = registry.expect("a registry");
    let served = registry.clone();
    let (tell, told) = mpsc::channel();
    runtime.spawn(async move {
        let outcome = serve(
            served,
            move || Ok(settings.clone()),
            move |address| tell.send(address.to_string()).expect("somebody waits"),
        )
        .await;
        outcome.expect("served");
    });
    let address = told.recv_timeout(wait::patience()).expect("the server listens");
    (runtime, address, registry)
}

/// A server in a process of its own.
pub struct Process {
    pub client: Client,
    child: Child,
}

impl Process {
    /// A process with these settings.
    pub fn configured(root: &Path, text: &str) -> Process {
        std::fs::write(root.join(CHILD_SETTINGS), text).expect("written");
        Process::start(root)
    }

    pub fn start(root: &Path) -> Process {
        let told = root.join("test-address");
        let _ = std::fs::remove_file(&told);
        let exe = std::env::current_exe().expect("this program");
        let child = Command::new(exe)
            .args(["--exact", "harness::serves_until_it_is_killed", "--ignored", "--nocapture"])
            .env(CHILD_ROOT, root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        let address = wait::until("the server process listens", || {
            std::fs::read_to_string(&told).ok().filter(|text| text.ends_with('\n'))
        });
        Process { client: Client { address: address.trim().to_owned() }, child }
    }

    /// SIGTERM.
    pub fn ask_to_end(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "a server for other tests"]
fn serves_until_it_is_killed() {
    let Some(root) = std::env::var_os(CHILD_ROOT).map(PathBuf::from) else { return };
    let mut wanted = settings(&root);
    if let Ok(text) = std::fs::read_to_string(root.join(CHILD_SETTINGS)) {
        let (own, listen) = (wanted.storage.root, wanted.http.listen);
        wanted = Settings::parse(&text, Path::new(CHILD_SETTINGS)).expect("settings");
        (wanted.storage.root, wanted.http.listen) = (own, listen);
    }
    let (_runtime, address, _registry) = start(wanted);
    std::fs::write(root.join("test-address"), format!("{address}\n")).expect("told");
    loop {
        std::thread::park();
    }
}

/// Requests to a server.
#[derive(Clone)]
pub struct Client {
    pub address: String,
}

impl Client {
    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
        let headers = headers.iter().map(|header| (*header).to_owned()).collect();
        http::send(&self.address, &Request { method, path, headers, body })
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    pub fn head(&self, path: &str) -> Response {
        self.send("HEAD", path, &[], b"")
    }

    pub fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[], b"")
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).body).expect("JSON")
    }

    /// Begins an upload and returns its location.
    pub fn begin(&self, name: &str) -> String {
        let begun = self.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"");
        assert_eq!(begun.status, 202);
        begun.header("location").expect("a location").to_owned()
    }

    /// Pushes a blob in one request.
    pub fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256_of(bytes);
        let pushed = self.send("POST", &format!("/v2/{name}/blobs/uploads/?digest={digest}"), &[], bytes);
        assert_eq!(pushed.status, 201, "{}", text(&pushed));
        digest
    }

    pub fn push_manifest(&self, name: &str, reference: &str, manifest: &Value) -> Digest {
        let bytes = manifest.to_string().into_bytes();
        let media_type = manifest["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
        let path = format!("/v2/{name}/manifests/{reference}");
        let pushed = self.send("PUT", &path, &[&format!("content-type: {media_type}")], &bytes);
        assert_eq!(pushed.status, 201, "{}", text(&pushed));
        Digest::sha256_of(&bytes)
    }

    /// An image of one layer under `reference`: the digests of manifest, config and layer.
    pub fn push_image(&self, name: &str, reference: &str, content: &str) -> (Digest, Digest, Digest) {
        let config_text = format!("{{\"config of\":\"{content}\"}}");
        let config = self.push_blob(name, config_text.as_bytes());
        let layer = self.push_blob(name, content.as_bytes());
        let mut document = manifest(&config, &[&layer]);
        document["config"]["size"] = json!(config_text.len());
        document["layers"][0]["size"] = json!(content.len());
        (self.push_manifest(name, reference, &document), config, layer)
    }
}

/// An image manifest. Nobody but mirrors looks at the sizes, which are wrong.
pub fn manifest(config: &Digest, layers: &[&Digest]) -> Value {
    let layers: Vec<Value> = layers.iter().map(|digest| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.as_str(), "size": 1})).collect();
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": layers,
           "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.as_str(), "size": 1}})
}

/// An artifact that refers to `subject`; `number` makes it one of many.
pub fn artifact(subject: &Digest, artifact_type: &str, number: usize) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": artifact_type, "layers": [],
           "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256_of(b"{}").as_str(), "size": 2},
           "subject": {"mediaType": OCI_MANIFEST, "digest": subject.as_str(), "size": 1}, "annotations": {"number": number.to_string()}})
}

/// The codes of an error answer.
pub fn codes(response: &Response) -> Vec<String> {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().filter_map(|error| error["code"].as_str().map(str::to_owned)).collect()
}

/// An answer must be a refusal of this status and code.
#[track_caller]
pub fn refused(response: &Response, status: u16, code: &str) {
    assert_eq!((response.status, codes(response)), (status, vec![code.to_owned()]), "{}", text(response));
}

pub fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}
