//! One request after another: connections, redirects, limits and clocks. The only place where `await` is written.
//!
//! Law: `Authorization` goes to the origin it was made for and to no other; a redirect from https to http is not followed
//! unless the registry was marked insecure; an answer is read up to its limit and within its time.
//! Not here: what a status means (`registry`), who we are (`auth`).
//!
//! HTTP/1.1 only: layers come over as many connections as there are layers, none of which can hold up another, and the
//! memory in flight is bounded by the sockets.

mod dns;

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::channel::Channel;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue,
    LOCATION, RANGE,
};
use reqwest::{Client, Method, NoProxy, Proxy, StatusCode, Url, redirect};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::certificates::Certificates;
use crate::error::Transport;
use crate::{Network, Problem, limits};

/// Sent with every request.
const USER_AGENT: &str = concat!("knarr/", env!("CARGO_PKG_VERSION"));

/// Pieces of an upload on their way to the socket: enough that reading and sending overlap, and no memory to speak of.
const UPLOAD_PIECES: usize = 2;

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// https with a verified certificate; http only where the URL says so and nothing was redirected to it.
    Verified,
    /// Anything goes.
    Insecure,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) trust: Trust,
    pub(crate) accept: &'a str,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
    /// First byte wanted.
    pub(crate) offset: u64,
    /// The byte behind the last one wanted; all there are where it is `None`.
    pub(crate) end: Option<u64>,
    pub(crate) body: Body,
}

/// What a request carries.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Nothing.
    None,
    /// `application/x-www-form-urlencoded`; holds secrets, and so goes to the server it was made for and no other.
    Form(String),
    /// A document.
    Document { content_type: String, bytes: Bytes },
}

/// Bytes of a blob that is being sent.
pub(crate) struct Upload<'p> {
    /// First and last byte of the blob, where the server is to know.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) length: u64,
    /// The next piece; `None` at the end.
    pub(crate) next: &'p mut dyn FnMut() -> Result<Option<Bytes>, Problem>,
}

impl Request<'_> {
    pub(crate) fn get(url: Url, trust: Trust) -> Request<'static> {
        Request {
            method: Method::GET,
            url,
            trust,
            accept: "*/*",
            authorization: None,
            offset: 0,
            end: None,
            body: Body::None,
        }
    }

    /// The value of `Range`; `None` where everything is wanted.
    fn range(&self) -> Option<String> {
        match (self.offset, self.end) {
            (0, None) => None,
            (first, None) => Some(format!("bytes={first}-")),
            (first, Some(end)) => Some(format!("bytes={first}-{}", end.saturating_sub(1))),
        }
    }
}

/// A runtime whose end nobody waits for: the last to hold it may be a task of another one, which must not wait.
struct Threads(Option<Runtime>);

impl Threads {
    fn new() -> std::io::Result<Threads> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Threads(Some(runtime)))
    }
}

impl Deref for Threads {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("only its end takes it")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The client of one operation, with its runtime and connections.
pub(crate) struct Http {
    runtime: Threads,
    network: Network,
    certificates: Certificates,
    dns: dns::Dns,
    clients: Mutex<HashMap<(String, Trust), Client>>,
    /// Becomes true when waiting is of no use any more.
    interrupted: watch::Sender<bool>,
}

impl Http {
    pub(crate) fn new(network: &Network) -> Result<Http, Problem> {
        Ok(Http {
            runtime: Threads::new().map_err(Problem::Thread)?,
            network: network.clone(),
            certificates: Certificates::new(&network.certificate_dirs, network.certificate_dir.as_deref()),
            dns: dns::Dns::default(),
            clients: Mutex::default(),
            interrupted: watch::Sender::new(false),
        })
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Whether `host` has certificates configured.
    pub(crate) fn has_certificates(&self, host: &str) -> bool {
        self.certificates.configured_for(host)
    }

    /// Sends, follows redirects, returns the first other answer once its head is here.
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Answer<'_>, Problem> {
        let mut url = request.url.clone();
        for _ in 0..=limits::REDIRECTS_MAX {
            let response = self.send_once(request, &url)?;
            match redirect_target(&response) {
                None => return Ok(Answer { http: self, host: host_of(&url), response }),
                Some(target) => url = followed(&url, &target, request)?,
            }
        }
        Err(Problem::TooManyRedirects { url: shown(&request.url) })
    }

    fn send_once(&self, request: &Request<'_>, url: &Url) -> Result<reqwest::Response, Problem> {
        let builder = self.builder(request, url)?;
        let builder = match &request.body {
            // Some servers refuse a POST or PUT that does not say that it carries nothing.
            Body::None if matches!(request.method, Method::POST | Method::PUT) => builder.header(CONTENT_LENGTH, "0"),
            Body::None => builder,
            Body::Form(form) => builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.clone()),
            Body::Document { content_type, bytes } => {
                builder.header(CONTENT_TYPE, content_type.as_str()).body(bytes.clone())
            }
        };
        let answered = self.wait(url, self.network.timeouts.stall, builder.send());
        self.tell(&request.method, url, &answered);
        answered
    }

    fn tell(&self, method: &Method, url: &Url, answered: &Result<reqwest::Response, Problem>) {
        let Some(heard) = self.network.heard else { return };
        match answered {
            Ok(response) => heard(&format!("{method} {}: {}", shown(url), response.status())),
            Err(problem) => heard(&format!("{method} {}: {problem}", shown(url))),
        }
    }

    fn builder(&self, request: &Request<'_>, url: &Url) -> Result<reqwest::RequestBuilder, Problem> {
        let client = self.client(url, request.trust)?;
        let mut builder = client
            .request(request.method.clone(), url.clone())
            .header(ACCEPT, request.accept)
            .header(ACCEPT_ENCODING, "identity");
        if let Some(authorization) = request.authorization.as_ref().filter(|_| url.origin() == request.url.origin()) {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some(range) = request.range() {
            builder = builder.header(RANGE, range);
        }
        Ok(builder)
    }

    /// Sends `part` as it comes, and returns the answer, which may come before all is sent. Redirects are not followed.
    pub(crate) fn upload(&self, request: &Request<'_>, part: Upload<'_>) -> Result<Answer<'_>, Problem> {
        let url = &request.url;
        let (mut sender, channel) = Channel::<Bytes>::new(UPLOAD_PIECES);
        let mut builder = self.builder(request, url)?.header(CONTENT_TYPE, "application/octet-stream");
        builder = builder.header(CONTENT_LENGTH, part.length);
        if let Some((first, last)) = part.range {
            builder = builder.header(CONTENT_RANGE, format!("{first}-{last}"));
        }
        let mut answer = self.runtime.spawn(builder.body(reqwest::Body::wrap(channel)).send());
        let stall = self.network.timeouts.stall;
        let stalled = || Problem::Stalled { host: host_of(url), seconds: stall.as_secs() };
        let mut early = None;
        loop {
            let piece = match (part.next)() {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(problem) => {
                    answer.abort();
                    return Err(problem);
                }
            };
            let step = async {
                tokio::select! {
                    biased;
                    done = &mut answer => Some(done),
                    // A body nobody reads any more: the answer says why.
                    _ = sender.send_data(piece) => None,
                }
            };
            match self.block_on(async { tokio::time::timeout(stall, step).await }) {
                Ok(Ok(None)) => {}
                Ok(Ok(done)) => {
                    early = done;
                    break;
                }
                Ok(Err(_)) => {
                    answer.abort();
                    return Err(stalled());
                }
                Err(problem) => {
                    answer.abort();
                    return Err(problem);
                }
            }
        }
        drop(sender);
        let done = match early {
            Some(done) => done,
            None => self.block_on(async { tokio::time::timeout(stall, &mut answer).await })?.map_err(|_| stalled())?,
        };
        match done.expect("the task neither panics nor is aborted before its answer is taken") {
            Ok(response) => {
                let response = Ok(response);
                self.tell(&request.method, url, &response);
                Ok(Answer { http: self, host: host_of(url), response: response? })
            }
            Err(error) => Err(transport_problem(host_of(url), Transport::new(error))),
        }
    }

    /// Ends every wait, now and from now on.
    pub(crate) fn interrupt(&self) {
        self.interrupted.send_replace(true);
    }

    /// Waits between two attempts.
    pub(crate) fn sleep(&self, duration: Duration) -> Result<(), Problem> {
        self.block_on(async { tokio::time::sleep(duration).await })
    }

    fn block_on<T>(&self, step: impl Future<Output = T>) -> Result<T, Problem> {
        let mut interrupted = self.interrupted.subscribe();
        self.runtime.block_on(async {
            tokio::select! {
                done = step => Ok(done),
                _ = interrupted.wait_for(|interrupted| *interrupted) => Err(Problem::Interrupted),
            }
        })
    }

    /// Waits for one step of an exchange with the host of `url`.
    fn wait<T>(
        &self,
        url: &Url,
        limit: Duration,
        step: impl Future<Output = reqwest::Result<T>>,
    ) -> Result<T, Problem> {
        let host = || host_of(url);
        match self.block_on(async { tokio::time::timeout(limit, step).await })? {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(transport_problem(host(), Transport::new(error))),
            Err(_) => Err(Problem::Stalled { host: host(), seconds: limit.as_secs() }),
        }
    }

    fn client(&self, url: &Url, trust: Trust) -> Result<Client, Problem> {
        let key = (url.origin().ascii_serialization(), trust);
        let mut clients = self.clients.lock().expect("no panic while clients are made");
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.new_client(url, trust)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// A client per origin, because certificates are configured per host.
    fn new_client(&self, url: &Url, trust: Trust) -> Result<Client, Problem> {
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .connect_timeout(self.network.timeouts.connect)
            .dns_resolver(self.dns.clone())
            .no_proxy()
            .retry(reqwest::retry::never())
            .http1_only();
        if !is_loopback(url) {
            for proxy in self.proxies()? {
                builder = builder.proxy(proxy);
            }
        }
        // Without TLS the roots are not needed, and not loaded.
        builder = match url.scheme() {
            "https" => {
                let config = self.certificates.client_config(&host_of(url), trust == Trust::Verified)?;
                builder.tls_backend_preconfigured(config)
            }
            _ => builder.tls_backend_preconfigured(no_tls()),
        };
        builder.build().map_err(|error| transport_problem(host_of(url), Transport::new(error)))
    }

    fn proxies(&self) -> Result<Vec<Proxy>, Problem> {
        let settings = &self.network.proxies;
        let excluded = || settings.no_proxy.as_deref().and_then(NoProxy::from_string);
        let bad = |url: &str| Problem::Proxy(url.to_owned());
        let mut proxies = Vec::new();
        if let Some(url) = &settings.http {
            proxies.push(Proxy::http(url).map_err(|_| bad(url))?.no_proxy(excluded()));
        }
        if let Some(url) = &settings.https {
            proxies.push(Proxy::https(url).map_err(|_| bad(url))?.no_proxy(excluded()));
        }
        Ok(proxies)
    }
}

/// An answer whose head is here and whose body is on its way.
pub(crate) struct Answer<'h> {
    http: &'h Http,
    host: String,
    response: reqwest::Response,
}

impl Answer<'_> {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text, where it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Who answered: `name[:port]`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The URL that was asked for.
    pub(crate) fn url(&self) -> &Url {
        self.response.url()
    }

    /// The URL without its query.
    pub(crate) fn shown_url(&self) -> String {
        shown(self.response.url())
    }

    /// What `Content-Length` promises.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let url = self.response.url().clone();
        self.http.wait(&url, self.http.network.timeouts.stall, self.response.chunk())
    }

    /// The whole body, which must not be larger than `bytes_max` and must arrive in the time of a document.
    pub(crate) fn document(mut self, bytes_max: u64) -> Result<Vec<u8>, Problem> {
        let limit = self.http.network.timeouts.document;
        if self.content_length().is_some_and(|length| length > bytes_max) {
            return Err(Problem::TooLarge { bytes_max });
        }
        let begun = Instant::now();
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk()? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > bytes_max {
                return Err(Problem::TooLarge { bytes_max });
            }
            if begun.elapsed() > limit {
                let (bytes, seconds) = (body.len() as u64, limit.as_secs());
                return Err(Problem::TooSlow { host: self.host, bytes, seconds });
            }
        }
        Ok(body)
    }
}

/// `name[:port]`, the port where it is not the scheme's own.
pub(crate) fn host_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

/// A URL as it may be shown: queries of redirected downloads carry signatures.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// Whether the URL names this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost" || host.ends_with(".localhost"), |address| address.is_loopback())
}

fn transport_problem(host: String, cause: Transport) -> Problem {
    if cause.is_not_tls() { Problem::NotTls { host } } else { Problem::Transport { host, cause } }
}

fn redirect_target(response: &reqwest::Response) -> Option<String> {
    let follow = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| follow)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

fn followed(from: &Url, target: &str, request: &Request<'_>) -> Result<Url, Problem> {
    let bad =
        |why| Problem::BadRedirect { url: shown(from), target: target.split('?').next().unwrap_or("").into(), why };
    let url = from.join(target).map_err(|_| bad("not a URL"))?;
    if matches!(request.body, Body::Form(_)) && url.origin() != from.origin() {
        return Err(bad("another server, which must not see the credentials"));
    }
    match (from.scheme(), url.scheme(), request.trust) {
        ("https", "http", Trust::Verified) => Err(bad("a way out of TLS")),
        (_, "http" | "https", _) => Ok(url),
        _ => Err(bad("neither http nor https")),
    }
}

/// What a client for http URLs is built with: it trusts nobody and is never asked to.
fn no_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring offers TLS 1.2 and 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_end_in_a_task_of_somebody_elses_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let http = Http::new(&Network::default()).unwrap();
        runtime.block_on(async move { drop(http) });
    }

    fn loopback(url: &str, expect: bool) {
        assert_eq!(is_loopback(&Url::parse(url).unwrap()), expect, "{url}");
    }

    #[test]
    fn loopback_is_known_by_address_and_by_name() {
        loopback("http://127.0.0.1:5000/", true);
        loopback("http://127.9.9.9/", true);
        loopback("http://[::1]:5000/", true);
        loopback("http://localhost/", true);
        loopback("http://a.localhost/", true);
        loopback("http://localhost.example/", false);
        loopback("http://192.0.2.1/", false);
    }

    fn redirect(from: &str, target: &str, trust: Trust, expect: Result<&str, &str>) {
        let request = Request::get(Url::parse(from).unwrap(), trust);
        match (followed(&request.url, target, &request), expect) {
            (Ok(url), Ok(expect)) => assert_eq!(url.as_str(), expect),
            (Err(problem), Err(expect)) => assert!(problem.to_string().contains(expect), "{problem}"),
            (found, _) => panic!("{from} to {target}: {found:?}"),
        }
    }

    #[test]
    fn redirects_stay_in_tls_unless_nothing_is_trusted_anyway() {
        redirect("https://a/x", "/y", Trust::Verified, Ok("https://a/y"));
        redirect("https://a/x", "https://b/y?z", Trust::Verified, Ok("https://b/y?z"));
        redirect("http://a/x", "https://b/y", Trust::Verified, Ok("https://b/y"));
        redirect("https://a/x", "http://b/y", Trust::Verified, Err("a way out of TLS"));
        redirect("https://a/x", "http://b/y", Trust::Insecure, Ok("http://b/y"));
        redirect("https://a/x", "file:///etc/passwd", Trust::Insecure, Err("neither http nor https"));
        redirect("https://a/x", "https://[", Trust::Verified, Err("not a URL"));
    }

    #[test]
    fn a_url_is_shown_without_the_signature_in_its_query() {
        assert_eq!(shown(&Url::parse("https://a/b?X-Signature=secret").unwrap()), "https://a/b");
    }
}
