//! The settings of a registry: one TOML file, in which every key has a default and none is needed.
//!
//! Law: what was read is complete and checked; a key nobody knows is refused, with its line. Reading has no effect.
//! Not here: what each setting does; the doc comment of a field is the reference, `default.toml` shows them all.

pub mod content;
pub mod import;
pub mod storage;
pub mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::audit::AuditSettings;
use crate::auth::external::ExternalSettings;
use crate::auth::policy::Policy;
use crate::events::WebhookSettings;
use crate::limits::SILENCE_MAX;
use crate::metrics::MetricsSettings;
use crate::page::PageSettings;
use crate::tls::TlsSettings;
use values::Span;

/// Every setting, commented, as `knarr registry config default` prints it.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// Largest file that is read as settings.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where content is kept.
    pub storage: storage::Storage,
    /// How requests come in.
    pub http: Http,
    /// TLS; plain HTTP without it.
    pub tls: Option<TlsSettings>,
    /// Who people are. Nobody is asked while there are no users, issuers, client authorities or policies.
    pub auth: AuthSettings,
    /// Who may do what; without any, whoever has a name may do everything.
    pub policy: Vec<Policy>,
    /// How often somebody may ask.
    pub limits: Limits,
    /// What is accepted as a manifest.
    pub manifests: Manifests,
    /// What is garbage, and when it goes.
    pub gc: content::Gc,
    /// Which tags and manifests go by themselves.
    pub retention: Vec<content::Retention>,
    /// Tags that stay what they are.
    pub immutable: Vec<content::Immutable>,
    /// How much a repository may hold.
    pub quota: Vec<content::Quota>,
    /// Other registries whose content is served and kept here.
    pub mirror: Vec<content::Mirror>,
    /// What is written to standard error.
    pub log: Log,
    /// The record of who did what.
    pub audit: AuditSettings,
    /// Numbers for Prometheus.
    pub metrics: MetricsSettings,
    /// Who is told what happened.
    pub webhook: Vec<WebhookSettings>,
    /// The web page.
    pub page: PageSettings,
    /// Requests the registry makes itself.
    pub outbound: OutboundSettings,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address to listen on; `:5000` is that port on loopback.
    pub listen: Listen,
    /// Whether plain HTTP may be spoken to other machines.
    pub plain: bool,
    /// Our address as clients call it, where it is not what they send as Host: `https://registry.example`.
    pub url: Option<String>,
    /// Proxies before us, whose X-Forwarded-For and X-Forwarded-Proto are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// How long requests in flight may go on after SIGTERM.
    pub shutdown_grace: Span,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: Listen(SocketAddr::from(([127, 0, 0, 1], 5000))),
            plain: false,
            url: None,
            trusted_proxies: Vec::new(),
            shutdown_grace: Span::seconds(30),
        }
    }
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// What a program shows when it asks for a password.
    pub realm: String,
    /// File of users, as `htpasswd -B` and `knarr registry htpasswd` write it.
    pub htpasswd: Option<PathBuf>,
    /// What clients are told to show. Passwords are taken either way; only with tokens can those who have none pull what
    /// everybody may pull and the same program push when it has one.
    pub scheme: Scheme,
    /// Our own tokens.
    pub token: TokenSettings,
    /// Others whose tokens count.
    pub issuer: Vec<ExternalSettings>,
}

impl Default for AuthSettings {
    fn default() -> AuthSettings {
        AuthSettings {
            realm: "knarr registry".into(),
            htpasswd: None,
            scheme: Scheme::Bearer,
            token: TokenSettings::default(),
            issuer: Vec::new(),
        }
    }
}

/// What clients are told to show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// A token, for which they go to `/token`.
    #[default]
    Bearer,
    /// Name and password.
    Basic,
}

/// `[auth.token]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSettings {
    /// What the registry is called in tokens; instances that share a key share it.
    pub service: String,
    /// PEM file of an Ed25519 or P-256 key (PKCS#8); without one, `token.key` in the root, which is made at the first start.
    pub key: Option<PathBuf>,
    /// Where clients get tokens, where that is not our own `/token`.
    pub url: Option<String>,
    /// How long a token for access holds.
    pub lifetime: Span,
    /// How long a token for further tokens holds, unless the password changes.
    pub refresh_lifetime: Span,
}

impl Default for TokenSettings {
    fn default() -> TokenSettings {
        TokenSettings {
            service: "knarr-registry".into(),
            key: None,
            url: None,
            lifetime: Span::seconds(300),
            refresh_lifetime: Span::seconds(90 * 24 * 3600),
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests a second for each subject, or each address where there is no name; 0: no limit.
    pub requests_per_second: f64,
    /// How many may come at once before that counts; twice as many by default.
    pub burst: Option<u32>,
    /// Wrong passwords and tokens a minute from one address; 0: no limit.
    pub failures_per_minute: u32,
    /// How long a client may say nothing while it is its turn: before a request, in its head, between pieces of its body.
    pub silence: Span,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { requests_per_second: 0.0, burst: None, failures_per_minute: 60, silence: Span(SILENCE_MAX) }
    }
}

/// `[outbound]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboundSettings {
    /// PEM file of authorities that are trusted beside the machine's own.
    pub authorities: Option<PathBuf>,
}

/// An address to listen on, as `IP:PORT`, or `:PORT` for loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(pub SocketAddr);

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let with_host = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
        let bad = |_| format!("{text:?} is not an address: expected IP:PORT, as in 127.0.0.1:5000");
        with_host.parse().map(Listen).map_err(bad)
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Listen, String> {
        text.parse()
    }
}

/// `[manifests]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manifests {
    /// Whether image manifests may name blobs that are not there.
    pub sparse: bool,
}

/// `[log]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Lines for people or for programs.
    pub format: LogFormat,
    /// The least that is worth a line.
    pub level: LogLevel,
    /// Whether every request is a line (at level `info`).
    pub requests: bool,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `2026-07-01T12:00:00.000Z info message key=value`
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What helps to find a fault.
    Debug,
    /// What happens in ordinary times.
    #[default]
    Info,
    /// What somebody should look at.
    Warn,
    /// What did not work.
    Error,
}

/// Why settings could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Settings that no file said do not go together.
    #[error("{key}: {what}")]
    Contradiction {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Something in the file is not as it must be.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

impl Settings {
    /// Reads and checks a file; `adjust` is what is wanted otherwise.
    pub fn load(path: &Path, adjust: impl FnOnce(&mut Settings)) -> Result<Settings, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > CONFIG_BYTES_MAX {
            return Err(failed(std::io::Error::other(format!(
                "has {bytes} bytes, settings have {CONFIG_BYTES_MAX} at most"
            ))));
        }
        Settings::parse_with(&std::fs::read_to_string(path).map_err(failed)?, path, adjust)
    }

    /// Reads and checks the text of the file `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Settings, ConfigError> {
        Settings::parse_with(text, path, |_| {})
    }

    fn parse_with(text: &str, path: &Path, adjust: impl FnOnce(&mut Settings)) -> Result<Settings, ConfigError> {
        let invalid = |line, message| ConfigError::Invalid { path: path.to_owned(), line, message };
        let mut settings: Settings = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            invalid(line_of(text, at), error.message().trim().replace('\n', ", "))
        })?;
        adjust(&mut settings);
        match settings.problems().into_iter().next() {
            None => Ok(settings),
            Some(Problem { key, what }) => Err(invalid(line_of_key(text, key), format!("{key}: {what}"))),
        }
    }

    /// The settings that differ from `running` and only count from the next start on.
    pub fn need_restart(&self, running: &Settings) -> Vec<&'static str> {
        let differ = [
            ("storage", self.storage != running.storage),
            ("http.listen", self.http.listen != running.http.listen),
            ("mirror", self.mirror != running.mirror),
            ("metrics.listen", self.metrics.listen != running.metrics.listen),
        ];
        differ.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// Checks settings that no file said.
    pub fn check_without_file(&self) -> Result<(), ConfigError> {
        match self.problems().into_iter().next() {
            None => Ok(()),
            Some(Problem { key, what }) => Err(ConfigError::Contradiction { key, what }),
        }
    }

    /// Whether anybody is asked for a name.
    pub fn asks_for_names(&self) -> bool {
        let authorities = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        self.auth.htpasswd.is_some() || !self.auth.issuer.is_empty() || authorities || !self.policy.is_empty()
    }

    /// What cannot be seen in one value alone.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, key, what: &str| {
            if !holds {
                problems.push(Problem { key, what: what.to_owned() });
            }
        };
        let beyond = !self.http.listen.0.ip().to_canonical().is_loopback();
        check(
            !beyond || self.tls.is_some() || self.http.plain,
            "http.listen",
            "other machines can reach this address: set [tls], or say http.plain = true (--plain-http)",
        );
        let url = |text: &Option<String>| text.as_deref().is_none_or(is_url);
        check(url(&self.http.url), "http.url", "not an address of the form https://HOST");
        check(url(&self.auth.token.url), "auth.token.url", "not an address of the form https://HOST/PATH");
        check(is_quotable(&self.auth.realm), "auth.realm", "a realm has no quotes, backslashes or control characters");
        let service = &self.auth.token.service;
        check(!service.is_empty() && is_quotable(service), "auth.token.service", "a service has a name without quotes");
        check(!self.auth.token.lifetime.0.is_zero(), "auth.token.lifetime", "a token must hold for a while");
        let rate = self.limits.requests_per_second;
        check(rate.is_finite() && rate >= 0.0, "limits.requests_per_second", "a rate is not negative");
        check(!self.limits.silence.0.is_zero(), "limits.silence", "a client needs a moment to speak");
        for issuer in &self.auth.issuer {
            check(!issuer.issuer.is_empty(), "auth.issuer", "an issuer has a name");
            check(
                !issuer.audience.is_empty(),
                "auth.issuer",
                "audience: name at least one, or tokens for others count",
            );
            let address = issuer.jwks.as_deref().unwrap_or(&issuer.issuer);
            let fetched = issuer.jwks.is_none() || address.contains("://");
            check(!fetched || is_url(address), "auth.issuer", "keys are fetched from an address with https://");
            check(!fetched || is_private(address), "auth.issuer", "keys are fetched with https, or from this machine");
        }
        for webhook in &self.webhook {
            check(is_url(&webhook.url), "webhook", "url: not an address of the form https://HOST/PATH");
        }
        let instances = self.storage.blobs.is_some() && self.storage.metadata.is_some();
        check(
            !instances || !self.asks_for_names() || self.auth.token.key.is_some(),
            "auth.token.key",
            "instances over one store need one key for their tokens: name a file",
        );
        problems.extend(storage::problems(&self.storage));
        problems.extend(content::problems(&self.gc, &self.retention, &self.mirror));
        problems
    }

    /// The mirror a repository belongs to.
    pub fn mirror_of(&self, repository: &str) -> Option<&content::Mirror> {
        self.mirror.iter().find(|mirror| mirror.upstream_name(repository).is_some())
    }

    /// Whether a tag of a repository stays what it is.
    pub fn is_immutable(&self, repository: &str, tag: &str) -> bool {
        self.immutable.iter().any(|rule| rule.repositories.matches(repository) && rule.tags.matches(tag))
    }

    /// How many bytes a repository may hold; `None` where it may hold any number.
    pub fn quota_of(&self, repository: &str) -> Option<u64> {
        self.quota.iter().find(|quota| quota.repositories.matches(repository)).map(|quota| quota.bytes.0)
    }
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) && is_quotable(text) && !text.contains(' ')
}

/// Whether nobody on the way can put other keys in the place of those we ask for.
fn is_private(url: &str) -> bool {
    let local = ["http://127.", "http://localhost/", "http://localhost:", "http://[::1]"];
    url.starts_with("https://") || local.iter().any(|start| url.starts_with(start))
}

/// Whether a text can stand between quotes in a header.
fn is_quotable(text: &str) -> bool {
    text.chars().all(|c| (c.is_ascii_graphic() || c == ' ') && c != '"' && c != '\\')
}

/// A setting that does not go with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its key, with dots.
    pub key: &'static str,
    /// What is wrong and what to do.
    pub what: String,
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The line on which a key, or else the table it belongs in, is written; the first line where neither is.
fn line_of_key(text: &str, key: &str) -> usize {
    let Ok(document) = toml::de::DeTable::parse(text) else { return 1 };
    let (mut table, mut at) = (document.get_ref(), 0);
    for word in key.split('.') {
        let Some((name, value)) = table.get_key_value(word) else { break };
        at = name.span().start;
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    line_of(text, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("r.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), Settings::default());
        assert!(Settings::default().http.listen.0.ip().is_loopback());
    }

    #[test]
    fn the_file_that_shows_all_settings_shows_their_defaults() {
        assert_eq!(parse(DEFAULT_TOML).unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = parse("[http]\nlisten = \":5000\"\nlissten = 1\n").unwrap_err();
        assert!(error.starts_with("r.toml:3: unknown field `lissten`"), "{error}");
        assert!(parse("[htttp]\n").unwrap_err().starts_with("r.toml:1: unknown field `htttp`"));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
        assert!(parse("[[policy]]\nallow = [\"fly\"]\n").unwrap_err().starts_with("r.toml:2: unknown variant `fly`"));
        let error = parse("\n[http]\nlisten = \"here\"\n").unwrap_err();
        assert!(error.starts_with("r.toml:3: \"here\" is not an address"), "{error}");
        let error = parse("[log]\nformat = \"xml\"\n").unwrap_err();
        assert!(error.starts_with("r.toml:2: unknown variant `xml`"), "{error}");
        assert!(parse("[http\n").unwrap_err().starts_with("r.toml:1: "));
    }

    #[test]
    fn plain_http_beyond_this_machine_needs_a_word() {
        let error = parse("[http]\n\nlisten = \"0.0.0.0:5000\"\n").unwrap_err();
        assert!(error.starts_with("r.toml:3: http.listen: other machines can reach this address"), "{error}");
        assert!(parse("[http]\nlisten = \"0.0.0.0:5000\"\nplain = true\n").is_ok());
        let tls = "[tls]\ncertificate = \"c\"\nkey = \"k\"\n[http]\nlisten = \"0.0.0.0:5000\"\n";
        assert!(parse(tls).is_ok());
    }

    #[test]
    fn keys_come_over_a_line_nobody_can_bend() {
        let issuer = |address: &str| parse(&format!("[[auth.issuer]]\nissuer = \"{address}\"\naudience = [\"r\"]\n"));
        assert!(issuer("https://id.example").is_ok() && issuer("http://127.0.0.1:8080").is_ok());
        assert!(issuer("http://id.example").unwrap_err().contains("with https, or from this machine"));
        assert!(issuer("http://localhost.example").is_err());
        assert!(parse("[[auth.issuer]]\nissuer = \"https://x\"\naudience = []\n").unwrap_err().contains("audience"));
    }

    #[test]
    fn nobody_is_asked_for_a_name_until_there_is_a_reason() {
        assert!(!parse("").unwrap().asks_for_names());
        assert!(parse("auth.htpasswd = \"/x\"").unwrap().asks_for_names());
        assert!(parse("[[policy]]").unwrap().asks_for_names());
    }

    proptest! {
        #[test]
        fn no_text_brings_the_reader_down(text in "(\\[{0,2}[a-z.]{0,12}\\]{0,2}|[a-z_.]{0,20} ?= ?[\\[\\]\"0-9a-z,{}]{0,20}|\\PC{0,20}|\n){0,8}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn a_key_is_found_in_the_text() {
        let text = "# first\n[storage]\nroot = \"/x\"\n\n[http]\nlisten = \":1\"\n";
        assert_eq!(line_of_key(text, "http.listen"), 6);
        assert_eq!(line_of_key(text, "http.url"), 5);
        assert_eq!(line_of_key(text, "tls"), 1);
    }
}
