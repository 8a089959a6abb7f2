//! Logging in: Basic, tokens, files, and what other servers must never see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use knarr_distribution::{AuthConfig, Credentials, ErrorKind, Network, PullOptions};

use crate::image::{Layer, Shelf};
use crate::server::{Reply, Request, Server};
use crate::setup::{Place, fails, options};

/// `user:secret` in base64.
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

fn with(credentials: Option<Credentials>) -> PullOptions<'static> {
    let options = options();
    let auth = AuthConfig { explicit: credentials, ..AuthConfig::default() };
    PullOptions { network: Network { auth, ..options.network }, ..options }
}

fn password(password: &str) -> Option<Credentials> {
    Some(Credentials::Password { user: "user".to_owned(), password: password.to_owned() })
}

fn shelf() -> Shelf {
    Shelf::of(&[Layer::gzip(&[("a", b"1")]), Layer::gzip(&[("a", b"2")]), Layer::gzip(&[("a", b"3")])])
}

fn basic_server() -> Server {
    let shelf = shelf();
    Server::start(move |request| match request.header("authorization") {
        Some(BASIC) => shelf.answer(request),
        _ => Reply::error(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", "Basic realm=\"x\""),
    })
}

#[test]
fn basic_credentials_are_sent_after_a_challenge_only() {
    let server = basic_server();
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &with(password("secret"))).unwrap();
    let first = &server.requests()[0];
    assert_eq!(first.header("authorization"), None);
    assert_eq!(server.requests().iter().filter(|r| r.header("authorization").is_none()).count(), 1);
}

#[test]
fn wrong_credentials_are_tried_once_and_said_to_be_refused() {
    let server = basic_server();
    let result = Place::new().pull_with(&format!("{}/app:v1", server.host()), &with(password("wrong")));
    let error = fails(result, "authentication required");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(server.requests().len() <= 3, "{:?}", server.requests());
}

#[test]
fn no_credentials_are_dockers_pull_access_denied() {
    let server = basic_server();
    let name = format!("{}/app", server.host());
    let error = fails(
        Place::new().pull_with(&format!("{name}:v1"), &with(None)),
        &format!("pull access denied for {name}, repository does not exist or may require 'docker login'"),
    );
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.hint().unwrap().contains("login"));
}

/// A registry and its token server in one. Tokens are good for `uses` requests.
fn token_server(uses: usize, token: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    let shelf = shelf();
    let used = AtomicUsize::new(0);
    let port = Arc::new(AtomicUsize::new(0));
    let own = port.clone();
    let server = Server::start(move |request| {
        if request.path == "/token" {
            used.store(0, Ordering::SeqCst);
            return token(request);
        }
        let good = request.header("authorization").is_some_and(|sent| sent.starts_with("Bearer good"));
        if good && used.fetch_add(1, Ordering::SeqCst) < uses {
            return shelf.answer(request);
        }
        let realm = format!("http://127.0.0.1:{}/token", own.load(Ordering::SeqCst));
        let challenge = format!(r#"Bearer realm="{realm}",service="reg",scope="repository:app:pull""#);
        Reply::error(401, "UNAUTHORIZED", "token wanted").with("WWW-Authenticate", challenge)
    });
    port.store(server.host().rsplit(':').next().unwrap().parse().unwrap(), Ordering::SeqCst);
    server
}

#[test]
fn an_anonymous_token_is_asked_for_once_and_used_for_all_layers() {
    let server = token_server(1000, |_| Reply::new(200, r#"{"token":"good","expires_in":300}"#));
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &with(None)).unwrap();
    let requests = server.requests();
    let tokens: Vec<_> = requests.iter().filter(|request| request.path == "/token").collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].query, "service=reg&scope=repository%3Aapp%3Apull");
    assert_eq!(tokens[0].header("authorization"), None);
}

#[test]
fn a_token_is_got_with_the_password() {
    let server = token_server(1000, |request| match request.header("authorization") {
        Some(BASIC) => Reply::new(200, r#"{"access_token":"good"}"#),
        _ => Reply::new(401, ""),
    });
    let name = format!("{}/app:v1", server.host());
    Place::new().pull_with(&name, &with(password("secret"))).unwrap();
    let error = fails(Place::new().pull_with(&name, &with(password("wrong"))), "incorrect username or password");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let server = token_server(1000, |request| match request.method.as_str() {
        "POST"
            if request.body.contains("refresh_token=refresh") && request.body.contains("grant_type=refresh_token") =>
        {
            Reply::new(200, r#"{"access_token":"good"}"#)
        }
        _ => Reply::new(401, ""),
    });
    let token = Some(Credentials::IdentityToken("refresh".to_owned()));
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &with(token)).unwrap();
}

#[test]
fn a_token_that_runs_out_is_replaced() {
    let given = AtomicUsize::new(0);
    let server = token_server(2, move |_| {
        Reply::new(200, format!(r#"{{"token":"good{}"}}"#, given.fetch_add(1, Ordering::SeqCst)))
    });
    let options = PullOptions { concurrency: 1, ..with(None) };
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &options).unwrap();
    assert!(server.count("/token") > 1);
}

#[test]
fn a_token_that_is_never_good_enough_ends_in_an_error() {
    let server = token_server(1000, |_| Reply::new(200, r#"{"token":"bad"}"#));
    fails(Place::new().pull_with(&format!("{}/app:v1", server.host()), &with(None)), "pull access denied");
    assert!(server.requests().len() <= 4);
}

#[test]
fn answers_of_a_broken_token_server_are_errors() {
    let check = |body: &'static str, expect| {
        let server = token_server(1000, move |_| Reply::new(200, body));
        fails(Place::new().pull_with(&format!("{}/app:v1", server.host()), &with(None)), expect);
    };
    check("{}", "without a token");
    check("<html>", "malformed token");
    check(r#"{"token":"a\nb"}"#, "no header value");
}

#[test]
fn a_realm_that_is_no_url_is_an_error() {
    let server = Server::start(|_| Reply::new(401, "").with("WWW-Authenticate", "Bearer realm=\"nonsense\""));
    fails(Place::new().pull_with(&format!("{}/app:v1", server.host()), &with(None)), "is no URL");
}

#[test]
fn credentials_of_a_file_are_found_by_host() {
    let server = basic_server();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    let auth = format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#, server.host());
    std::fs::write(&path, auth).unwrap();
    let mut options = with(None);
    options.network.auth.files = vec![dir.path().join("missing.json"), path];
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &options).unwrap();
}

#[test]
fn authorization_does_not_follow_a_redirect_to_another_server() {
    let shelf = Arc::new(shelf());
    let storage_shelf = shelf.clone();
    let storage = Server::start(move |request| storage_shelf.answer(request));
    let target = storage.host();
    let leaked = Arc::new(AtomicBool::new(false));
    let server = Server::start(move |request| match request.header("authorization") {
        Some(BASIC) if request.path.contains("/blobs/") => {
            Reply::new(307, "").with("Location", format!("http://{target}{}?signature=x", request.path))
        }
        Some(BASIC) => shelf.answer(request),
        _ => Reply::new(401, "").with("WWW-Authenticate", "Basic"),
    });
    Place::new().pull_with(&format!("{}/app:v1", server.host()), &with(password("secret"))).unwrap();
    leaked.store(storage.requests().iter().any(|r| r.header("authorization").is_some()), Ordering::SeqCst);
    assert!(!storage.requests().is_empty());
    assert!(!leaked.load(Ordering::SeqCst));
}

#[test]
fn a_refresh_token_does_not_follow_a_redirect_to_another_server() {
    let thief = Server::start(|_| Reply::new(200, r#"{"token":"good"}"#));
    let target = thief.host();
    let server = token_server(1000, move |_| Reply::new(307, "").with("Location", format!("http://{target}/token")));
    let token = Some(Credentials::IdentityToken("refresh".to_owned()));
    fails(
        Place::new().pull_with(&format!("{}/app:v1", server.host()), &with(token)),
        "another server, which must not see the credentials",
    );
    assert!(thief.requests().is_empty());
}
