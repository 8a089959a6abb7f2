//! auth.json and Docker's config.json.
//!
//! Spec: containers-auth.json(5): the most specific of `host/a/b`, `host/a`, `host` counts. Docker writes hosts as URLs
//! (`https://index.docker.io/v1/`), which mean the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use knarr_spec::Reference;
use serde::Deserialize;

use super::Credentials;
use crate::Problem;

/// Largest credentials file that is read; a thousand registries fit into a tenth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The part of a credentials file that matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthFile {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What a file says about a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Credentials(Credentials),
    /// Ask `docker-credential-<name>` about the host.
    Helper(String),
}

impl AuthFile {
    /// `None` where there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<AuthFile>, Problem> {
        let mut text = String::new();
        match fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(source) => return Err(Problem::File { path: path.to_owned(), source }),
        }
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(Problem::TooLarge { bytes_max: FILE_BYTES_MAX });
        }
        if text.trim().is_empty() {
            return Ok(None);
        }
        let bad = |error: serde_json::Error| Problem::ConfigFile { path: path.to_owned(), what: error.to_string() };
        serde_json::from_str(&text).map(Some).map_err(bad)
    }

    /// The helper that keeps the secrets of `registry`.
    pub(super) fn helper_of(&self, registry: &str) -> Option<&str> {
        let own = keys_of_host(registry).into_iter().find_map(|host| find(&self.helpers, &host));
        own.or(self.store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// What this file knows about `name`.
    pub(super) fn look_up(&self, name: &Reference) -> Option<Answer> {
        let host = keys_of_host(name.registry());
        if let Some(helper) = host.iter().find_map(|host| find(&self.helpers, host)) {
            return Some(Answer::Helper(helper.clone()));
        }
        let found = keys(name).iter().find_map(|key| find(&self.auths, key)?.credentials());
        found.map(Answer::Credentials).or_else(|| self.store.clone().map(Answer::Helper))
    }
}

impl Entry {
    fn credentials(&self) -> Option<Credentials> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = some(&self.registrytoken) {
            return Some(Credentials::RegistryToken(token));
        }
        if let Some(token) = some(&self.identitytoken) {
            return Some(Credentials::IdentityToken(token));
        }
        let pair = match some(&self.auth) {
            Some(auth) => decode(&auth),
            None => Some((some(&self.username)?, self.password.clone().unwrap_or_default())),
        };
        pair.map(|(user, password)| Credentials::Password { user, password })
    }
}

/// `base64(user:password)`; Docker pads the password with NUL bytes now and then.
fn decode(auth: &str) -> Option<(String, String)> {
    let auth = auth.trim();
    let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// The entry for `key`, however its scheme and path are written.
fn find<'a, T>(map: &'a BTreeMap<String, T>, key: &str) -> Option<&'a T> {
    map.get(key).or_else(|| map.iter().find(|(written, _)| normal(written) == key).map(|(_, value)| value))
}

pub(super) fn normal(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
}

/// The keys that mean `name`, the most specific first.
fn keys(name: &Reference) -> Vec<String> {
    let mut path = name.name();
    let mut keys = Vec::new();
    while let Some(slash) = path.rfind('/') {
        keys.push(path.clone());
        path.truncate(slash);
    }
    keys.extend(keys_of_host(name.registry()));
    keys
}

pub(super) fn keys_of_host(host: &str) -> Vec<String> {
    match host {
        "docker.io" => ["docker.io", "index.docker.io", "registry-1.docker.io"].map(str::to_owned).to_vec(),
        other => vec![other.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"auths":{
        "https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},
        "localhost:5000":{"auth":"aG9zdDpw"},
        "localhost:5000/team":{"auth":"dGVhbTpw"},
        "token.example":{"auth":"","identitytoken":"refresh"},
        "plain.example":{"username":"u","password":"a:b"},
        "empty.example":{}},
        "credHelpers":{"gcr.io":"gcr"},
        "HttpHeaders":{"User-Agent":"x"}}"#;

    fn check(file: &str, name: &str, expect: Option<Answer>) {
        let file: AuthFile = serde_json::from_str(file).unwrap();
        assert_eq!(file.look_up(&name.parse().unwrap()), expect, "{name}");
    }

    fn password(user: &str, password: &str) -> Option<Answer> {
        Some(Answer::Credentials(Credentials::Password { user: user.to_owned(), password: password.to_owned() }))
    }

    #[test]
    fn docker_hub_is_known_by_its_old_url() {
        check(FILE, "alpine", password("hub", "secret"));
    }

    #[test]
    fn the_most_specific_key_wins() {
        check(FILE, "localhost:5000/team/app", password("team", "p"));
        check(FILE, "localhost:5000/other/app", password("host", "p"));
        check(FILE, "localhost:5000/teams", password("host", "p"));
    }

    #[test]
    fn tokens_and_plain_pairs_are_read() {
        check(FILE, "token.example/a", Some(Answer::Credentials(Credentials::IdentityToken("refresh".to_owned()))));
        check(FILE, "plain.example/a", password("u", "a:b"));
        check(FILE, "empty.example/a", None);
        check(FILE, "unknown.example/a", None);
    }

    #[test]
    fn a_helper_of_the_host_comes_before_everything() {
        check(FILE, "gcr.io/a/b", Some(Answer::Helper("gcr".to_owned())));
    }

    #[test]
    fn the_store_is_asked_for_what_the_file_does_not_hold() {
        let file = r#"{"auths":{"a.example":{}},"credsStore":"pass"}"#;
        check(file, "a.example/x", Some(Answer::Helper("pass".to_owned())));
    }

    #[test]
    fn a_missing_file_is_no_error_and_a_broken_one_names_its_line() {
        let dir = tempfile::tempdir().unwrap();
        assert!(AuthFile::read(&dir.path().join("none.json")).unwrap().is_none());
        let path = dir.path().join("auth.json");
        fs::write(&path, "{\"auths\":\n[]}").unwrap();
        let error = AuthFile::read(&path).unwrap_err().to_string();
        assert!(error.contains("auth.json") && error.contains("line 2"), "{error}");
    }
}
