//! Health, metrics, records, webhooks and settings that change while the server runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use knarr_registry::config::Settings;
use knarr_registry::{Registry, serve};
use knarr_testkit::http::basic;
use knarr_testkit::wait;
use serde_json::{Value, json};

use crate::access::{POLICIES, write_users};
use crate::harness::{Client, Server, refused, text};

#[test]
fn health_and_numbers_are_told_to_this_machine() {
    let server = Server::start();
    server.push_image("a", "v1", "x");
    let health = server.get("/healthz");
    assert_eq!((health.status, text(&health).as_str()), (200, "{\"status\":\"ok\"}"));
    let numbers = server.get("/metrics");
    assert_eq!(numbers.status, 200);
    let shown = text(&numbers);
    let line = "knarr_registry_requests_total{method=\"PUT\",endpoint=\"manifest\",code=\"201\"} 1";
    assert!(shown.lines().any(|found| found == line), "{shown}");
    refused(&server.send("GET", "/metrics", &["x-forwarded-for: 1.2.3.4"], b""), 404, "NAME_UNKNOWN");
    refused(&server.send("POST", "/healthz", &[], b""), 405, "UNSUPPORTED");
}

#[test]
fn numbers_on_a_listener_of_their_own_are_nowhere_else() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let server = Server::configured(&format!("metrics.listen = \"{free}\""), |_| {});
    refused(&server.get("/metrics"), 404, "NAME_UNKNOWN");
    let own = Client { address: free.to_string() };
    assert_eq!(own.get("/metrics").status, 200);
    assert_eq!(own.get("/healthz").status, 200);
    refused(&own.get("/v2/"), 404, "NAME_UNKNOWN");
}

#[test]
fn who_did_what_is_written_down() {
    let server = Server::configured(&format!("audit.file = \"{{root}}/audit.jsonl\"\n{POLICIES}"), write_users);
    let login = format!("authorization: {}", basic("ship", "hold-fast"));
    let hostile = "user-agent: x\"}{\"subject\":\"root";
    server.send("POST", "/v2/public/a/blobs/uploads/", &[&login, hostile], b"");
    server.send("GET", "/v2/public/a/tags/list", &[&login], b"");
    server.send("DELETE", "/v2/public/a/manifests/v1", &[&login], b"");
    server.send("GET", "/token", &[&format!("authorization: {}", basic("ship", "wrong"))], b"");
    let written = wait::until("the records are there", || {
        std::fs::read_to_string(server.root().join("audit.jsonl")).ok().filter(|text| text.lines().count() == 3)
    });
    let records: Vec<Value> =
        written.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    let seen = |at: usize| {
        let one = &records[at];
        ["subject", "action", "outcome"].map(|name| one[name].as_str().unwrap_or_default().to_owned()).join(" ")
    };
    assert_eq!(seen(0), "ship push allowed");
    assert_eq!(records[0]["agent"], "x\"}{\"subject\":\"root");
    assert_eq!((records[0]["repository"].as_str(), records[0]["status"].as_u64()), (Some("public/a"), Some(202)));
    assert_eq!(seen(1), "ship delete denied");
    assert_eq!(seen(2), "unknown login denied");
    assert_eq!(records[2]["why"], "the user name or the password is wrong");
}

/// A webhook that refuses the first delivery, and tells what came.
fn hook(refuse_first: bool) -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut refuse = refuse_first;
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            let _ = reader.read_line(&mut line);
            let headers = knarr_testkit::http::headers(&mut reader).unwrap_or_default();
            let header = |name: &str| headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value);
            let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
            let _ = reader.read_exact(&mut body);
            let status = if std::mem::take(&mut refuse) { "500 No" } else { "200 OK" };
            if status == "200 OK" {
                let kind = format!("{} {}", header("content-type"), header("x-key"));
                let _ = tell.send((kind, serde_json::from_slice(&body).unwrap_or_default()));
            }
            let _ = write!(&stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (url, told)
}

#[test]
fn webhooks_are_told_what_happened_and_told_again_if_they_fail() {
    let (url, told) = hook(true);
    let server = Server::configured(
        &format!(
            "[[webhook]]\nurl = \"{url}\"\nevents = [\"push\", \"pull\", \"delete\"]\nrepositories = [\"a\"]\nheaders = {{ x-key = \"k\" }}"
        ),
        |_| {},
    );
    server.push_image("b", "v1", "x");
    let (digest, ..) = server.push_image("a", "v1", "x");
    server.get("/v2/a/manifests/v1");
    server.head("/v2/a/manifests/v1");
    server.delete("/v2/a/manifests/v1");
    let next = || told.recv_timeout(wait::patience()).expect("an event");
    let (kind, event) = next();
    assert_eq!(kind, "application/cloudevents+json k");
    assert_eq!(
        (event["type"].as_str(), event["subject"].as_str()),
        (Some("knarr.registry.manifest.push"), Some("a:v1"))
    );
    assert_eq!(
        (&event["data"]["digest"], &event["data"]["mediaType"]),
        (&json!(digest.as_str()), &json!(crate::harness::OCI_MANIFEST))
    );
    assert_eq!(next().1["type"], "knarr.registry.manifest.pull");
    assert_eq!(next().1["type"], "knarr.registry.tag.delete");
    let waiting = || text(&server.get("/metrics")).contains("knarr_registry_events_delivered_total 3\n").then_some(());
    wait::until("all are delivered", waiting);
}

#[test]
fn a_webhook_that_hears_nothing_delays_no_push() {
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = deaf.local_addr().expect("an address");
    let server = Server::configured(
        &format!("[[webhook]]\nurl = \"http://{url}/\"\nformat = \"distribution\"\nblobs = true\nqueue = 2"),
        |_| {},
    );
    for tag in ["1", "2", "3", "4"] {
        server.push_image("a", tag, "x");
    }
    let numbers = text(&server.get("/metrics"));
    let dropped = numbers.lines().find_map(|line| line.strip_prefix("knarr_registry_events_dropped_total "));
    assert!(dropped.and_then(|number| number.parse::<u64>().ok()).is_some_and(|number| number >= 8), "{numbers}");
}

#[test]
fn a_push_with_several_tags_is_several_events_in_distributions_envelope() {
    let (url, told) = hook(false);
    let server = Server::configured(&format!("[[webhook]]\nurl = \"{url}\"\nformat = \"distribution\""), |_| {});
    let config = server.push_blob("a", b"{}");
    let bytes = crate::harness::manifest(&config, &[]).to_string();
    let digest = knarr_spec::Digest::sha256_of(bytes.as_bytes());
    let path = format!("/v2/a/manifests/{digest}?tag=x&tag=y");
    let pushed =
        server.send("PUT", &path, &["content-type: application/vnd.oci.image.manifest.v1+json"], bytes.as_bytes());
    assert_eq!(pushed.status, 201, "{}", text(&pushed));
    for tag in ["x", "y"] {
        let (kind, envelope) = told.recv_timeout(wait::patience()).expect("an event");
        assert_eq!(kind.trim(), "application/vnd.docker.distribution.events.v1+json");
        let event = &envelope["events"][0];
        assert_eq!((&event["action"], &event["target"]["tag"]), (&json!("push"), &json!(tag)));
        assert_eq!(event["target"]["length"], bytes.len());
        assert_eq!(event["request"]["method"], "PUT");
    }
}

#[test]
fn settings_are_read_again_at_a_hangup_and_bad_ones_change_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let file = root.path().join("r.toml");
    write_users(root.path());
    let place = root.path().display();
    let base = format!("storage.root = \"{place}\"\nhttp.listen = \"127.0.0.1:0\"\n");
    // Not in two steps: a server that reads a half-written file believes it.
    let put = |name: &str, text: &str| {
        std::fs::write(root.path().join("new"), text).expect("written");
        std::fs::rename(root.path().join("new"), root.path().join(name)).expect("renamed");
    };
    put("r.toml", &base);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // Without somebody who listens to it, a hangup ends a process.
    let _handled = runtime.block_on(async { tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) });
    let registry = Registry::open(Settings::load(&file, |_| {}).expect("settings")).expect("a registry");
    let (tell, told) = mpsc::channel();
    let from = file.clone();
    runtime.spawn(serve(
        registry,
        move || Settings::load(&from, |_| {}),
        move |address| tell.send(address.to_string()).expect("somebody waits"),
    ));
    let client = Client { address: told.recv_timeout(wait::patience()).expect("the server listens") };
    let hang_up_until = |what: &str, status: u16| {
        wait::until(what, || {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("sent");
            (client.get("/v2/").status == status).then_some(())
        });
    };
    assert_eq!(client.get("/v2/").status, 200);
    put("r.toml", &format!("{base}auth.htpasswd = \"{place}/users\"\n"));
    hang_up_until("passwords are asked for", 401);
    put("r.toml", &format!("{base}nonsense = 1\n"));
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("sent");
    put("users", "broken");
    put("r.toml", &format!("{base}auth.htpasswd = \"{place}/users\"\n"));
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("sent");
    assert_eq!(client.get("/v2/").status, 401);
    // A file that is written in two steps, the first of which would let everybody in.
    let halves = [format!("{base}auth.token.service = \"new\"\n"), format!("auth.htpasswd = \"{place}/users\"\n")];
    write_users(root.path());
    std::fs::write(&file, &halves[0]).expect("half of it");
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("sent");
    assert_eq!(client.get("/v2/").status, 401);
    std::fs::write(&file, halves.concat()).expect("all of it");
    wait::until("the new file counts", || {
        let answer = client.get("/v2/");
        assert_eq!(answer.status, 401, "half a file counted");
        answer.header("www-authenticate").filter(|challenge| challenge.contains("new")).map(drop)
    });
    put("r.toml", &base);
    hang_up_until("nobody is asked any more", 200);
    runtime.shutdown_timeout(wait::patience());
}

#[test]
fn a_request_in_flight_is_finished_after_the_server_was_asked_to_end() {
    let root = tempfile::tempdir().expect("a directory");
    let process = crate::harness::Process::start(root.path());
    let location = process.client.begin("a");
    let mut stream = TcpStream::connect(&process.client.address).expect("connected");
    stream.set_read_timeout(Some(wait::patience())).expect("set");
    write!(stream, "PATCH {location} HTTP/1.1\r\nhost: r\r\nexpect: 100-continue\r\ncontent-length: 8\r\n\r\n")
        .expect("sent");
    let mut begun = [0; 25];
    stream.read_exact(&mut begun).expect("asked to go on");
    assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"half").expect("sent");
    process.ask_to_end();
    wait::until("nobody listens any more", || TcpStream::connect(&process.client.address).is_err().then_some(()));
    stream.write_all(b"half").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("range: 0-7"), "{answer}");
}

#[test]
fn what_is_not_http_is_answered_or_ended() {
    let server = Server::start();
    let mut stream = TcpStream::connect(&server.address).expect("connected");
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").expect("sent");
    stream.set_read_timeout(Some(wait::patience())).expect("set");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("ended");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
}
