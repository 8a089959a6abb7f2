//! Numbers about the registry, in Prometheus' text format.
//!
//! Spec: Prometheus exposition format 0.0.4. Law: counting takes no lock and no memory, whatever is asked: labels come from
//! closed sets, never from a request's words.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config::Listen;
use serde::Deserialize;

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// A listener of their own, in plain HTTP, where everybody who reaches it may read them.
    pub listen: Option<Listen>,
    /// Whether `/metrics` on the registry's own listener answers others than this machine's processes.
    pub public: bool,
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
const STATUSES: [u16; 22] =
    [200, 201, 202, 204, 206, 303, 304, 307, 400, 401, 403, 404, 405, 408, 409, 413, 416, 429, 500, 503, 507, 0];
/// Upper ends of the buckets, in seconds: from a manifest in memory to a blob on a slow disk.
const BUCKETS_S: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// What a request was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    Base,
    Blob,
    Upload,
    Manifest,
    Tags,
    Referrers,
    Catalog,
    Extensions,
    Token,
    Page,
    Operations,
    Other,
}

const KINDS: [&str; 12] = [
    "base",
    "blob",
    "upload",
    "manifest",
    "tags",
    "referrers",
    "catalog",
    "extensions",
    "token",
    "page",
    "operations",
    "other",
];

struct Durations {
    buckets: [AtomicU64; BUCKETS_S.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

/// All counters of a process.
pub struct Metrics {
    begun: Instant,
    requests: Vec<AtomicU64>,
    durations: Vec<Durations>,
    pub in_flight: AtomicU64,
    pub connections: AtomicU64,
    pub handshakes_failed: AtomicU64,
    pub credentials_refused: AtomicU64,
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub events_delivered: AtomicU64,
    pub events_failed: AtomicU64,
    pub events_dropped: AtomicU64,
    pub events_waiting: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let durations = || Durations {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            count: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
        };
        let zero = || AtomicU64::new(0);
        Metrics {
            begun: Instant::now(),
            requests: zeros(METHODS.len() * KINDS.len() * STATUSES.len()),
            durations: KINDS.iter().map(|_| durations()).collect(),
            in_flight: zero(),
            connections: zero(),
            handshakes_failed: zero(),
            credentials_refused: zero(),
            received_bytes: zero(),
            sent_bytes: zero(),
            events_delivered: zero(),
            events_failed: zero(),
            events_dropped: zero(),
            events_waiting: zero(),
        }
    }
}

/// Counts while it lives.
pub struct Held<'a>(&'a AtomicU64);

impl<'a> Held<'a> {
    pub fn new(gauge: &'a AtomicU64) -> Held<'a> {
        gauge.fetch_add(1, Relaxed);
        Held(gauge)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// Counts an answer; `took` is the time until its head was ready.
    pub fn answered(&self, method: &str, kind: Kind, status: u16, took: Duration) {
        let position = |list: &[&str], word| list.iter().position(|known| *known == word).unwrap_or(list.len() - 1);
        let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        let at = (position(&METHODS, method) * KINDS.len() + kind as usize) * STATUSES.len() + status;
        self.requests[at].fetch_add(1, Relaxed);
        let durations = &self.durations[kind as usize];
        let seconds = took.as_secs_f64();
        if let Some(bucket) = BUCKETS_S.iter().position(|end| seconds <= *end) {
            durations.buckets[bucket].fetch_add(1, Relaxed);
        }
        durations.count.fetch_add(1, Relaxed);
        durations.sum_us.fetch_add(took.as_micros() as u64, Relaxed);
    }

    /// The page Prometheus reads.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(8 * 1024);
        self.render_requests(&mut out);
        let gauge = |out: &mut String, kind: &str, name: &str, help: &str, value: &AtomicU64| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {}\n", value.load(Relaxed));
        };
        let families = [
            ("gauge", "knarr_registry_requests_in_flight", "Requests being answered.", &self.in_flight),
            ("gauge", "knarr_registry_connections", "Open connections.", &self.connections),
            (
                "counter",
                "knarr_registry_tls_handshakes_failed_total",
                "TLS handshakes that failed.",
                &self.handshakes_failed,
            ),
            (
                "counter",
                "knarr_registry_credentials_refused_total",
                "Wrong passwords and tokens.",
                &self.credentials_refused,
            ),
            ("counter", "knarr_registry_received_bytes_total", "Bytes of request bodies.", &self.received_bytes),
            (
                "counter",
                "knarr_registry_sent_bytes_total",
                "Bytes of answers whose length was known.",
                &self.sent_bytes,
            ),
            ("counter", "knarr_registry_events_delivered_total", "Events a webhook took.", &self.events_delivered),
            ("counter", "knarr_registry_events_failed_total", "Events no retry could deliver.", &self.events_failed),
            (
                "counter",
                "knarr_registry_events_dropped_total",
                "Events a full queue had no room for.",
                &self.events_dropped,
            ),
            ("gauge", "knarr_registry_events_waiting", "Events in the queues of webhooks.", &self.events_waiting),
        ];
        for (kind, name, help, value) in families {
            gauge(&mut out, kind, name, help, value);
        }
        let _ = write!(
            out,
            "# HELP knarr_registry_uptime_seconds Time since the start.\n# TYPE knarr_registry_uptime_seconds gauge\n\
             knarr_registry_uptime_seconds {}\n",
            self.begun.elapsed().as_secs()
        );
        if let Some(bytes) = resident_bytes() {
            let _ = write!(
                out,
                "# HELP process_resident_memory_bytes Resident memory.\n# TYPE process_resident_memory_bytes gauge\n\
                 process_resident_memory_bytes {bytes}\n"
            );
        }
        out
    }

    fn render_requests(&self, out: &mut String) {
        out.push_str(
            "# HELP knarr_registry_requests_total Answered requests.\n# TYPE knarr_registry_requests_total counter\n",
        );
        for (at, counter) in self.requests.iter().enumerate() {
            let count = counter.load(Relaxed);
            if count > 0 {
                let (rest, status) = (at / STATUSES.len(), STATUSES[at % STATUSES.len()]);
                let (method, kind) = (METHODS[rest / KINDS.len()], KINDS[rest % KINDS.len()]);
                let status = if status == 0 { "other".to_owned() } else { status.to_string() };
                let labels = format!("method=\"{method}\",endpoint=\"{kind}\",code=\"{status}\"");
                let _ = writeln!(out, "knarr_registry_requests_total{{{labels}}} {count}");
            }
        }
        let name = "knarr_registry_request_duration_seconds";
        let _ = write!(out, "# HELP {name} Time until the head of an answer was ready.\n# TYPE {name} histogram\n");
        for (kind, durations) in KINDS.iter().zip(&self.durations) {
            let total = durations.count.load(Relaxed);
            if total == 0 {
                continue;
            }
            let mut below = 0;
            for (end, bucket) in BUCKETS_S.iter().zip(&durations.buckets) {
                below += bucket.load(Relaxed);
                let _ = writeln!(out, "{name}_bucket{{endpoint=\"{kind}\",le=\"{end}\"}} {below}");
            }
            let sum = durations.sum_us.load(Relaxed) as f64 / 1e6;
            let _ = write!(
                out,
                "{name}_bucket{{endpoint=\"{kind}\",le=\"+Inf\"}} {total}\n{name}_sum{{endpoint=\"{kind}\"}} {sum}\n\
                 {name}_count{{endpoint=\"{kind}\"}} {total}\n"
            );
        }
    }
}

/// `VmRSS` of `/proc/self/status`, which is in kB.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.answered("GET", Kind::Manifest, 200, Duration::from_micros(50));
        metrics.answered("GET", Kind::Manifest, 200, Duration::from_secs(500));
        metrics.answered("BREW", Kind::Other, 418, Duration::ZERO);
        let text = metrics.render();
        for line in [
            "knarr_registry_requests_total{method=\"GET\",endpoint=\"manifest\",code=\"200\"} 2",
            "knarr_registry_requests_total{method=\"other\",endpoint=\"other\",code=\"other\"} 1",
            "knarr_registry_request_duration_seconds_bucket{endpoint=\"manifest\",le=\"0.0001\"} 1",
            "knarr_registry_request_duration_seconds_bucket{endpoint=\"manifest\",le=\"120\"} 1",
            "knarr_registry_request_duration_seconds_bucket{endpoint=\"manifest\",le=\"+Inf\"} 2",
            "knarr_registry_request_duration_seconds_count{endpoint=\"manifest\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn what_is_held_is_let_go() {
        let metrics = Metrics::default();
        {
            let _one = Held::new(&metrics.in_flight);
            assert_eq!(metrics.in_flight.load(Relaxed), 1);
        }
        assert_eq!(metrics.in_flight.load(Relaxed), 0);
    }

    #[test]
    fn the_names_and_the_kinds_are_as_many() {
        assert_eq!(KINDS.len(), Kind::Other as usize + 1);
    }
}
