//! Who asks, and whether they may: credentials to a subject, a subject and a request to yes or no.
//!
//! Spec: distribution-spec "Error Codes"; distribution's token.md; RFC 7617 (Basic), RFC 6750 (Bearer).
//! Law: credentials that are wrong are refused even where none are needed. Policies are asked at every request, whatever a
//! token says, except for issuers that were told to decide by themselves. Nothing here waits without a bound.

pub mod endpoint;
pub mod external;
pub mod htpasswd;
pub mod issuer;
pub mod jws;
pub mod policy;
pub mod rate;
pub mod required;
pub mod scope;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use crate::config::{AuthSettings, Scheme, Settings};
use crate::error::{Code, Failure};
use crate::outbound::{Outbound, OutboundError};
use external::{External, KeysError, Refused};
use htpasswd::{Checked, LineError, Users};
use issuer::{Issuer, KeyFileError, Said, Use};
use jws::Unverified;
use policy::{Action, Policies, Subject};
use required::Required;
use scope::Access;

/// Everything about access, ready to be asked.
pub struct Auth {
    settings: AuthSettings,
    policies: Policies,
    users: Option<Users>,
    /// None where nobody is asked for a name.
    issuer: Option<Issuer>,
    externals: Vec<External>,
}

/// Why the settings about access cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("auth.htpasswd: {}: {source}", path.display())]
    Users { path: PathBuf, source: std::io::Error },
    #[error("auth.htpasswd: {}: {source}", path.display())]
    UsersLine { path: PathBuf, source: LineError },
    #[error("auth.token.key: {0}")]
    Key(#[from] KeyFileError),
    #[error("auth.issuer: {0}")]
    Issuer(#[from] KeysError),
    #[error("auth.issuer: {0}")]
    Outbound(#[from] OutboundError),
}

/// Somebody who was let in, with what they may do.
#[derive(Clone)]
pub struct Caller {
    pub subject: Subject,
    auth: Arc<Auth>,
    grant: Grant,
}

/// What decides beside the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Grant {
    /// The policies.
    Policies,
    /// The policies, and a token of ours must say so too.
    Both(Vec<Access>),
    /// The token of an issuer that decides.
    Token(Vec<Access>),
}

/// Why somebody was not let in.
#[derive(Debug)]
pub enum Refusal {
    /// The password is wrong, or the header says nothing we understand.
    Credentials(&'static str),
    /// The token is not valid; for the log.
    Token(&'static str),
    /// Too many passwords are being checked.
    Busy,
    /// The keys of an issuer cannot be had.
    Unavailable(KeysError),
}

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown<'a> {
    Nothing,
    Password { user: String, password: String },
    Token(&'a str),
    Unreadable,
}

impl Auth {
    /// Reads what the settings name. `make_key`: whether a key for tokens is made where there is none and none is named.
    pub fn open(settings: &Settings, make_key: bool) -> Result<Auth, AuthError> {
        let auth = &settings.auth;
        let users = auth.htpasswd.as_ref().map(|path| {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|source| AuthError::Users { path: path.clone(), source })?;
            Users::parse(&text).map_err(|source| AuthError::UsersLine { path: path.clone(), source })
        });
        let policies = match (settings.asks_for_names(), settings.policy.is_empty()) {
            (false, _) => Policies::Open,
            (true, true) => Policies::Named,
            (true, false) => Policies::Rules(settings.policy.clone()),
        };
        let key_file = auth.token.key.clone().unwrap_or_else(|| settings.storage.root.join("token.key"));
        // A check makes no key, and a key that the first start will make is none to complain about.
        let later = !make_key && auth.token.key.is_none() && !key_file.exists();
        let issuer = if policies == Policies::Open || later {
            None
        } else {
            Some(Issuer::open(&key_file, make_key && auth.token.key.is_none(), &auth.token)?)
        };
        let mut externals = Vec::new();
        if !auth.issuer.is_empty() {
            let outbound = Outbound::new(settings.outbound.authorities.as_ref())?;
            for one in &auth.issuer {
                externals.push(External::new(one.clone(), outbound.clone())?);
            }
        }
        Ok(Auth { settings: auth.clone(), policies, users: users.transpose()?, issuer, externals })
    }

    /// Finds out who asks. `certificate` is the name in the certificate the client showed, if it showed one.
    pub async fn authenticate(
        self: &Arc<Auth>,
        headers: &HeaderMap,
        certificate: Option<&str>,
    ) -> Result<Caller, Refusal> {
        if self.policies == Policies::Open {
            return Ok(self.caller(Subject::default(), Grant::Policies));
        }
        match shown(headers) {
            Shown::Nothing => {
                let name = certificate.map(str::to_owned);
                Ok(self.caller(Subject { name, groups: Vec::new() }, Grant::Policies))
            }
            Shown::Password { user, password } => self.by_password(user, &password).await,
            Shown::Token(token) => self.by_token(token).await,
            Shown::Unreadable => Err(Refusal::Credentials("the Authorization header is neither Basic nor Bearer")),
        }
    }

    fn caller(self: &Arc<Auth>, subject: Subject, grant: Grant) -> Caller {
        Caller { subject, auth: self.clone(), grant }
    }

    async fn by_password(self: &Arc<Auth>, user: String, password: &str) -> Result<Caller, Refusal> {
        // Programs that only know passwords may give a token as one.
        if !self.externals.is_empty()
            && let Some(token) = Unverified::parse(password)
            && self.externals.iter().any(|one| one.made(&token))
        {
            return self.by_foreign_token(token).await;
        }
        let Some(users) = &self.users else { return Err(Refusal::Credentials("there are no users with passwords")) };
        match users.check(&user, password).await {
            Checked::Right => Ok(self.caller(Subject { name: Some(user), groups: Vec::new() }, Grant::Policies)),
            Checked::Wrong => Err(Refusal::Credentials("the user name or the password is wrong")),
            Checked::Busy => Err(Refusal::Busy),
        }
    }

    async fn by_token(self: &Arc<Auth>, token: &str) -> Result<Caller, Refusal> {
        let token = Unverified::parse(token).ok_or(Refusal::Token("not a token"))?;
        match &self.issuer {
            Some(issuer) if issuer.made(&token) => {
                let said = issuer.read(token, Use::Access).ok_or(Refusal::Token("not one of ours, or it has ended"))?;
                Ok(self.caller(said.subject, Grant::Both(said.access)))
            }
            _ => self.by_foreign_token(token).await,
        }
    }

    async fn by_foreign_token(self: &Arc<Auth>, token: Unverified<'_>) -> Result<Caller, Refusal> {
        let issuer =
            self.externals.iter().find(|one| one.made(&token)).ok_or(Refusal::Token("of an issuer unknown here"))?;
        match issuer.read(token).await {
            Ok(presented) => Ok(self.caller(presented.subject, presented.access.map_or(Grant::Policies, Grant::Token))),
            Err(Refused::Invalid(why)) => Err(Refusal::Token(why)),
            Err(Refused::Unavailable(error)) => Err(Refusal::Unavailable(error)),
        }
    }

    /// Says what `caller` lacks; nothing where the request may go on. `base` is our own address, as the client calls it.
    pub fn authorize(
        &self,
        caller: &Caller,
        required: &Required,
        mount_from: Option<&str>,
        base: &str,
    ) -> Result<(), Failure> {
        let (allowed, with_another_token) = match required {
            Required::Entry => (caller.may_enter(), false),
            Required::Catalog => {
                let policies = self.policies.allow_somewhere(&caller.subject, Action::Pull);
                let token = caller.token_says(Access::grants_catalog);
                (token && (policies || matches!(caller.grant, Grant::Token(_))), policies)
            }
            Required::On { repository, action } => {
                (caller.may(*action, repository), self.policies.allow(&caller.subject, *action, repository))
            }
        };
        if allowed {
            return Ok(());
        }
        let detail = match required {
            Required::On { repository, action } => {
                json!([{"Type": "repository", "Class": "", "Name": repository, "Action": action.as_str()}])
            }
            Required::Catalog => json!([{"Type": "registry", "Class": "", "Name": "catalog", "Action": "*"}]),
            Required::Entry => json!(null),
        };
        let by_token = caller.grant != Grant::Policies;
        if caller.subject.name.is_some()
            && !(by_token && with_another_token)
            && !matches!(caller.grant, Grant::Token(_))
        {
            let denied = Failure::new(Code::Denied, "requested access to the resource is denied");
            return Err(denied.with_detail(detail));
        }
        let error = by_token.then_some("insufficient_scope");
        let failure = Failure::new(Code::Unauthorized, "authentication required").with_detail(detail);
        Err(failure.with_header(header::WWW_AUTHENTICATE, self.challenge(base, required.scope(mount_from), error)))
    }

    /// The answer to who was not let in.
    pub fn refuse(&self, refusal: &Refusal, required: &Required, base: &str) -> Failure {
        let challenged = |why: &str, error| {
            Failure::new(Code::Unauthorized, format!("authentication required: {why}"))
                .with_header(header::WWW_AUTHENTICATE, self.challenge(base, required.scope(None), error))
        };
        match refusal {
            Refusal::Credentials(why) => challenged(why, None),
            // Why a token is no good is for the log: whoever forged it learns nothing.
            Refusal::Token(_) => challenged("the token is not valid", Some("invalid_token")),
            Refusal::Busy => too_many("too many passwords are being checked", 1),
            Refusal::Unavailable(_) => Failure::new(Code::Unknown, "the keys of the token's issuer cannot be had")
                .with_status(axum::http::StatusCode::SERVICE_UNAVAILABLE)
                .with_header(header::RETRY_AFTER, "30".into()),
        }
    }

    /// `WWW-Authenticate`, character by character as distribution writes it.
    pub fn challenge(&self, base: &str, scope: Option<String>, error: Option<&str>) -> String {
        if self.settings.scheme == Scheme::Basic {
            return self.basic_challenge();
        }
        let own = format!("{base}/token");
        let url = self.settings.token.url.as_deref().unwrap_or(&own);
        let mut challenge = format!("Bearer realm=\"{url}\",service=\"{}\"", self.settings.token.service);
        if let Some(scope) = scope {
            challenge.push_str(&format!(",scope=\"{scope}\""));
        }
        if let Some(error) = error {
            challenge.push_str(&format!(",error=\"{error}\""));
        }
        challenge
    }

    /// For pages and the token endpoint, which take passwords.
    pub fn basic_challenge(&self) -> String {
        format!("Basic realm=\"{}\"", self.settings.realm)
    }

    /// Tokens for `caller` that grant what of `asked` the policies allow: for access, and to get more if `refresh` is wanted.
    fn tokens(&self, caller: &Caller, asked: &[Access], refresh: bool) -> Result<Tokens, Failure> {
        let failed = |_| Failure::new(Code::Unknown, "the token could not be signed");
        let Some(issuer) = &self.issuer else {
            return Err(Failure::new(Code::Unsupported, "no tokens are needed here"));
        };
        let access = scope::granted(asked, &caller.subject, &self.policies);
        let subject = caller.subject.clone();
        let fingerprint = subject.name.as_ref().and_then(|name| self.users.as_ref()?.fingerprint(name));
        let refresh_token = (refresh && fingerprint.is_some())
            .then(|| issuer.issue(Use::Refresh, &Said { subject: subject.clone(), access: Vec::new(), fingerprint }));
        let granted = scope::render(&access);
        let token = issuer.issue(Use::Access, &Said { subject, access, fingerprint: None }).map_err(failed)?;
        let refresh_token = refresh_token.transpose().map_err(failed)?;
        Ok(Tokens { token, refresh_token, granted, lifetime_s: issuer.lifetime_s() })
    }

    /// Who once got this refresh token, if the password is still the one it was given for.
    fn by_refresh_token(self: &Arc<Auth>, token: &str) -> Result<Caller, Refusal> {
        let bad = Refusal::Credentials("the refresh token is not valid");
        let (Some(issuer), Some(token)) = (&self.issuer, Unverified::parse(token)) else { return Err(bad) };
        let Some(said) = issuer.read(token, Use::Refresh) else { return Err(bad) };
        let current = said.subject.name.as_ref().and_then(|name| self.users.as_ref()?.fingerprint(name));
        match (current, said.fingerprint) {
            (Some(current), Some(then)) if current == then => Ok(self.caller(said.subject, Grant::Policies)),
            _ => Err(bad),
        }
    }
}

/// What the token endpoint gives out.
struct Tokens {
    token: String,
    refresh_token: Option<String>,
    granted: String,
    lifetime_s: u64,
}

impl Caller {
    /// Whether they may do that.
    pub fn may(&self, action: Action, repository: &str) -> bool {
        let policies = || self.auth.policies.allow(&self.subject, action, repository);
        match &self.grant {
            Grant::Policies => policies(),
            Grant::Both(_) => self.token_says(|access| access.grants(action, repository)) && policies(),
            Grant::Token(_) => self.token_says(|access| access.grants(action, repository)),
        }
    }

    /// Whether they may do that to every repository, so that nobody has to be asked for each.
    pub fn may_everywhere(&self, action: Action) -> bool {
        self.grant == Grant::Policies && self.auth.policies.allow_everywhere(&self.subject, action)
    }

    /// Whether there may be a repository to which they may do that.
    pub fn may_somewhere(&self, action: Action) -> bool {
        matches!(self.grant, Grant::Token(_)) || self.auth.policies.allow_somewhere(&self.subject, action)
    }

    /// Whether they may see that a repository exists: a token for the catalog names no repositories.
    pub fn may_list(&self, repository: &str) -> bool {
        match &self.grant {
            Grant::Token(_) => true,
            _ => self.auth.policies.allow(&self.subject, Action::Pull, repository),
        }
    }

    /// Whether a token limits what they may do.
    pub fn is_bearer(&self) -> bool {
        self.grant != Grant::Policies
    }

    fn token_says(&self, fits: impl Fn(&Access) -> bool) -> bool {
        match &self.grant {
            Grant::Policies => true,
            Grant::Both(access) | Grant::Token(access) => access.iter().any(fits),
        }
    }

    /// Clients ask at `/v2/` what they must show, so whoever shows nothing is told, unless there is nothing to be shown.
    fn may_enter(&self) -> bool {
        let policies = &self.auth.policies;
        self.subject.name.is_some()
            || self.grant != Grant::Policies
            || *policies == Policies::Open
            || (self.auth.settings.scheme == Scheme::Basic && policies.allow_somewhere(&self.subject, Action::Pull))
    }
}

/// 429 with the time to wait.
pub fn too_many(why: &str, seconds: u64) -> Failure {
    Failure::new(Code::TooManyRequests, why).with_header(header::RETRY_AFTER, seconds.to_string())
}

fn shown(headers: &HeaderMap) -> Shown<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Shown::Nothing };
    let (Ok(value), None) = (value.to_str(), values.next()) else { return Shown::Unreadable };
    let Some((scheme, rest)) = value.split_once(' ') else { return Shown::Unreadable };
    if scheme.eq_ignore_ascii_case("bearer") {
        return Shown::Token(rest.trim());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Shown::Unreadable;
    }
    let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => Shown::Password { user: user.to_owned(), password: password.to_owned() },
        None => Shown::Unreadable,
    }
}

/// The user a request names, or the token it shows instead.
pub fn shown_user(headers: &HeaderMap) -> Option<Result<String, String>> {
    match shown(headers) {
        Shown::Password { user, .. } => Some(Ok(user)),
        Shown::Token(token) => Some(Err(token.to_owned())),
        Shown::Nothing | Shown::Unreadable => None,
    }
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A key that is known to this process only.
pub fn random_key() -> hmac::Key {
    hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).expect("the kernel has random numbers")
}

/// So many random bytes in hex.
pub fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).expect("the kernel has random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HTPASSWD: &str = "ship:$2b$04$idbh17aSb8o.wkWzX17yf.7xzMhB2WtjY6hXkVl9//27ssZcFJ47y\n";

    fn auth(more: &str) -> (tempfile::TempDir, Arc<Auth>) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        std::fs::write(directory.path().join("users"), HTPASSWD).unwrap();
        let text = format!("storage.root = \"{root}\"\nauth.htpasswd = \"{root}/users\"\n{more}");
        let settings = Settings::parse(&text, std::path::Path::new("r.toml")).unwrap();
        let auth = Auth::open(&settings, true).unwrap();
        (directory, Arc::new(auth))
    }

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    fn push(repository: &str) -> Required {
        Required::On { repository: repository.into(), action: Action::Push }
    }

    fn refusal(failure: Failure) -> (u16, String, String) {
        let response = failure.into_response();
        let challenge = response.headers().get(header::WWW_AUTHENTICATE).map_or("", |value| value.to_str().unwrap());
        let challenge = challenge.to_owned();
        let status = response.status().as_u16();
        let body = futures_body(response);
        (status, challenge, body)
    }

    fn futures_body(response: axum::http::Response<axum::body::Body>) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(axum::body::to_bytes(response.into_body(), 1 << 20)).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn who_shows_nothing_is_told_what_to_show() {
        let (_kept, auth) = auth("");
        let nobody = block(auth.authenticate(&HeaderMap::new(), None)).unwrap_or_else(|_| panic!("let in"));
        let (status, challenge, body) =
            refusal(auth.authorize(&nobody, &push("a/b"), Some("c"), "https://r").unwrap_err());
        assert_eq!(status, 401);
        assert_eq!(
            challenge,
            "Bearer realm=\"https://r/token\",service=\"knarr-registry\",scope=\"repository:a/b:pull,push repository:c:pull\""
        );
        assert_eq!(
            body,
            "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"detail\":[{\"Action\":\"push\",\"Class\":\"\",\"Name\":\"a/b\",\
             \"Type\":\"repository\"}],\"message\":\"authentication required\"}]}"
        );
        let (status, challenge, _) = refusal(auth.authorize(&nobody, &Required::Entry, None, "http://r").unwrap_err());
        assert_eq!((status, challenge.as_str()), (401, "Bearer realm=\"http://r/token\",service=\"knarr-registry\""));
    }

    #[test]
    fn a_token_that_grants_too_little_is_told_so_and_one_that_never_could_is_denied() {
        let (_kept, auth) = auth("[[policy]]\nrepositories = [\"a\"]\nallow = [\"pull\", \"push\"]\n");
        let ship = block(auth.authenticate(&headers("Basic c2hpcDpob2xkLWZhc3Q="), None))
            .unwrap_or_else(|_| panic!("refused"));
        assert!(ship.may(Action::Push, "a") && !ship.may(Action::Push, "b") && !ship.may(Action::Delete, "a"));
        let tokens =
            auth.tokens(&ship, &scope::parse(["repository:a:pull repository:b:pull"].into_iter()), true).unwrap();
        assert_eq!(tokens.granted, "repository:a:pull");
        let bearer = headers(&format!("Bearer {}", tokens.token));
        let holder = block(auth.authenticate(&bearer, None)).unwrap_or_else(|_| panic!("refused"));
        assert!(holder.may(Action::Pull, "a") && !holder.may(Action::Push, "a"));
        let (status, challenge, _) = refusal(auth.authorize(&holder, &push("a"), None, "http://r").unwrap_err());
        assert_eq!(status, 401);
        assert!(challenge.ends_with(",scope=\"repository:a:pull,push\",error=\"insufficient_scope\""), "{challenge}");
        let (status, challenge, body) = refusal(auth.authorize(&holder, &push("b"), None, "http://r").unwrap_err());
        assert_eq!((status, challenge.as_str()), (403, ""));
        assert!(body.contains("\"code\":\"DENIED\""), "{body}");
        let refreshed = auth.by_refresh_token(&tokens.refresh_token.unwrap()).unwrap_or_else(|_| panic!("refused"));
        assert_eq!(refreshed.subject, ship.subject);
        assert!(auth.by_refresh_token(&tokens.token).is_err());
    }

    #[test]
    fn what_is_wrong_is_refused_even_where_nothing_is_needed() {
        let (_kept, auth) = auth("[[policy]]\nsubjects = [\"anonymous\"]\n");
        for wrong in ["Basic c2hpcDp4", "Basic !", "Bearer x.y.z", "Digest a", "Basic", "Bearer "] {
            let refused = block(auth.authenticate(&headers(wrong), None)).err().expect(wrong);
            let (status, _, body) = refusal(auth.refuse(&refused, &Required::Entry, "http://r"));
            assert_eq!(status, 401, "{wrong}");
            assert!(body.contains("UNAUTHORIZED"), "{body}");
        }
        let mut twice = headers("Basic c2hpcDpob2xkLWZhc3Q=");
        twice.append(header::AUTHORIZATION, "Basic c2hpcDpob2xkLWZhc3Q=".parse().unwrap());
        assert!(block(auth.authenticate(&twice, None)).is_err());
    }

    #[test]
    fn a_check_makes_no_key_and_misses_none() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("storage.root = \"{}\"\n[[policy]]\n", directory.path().display());
        let settings = Settings::parse(&text, std::path::Path::new("r.toml")).unwrap();
        assert!(Auth::open(&settings, false).is_ok());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_basic_challenge_names_the_realm_only() {
        let (_kept, auth) = auth("auth.scheme = \"basic\"\nauth.realm = \"harbour\"\n");
        assert_eq!(auth.challenge("http://r", Some("x".into()), Some("invalid_token")), "Basic realm=\"harbour\"");
    }

    proptest! {
        #[test]
        fn no_authorization_header_brings_the_reader_down(value in prop::collection::vec(0x20u8..=0xff, 0..100)) {
            if let Ok(value) = axum::http::HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(header::AUTHORIZATION, value);
                let _ = shown(&headers);
            }
        }
    }
}
