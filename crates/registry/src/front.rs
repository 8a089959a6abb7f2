//! The front door: every request passes here, is let in or not, answered behind it, counted and written down.
//!
//! Law: nothing behind the door is reached without its `required` having been allowed. What is written down afterwards changes
//! nothing about the answer.
//! Not here: what an endpoint does (`handlers`), what the page shows (`page`).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

use crate::audit::Record;
use crate::auth::endpoint;
use crate::auth::rate::{Buckets, Rate};
use crate::auth::required::{Required, required};
use crate::auth::{Caller, Refusal, too_many};
use crate::body::blocking;
use crate::config::Limits;
use crate::error::{Code, Failure, Fault};
use crate::events::{Event, EventAction};
use crate::handlers::{self, Answer, Query};
use crate::live::Live;
use crate::log;
use crate::metrics::{Held, Kind};
use crate::mirror;
use crate::page;
use crate::peer::{self, Peer};
use crate::route::{self, Endpoint};
use crate::server::Registry;

/// Says which upstream a pull was led to.
const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// Bytes of a header of the client's that are written down.
const SHOWN_BYTES_MAX: usize = 256;

/// Who may ask how often.
#[derive(Default)]
pub struct Doors {
    requests: Buckets<Asker>,
    failures: Buckets<IpAddr>,
}

#[derive(PartialEq, Eq, Hash)]
enum Asker {
    Name(String),
    Address(IpAddr),
}

/// What a request was about, for whoever counts or writes it down.
struct Asked {
    kind: Kind,
    action: &'static str,
    repository: Option<String>,
    reference: Option<String>,
    method: Method,
    address: IpAddr,
    agent: String,
    base: String,
    host: String,
    /// For events.
    content_type: Option<String>,
    length: Option<u64>,
    mount_from: Option<String>,
}

/// An answer, and who got it.
struct Answered {
    response: Response<Body>,
    subject: Option<String>,
    why: Option<String>,
}

impl Answered {
    fn nobody(answer: Answer) -> Answered {
        Answered { response: answer.unwrap_or_else(Failure::into_response), subject: None, why: None }
    }
}

/// Answers any request.
pub async fn answer(registry: Registry, peer: Arc<Peer>, request: Request<Body>) -> Response<Body> {
    let (begun, live) = (Instant::now(), registry.live());
    let metrics = registry.metrics().clone();
    let _held = Held::new(&metrics.in_flight);
    let mut asked = Asked::of(&live, &peer, &request);
    let answered = match request.uri().path() {
        "/healthz" => {
            asked.kind = Kind::Operations;
            Answered::nobody(health(&registry, &asked.method).await)
        }
        "/metrics" => {
            asked.kind = Kind::Operations;
            Answered::nobody(show_metrics(&registry, &live, &peer, request.headers(), &asked.method))
        }
        _ if peer.metrics_only => Answered::nobody(Err(nowhere())),
        "/token" => {
            (asked.kind, asked.action) = (Kind::Token, "login");
            token(&registry, &live, &peer, &asked, request).await
        }
        path if live.settings.page.enabled && page::is_here(path) => {
            asked.kind = Kind::Page;
            show_page(&registry, &live, &peer, &mut asked, request).await
        }
        _ => content(&registry, &live, &peer, &mut asked, request).await,
    };
    if let Some(fault) = answered.response.extensions().get::<Fault>() {
        let what = asked.repository.as_deref().unwrap_or_default();
        registry.log().error(
            "the storage failed",
            &[("fault", &fault.id), ("method", &asked.method), ("repository", &what), ("error", &fault.why)],
        );
    }
    let status = answered.response.status().as_u16();
    metrics.answered(asked.method.as_str(), asked.kind, status, begun.elapsed());
    metrics.received_bytes.fetch_add(asked.length.unwrap_or(0), Relaxed);
    if asked.method != Method::HEAD {
        metrics.sent_bytes.fetch_add(HttpBody::size_hint(answered.response.body()).exact().unwrap_or(0), Relaxed);
    }
    write_down(&registry, &live, &asked, &answered, begun.elapsed());
    answered.response
}

/// Everything below `/v2`.
async fn content(registry: &Registry, live: &Live, peer: &Peer, asked: &mut Asked, request: Request<Body>) -> Answered {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let namespace = query.get("ns").filter(|name| reads && live.settings.mirror.iter().any(|m| m.upstream == **name));
    let endpoint = route::parse(request.uri().path()).and_then(|endpoint| match namespace {
        Some(namespace) => mirror::resolve(&live.settings, endpoint, namespace),
        None => Ok(endpoint),
    });
    let required = endpoint.as_ref().map_or(Required::Entry, |endpoint| required(request.method(), endpoint));
    asked.is_about(&endpoint, &required, &request);
    let caller = match enter(registry, live, peer, asked, request.headers(), &required).await {
        Ok(caller) => caller,
        Err(refused) => return *refused,
    };
    let subject = Some(caller.subject.shown().to_owned());
    let allowed = live.auth.authorize(&caller, &required, asked.mount_from.as_deref(), &asked.base);
    let response = match allowed.and(endpoint) {
        Ok(endpoint) => {
            let mut response = handlers::handle(registry.clone(), caller, peer.outlet.clone(), endpoint, request).await;
            if let Some(Ok(value)) = namespace.map(HeaderValue::from_str) {
                response.headers_mut().insert(OCI_NAMESPACE, value);
            }
            response
        }
        Err(failure) => handlers::finish(failure.into_response(), request.method()),
    };
    Answered { response, subject, why: None }
}

/// The web page. Whoever gives no name sees what everybody may see.
async fn show_page(
    registry: &Registry,
    live: &Live,
    peer: &Peer,
    asked: &mut Asked,
    request: Request<Body>,
) -> Answered {
    if let Some(file) = page::file(request.uri().path(), request.headers()) {
        return Answered::nobody(Ok(file));
    }
    let deletes = *request.method() == Method::POST;
    asked.action = if deletes { "delete" } else { "list" };
    match enter(registry, live, peer, asked, request.headers(), &Required::Entry).await {
        Ok(caller) => {
            let subject = Some(caller.subject.shown().to_owned());
            let visit = page::Visit { registry: registry.clone(), caller, base: asked.base.clone() };
            let (response, deleted) = page::answer(visit, &live.auth, request).await;
            if let Some((repository, reference)) = deleted {
                (asked.repository, asked.reference) = (Some(repository), Some(reference));
            }
            Answered { response, subject, why: None }
        }
        Err(mut refused) => {
            if refused.response.status() == StatusCode::UNAUTHORIZED
                && let Ok(challenge) = live.auth.basic_challenge().parse()
            {
                refused.response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            *refused
        }
    }
}

/// Finds out who asks, and whether they ask too often.
async fn enter(
    registry: &Registry,
    live: &Live,
    peer: &Peer,
    asked: &Asked,
    headers: &HeaderMap,
    required: &Required,
) -> Result<Caller, Box<Answered>> {
    let (limits, address) = (&live.settings.limits, peer::asker(asked.address));
    let refused = |failure: Failure, why: Option<&str>| {
        let response = handlers::finish(failure.into_response(), &asked.method);
        Box::new(Answered { response, subject: None, why: why.map(str::to_owned) })
    };
    if headers.contains_key(header::AUTHORIZATION)
        && let Err(wait) = failure_rate(limits).map_or(Ok(()), |rate| registry.doors().failures.peek(&address, rate))
    {
        return Err(refused(too_often(wait), Some("too many wrong credentials from this address")));
    }
    let caller = match live.auth.authenticate(headers, peer.certificate.as_deref()).await {
        Ok(caller) => caller,
        Err(refusal) => {
            let why = note_refusal(registry, limits, address, &refusal);
            return Err(refused(live.auth.refuse(&refusal, required, &asked.base), Some(&why)));
        }
    };
    if let Some(rate) = request_rate(limits) {
        let asker = caller.subject.name.clone().map_or(Asker::Address(address), Asker::Name);
        if let Err(wait) = registry.doors().requests.take(asker, rate) {
            let mut answered = refused(too_often(wait), None);
            answered.subject = Some(caller.subject.shown().to_owned());
            return Err(answered);
        }
    }
    Ok(caller)
}

/// Counts wrong credentials, and says for the records what was wrong with them.
fn note_refusal(registry: &Registry, limits: &Limits, address: IpAddr, refusal: &Refusal) -> String {
    match refusal {
        Refusal::Credentials(why) | Refusal::Token(why) => {
            registry.metrics().credentials_refused.fetch_add(1, Relaxed);
            if let Some(rate) = failure_rate(limits) {
                let _ = registry.doors().failures.take(address, rate);
            }
            (*why).to_owned()
        }
        Refusal::Busy => "too many passwords are being checked".to_owned(),
        Refusal::Unavailable(error) => {
            registry.log().warn("the keys of an issuer cannot be had", &[("error", error)]);
            error.to_string()
        }
    }
}

async fn token(registry: &Registry, live: &Live, peer: &Peer, asked: &Asked, request: Request<Body>) -> Answered {
    let (limits, address) = (&live.settings.limits, peer::asker(asked.address));
    let over = failure_rate(limits).map_or(Ok(()), |rate| registry.doors().failures.peek(&address, rate));
    if let Err(wait) = over {
        return Answered::nobody(Err(too_often(wait)));
    }
    if let Some(rate) = request_rate(limits)
        && let Err(wait) = registry.doors().requests.take(Asker::Address(address), rate)
    {
        return Answered::nobody(Err(too_often(wait)));
    }
    let outcome = endpoint::token(&live.auth, request, peer.certificate.as_deref(), &asked.base).await;
    let why = outcome.refusal.map(|refusal| note_refusal(registry, limits, address, &refusal));
    let subject = outcome.caller.map(|caller| caller.subject.shown().to_owned());
    Answered { response: outcome.answer.unwrap_or_else(Failure::into_response), subject, why }
}

fn request_rate(limits: &Limits) -> Option<Rate> {
    (limits.requests_per_second > 0.0).then(|| Rate {
        per_second: limits.requests_per_second,
        burst: limits.burst.map_or(limits.requests_per_second * 2.0, f64::from).max(1.0),
    })
}

fn failure_rate(limits: &Limits) -> Option<Rate> {
    let per_minute = f64::from(limits.failures_per_minute);
    (per_minute > 0.0).then_some(Rate { per_second: per_minute / 60.0, burst: per_minute })
}

fn too_often(wait: Duration) -> Failure {
    too_many("too many requests", wait.as_secs_f64().ceil().max(1.0) as u64)
}

fn nowhere() -> Failure {
    Failure::new(Code::NameUnknown, "no such endpoint")
}

/// `/healthz`: whether the database answers.
async fn health(registry: &Registry, method: &Method) -> Answer {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Failure::new(Code::Unsupported, "only GET is supported here"));
    }
    let reader = registry.clone();
    let alive = blocking(move || reader.meta().repositories("", 1).map(|_| ())).await;
    let (status, text) = match alive {
        Ok(()) => (StatusCode::OK, "{\"status\":\"ok\"}"),
        Err(error) => {
            registry.log().error("the health check failed", &[("error", &error)]);
            (StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"the database does not answer\"}")
        }
    };
    handlers::json(status, text)
}

/// `/metrics`: to this machine's own processes, unless somebody asked for more.
fn show_metrics(registry: &Registry, live: &Live, peer: &Peer, headers: &HeaderMap, method: &Method) -> Answer {
    let public = peer.metrics_only || live.settings.metrics.public;
    if !public && (live.settings.metrics.listen.is_some() || !peer.is_local(headers)) {
        return Err(nowhere());
    }
    if *method != Method::GET {
        return Err(Failure::new(Code::Unsupported, "only GET is supported here"));
    }
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    handlers::answer(StatusCode::OK, &[content_type], Body::from(registry.metrics().render()))
}

impl Asked {
    fn of(live: &Live, peer: &Peer, request: &Request<Body>) -> Asked {
        let headers = request.headers();
        Asked {
            kind: Kind::Other,
            action: "other",
            repository: None,
            reference: None,
            method: request.method().clone(),
            address: peer.client(&live.settings.http, headers),
            agent: shown(headers, header::USER_AGENT),
            base: peer.base(&live.settings.http, headers),
            host: peer::host(headers).unwrap_or_default(),
            content_type: None,
            length: HttpBody::size_hint(request.body()).exact(),
            mount_from: None,
        }
    }

    fn is_about(&mut self, endpoint: &Result<Endpoint, Failure>, required: &Required, request: &Request<Body>) {
        if let Required::On { repository, action } = required {
            (self.action, self.repository) = (action.as_str(), Some(repository.clone()));
        }
        let Ok(endpoint) = endpoint else { return };
        self.kind = match endpoint {
            Endpoint::Base => Kind::Base,
            Endpoint::Catalog => Kind::Catalog,
            Endpoint::Extensions { .. } => Kind::Extensions,
            Endpoint::Blob { .. } => Kind::Blob,
            Endpoint::Uploads { .. } | Endpoint::Upload { .. } => Kind::Upload,
            Endpoint::Manifest { .. } => Kind::Manifest,
            Endpoint::Tags { .. } => Kind::Tags,
            Endpoint::Referrers { .. } => Kind::Referrers,
            Endpoint::Nowhere => Kind::Other,
        };
        if matches!(endpoint, Endpoint::Base | Endpoint::Catalog | Endpoint::Extensions { name: None }) {
            self.action = "list";
        }
        self.reference = match endpoint {
            Endpoint::Blob { digest, .. } | Endpoint::Referrers { digest, .. } => Some(digest.to_string()),
            Endpoint::Manifest { reference, .. } => Some(reference.as_str().to_owned()),
            _ => None,
        };
        if matches!(endpoint, Endpoint::Manifest { .. }) && self.method == Method::PUT {
            self.content_type = Some(shown(request.headers(), header::CONTENT_TYPE));
        }
        if matches!(endpoint, Endpoint::Uploads { .. })
            && request.uri().query().is_some_and(|text| text.contains("mount"))
        {
            let query = Query::parse(request.uri().query().unwrap_or_default());
            self.mount_from = query.get("from").filter(|from| route::name(from).is_ok()).map(str::to_owned);
        }
    }
}

/// A header of the client's, cut to what is worth keeping.
fn shown(headers: &HeaderMap, name: header::HeaderName) -> String {
    let text = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
    text.chars().take(SHOWN_BYTES_MAX).collect()
}

fn write_down(registry: &Registry, live: &Live, asked: &Asked, answered: &Answered, took: Duration) {
    let status = answered.response.status();
    let subject = answered.subject.as_deref().unwrap_or("unknown");
    let address = asked.address.to_string();
    if registry.log().wants_requests() {
        registry.log().info(
            "request",
            &[
                ("method", &asked.method),
                ("repository", &asked.repository.as_deref().unwrap_or_default()),
                ("reference", &asked.reference.as_deref().unwrap_or_default()),
                ("status", &status.as_u16()),
                ("ms", &took.as_millis()),
                ("subject", &subject),
                ("address", &address),
                ("agent", &asked.agent),
            ],
        );
    }
    let recordable = asked.kind != Kind::Operations && (asked.kind != Kind::Page || asked.action == "delete");
    if recordable && live.audit.wants(asked.action, status.as_u16()) {
        let outcome = match status.as_u16() {
            401 | 403 | 429 => "denied",
            400.. => "failed",
            _ => "allowed",
        };
        let record = Record {
            time: &log::now(),
            subject,
            address: &address,
            action: asked.action,
            repository: asked.repository.as_deref(),
            reference: asked.reference.as_deref(),
            method: asked.method.as_str(),
            status: status.as_u16(),
            outcome,
            agent: Some(asked.agent.as_str()).filter(|agent| !agent.is_empty()),
            why: answered.why.as_deref(),
        };
        if let Err(error) = live.audit.write(&record) {
            registry.log().error("the audit log cannot be written", &[("error", &error)]);
        }
    }
    if status.is_success() || (asked.kind == Kind::Page && status == StatusCode::SEE_OTHER) {
        tell(live, asked, answered, subject);
    }
}

/// Webhooks learn what succeeded, from the answer.
fn tell(live: &Live, asked: &Asked, answered: &Answered, subject: &str) {
    let Some(repository) = &asked.repository else { return };
    let header = |name: &str| answered.response.headers().get(name).and_then(|value| value.to_str().ok());
    let created = answered.response.status() == StatusCode::CREATED;
    let (action, blob) = match (asked.kind, asked.method.as_str()) {
        (Kind::Manifest, "PUT") => (EventAction::Push, false),
        (Kind::Manifest, "GET") => (EventAction::Pull, false),
        (Kind::Manifest, "DELETE") | (Kind::Page, "POST") => (EventAction::Delete, false),
        (Kind::Blob, "GET") => (EventAction::Pull, true),
        (Kind::Blob, "DELETE") => (EventAction::Delete, true),
        (Kind::Upload, "POST") if created && asked.mount_from.is_some() => (EventAction::Mount, true),
        (Kind::Upload, "POST" | "PUT") if created => (EventAction::Push, true),
        _ => return,
    };
    if !live.events.wants(action, blob, repository) {
        return;
    }
    let is_tag = |text: &&String| !text.contains(':');
    let by_tag = asked.reference.as_ref().filter(is_tag).cloned();
    let by_digest = asked.reference.as_ref().filter(|text| text.contains(':')).cloned();
    let event = Event {
        action,
        blob,
        repository: repository.clone(),
        tag: by_tag,
        digest: header("docker-content-digest").map(str::to_owned).or(by_digest),
        media_type: match action {
            EventAction::Push => asked.content_type.clone(),
            _ => header("content-type").map(str::to_owned),
        },
        size: match action {
            EventAction::Push => asked.length.filter(|_| !blob),
            EventAction::Pull => HttpBody::size_hint(answered.response.body()).exact(),
            _ => None,
        },
        from_repository: asked.mount_from.clone(),
        subject: subject.to_owned(),
        address: asked.address.to_string(),
        host: asked.host.clone(),
        method: asked.method.to_string(),
        agent: asked.agent.clone(),
        base: asked.base.clone(),
    };
    let tags: Vec<&str> =
        answered.response.headers().get_all("oci-tag").iter().filter_map(|value| value.to_str().ok()).collect();
    if tags.is_empty() {
        return live.events.tell(&event);
    }
    for tag in tags {
        live.events.tell(&Event { tag: Some(tag.to_owned()), ..event.clone() });
    }
}
