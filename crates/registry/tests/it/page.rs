//! The web page, read as HTML and in a real browser.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use knarr_testkit::http::{Response, basic};
use serde_json::json;

use crate::access::{POLICIES, write_users};
use crate::harness::{Client, OCI_INDEX, OCI_MANIFEST, Server, artifact, text};

const HOSTILE: &str = "</td><script src=//evil>alert(1)</script><img src=x onerror=alert(2)>\" onload=\"alert(3)";

/// A browser that can be run.
fn chromium() -> Option<PathBuf> {
    let found = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].iter().map(PathBuf::from).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: chromium is not installed");
    }
    found
}

/// A registry with an index, its images, a referrer, and words that want to be markup.
fn fill(client: &Client) {
    let config = json!({"os": "linux", "architecture": "amd64", "created": "2026-07-01T12:00:00Z"}).to_string();
    let config = client.push_blob("team/app", config.as_bytes());
    let layer = client.push_blob("team/app", &vec![7; 3_402_542]);
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.as_str(), "size": 70},
        "layers": [{"mediaType": format!("application/x{HOSTILE}"), "digest": layer.as_str(), "size": 3_402_542,
                    "annotations": {"org.opencontainers.image.title": HOSTILE}}],
        "annotations": {"org.opencontainers.image.description": HOSTILE, HOSTILE: "value"}});
    let image = client.push_manifest("team/app", "1.0", &manifest);
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": image.as_str(), "size": 500, "platform": {"os": "linux", "architecture": "amd64"}},
        {"mediaType": OCI_MANIFEST, "digest": image.as_str(), "size": 500, "platform": {"os": "linux", "architecture": HOSTILE}}]});
    client.push_manifest("team/app", "multi", &index);
    client.push_blob("team/app", b"{}");
    client.push_manifest("team/app", "sig", &artifact(&image, &format!("application/sig{HOSTILE}"), 1));
    client.push_image("other", "v1", "x");
}

fn shows(response: &Response, words: &[&str]) {
    let html = text(response);
    assert_eq!(response.status, 200, "{html}");
    for word in words {
        assert!(html.contains(word), "{word} is not in\n{html}");
    }
}

#[test]
fn the_page_shows_repositories_tags_platforms_sizes_layers_and_referrers() {
    let server = Server::start();
    assert_eq!(server.get("/").header("location"), Some("/ui/"));
    shows(&server.get("/ui/"), &["Nothing here yet", "docker push"]);
    fill(&server);
    shows(&server.get("/ui/"), &["href=\"/ui/team/app\"", "href=\"/ui/other\""]);
    let found = server.get("/ui/?q=team");
    shows(&found, &["/ui/team/app"]);
    assert!(!text(&found).contains("/ui/other"));
    shows(&server.get("/ui/team/app"), &["href=\"/ui/team/app:1.0\"", "linux/amd64", "3.4 MB", "2 manifests"]);
    let pull = format!("docker pull {}/team/app:1.0", server.address);
    shows(&server.get("/ui/team/app:1.0"), &[&pull, "sha256:", "linux/amd64", "2026-07-01", "Referrers", "Delete 1.0"]);
    shows(&server.get("/ui/team/app:multi"), &["Platforms", "linux/amd64"]);
    assert_eq!(server.get("/ui/team/none").status, 404);
    assert_eq!(server.get("/ui/%3Cscript%3E").status, 400);
}

#[test]
fn hostile_words_stay_words() {
    let server = Server::start();
    fill(&server);
    for path in [
        "/ui/",
        "/ui/?q=%3Cscript%3Ealert(1)%3C/script%3E%22",
        "/ui/team/app",
        "/ui/team/app:1.0",
        "/ui/team/app:multi",
        "/ui/team/app:sig",
        "/ui/%3Cimg%20src=x%3E",
    ] {
        let answer = server.get(path);
        let html = text(&answer);
        assert_eq!(html.matches("<script").count(), 1, "{path}: {html}");
        assert!(!html.contains("<img") && !html.contains("onerror=alert(2)>\""), "{path}: {html}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn what_was_pushed_is_not_run_by_a_browser() {
    let server = Server::start();
    let bytes = br#"{"schemaVersion":2,"manifests":[],"x":"<script>alert(1)</script>"}"#;
    let pushed = server.send("PUT", "/v2/a/manifests/v1", &["content-type: text/html"], bytes);
    if pushed.status == 201 {
        let fetched = server.get("/v2/a/manifests/v1");
        assert_eq!(fetched.header("content-security-policy"), Some("default-src 'none'; sandbox"));
        assert_eq!(fetched.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn a_reader_sees_what_they_may_pull() {
    let server = Server::configured(POLICIES, write_users);
    let admin = format!("authorization: {}", basic("admin", "hold-fast"));
    let blob = knarr_spec::Digest::sha256_of(b"{}");
    for name in ["public/a", "hidden/a"] {
        server.send("POST", &format!("/v2/{name}/blobs/uploads/?digest={blob}"), &[&admin], b"{}");
        let bytes = crate::harness::manifest(&blob, &[]).to_string();
        let headers = [admin.as_str(), "content-type: application/vnd.oci.image.manifest.v1+json"];
        server.send("PUT", &format!("/v2/{name}/manifests/v1"), &headers, bytes.as_bytes());
    }
    let anonymous = server.get("/ui/");
    shows(&anonymous, &["/ui/public/a", "Log in"]);
    assert!(!text(&anonymous).contains("hidden"));
    let hidden = server.get("/ui/hidden/a");
    assert_eq!((hidden.status, hidden.header("www-authenticate")), (401, Some("Basic realm=\"knarr registry\"")));
    assert_eq!(server.get("/ui/-/login").status, 401);
    assert_eq!(server.send("GET", "/ui/-/login", &[&admin], b"").status, 303);
    shows(&server.send("GET", "/ui/", &[&admin], b""), &["/ui/hidden/a", "<bdi>admin</bdi>"]);
    let ship = format!("authorization: {}", basic("ship", "hold-fast"));
    assert!(!text(&server.send("GET", "/ui/public/a:v1", &[&ship], b"")).contains("<form method"));
    let delete = |authorization: &str, site: &str| {
        let headers = [authorization, "content-type: application/x-www-form-urlencoded", site];
        server.send("POST", "/ui/-/delete", &headers, b"repository=public%2Fa&reference=v1").status
    };
    assert_eq!(delete(&ship, "sec-fetch-site: same-origin"), 403);
    assert_eq!(delete(&admin, "sec-fetch-site: cross-site"), 403);
    assert_eq!(delete(&admin, "x-nothing: 1"), 403);
    assert_eq!(server.get("/v2/public/a/manifests/v1").status, 200);
    assert_eq!(delete(&admin, "sec-fetch-site: same-origin"), 303);
    assert_eq!(server.get("/v2/public/a/manifests/v1").status, 404);
}

#[test]
fn who_may_see_nothing_is_asked_for_a_name() {
    let server = Server::configured("auth.htpasswd = \"{root}/users\"", write_users);
    assert_eq!(server.get("/ui/").header("www-authenticate"), Some("Basic realm=\"knarr registry\""));
    assert_eq!(server.get("/ui/page.css").status, 200);
}

#[test]
fn the_page_can_be_switched_off() {
    let server = Server::configured("page.enabled = false", |_| {});
    assert_eq!((server.get("/ui/").status, server.get("/").status), (404, 404));
}

/// What the browser made of a page, or what it looks like.
fn browse(chromium: &Path, url: &str, what: &[&str]) -> String {
    let profile = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(chromium);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    let output = command.args(what).arg(url).stdin(Stdio::null()).output().expect("the browser runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_browser_renders_the_page_and_runs_nothing_hostile() {
    let Some(chromium) = chromium() else { return };
    let server = Server::start();
    fill(&server);
    let url = format!("http://{}/ui/team/app:1.0", server.address);
    let dom = browse(&chromium, &url, &["--dump-dom"]);
    assert!(dom.contains("Referrers") && dom.contains("team/app"), "{dom}");
    // Our own script ran (it adds the buttons), and the words that want to be markup are text.
    assert!(dom.contains(">Copy</button>"), "{dom}");
    assert!(!dom.contains("<img") && dom.matches("<script").count() == 1, "{dom}");
    let Some(directory) = std::env::var_os("KNARR_SCREENSHOTS").map(PathBuf::from) else { return };
    for (name, path, more) in [
        ("light", "/ui/team/app:1.0", &[][..]),
        ("dark", "/ui/team/app:1.0", &["--blink-settings=preferredColorScheme=0", "--force-dark-mode"][..]),
        ("index", "/ui/team/app:multi", &[][..]),
        ("list", "/ui/", &[][..]),
        ("tags", "/ui/team/app", &[][..]),
    ] {
        let file = format!("--screenshot={}", directory.join(format!("{name}.png")).display());
        let url = format!("http://{}{path}", server.address);
        browse(&chromium, &url, &[&[file.as_str(), "--window-size=1100,1300"], more].concat());
    }
}
