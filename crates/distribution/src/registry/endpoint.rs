//! One registry server: scheme, login, and what its statuses mean.
//!
//! Law: credentials are looked for by the logical name first, then by the endpoint's own; they are sent only in answer to a
//! challenge, and a refused token is replaced once.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use knarr_spec::{Digest, Reference, media_type};
use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::MANIFEST_BYTES_MAX;
use super::patience::patiently;
use crate::auth::Credentials;
use crate::auth::challenge::{self, Challenge};
use crate::auth::token::Asked;
use crate::error::Part;
use crate::http::{Answer, Body, Http, Request, Trust, host_of, is_loopback};
use crate::origin::{Document, check_content, digest_as};
use crate::progress::Progress;
use crate::{Problem, limits, registries};

/// Where the name `docker.io` is served.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// The longest quotation of a registry's error message.
const MESSAGE_CHARS_MAX: usize = 300;

/// One server that has the repository.
pub(super) struct Endpoint<'a> {
    http: &'a Http,
    /// The name as the user means it.
    wanted: Reference,
    /// The name here.
    reference: Reference,
    trust: Trust,
    /// `http://host` or `https://host`, once the server has answered one of them.
    base: OnceLock<Url>,
    credentials: OnceLock<Option<Credentials>>,
    authorization: Mutex<Option<HeaderValue>>,
    /// What tokens must allow beside what challenges ask for.
    scopes: Vec<String>,
    /// Whether something is changed there, which errors say.
    writing: bool,
    progress: &'a dyn Progress,
}

/// One question to the server.
#[derive(Clone)]
pub(super) struct Call<'c> {
    pub(super) method: Method,
    pub(super) target: Target<'c>,
    pub(super) accept: &'c str,
    pub(super) offset: u64,
    pub(super) end: Option<u64>,
    pub(super) body: Body,
}

/// What a question is about.
#[derive(Clone, Copy)]
pub(super) enum Target<'c> {
    /// A path and query from the server's root on.
    Root(&'c str),
    /// A path and query behind `/v2/`.
    Server(&'c str),
    /// A path and query behind `/v2/<repository>/`.
    Repository(&'c str),
    /// What the server called by its whole URL.
    Url(&'c Url),
}

impl<'c> Call<'c> {
    pub(super) fn new(method: Method, target: Target<'c>) -> Call<'c> {
        Call { method, target, accept: "*/*", offset: 0, end: None, body: Body::None }
    }
}

impl<'a> Endpoint<'a> {
    /// For reading `wanted` at `place`.
    pub(super) fn new(
        http: &'a Http,
        wanted: &Reference,
        place: registries::Endpoint,
        progress: &'a dyn Progress,
    ) -> Endpoint<'a> {
        let insecure = match http.network().tls_verify {
            Some(verify) => !verify,
            None => place.insecure,
        };
        Endpoint {
            http,
            wanted: wanted.clone(),
            reference: place.reference,
            trust: if insecure { Trust::Insecure } else { Trust::Verified },
            base: OnceLock::new(),
            credentials: OnceLock::new(),
            authorization: Mutex::default(),
            scopes: Vec::new(),
            writing: false,
            progress,
        }
    }

    /// The same for writing, with blobs mounted from the repositories `from`.
    pub(super) fn writing(self, from: &[String]) -> Endpoint<'a> {
        let own = format!("repository:{}:pull,push", self.reference.repository());
        let others = from.iter().map(|repository| format!("repository:{repository}:pull"));
        Endpoint { scopes: [own].into_iter().chain(others).collect(), writing: true, ..self }
    }

    pub(super) fn http(&self) -> &'a Http {
        self.http
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The name as the user means it.
    pub(super) fn wanted(&self) -> &Reference {
        &self.wanted
    }

    pub(super) fn progress(&self) -> &'a dyn Progress {
        self.progress
    }

    /// The document the reference means, with its digest checked against reference and header.
    pub(super) fn root(&self) -> Result<Document, Problem> {
        let (bytes, content_type) = self.manifest(self.reference.manifest_reference())?;
        if let Some(digest) = self.reference.digest() {
            check_content(&bytes, digest, None, "registry")?;
        }
        Document::new(bytes, content_type.as_deref())
    }

    /// The bytes and the `Content-Type` of a manifest.
    pub(super) fn manifest(&self, reference: &str) -> Result<(Vec<u8>, Option<String>), Problem> {
        patiently(self.http, || {
            let answer = self.ask_manifest(Method::GET, reference)?;
            let header = answer.header("docker-content-digest").map(str::to_owned);
            let content_type = answer.header("content-type").map(bare_media_type);
            let read = answer.document(MANIFEST_BYTES_MAX);
            let bytes = read.map_err(|problem| problem.of(Part::Manifest(reference.to_owned())))?;
            check_header(header.as_deref(), &bytes)?;
            Ok((bytes, content_type))
        })
    }

    /// The digest the reference means now, where the server says it.
    pub(super) fn manifest_digest(&self) -> Result<Option<Digest>, Problem> {
        let answer = self.ask_manifest(Method::HEAD, self.reference.manifest_reference())?;
        Ok(answer.header("docker-content-digest").and_then(|header| header.parse().ok()))
    }

    fn ask_manifest(&self, method: Method, reference: &str) -> Result<Answer<'a>, Problem> {
        let path = self.for_mirror(format!("manifests/{reference}"));
        let accept = accept();
        let call = Call { accept: &accept, ..Call::new(method, Target::Repository(&path)) };
        let answer = self.ask(&call)?;
        if let Some((remaining, limit)) = rate_limit(&answer) {
            self.progress.rate_limit(answer.host(), remaining, limit);
        }
        self.checked(answer, Some(reference))
    }

    /// The bytes of the blob `digest` from `offset` to `end`; any status is returned that is not about logging in.
    pub(super) fn blob(&self, digest: &Digest, offset: u64, end: Option<u64>) -> Result<Answer<'a>, Problem> {
        let path = self.for_mirror(format!("blobs/{digest}"));
        self.ask(&Call { offset, end, ..Call::new(Method::GET, Target::Repository(&path)) })
    }

    /// A mirror that serves several registries is told which one is meant.
    fn for_mirror(&self, path: String) -> String {
        match self.reference.registry() == self.wanted.registry() {
            true => path,
            false => format!("{path}?ns={}", self.wanted.registry()),
        }
    }

    /// Asks, and logs in where that is wanted.
    pub(super) fn ask(&self, call: &Call<'_>) -> Result<Answer<'a>, Problem> {
        self.with_login(|authorization| {
            self.at_base(|base| {
                let url = self.url(base, call.target)?;
                let authorization = authorization.clone().filter(|_| url.origin() == base.origin());
                let (method, body) = (call.method.clone(), call.body.clone());
                let (accept, offset, end) = (call.accept, call.offset, call.end);
                self.http.send(&Request { method, url, trust: self.trust, accept, authorization, offset, end, body })
            })
        })
    }

    /// Sends bytes to where the server wants them. `upload` makes them anew for each attempt.
    pub(super) fn send(
        &self,
        method: Method,
        url: &Url,
        upload: &mut dyn FnMut(&Request<'_>) -> Result<Answer<'a>, Problem>,
    ) -> Result<Answer<'a>, Problem> {
        let upload = std::cell::RefCell::new(upload);
        self.with_login(|authorization| {
            let own = self.base.get().is_some_and(|base| base.origin() == url.origin());
            let authorization = authorization.clone().filter(|_| own);
            let request = Request { method: method.clone(), authorization, ..Request::get(url.clone(), self.trust) };
            (upload.borrow_mut())(&request)
        })
    }

    fn with_login(
        &self,
        send: impl Fn(&Option<HeaderValue>) -> Result<Answer<'a>, Problem>,
    ) -> Result<Answer<'a>, Problem> {
        let sent = self.authorization.lock().expect("no panic while logging in").clone();
        let answer = send(&sent)?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        match self.log_in(&answer, sent)? {
            Some(fresh) => send(&Some(fresh)),
            None => Ok(answer),
        }
    }

    fn url(&self, base: &Url, target: Target<'_>) -> Result<Url, Problem> {
        let join = |path: &str| {
            let bad = |_| Problem::Protocol { host: host_of(base), what: format!("{path:?} is no path of a URL") };
            base.join(path).map_err(bad)
        };
        match target {
            Target::Root(path) => join(path),
            Target::Server(path) => join(&format!("/v2/{path}")),
            Target::Repository(path) => join(&format!("/v2/{}/{path}", self.reference.repository())),
            Target::Url(url) => Ok(url.clone()),
        }
    }

    fn at_base(&self, request: impl Fn(&Url) -> Result<Answer<'a>, Problem>) -> Result<Answer<'a>, Problem> {
        match self.base.get() {
            Some(base) => request(base),
            None => self.first_contact(request),
        }
    }

    /// Finds out whether the server speaks http or https.
    fn first_contact(&self, request: impl Fn(&Url) -> Result<Answer<'a>, Problem>) -> Result<Answer<'a>, Problem> {
        let mut failed = None;
        for base in self.bases()? {
            match request(&base) {
                // What Go's servers say to http on a TLS port.
                Ok(answer) if base.scheme() == "http" && answer.status() == StatusCode::BAD_REQUEST => {
                    failed.get_or_insert(Problem::Protocol {
                        host: answer.host().to_owned(),
                        what: "400 Bad Request to a plain http request".to_owned(),
                    });
                }
                Ok(answer) => {
                    let _ = self.base.set(base);
                    return Ok(answer);
                }
                // The second failure says more than the first only where the server does speak TLS.
                Err(problem @ (Problem::NotTls { .. } | Problem::Transport { .. })) => match &problem {
                    Problem::Transport { cause, .. } if base.scheme() == "https" && cause.is_certificate() => {
                        return Err(problem);
                    }
                    _ => failed = failed.or(Some(problem)),
                },
                Err(problem) => return Err(problem),
            }
        }
        Err(failed.expect("there is at least one scheme"))
    }

    /// The base URLs to try. This machine is asked in plain http first, where nobody can listen and no certificate is
    /// wanted; others only where they are marked insecure, and then after https.
    fn bases(&self) -> Result<Vec<Url>, Problem> {
        let host = match self.reference.registry() {
            knarr_spec::reference::DEFAULT_REGISTRY => DOCKER_HUB,
            other => other,
        };
        let url = |scheme: &str| {
            let bad = |_| Problem::Protocol { host: host.to_owned(), what: "not a host name".to_owned() };
            Url::parse(&format!("{scheme}://{host}/")).map_err(bad)
        };
        let (https, http) = (url("https")?, url("http")?);
        Ok(match self.trust {
            _ if self.http.has_certificates(host) => vec![https],
            _ if is_loopback(&http) => vec![http, https],
            Trust::Insecure => vec![https, http],
            Trust::Verified => vec![https],
        })
    }

    /// A new `Authorization` after `answer` refused the one that was sent; `None` where there is none to be had. One
    /// thread logs in, the others take what it got.
    fn log_in(&self, answer: &Answer<'_>, sent: Option<HeaderValue>) -> Result<Option<HeaderValue>, Problem> {
        let mut current = self.authorization.lock().expect("no panic while logging in");
        if *current != sent {
            return Ok(current.clone());
        }
        let Some(base) = self.base.get() else { return Ok(None) };
        let challenges = challenges(answer);
        let credentials = self.credentials()?;
        // A challenge without scope means what we were about to do.
        let scopeless = challenges.iter().all(|challenge| challenge.param("scope").is_none());
        let reading = [format!("repository:{}:pull", self.reference.repository())];
        let scopes = if self.scopes.is_empty() && scopeless { &reading[..] } else { &self.scopes };
        let asked = Asked { http: self.http, registry: base, trust: self.trust, credentials, scopes };
        let fresh = patiently(self.http, || asked.answer(&challenges))?;
        // A Basic answer that was refused is not sent again.
        let fresh = fresh.filter(|fresh| sent.as_ref() != Some(fresh));
        current.clone_from(&fresh);
        Ok(fresh)
    }

    fn credentials(&self) -> Result<Option<&Credentials>, Problem> {
        if let Some(found) = self.credentials.get() {
            return Ok(found.as_ref());
        }
        let auth = &self.http.network().auth;
        let found = match self.reference.registry() == self.wanted.registry() {
            true => auth.credentials(&self.wanted)?,
            // A mirror does not see the credentials of what it mirrors.
            false => auth.of_files(&self.reference)?,
        };
        Ok(self.credentials.get_or_init(|| found).as_ref())
    }

    /// Passes a success, explains anything else. `manifest` is the reference where a manifest was asked for.
    pub(super) fn checked(&self, answer: Answer<'a>, manifest: Option<&str>) -> Result<Answer<'a>, Problem> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let (host, url) = (answer.host().to_owned(), answer.shown_url());
        let wait = retry_after(&answer);
        let said = message(answer);
        let message = said.clone().unwrap_or_else(|| reason(status));
        Err(match status {
            StatusCode::UNAUTHORIZED if self.has_credentials() => Problem::Unauthorized { host, message },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let access = if self.writing { "push" } else { "pull" };
                Problem::AccessDenied { access, name: self.wanted.familiar_name(), message }
            }
            StatusCode::NOT_FOUND if manifest.is_some() => {
                Problem::ManifestUnknown { reference: self.wanted.familiar(), message }
            }
            StatusCode::NOT_FOUND if !self.writing => Problem::BlobUnknown,
            StatusCode::TOO_MANY_REQUESTS => Problem::RateLimited { host, wait },
            _ => {
                let (code, status) = (status.as_u16(), status.to_string());
                Problem::Status { url, code, status, message: said.unwrap_or_default(), wait }
            }
        })
    }

    fn has_credentials(&self) -> bool {
        matches!(self.credentials.get(), Some(Some(_)))
    }
}

fn accept() -> String {
    media_type::MANIFESTS.join(", ")
}

fn challenges(answer: &Answer<'_>) -> Vec<Challenge> {
    let headers = answer.headers().get_all(WWW_AUTHENTICATE);
    headers.iter().filter_map(|header| header.to_str().ok()).flat_map(challenge::parse).collect()
}

/// The media type without parameters.
fn bare_media_type(header: &str) -> String {
    header.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

fn check_header(header: Option<&str>, bytes: &[u8]) -> Result<(), Problem> {
    let Some(header) = header else { return Ok(()) };
    let mismatch = |got| Problem::HeaderMismatch { header: header.chars().take(200).collect(), got };
    let promised: Digest = header.parse().map_err(|_| mismatch(Digest::sha256_of(bytes)))?;
    match digest_as(&promised, bytes) {
        Ok(got) if got == promised => Ok(()),
        Ok(got) => Err(mismatch(got)),
        // An algorithm we do not have proves nothing; reference and descriptor are checked by their own.
        Err(_) => Ok(()),
    }
}

/// Seconds, or a date; one that has passed asks for nothing.
fn retry_after(answer: &Answer<'_>) -> Option<Duration> {
    wait_of(answer.header("retry-after")?.trim(), SystemTime::now())
}

fn wait_of(header: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(header).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// `RateLimit-Remaining` and `RateLimit-Limit` as Docker Hub sends them: `76;w=21600`.
fn rate_limit(answer: &Answer<'_>) -> Option<(u64, u64)> {
    let number = |name| answer.header(name)?.split(';').next()?.trim().parse().ok();
    Some((number("ratelimit-remaining")?, number("ratelimit-limit")?))
}

fn reason(status: StatusCode) -> String {
    if status == StatusCode::UNAUTHORIZED {
        // What registries say in a body, which the answer to HEAD has not.
        return "authentication required".to_owned();
    }
    status.canonical_reason().unwrap_or("unknown status").to_ascii_lowercase()
}

/// What the registry says in its error body, one line long.
fn message(answer: Answer<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        code: Option<String>,
        message: Option<String>,
    }
    let body = answer.document(limits::ANSWER_BYTES_MAX).ok()?;
    let first = serde_json::from_slice::<Body>(&body).ok()?.errors.into_iter().next()?;
    let text = first.message.filter(|text| !text.is_empty()).or(first.code)?;
    Some(text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(header: &str, expect: Option<u64>) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(wait_of(header, now), expect.map(Duration::from_secs), "{header}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        wait("7", Some(7));
        wait("Sun, 06 Nov 1994 08:49:47 GMT", Some(10));
        wait("Sunday, 06-Nov-94 08:49:40 GMT", Some(3));
        wait("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        wait("soon", None);
    }
}
