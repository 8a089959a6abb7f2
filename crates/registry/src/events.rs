//! Webhooks: others are told what happened, in CloudEvents or in distribution's envelope.
//!
//! Spec: CloudEvents 1.0 (structured mode, JSON); distribution's notifications. Law: no request waits for a webhook. Each has a
//! queue in memory with a bound; what does not fit is dropped, counted and logged, and what cannot be delivered is tried again
//! with growing pauses until its time is up. Events of one webhook keep their order.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::auth::random_hex;
use crate::config::values::{Glob, Span};
use crate::log::{self, Log};
use crate::metrics::Metrics;
use crate::outbound::{Outbound, OutboundError};

/// First pause before a delivery is tried again; each next one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// `[[webhook]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where events are sent.
    pub url: String,
    /// What they look like.
    #[serde(default)]
    pub format: EventFormat,
    /// What is told: `push`, `pull`, `delete`, `mount`.
    #[serde(default = "default_actions")]
    pub events: Vec<EventAction>,
    /// Whether blobs are events too, and not only manifests and tags.
    #[serde(default)]
    pub blobs: bool,
    /// Of which repositories.
    #[serde(default = "all")]
    pub repositories: Vec<Glob>,
    /// Sent along, as `Authorization = "Bearer …"`.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// Events that may wait.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// How long one is tried to be delivered.
    #[serde(default = "default_retry")]
    pub retry_for: Span,
}

fn default_actions() -> Vec<EventAction> {
    vec![EventAction::Push, EventAction::Delete]
}

fn all() -> Vec<Glob> {
    vec![Glob::new("**").expect("a pattern")]
}

fn default_queue() -> usize {
    1000
}

fn default_retry() -> Span {
    Span::seconds(600)
}

/// What an event looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    /// `application/cloudevents+json`
    #[default]
    CloudEvents,
    /// `application/vnd.docker.distribution.events.v1+json`
    Distribution,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventAction {
    Push,
    Pull,
    Delete,
    Mount,
}

impl EventAction {
    fn as_str(self) -> &'static str {
        match self {
            EventAction::Push => "push",
            EventAction::Pull => "pull",
            EventAction::Delete => "delete",
            EventAction::Mount => "mount",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Event {
    pub action: EventAction,
    pub blob: bool,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
    pub media_type: Option<String>,
    pub size: Option<u64>,
    pub from_repository: Option<String>,
    pub subject: String,
    pub address: String,
    pub host: String,
    pub method: String,
    pub agent: String,
    /// Our address, as the client calls it.
    pub base: String,
}

/// All webhooks.
pub struct Events {
    hooks: Vec<Hook>,
    outbound: Option<Outbound>,
    metrics: Arc<Metrics>,
    log: Arc<Log>,
}

struct Hook {
    settings: WebhookSettings,
    /// The worker begins with the first event, when there is a runtime to run it.
    queue: OnceLock<mpsc::Sender<Event>>,
}

impl Events {
    pub fn open(
        settings: &[WebhookSettings],
        outbound: impl FnOnce() -> Result<Outbound, OutboundError>,
        metrics: Arc<Metrics>,
        log: Arc<Log>,
    ) -> Result<Events, OutboundError> {
        let outbound = if settings.is_empty() { None } else { Some(outbound()?) };
        let hooks = settings.iter().map(|one| Hook { settings: one.clone(), queue: OnceLock::new() });
        Ok(Events { hooks: hooks.collect(), outbound, metrics, log })
    }

    /// Whether anybody would be told of this.
    pub fn wants(&self, action: EventAction, blob: bool, repository: &str) -> bool {
        self.hooks.iter().any(|hook| hook.wants(action, blob, repository))
    }

    /// Tells whoever wants to know; returns at once.
    pub fn tell(&self, event: &Event) {
        let Some(outbound) = &self.outbound else { return };
        for hook in self.hooks.iter().filter(|hook| hook.wants(event.action, event.blob, &event.repository)) {
            let queue = hook.queue.get_or_init(|| {
                let (sender, receiver) = mpsc::channel(hook.settings.queue.max(1));
                let worker = Worker {
                    settings: hook.settings.clone(),
                    outbound: outbound.clone(),
                    metrics: self.metrics.clone(),
                    log: self.log.clone(),
                };
                tokio::spawn(worker.deliver_all(receiver));
                sender
            });
            match queue.try_send(event.clone()) {
                Ok(()) => {
                    self.metrics.events_waiting.fetch_add(1, Relaxed);
                }
                Err(_) => {
                    self.metrics.events_dropped.fetch_add(1, Relaxed);
                    self.log.warn(
                        "an event was dropped: the queue is full",
                        &[("url", &hook.settings.url), ("repository", &event.repository)],
                    );
                }
            }
        }
    }
}

impl Hook {
    fn wants(&self, action: EventAction, blob: bool, repository: &str) -> bool {
        let wanted = &self.settings;
        (wanted.blobs || !blob)
            && wanted.events.contains(&action)
            && wanted.repositories.iter().any(|pattern| pattern.matches(repository))
    }
}

struct Worker {
    settings: WebhookSettings,
    outbound: Outbound,
    metrics: Arc<Metrics>,
    log: Arc<Log>,
}

impl Worker {
    /// Ends when the settings that made it are gone and its queue is empty.
    async fn deliver_all(self, mut queue: mpsc::Receiver<Event>) {
        while let Some(event) = queue.recv().await {
            self.deliver(&event).await;
            self.metrics.events_waiting.fetch_sub(1, Relaxed);
        }
    }

    async fn deliver(&self, event: &Event) {
        let (content_type, body) = render(self.settings.format, event, &random_hex(16), &log::now());
        let mut headers = vec![("content-type".to_owned(), content_type.to_owned())];
        headers.extend(self.settings.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        let (begun, mut pause) = (Instant::now(), PAUSE_FIRST);
        loop {
            let error = match self.outbound.post(&self.settings.url, &headers, body.to_string()).await {
                Ok(()) => {
                    self.metrics.events_delivered.fetch_add(1, Relaxed);
                    return;
                }
                Err(error) => error,
            };
            if begun.elapsed() + pause > self.settings.retry_for.0 {
                self.metrics.events_failed.fetch_add(1, Relaxed);
                self.log
                    .error("an event could not be delivered", &[("error", &error), ("repository", &event.repository)]);
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// An event as it is sent: its media type and its document.
fn render(format: EventFormat, event: &Event, id: &str, time: &str) -> (&'static str, Value) {
    let noun = if event.blob { "blobs" } else { "manifests" };
    let reference = event.digest.as_deref().or(event.tag.as_deref()).unwrap_or_default();
    let url = format!("{}/v2/{}/{noun}/{reference}", event.base, event.repository);
    match format {
        EventFormat::CloudEvents => {
            let kind = if event.blob { "blob" } else { "manifest" };
            let kind = if event.action == EventAction::Delete && event.digest.is_none() { "tag" } else { kind };
            let subject = match (&event.tag, &event.digest) {
                (Some(tag), _) => format!("{}:{tag}", event.repository),
                (None, Some(digest)) => format!("{}@{digest}", event.repository),
                (None, None) => event.repository.clone(),
            };
            let mut data = json!({"action": event.action.as_str(), "repository": event.repository, "url": url,
                                  "actor": event.subject, "address": event.address, "userAgent": event.agent});
            put(&mut data, "tag", &event.tag);
            put(&mut data, "digest", &event.digest);
            put(&mut data, "mediaType", &event.media_type);
            put(&mut data, "size", &event.size);
            put(&mut data, "fromRepository", &event.from_repository);
            let document = json!({
                "specversion": "1.0", "id": id, "source": event.base, "time": time, "subject": subject,
                "type": format!("knarr.registry.{kind}.{}", event.action.as_str()),
                "datacontenttype": "application/json", "data": data,
            });
            ("application/cloudevents+json", document)
        }
        EventFormat::Distribution => {
            let mut target = json!({"repository": event.repository, "url": url});
            put(&mut target, "mediaType", &event.media_type);
            put(&mut target, "size", &event.size);
            put(&mut target, "length", &event.size);
            put(&mut target, "digest", &event.digest);
            put(&mut target, "tag", &event.tag);
            put(&mut target, "fromRepository", &event.from_repository);
            let mut actor = json!({});
            if event.subject != crate::auth::htpasswd::ANONYMOUS {
                actor["name"] = json!(event.subject);
            }
            let document = json!({"events": [{
                "id": id, "timestamp": time, "action": event.action.as_str(), "target": target,
                "request": {"id": id, "addr": event.address, "host": event.host, "method": event.method, "useragent": event.agent},
                "actor": actor, "source": {"addr": event.host, "instanceID": instance()},
            }]});
            ("application/vnd.docker.distribution.events.v1+json", document)
        }
    }
}

/// Tells this process from another.
fn instance() -> &'static str {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    INSTANCE.get_or_init(|| random_hex(16))
}

fn put<T: serde::Serialize>(object: &mut Value, name: &str, value: &Option<T>) {
    if let Some(value) = value {
        object[name] = json!(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            action: EventAction::Push,
            blob: false,
            repository: "a/b".into(),
            tag: Some("v1".into()),
            digest: Some("sha256:00".into()),
            media_type: Some("m/t".into()),
            size: Some(7),
            from_repository: None,
            subject: "ship".into(),
            address: "127.0.0.1:9".into(),
            host: "r".into(),
            method: "PUT".into(),
            agent: "test".into(),
            base: "https://r".into(),
        }
    }

    #[test]
    fn a_cloud_event_has_the_attributes_that_are_required() {
        let (content_type, event) = render(EventFormat::CloudEvents, &event(), "1", "T");
        assert_eq!(content_type, "application/cloudevents+json");
        let attribute = |name: &str| event[name].as_str().unwrap().to_owned();
        assert_eq!(attribute("specversion"), "1.0");
        assert_eq!(attribute("type"), "knarr.registry.manifest.push");
        assert_eq!(attribute("subject"), "a/b:v1");
        assert_eq!(attribute("source"), "https://r");
        assert_eq!(event["data"]["url"], "https://r/v2/a/b/manifests/sha256:00");
    }

    #[test]
    fn a_notification_is_distributions_envelope() {
        let (_, envelope) = render(EventFormat::Distribution, &event(), "1", "T");
        let event = &envelope["events"][0];
        assert_eq!(
            (&event["action"], &event["target"]["tag"], &event["actor"]["name"]),
            (&json!("push"), &json!("v1"), &json!("ship"))
        );
        assert_eq!((&event["target"]["size"], &event["target"]["length"]), (&json!(7), &json!(7)));
    }

    #[test]
    fn a_deleted_tag_is_not_a_deleted_manifest() {
        let event = Event { action: EventAction::Delete, digest: None, ..event() };
        assert_eq!(render(EventFormat::CloudEvents, &event, "1", "T").1["type"], "knarr.registry.tag.delete");
    }
}
