//! Settings about what is kept, for how long, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use knarr_spec::Reference;
use knarr_spec::reference::is_repository;
use serde::Deserialize;

use super::Problem;
use super::values::{ByteSize, Glob, Span};
use crate::limits::{BLOB_GRACE, GC_INTERVAL, UPLOAD_IDLE_MAX};

/// `[gc]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gc {
    /// How often garbage is looked for and retention is applied.
    pub interval: Span,
    /// How long a blob that no manifest names is kept: the time between its upload and the push of its manifest. While
    /// anybody uploads to a repository, nothing of it is garbage.
    pub grace: Span,
    /// Unfinished uploads untouched for so long are removed.
    pub uploads_idle: Span,
}

impl Default for Gc {
    fn default() -> Gc {
        Gc { interval: Span(GC_INTERVAL), grace: Span(BLOB_GRACE), uploads_idle: Span(UPLOAD_IDLE_MAX) }
    }
}

/// `[[retention]]`: what of which repositories is kept. A tag goes when a rule that names it says what to keep, and no
/// such rule keeps it; tags no rule names stay.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Which repositories.
    pub repositories: Glob,
    /// Which tags.
    pub tags: Glob,
    /// Keep so many, the most recently pushed.
    pub keep_last: Option<usize>,
    /// Keep what was pushed within this time.
    pub keep_pushed_within: Option<Span>,
    /// Keep what was pulled within this time.
    pub keep_pulled_within: Option<Span>,
    /// Remove manifests without a tag that are older than this, unless an index names them or they refer to one that stays.
    pub untagged_after: Option<Span>,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            repositories: anything(),
            tags: anything(),
            keep_last: None,
            keep_pushed_within: None,
            keep_pulled_within: None,
            untagged_after: None,
        }
    }
}

/// `[[immutable]]`: tags that, once pushed, are neither moved nor deleted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Immutable {
    /// Which repositories.
    pub repositories: Glob,
    /// Which tags.
    pub tags: Glob,
}

impl Default for Immutable {
    fn default() -> Immutable {
        Immutable { repositories: anything(), tags: anything() }
    }
}

/// `[[quota]]`: the first that names a repository says how much it may hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Which repositories, each on its own.
    pub repositories: Glob,
    /// Bytes of blobs and manifests, shared ones counted in each repository.
    pub bytes: ByteSize,
}

/// `[[mirror]]`: repositories below a prefix that are another registry's, fetched when somebody asks and kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The other registry, as in names of images: `docker.io`, `registry.example:5000`.
    pub upstream: String,
    /// First components of the names here; the upstream's own name by default. `?ns=` with that name leads here as well.
    pub prefix: Option<String>,
    /// Whether the upstream may be spoken to in plain http, or with any certificate.
    #[serde(default)]
    pub insecure: bool,
    /// How long a tag is believed before the upstream is asked again; meanwhile what is here is served.
    #[serde(default = "fresh")]
    pub fresh: Span,
    /// Who we are there.
    pub user: Option<String>,
    /// The first line of this file is the password.
    pub password_file: Option<PathBuf>,
    /// What is fetched before anybody asks.
    #[serde(default)]
    pub sync: Vec<Sync>,
}

/// `[[mirror.sync]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// A repository of the upstream.
    pub repository: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// How often.
    #[serde(default = "daily")]
    pub every: Span,
}

impl Mirror {
    /// First components of the names here.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or(&self.upstream)
    }

    /// The name the upstream gives to a repository here; `None` where it is not one of the upstream's.
    pub fn upstream_name<'a>(&self, repository: &'a str) -> Option<&'a str> {
        repository.strip_prefix(self.prefix())?.strip_prefix('/').filter(|rest| !rest.is_empty())
    }
}

fn fresh() -> Span {
    Span::seconds(300)
}

fn daily() -> Span {
    Span::seconds(86_400)
}

fn anything() -> Glob {
    Glob::new("**").expect("a pattern")
}

/// What contradicts itself in these settings.
pub(super) fn problems(gc: &Gc, retention: &[Retention], mirrors: &[Mirror]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for mirror in mirrors {
        if !is_repository(mirror.prefix()) {
            let what = format!("{:?} cannot begin the name of a repository: set prefix", mirror.prefix());
            problems.push(Problem { key: "mirror", what });
        }
        if format!("{}/x", mirror.upstream).parse::<Reference>().is_ok_and(|name| name.registry() == mirror.upstream) {
            continue;
        }
        problems.push(Problem { key: "mirror", what: format!("{:?} is not the name of a registry", mirror.upstream) });
    }
    if gc.interval.0 < Duration::from_secs(1) {
        problems.push(Problem { key: "gc.interval", what: "must be at least one second".into() });
    }
    let idle = |rule: &Retention| {
        rule.keep_last.is_none()
            && rule.keep_pushed_within.is_none()
            && rule.keep_pulled_within.is_none()
            && rule.untagged_after.is_none()
    };
    if retention.iter().any(idle) {
        let what = "a rule says at least one of keep_last, keep_pushed_within, keep_pulled_within, untagged_after";
        problems.push(Problem { key: "retention", what: what.into() });
    }
    problems
}
