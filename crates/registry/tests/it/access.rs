//! Who is let in, and to what: passwords, tokens of ours and of others, policies, limits.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use knarr_spec::Digest;
use knarr_testkit::http::{Response, basic};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::harness::{Client, OCI_MANIFEST, Server, manifest, refused, text};

/// `ship` with `hold-fast`, `boat` with `hold-fast`, `admin` with `hold-fast`; cost 4.
pub fn write_users(root: &std::path::Path) {
    let hash = "$2b$04$idbh17aSb8o.wkWzX17yf.7xzMhB2WtjY6hXkVl9//27ssZcFJ47y";
    let lines = ["ship", "boat", "admin"].map(|user| format!("{user}:{hash}\n")).concat();
    std::fs::write(root.join("users"), lines).expect("written");
}

pub const POLICIES: &str = r#"
    auth.htpasswd = "{root}/users"
    [[policy]]
    repositories = ["public/**"]
    subjects = ["anonymous"]
    [[policy]]
    repositories = ["public/**", "ship/*"]
    subjects = ["ship"]
    allow = ["pull", "push"]
    [[policy]]
    subjects = ["admin"]
    allow = ["pull", "push", "delete"]
"#;

fn login(user: &str) -> String {
    format!("authorization: {}", basic(user, "hold-fast"))
}

fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("JSON: {}", text(response)))
}

/// A token for `scope`, asked for with these headers.
fn token(client: &Client, scope: &str, headers: &[&str]) -> String {
    let given = client.send("GET", &format!("/token?service=knarr-registry&scope={scope}"), headers, b"");
    assert_eq!(given.status, 200, "{}", text(&given));
    let given = json_of(&given);
    assert_eq!(given["token"], given["access_token"]);
    assert_eq!(given["expires_in"], 300);
    format!("authorization: Bearer {}", given["token"].as_str().expect("a token"))
}

fn push_image(client: &Client, name: &str, tag: &str, authorization: &str) -> Digest {
    let blob = Digest::sha256_of(b"{}");
    let path = format!("/v2/{name}/blobs/uploads/?digest={blob}");
    let pushed = client.send("POST", &path, &[authorization], b"{}");
    assert_eq!(pushed.status, 201, "{}", text(&pushed));
    let bytes = manifest(&blob, &[]).to_string();
    let headers = [authorization, &format!("content-type: {OCI_MANIFEST}")];
    let pushed = client.send("PUT", &format!("/v2/{name}/manifests/{tag}"), &headers, bytes.as_bytes());
    assert_eq!(pushed.status, 201, "{}", text(&pushed));
    Digest::sha256_of(bytes.as_bytes())
}

#[test]
fn a_client_goes_from_the_challenge_to_a_token_to_the_content() {
    let server = Server::configured("auth.htpasswd = \"{root}/users\"", write_users);
    let asked = server.get("/v2/");
    refused(&asked, 401, "UNAUTHORIZED");
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"knarr-registry\"", server.address);
    assert_eq!(asked.header("www-authenticate"), Some(realm.as_str()));
    assert_eq!(asked.header("docker-distribution-api-version"), Some("registry/2.0"));
    let asked = server.send("POST", "/v2/a/b/blobs/uploads/", &[], b"");
    let challenge = format!("{realm},scope=\"repository:a/b:pull,push\"");
    assert_eq!(asked.header("www-authenticate"), Some(challenge.as_str()));
    let bearer = token(&server, "repository:a/b:pull,push", &[&login("ship")]);
    push_image(&server, "a/b", "v1", &bearer);
    assert_eq!(server.send("GET", "/v2/a/b/manifests/v1", &[&bearer], b"").status, 200);
    assert_eq!(server.send("GET", "/v2/", &[&bearer], b"").status, 200);
    let elsewhere = server.send("GET", "/v2/a/c/tags/list", &[&bearer], b"");
    refused(&elsewhere, 401, "UNAUTHORIZED");
    assert!(elsewhere.header("www-authenticate").unwrap().ends_with(",error=\"insufficient_scope\""));
}

#[test]
fn a_password_does_at_every_request_what_a_token_does() {
    let server = Server::configured("auth.htpasswd = \"{root}/users\"\nauth.scheme = \"basic\"", write_users);
    assert_eq!(server.get("/v2/").header("www-authenticate"), Some("Basic realm=\"knarr registry\""));
    push_image(&server, "a", "v1", &login("ship"));
    assert_eq!(server.send("GET", "/v2/a/manifests/v1", &[&login("boat")], b"").status, 200);
    refused(&server.get("/v2/a/manifests/v1"), 401, "UNAUTHORIZED");
}

#[test]
fn everybody_pulls_what_everybody_may_and_the_others_do_what_they_may() {
    let server = Server::configured(POLICIES, write_users);
    push_image(&server, "public/app", "v1", &login("ship"));
    push_image(&server, "ship/secret", "v1", &login("ship"));
    let anonymous = token(&server, "repository:public/app:pull,push", &[]);
    assert_eq!(server.send("GET", "/v2/public/app/manifests/v1", &[&anonymous], b"").status, 200);
    assert_eq!(server.get("/v2/public/app/manifests/v1").status, 200);
    refused(&server.send("POST", "/v2/public/app/blobs/uploads/", &[&anonymous], b""), 401, "UNAUTHORIZED");
    refused(&server.get("/v2/ship/secret/manifests/v1"), 401, "UNAUTHORIZED");
    refused(&server.send("GET", "/v2/ship/secret/manifests/v1", &[&login("boat")], b""), 403, "DENIED");
    refused(&server.send("DELETE", "/v2/public/app/manifests/v1", &[&login("ship")], b""), 403, "DENIED");
    let deleted = server.send("DELETE", "/v2/public/app/manifests/v1", &[&login("admin")], b"");
    assert_eq!(deleted.status, 202);
}

#[test]
fn a_repository_that_may_not_be_read_cannot_be_read_by_a_mount_or_the_catalog() {
    let server = Server::configured(POLICIES, write_users);
    push_image(&server, "hidden/a", "v1", &login("admin"));
    push_image(&server, "public/a", "v1", &login("admin"));
    let blob = Digest::sha256_of(b"{}");
    let secret = server.send(
        "POST",
        &format!("/v2/hidden/a/blobs/uploads/?digest={}", Digest::sha256_of(b"secret")),
        &[&login("admin")],
        b"secret",
    );
    assert_eq!(secret.status, 201);
    for from in ["&from=hidden/a", ""] {
        let digest = Digest::sha256_of(b"secret");
        let mounted =
            server.send("POST", &format!("/v2/ship/x/blobs/uploads/?mount={digest}{from}"), &[&login("ship")], b"");
        assert_eq!(mounted.status, 202, "{from}");
    }
    let mounted =
        server.send("POST", &format!("/v2/ship/x/blobs/uploads/?mount={blob}&from=public/a"), &[&login("ship")], b"");
    assert_eq!(mounted.status, 201);
    let listed = |headers: &[&str]| json_of(&server.send("GET", "/v2/_catalog", headers, b""))["repositories"].clone();
    assert_eq!(listed(&[&login("ship")]), json!(["public/a"]));
    assert_eq!(listed(&[&login("admin")]), json!(["hidden/a", "public/a"]));
    assert_eq!(listed(&[]), json!(["public/a"]));
    let catalog = token(&server, "registry:catalog:*", &[&login("ship")]);
    assert_eq!(listed(&[&catalog]), json!(["public/a"]));
}

#[test]
fn a_refresh_token_gives_tokens_until_the_password_changes() {
    let server = Server::configured("auth.htpasswd = \"{root}/users\"", write_users);
    let offline =
        server.send("GET", "/token?service=knarr-registry&offline_token=true&account=ship", &[&login("ship")], b"");
    let refresh = json_of(&offline)["refresh_token"].as_str().expect("a refresh token").to_owned();
    let form = "content-type: application/x-www-form-urlencoded";
    let ask = |body: &str| server.send("POST", "/token", &[form], body.as_bytes());
    let given = ask(&format!(
        "grant_type=refresh_token&service=knarr-registry&client_id=t&refresh_token={refresh}&scope=repository%3Aa%3Apull"
    ));
    assert_eq!(given.status, 200, "{}", text(&given));
    let given = json_of(&given);
    assert_eq!(
        (given["scope"].as_str(), given["refresh_token"].as_str()),
        (Some("repository:a:pull"), Some(refresh.as_str()))
    );
    let given = json_of(&ask(
        "grant_type=password&username=ship&password=hold-fast&access_type=offline&client_id=t&scope=repository:a:push",
    ));
    assert_eq!(given["scope"], "repository:a:push");
    assert!(given["refresh_token"].is_string());
    refused(&ask("grant_type=password&username=ship&password=wrong&client_id=t"), 401, "UNAUTHORIZED");
    refused(&ask("grant_type=refresh_token&refresh_token=x.y.z"), 401, "UNAUTHORIZED");
    refused(&ask("grant_type=magic"), 400, "UNSUPPORTED");
    refused(&server.send("POST", "/token", &[], b"{}"), 415, "UNSUPPORTED");
    refused(&server.send("GET", "/token?service=another", &[], b""), 400, "UNSUPPORTED");
    let bearer = given["access_token"].as_str().unwrap();
    refused(
        &server.send("GET", "/token?scope=repository:a:delete", &[&format!("authorization: Bearer {bearer}")], b""),
        401,
        "UNAUTHORIZED",
    );
    refused(&server.send("GET", "/v2/", &[&format!("authorization: Bearer {refresh}")], b""), 401, "UNAUTHORIZED");
}

#[test]
fn wrong_passwords_are_refused_and_then_slowed_down() {
    let server = Server::configured(&format!("limits.failures_per_minute = 3\n{POLICIES}"), write_users);
    let wrong = format!("authorization: {}", basic("ship", "wrong"));
    for _ in 0..3 {
        refused(&server.send("GET", "/v2/", &[&wrong], b""), 401, "UNAUTHORIZED");
    }
    let slowed = server.send("GET", "/v2/", &[&login("ship")], b"");
    refused(&slowed, 429, "TOOMANYREQUESTS");
    let seconds: u64 = slowed.header("retry-after").expect("a time to wait").parse().expect("seconds");
    assert!((1..=20).contains(&seconds), "{seconds}");
    refused(&server.send("GET", "/token", &[&login("ship")], b""), 429, "TOOMANYREQUESTS");
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let server = Server::configured(
        "limits.requests_per_second = 0.5\nlimits.burst = 2\n[[policy]]\nsubjects = [\"anonymous\"]",
        |_| {},
    );
    let first = server.get("/v2/a/tags/list");
    refused(&first, 404, "NAME_UNKNOWN");
    refused(&server.get("/v2/a/tags/list"), 404, "NAME_UNKNOWN");
    let third = server.get("/v2/a/tags/list");
    refused(&third, 429, "TOOMANYREQUESTS");
    assert_eq!(third.header("retry-after"), Some("2"));
}

#[test]
fn many_wrong_passwords_at_once_leave_the_others_served() {
    let server = Server::configured("limits.failures_per_minute = 0\nauth.htpasswd = \"{root}/users\"", |root| {
        let slow = "ship:$2b$07$idbh17aSb8o.wkWzX17yf.7xzMhB2WtjY6hXkVl9//27ssZcFJ47y\n";
        std::fs::write(root.join("users"), slow).expect("written");
    });
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..120)
            .map(|number| {
                let client = server.client.clone();
                scope.spawn(move || {
                    let wrong = format!("authorization: {}", basic("ship", &format!("wrong{number}")));
                    client.send("GET", "/v2/", &[&wrong], b"").status
                })
            })
            .collect();
        let begun = std::time::Instant::now();
        assert_eq!(server.get("/healthz").status, 200);
        assert!(begun.elapsed() < knarr_testkit::wait::patience());
        asking.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert!(statuses.contains(&401));
}

#[test]
fn hostile_credentials_are_refused_quickly() {
    let server = Server::configured("auth.htpasswd = \"{root}/users\"\nlimits.failures_per_minute = 0", write_users);
    let long = format!("Basic {}", "QQ".repeat(8000));
    let deep = format!("Bearer {}.{}.x", URL_SAFE_NO_PAD.encode("[".repeat(4000)), "a".repeat(6000));
    for value in ["Basic", "Basic ====", "Bearer", "Bearer ..", "bearer a.b.c", "Negotiate x", "\u{e9}", &long, &deep] {
        let answer = server.send("GET", "/v2/", &[&format!("authorization: {value}")], b"");
        assert_eq!(answer.status, 401, "{value:.40}");
    }
    let huge = server.send("GET", "/v2/", &[&format!("authorization: Basic {}", "Q".repeat(64 * 1024))], b"");
    assert_eq!(huge.status, 431);
    let sneaky = server.send("GET", "/v2/", &["host: a\"b", "authorization: Basic eA=="], b"");
    assert!(!sneaky.header("www-authenticate").unwrap_or_default().contains("a\"b"));
    let form = "content-type: application/x-www-form-urlencoded";
    assert_eq!(server.send("POST", "/token", &[form], &vec![b'a'; 100 * 1024]).status, 413);
}

/// Somebody else who signs tokens.
struct Issuer {
    key: Ed25519KeyPair,
}

impl Issuer {
    fn new() -> Issuer {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("a key");
        Issuer { key: Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key") }
    }

    fn key_set(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "alg": "EdDSA", "x": x}]})
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": "k1"}).to_string();
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn in_an_hour() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() + 3600
}

#[test]
fn tokens_of_an_openid_provider_name_subjects_and_groups() {
    let issuer = Issuer::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string();
    let (keys, fetched) = (issuer.key_set().to_string(), Arc::new(AtomicUsize::new(0)));
    let counter = fetched.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(&stream);
            let _ = reader.read_line(&mut line);
            let _ = knarr_testkit::http::headers(&mut reader);
            counter.fetch_add(1, Ordering::SeqCst);
            let body = if line.contains("/keys") { &keys } else { &discovery };
            let _ =
                write!(&stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    let server = Server::configured(
        &format!(
            "[[auth.issuer]]\nissuer = \"{url}\"\naudience = [\"harbour\"]\nsubject = \"email\"\n\
             [[policy]]\nrepositories = [\"crew/*\"]\nsubjects = [\"group:crew\"]\nallow = [\"push\", \"pull\"]"
        ),
        |_| {},
    );
    let claims = json!({"iss": url, "aud": "harbour", "exp": in_an_hour(), "email": "a@b", "groups": ["crew"]});
    let bearer = format!("authorization: Bearer {}", issuer.sign(&claims));
    push_image(&server, "crew/app", "v1", &bearer);
    refused(&server.send("GET", "/v2/other/tags/list", &[&bearer], b""), 403, "DENIED");
    // Programs that only know passwords give it as one, also for a token of ours.
    let as_password = format!("authorization: {}", basic("oidc", &issuer.sign(&claims)));
    let ours = token(&server, "repository:crew/app:pull", &[&as_password]);
    assert_eq!(server.send("GET", "/v2/crew/app/manifests/v1", &[&ours], b"").status, 200);
    assert_eq!(fetched.load(Ordering::SeqCst), 2);
    for (claim, value) in [("aud", json!("another")), ("exp", json!(1)), ("iss", json!("http://127.0.0.1:1"))] {
        let mut wrong = claims.clone();
        wrong[claim] = value;
        let bearer = format!("authorization: Bearer {}", issuer.sign(&wrong));
        let answer = server.send("GET", "/v2/", &[&bearer], b"");
        refused(&answer, 401, "UNAUTHORIZED");
        assert!(answer.header("www-authenticate").unwrap().ends_with(",error=\"invalid_token\""));
    }
    let forged = format!("authorization: Bearer {}", Issuer::new().sign(&claims));
    refused(&server.send("GET", "/v2/", &[&forged], b""), 401, "UNAUTHORIZED");
    assert_eq!(fetched.load(Ordering::SeqCst), 2);
}

#[test]
fn a_token_server_may_decide_by_itself() {
    let issuer = Issuer::new();
    let keys = issuer.key_set().to_string();
    let server = Server::configured(
        "auth.token.url = \"https://auth.example/token\"\nauth.token.service = \"harbour\"\n[[auth.issuer]]\n\
         issuer = \"auth\"\naudience = [\"harbour\"]\njwks = \"{root}/jwks.json\"\ngrants = \"token\"",
        |root| std::fs::write(root.join("jwks.json"), keys).expect("written"),
    );
    let challenge = server.get("/v2/a/tags/list");
    assert_eq!(
        challenge.header("www-authenticate"),
        Some("Bearer realm=\"https://auth.example/token\",service=\"harbour\",scope=\"repository:a:pull\"")
    );
    let access = json!([{"type": "repository", "name": "a", "actions": ["pull", "push"]}]);
    let claims = json!({"iss": "auth", "aud": "harbour", "sub": "", "exp": in_an_hour(), "access": access});
    let bearer = format!("authorization: Bearer {}", issuer.sign(&claims));
    push_image(&server, "a", "v1", &bearer);
    refused(&server.send("GET", "/v2/b/tags/list", &[&bearer], b""), 401, "UNAUTHORIZED");
    refused(&server.send("DELETE", "/v2/a/manifests/v1", &[&bearer], b""), 401, "UNAUTHORIZED");
}
