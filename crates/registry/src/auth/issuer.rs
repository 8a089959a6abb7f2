//! Our own tokens: made at `/token`, accepted everywhere else.
//!
//! Spec: distribution's token.md, jwt.md and oauth.md. Law: an access token grants at most what the policies granted when it
//! was made, and the policies are asked again when it is used; a refresh token ends when its owner's password changes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::jws::{self, KeyError, SigningKey, Unverified, VerifyingKey};
use super::policy::Subject;
use super::scope::Access;
use super::{now_s, random_hex};
use crate::config::TokenSettings;

/// How far the clocks of several instances may be apart.
const LEEWAY_S: u64 = 10;

/// Makes and checks tokens.
pub struct Issuer {
    key: SigningKey,
    verifying: [VerifyingKey; 1],
    key_id: String,
    /// `iss` and `aud`: who we are.
    service: String,
    lifetime: Duration,
    refresh_lifetime: Duration,
}

/// What a token of ours says.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Whose it is.
    pub subject: Subject,
    /// What it grants; nothing for a refresh token.
    pub access: Vec<Access>,
    /// The password it was given for, see [`Users::fingerprint`](super::htpasswd::Users::fingerprint).
    pub fingerprint: Option<String>,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To be shown with requests.
    Access,
    /// To get access tokens for.
    Refresh,
}

impl Use {
    fn as_str(self) -> &'static str {
        match self {
            Use::Access => "access",
            Use::Refresh => "refresh",
        }
    }
}

/// Why the key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: KeyError },
}

/// Reads the key in `path`; makes one where there is none, if `make` says so.
pub fn load_key(path: &Path, make: bool) -> Result<SigningKey, KeyFileError> {
    let file = |source| KeyFileError::File { path: path.to_owned(), source };
    let key = |source| KeyFileError::Key { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(pem) => SigningKey::from_pem(&pem).map_err(key),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && make => {
            let (_, pem) = SigningKey::generate().map_err(key)?;
            match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
                Ok(mut created) => created.write_all(pem.as_bytes()).and_then(|()| created.sync_all()).map_err(file)?,
                // Another instance was faster: its key counts.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(file(error)),
            }
            load_key(path, false)
        }
        Err(error) => Err(file(error)),
    }
}

impl Issuer {
    /// With the key in `path`, which is made if it may be.
    pub fn open(path: &Path, make_key: bool, settings: &TokenSettings) -> Result<Issuer, KeyFileError> {
        let key = load_key(path, make_key)?;
        Ok(Issuer::new(key, &settings.service, settings.lifetime.0, settings.refresh_lifetime.0))
    }

    fn new(key: SigningKey, service: &str, lifetime: Duration, refresh_lifetime: Duration) -> Issuer {
        let verifying = key.verifying();
        let key_id = verifying.id.clone().unwrap_or_default();
        Issuer { key, verifying: [verifying], key_id, service: service.to_owned(), lifetime, refresh_lifetime }
    }

    /// What clients name us by.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// For how many seconds an access token holds.
    pub fn lifetime_s(&self) -> u64 {
        self.lifetime.as_secs()
    }

    /// Makes a token.
    pub fn issue(&self, usage: Use, said: &Said) -> Result<String, KeyError> {
        let now = now_s();
        let lifetime = match usage {
            Use::Access => self.lifetime,
            Use::Refresh => self.refresh_lifetime,
        };
        let mut claims = json!({
            "iss": self.service, "aud": self.service, "sub": said.subject.name.as_deref().unwrap_or_default(),
            "iat": now, "nbf": now, "exp": now + lifetime.as_secs(), "jti": random_hex(16), "use": usage.as_str(),
            "access": said.access,
        });
        if !said.subject.groups.is_empty() {
            claims["groups"] = json!(said.subject.groups);
        }
        if let Some(fingerprint) = &said.fingerprint {
            claims["pwd"] = json!(fingerprint);
        }
        self.key.sign(&self.key_id, &claims)
    }

    /// Whether a token says that we made it.
    pub fn made(&self, token: &Unverified<'_>) -> bool {
        token.issuer() == Some(&self.service)
    }

    /// What a token of ours says; `None` where it is not ours, or has ended, or is for something else.
    pub fn read(&self, token: Unverified<'_>, usage: Use) -> Option<Said> {
        let claims = token.verify(&self.verifying)?;
        let text = |name: &str| claims[name].as_str();
        let ours = text("iss") == Some(&self.service) && text("aud") == Some(&self.service);
        if !ours || text("use") != Some(usage.as_str()) || !jws::in_time(&claims, now_s(), LEEWAY_S) {
            return None;
        }
        let groups = claims["groups"].as_array().into_iter().flatten();
        Some(Said {
            subject: Subject {
                name: text("sub").filter(|name| !name.is_empty()).map(str::to_owned),
                groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
            },
            access: serde_json::from_value(claims["access"].clone()).ok()?,
            fingerprint: text("pwd").map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(service: &str) -> Issuer {
        let (key, _) = SigningKey::generate().unwrap();
        Issuer::new(key, service, Duration::from_secs(300), Duration::from_secs(600))
    }

    fn said() -> Said {
        let subject = Subject { name: Some("ship".into()), groups: vec!["crew".into()] };
        let access = vec![Access { kind: "repository".into(), name: "a".into(), actions: vec!["pull".into()] }];
        Said { subject, access, fingerprint: Some("00".into()) }
    }

    fn read(issuer: &Issuer, token: &str, usage: Use) -> Option<Said> {
        issuer.read(Unverified::parse(token)?, usage)
    }

    #[test]
    fn a_token_says_what_was_put_in() {
        let ours = issuer("r");
        let token = ours.issue(Use::Access, &said()).unwrap();
        assert_eq!(read(&ours, &token, Use::Access), Some(said()));
    }

    #[test]
    fn a_token_is_good_for_one_use_at_one_service() {
        let ours = issuer("r");
        let refresh = ours.issue(Use::Refresh, &said()).unwrap();
        assert_eq!(read(&ours, &refresh, Use::Access), None);
        assert_eq!(read(&issuer("r"), &refresh, Use::Refresh), None);
        let elsewhere = Issuer { service: "s".into(), ..ours };
        assert_eq!(read(&elsewhere, &refresh, Use::Refresh), None);
    }

    #[test]
    fn a_token_ends() {
        let (key, _) = SigningKey::generate().unwrap();
        let brief = Issuer::new(key, "r", Duration::ZERO, Duration::ZERO);
        let mut claims =
            json!({"iss": "r", "aud": "r", "sub": "ship", "use": "access", "access": [], "exp": now_s() - 11});
        let token = brief.key.sign(&brief.key_id, &claims).unwrap();
        assert_eq!(read(&brief, &token, Use::Access), None);
        claims["exp"] = json!(now_s() + 1);
        let token = brief.key.sign(&brief.key_id, &claims).unwrap();
        assert!(read(&brief, &token, Use::Access).is_some());
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.key");
        assert!(load_key(&path, false).is_err());
        let first = load_key(&path, true).unwrap().verifying();
        assert_eq!(load_key(&path, true).unwrap().verifying(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
