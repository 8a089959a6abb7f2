//! Tokens of others: OpenID providers and token servers whose keys we know or fetch.
//!
//! Spec: OpenID Connect Discovery 1.0, RFC 7517, RFC 7519; distribution's jwt.md where the token itself grants access.
//! Law: issuer and audience must be named and must fit, or a token made for somebody else would open this door. Keys are
//! fetched by one request at a time, and not more often than once in [`REFETCH_AFTER`]; old keys serve while that fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::jws::{self, Unverified, VerifyingKey};
use super::now_s;
use super::policy::Subject;
use super::scope::Access;
use crate::outbound::{Outbound, OutboundError};

/// How far an issuer's clock may be from ours, as distribution has it.
const LEEWAY_S: u64 = 60;
/// Keys are fetched again when they are this old; a key that is not among them is looked for at once.
const KEYS_FRESH: Duration = Duration::from_secs(3600);
/// No fetch sooner than this after the last.
const REFETCH_AFTER: Duration = Duration::from_secs(30);
/// Largest key set or discovery document read.
const DOCUMENT_BYTES_MAX: usize = 512 * 1024;

/// `[[auth.issuer]]`: somebody else who says who somebody is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalSettings {
    /// `iss` of its tokens, character by character; for OpenID its address.
    pub issuer: String,
    /// `aud` of tokens that are meant for us: one of these.
    pub audience: Vec<String>,
    /// Where its keys are: a file or an address. Without it they are asked for at `issuer/.well-known/openid-configuration`.
    #[serde(default)]
    pub jwks: Option<String>,
    /// The claim that names the subject; dots lead into objects.
    #[serde(default = "default_subject")]
    pub subject: String,
    /// Put before that name, so that it cannot be mistaken for somebody else's.
    #[serde(default)]
    pub subject_prefix: String,
    /// The claim that lists groups.
    #[serde(default = "default_groups")]
    pub groups: String,
    /// Claims that must have these values.
    #[serde(default)]
    pub require: BTreeMap<String, String>,
    /// What decides: our policies, or the token's own `access`, as distribution's token servers write it.
    #[serde(default)]
    pub grants: Grants,
}

fn default_subject() -> String {
    "sub".into()
}

fn default_groups() -> String {
    "groups".into()
}

/// What decides what the bearer of a token may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grants {
    /// The policies, for the subject the token names.
    #[default]
    Policy,
    /// The token.
    Token,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Url(String),
    Discovery(String),
}

/// An issuer and its keys.
pub struct External {
    settings: ExternalSettings,
    source: Source,
    outbound: Outbound,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    keys: Vec<VerifyingKey>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

/// Whom a token stands for, and what it grants by itself.
#[derive(Debug)]
pub struct Presented {
    /// Whose it is.
    pub subject: Subject,
    /// `None` where the policies decide.
    pub access: Option<Vec<Access>>,
}

/// Why keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Fetch(#[from] OutboundError),
    #[error("{place}: not a JWK set: {source}")]
    NotASet { place: String, source: serde_json::Error },
    #[error("{place}: no \"jwks_uri\" for the issuer {issuer:?}")]
    NoAddress { place: String, issuer: String },
    #[error("{place}: no key in it that tokens could be checked with")]
    NoKey { place: String },
}

/// Why a token was not accepted.
#[derive(Debug)]
pub enum Refused {
    /// It is not what it must be; for the log.
    Invalid(&'static str),
    /// It could not be checked.
    Unavailable(KeysError),
}

impl External {
    /// Keys in a file are read at once, others when they are needed.
    pub fn new(settings: ExternalSettings, outbound: Outbound) -> Result<External, KeysError> {
        let source = match settings.jwks.as_deref() {
            None => Source::Discovery(settings.issuer.trim_end_matches('/').to_owned()),
            Some(text) if text.contains("://") => Source::Url(text.to_owned()),
            Some(path) => Source::File(PathBuf::from(path)),
        };
        let mut keys = Keys::default();
        if let Source::File(path) = &source {
            let bytes = std::fs::read(path).map_err(|source| KeysError::File { path: path.clone(), source })?;
            keys.keys = usable_keys(&bytes, &path.display().to_string())?;
        }
        Ok(External { settings, source, outbound, keys: Mutex::new(keys) })
    }

    /// Whether a token says that this issuer made it.
    pub fn made(&self, token: &Unverified<'_>) -> bool {
        token.issuer() == Some(&self.settings.issuer)
    }

    /// Checks a token.
    pub async fn read(&self, token: Unverified<'_>) -> Result<Presented, Refused> {
        let keys = self.keys_for(&token).await.map_err(Refused::Unavailable)?;
        let claims = token.verify(&keys).ok_or(Refused::Invalid("the signature is not one of the issuer's keys"))?;
        present(&self.settings, &claims, now_s()).map_err(Refused::Invalid)
    }

    async fn keys_for(&self, token: &Unverified<'_>) -> Result<Vec<VerifyingKey>, KeysError> {
        let mut keys = self.keys.lock().await;
        if matches!(self.source, Source::File(_)) {
            return Ok(keys.keys.clone());
        }
        let fresh = keys.fetched.is_some_and(|at| at.elapsed() < KEYS_FRESH) && token.key_is_known(&keys.keys);
        let just_tried = keys.tried.is_some_and(|at| at.elapsed() < REFETCH_AFTER);
        if !fresh && !just_tried {
            keys.tried = Some(Instant::now());
            match self.fetch().await {
                Ok(fetched) => {
                    keys.keys = fetched;
                    keys.fetched = Some(Instant::now());
                }
                Err(error) if keys.keys.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(keys.keys.clone())
    }

    async fn fetch(&self) -> Result<Vec<VerifyingKey>, KeysError> {
        let url = match &self.source {
            Source::File(_) => return Ok(Vec::new()),
            Source::Url(url) => url.clone(),
            Source::Discovery(issuer) => {
                let place = format!("{issuer}/.well-known/openid-configuration");
                let bytes = self.outbound.get(&place, DOCUMENT_BYTES_MAX).await?;
                let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let ours = document["issuer"].as_str() == Some(&self.settings.issuer);
                let address = document["jwks_uri"].as_str().filter(|_| ours).map(str::to_owned);
                address.ok_or_else(|| KeysError::NoAddress { place, issuer: self.settings.issuer.clone() })?
            }
        };
        usable_keys(&self.outbound.get(&url, DOCUMENT_BYTES_MAX).await?, &url)
    }
}

fn usable_keys(json: &[u8], place: &str) -> Result<Vec<VerifyingKey>, KeysError> {
    let keys = jws::parse_key_set(json).map_err(|source| KeysError::NotASet { place: place.to_owned(), source })?;
    if keys.is_empty() { Err(KeysError::NoKey { place: place.to_owned() }) } else { Ok(keys) }
}

/// What verified claims mean to us.
fn present(settings: &ExternalSettings, claims: &Value, now: u64) -> Result<Presented, &'static str> {
    if claims["iss"].as_str() != Some(&settings.issuer) {
        return Err("another issuer");
    }
    let meant = |text: &Value| text.as_str().is_some_and(|text| settings.audience.iter().any(|ours| ours == text));
    let for_us = match &claims["aud"] {
        Value::Array(all) => all.iter().any(meant),
        one => meant(one),
    };
    if !for_us {
        return Err("meant for another audience");
    }
    if !jws::in_time(claims, now, LEEWAY_S) {
        return Err("not valid now");
    }
    if settings.require.iter().any(|(name, wanted)| claim(claims, name).and_then(text).as_deref() != Some(wanted)) {
        return Err("a required claim is missing or has another value");
    }
    let name = claim(claims, &settings.subject).and_then(text).filter(|name| !name.is_empty());
    let name = name.map(|name| format!("{}{name}", settings.subject_prefix));
    let access = match settings.grants {
        Grants::Policy => None,
        Grants::Token => Some(serde_json::from_value(claims["access"].clone()).unwrap_or_default()),
    };
    if name.is_none() && access.is_none() {
        return Err("the claim that names the subject is missing");
    }
    let groups = match claim(claims, &settings.groups) {
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(group)) => vec![group.clone()],
        _ => Vec::new(),
    };
    Ok(Presented { subject: Subject { name, groups }, access })
}

/// A claim by its name, or by a path with dots where no claim has the whole name.
fn claim<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| path.split('.').try_fold(claims, |value, name| value.get(name)))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(more: &str) -> ExternalSettings {
        toml::from_str(&format!("issuer = \"https://id\"\naudience = [\"registry\"]\n{more}")).unwrap()
    }

    fn claims() -> Value {
        json!({"iss": "https://id", "aud": ["x", "registry"], "exp": 100, "sub": "ship", "email_verified": true,
               "realm": {"groups": ["crew", 7]}})
    }

    #[test]
    fn claims_become_a_subject() {
        let settings =
            settings("subject_prefix = \"id:\"\ngroups = \"realm.groups\"\nrequire = {email_verified = \"true\"}");
        let presented = present(&settings, &claims(), 50).unwrap();
        assert_eq!(presented.subject, Subject { name: Some("id:ship".into()), groups: vec!["crew".into()] });
        assert!(presented.access.is_none());
    }

    #[test]
    fn what_was_made_for_others_or_has_ended_is_refused() {
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut claims = claims();
            change(&mut claims);
            present(&settings(""), &claims, 50).unwrap_err()
        };
        assert_eq!(refused(&|claims| claims["iss"] = json!("https://id/")), "another issuer");
        assert_eq!(refused(&|claims| claims["aud"] = json!("other")), "meant for another audience");
        assert_eq!(refused(&|claims| claims["aud"] = Value::Null), "meant for another audience");
        assert_eq!(refused(&|claims| claims["exp"] = json!(-100)), "not valid now");
        assert_eq!(refused(&|claims| claims["sub"] = json!("")), "the claim that names the subject is missing");
        let strict = settings("require = {hd = \"example.com\"}");
        assert!(present(&strict, &claims(), 50).is_err());
    }

    #[test]
    fn a_token_may_grant_by_itself() {
        let mut claims = claims();
        claims["access"] = json!([{"type": "repository", "name": "a", "actions": ["pull"]}]);
        let presented = present(&settings("grants = \"token\""), &claims, 50).unwrap();
        assert!(presented.access.unwrap()[0].grants(super::super::policy::Action::Pull, "a"));
        claims["access"] = json!("everything");
        assert_eq!(present(&settings("grants = \"token\""), &claims, 50).unwrap().access, Some(vec![]));
    }
}
