//! Mirrors: repositories that are another registry's, fetched when somebody asks, and kept.
//!
//! Spec: distribution-spec, "Registry Proxying" (`?ns=`, `OCI-Namespace`).
//! Law: one request to the upstream for each blob and manifest, however many clients wait for it. A tag that is here is served
//! at once; when it is older than the mirror's `fresh`, the upstream is asked behind the client's back, and while it does not
//! answer, what is here stays. No byte of a blob's end is given out before the whole has its digest. A client's credentials
//! never go to an upstream.
//! Not here: how an upstream is spoken to (`distribution`); who may pull (`auth`).

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::channel::Channel;
use knarr_distribution::{AuthConfig, Credentials, Error, ErrorKind, Network, Problem, Registries, Upstream};
use knarr_spec::{Descriptor, Digest, Reference};
use serde::Deserialize;
use tokio::sync::watch;

use crate::body::blocking;
use crate::config::Settings;
use crate::config::content::{Mirror, Sync};
use crate::error::{Code, Failure, IoContext, StorageError};
use crate::limits::SEND_CHUNK_BYTES;
use crate::manifest;
use crate::metadata::NewManifest;
use crate::route::{Endpoint, ManifestReference};
use crate::server::Registry;
use crate::upload::{self, Session as _, Uploads as _};

/// Tags whose last check is remembered. What is forgotten is asked for once more.
const CHECKED_MAX: usize = 16_384;
/// Lists of tags that are remembered; each is a few hundred kilobytes at the very most.
const LISTS_MAX: usize = 64;
/// Chunks read ahead of a client that follows a fetch.
const FOLLOW_AHEAD: usize = 2;
/// Rest of the scheduler between two looks at the clock.
const SCHEDULE_TICK: Duration = Duration::from_secs(1);
/// Depth of indexes in indexes that a sync follows.
const INDEX_DEPTH_MAX: usize = 4;

type Key = (String, ManifestReference);

/// Tags, and when they were listed.
type Listed = (Instant, Arc<[String]>);

/// All mirrors of a registry.
#[derive(Default)]
pub struct Mirrors {
    /// By prefix.
    upstreams: HashMap<String, Arc<Upstream>>,
    /// When a tag was last compared with the upstream's.
    checked: Mutex<HashMap<Key, Instant>>,
    /// One at a time for each manifest.
    asking: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
    /// The upstream's tags, by repository, and when it said so.
    lists: Mutex<HashMap<String, Listed>>,
    /// Blobs on their way.
    fetches: Mutex<HashMap<(String, Digest), Fetch>>,
}

/// A blob on its way: its file grows, and `progress` says how far it is.
#[derive(Clone)]
pub struct Fetch {
    pub size: u64,
    path: PathBuf,
    progress: watch::Receiver<Progress>,
}

#[derive(Clone)]
enum Progress {
    Bytes(u64),
    Stored,
    Failed(Arc<str>),
}

/// Why mirrors cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The password of an upstream cannot be read.
    #[error("mirror {upstream}: {}: {source}", path.display())]
    Password {
        /// The mirror's upstream.
        upstream: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The client could not be made.
    #[error("mirror {upstream}: {source}")]
    Client {
        /// The mirror's upstream.
        upstream: String,
        /// Why not.
        source: Error,
    },
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mirrors {
    pub fn new(settings: &Settings) -> Result<Mirrors, MirrorError> {
        let mut mirrors = Mirrors::default();
        for mirror in &settings.mirror {
            let upstream = Upstream::new(&network(mirror)?);
            let failed = |source| MirrorError::Client { upstream: mirror.upstream.clone(), source };
            mirrors.upstreams.insert(mirror.prefix().to_owned(), Arc::new(upstream.map_err(failed)?));
        }
        Ok(mirrors)
    }

    fn is_fresh(&self, key: &Key, fresh: Duration) -> bool {
        locked(&self.checked).get(key).is_some_and(|at| at.elapsed() < fresh)
    }

    fn note_checked(&self, key: &Key) {
        let mut checked = locked(&self.checked);
        if checked.len() >= CHECKED_MAX {
            checked.clear();
        }
        checked.insert(key.clone(), Instant::now());
    }

    fn turn(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = locked(&self.asking);
        // Nobody waits for a turn that only the table holds.
        asking.retain(|_, turn| Arc::strong_count(turn) > 1);
        asking.entry(key.clone()).or_default().clone()
    }
}

fn network(mirror: &Mirror) -> Result<Network, MirrorError> {
    let mut network = Network { auth: AuthConfig::default(), registries: Registries::default(), ..Network::default() };
    if mirror.insecure {
        network.tls_verify = Some(false);
    }
    if let Some(user) = &mirror.user {
        let password = match &mirror.password_file {
            Some(path) => {
                let failed =
                    |source| MirrorError::Password { upstream: mirror.upstream.clone(), path: path.clone(), source };
                std::fs::read_to_string(path).map_err(failed)?.lines().next().unwrap_or_default().to_owned()
            }
            None => String::new(),
        };
        network.auth.explicit = Some(Credentials::Password { user: user.clone(), password });
    }
    Ok(network)
}

/// Leads a pull with `?ns=` to the repository that mirrors the name.
pub fn resolve(settings: &Settings, endpoint: Endpoint, namespace: &str) -> Result<Endpoint, Failure> {
    let Some(mirror) = settings.mirror.iter().find(|mirror| mirror.upstream == namespace) else {
        return Ok(endpoint);
    };
    let local = |name: String| crate::route::name(&format!("{}/{name}", mirror.prefix()));
    Ok(match endpoint {
        Endpoint::Blob { name, digest } => Endpoint::Blob { name: local(name)?, digest },
        Endpoint::Manifest { name, reference } => Endpoint::Manifest { name: local(name)?, reference },
        Endpoint::Tags { name } => Endpoint::Tags { name: local(name)? },
        Endpoint::Referrers { name, digest } => Endpoint::Referrers { name: local(name)?, digest },
        other => other,
    })
}

/// Refuses changes to what is another registry's.
pub fn check_writable(settings: &Settings, repository: &str) -> Result<(), Failure> {
    match settings.mirror_of(repository) {
        Some(mirror) => {
            Err(Failure::new(Code::Denied, format!("{repository} mirrors {}: push there", mirror.upstream)))
        }
        None => Ok(()),
    }
}

/// Where a repository here is fetched from.
#[derive(Clone)]
struct Place {
    upstream: Arc<Upstream>,
    fresh: Duration,
    /// A name of the repository there.
    name: Reference,
}

impl Place {
    fn of(registry: &Registry, repository: &str) -> Option<Place> {
        let settings = registry.settings();
        let mirror = settings.mirror_of(repository)?;
        let upstream = registry.mirrors().upstreams.get(mirror.prefix())?.clone();
        let name = format!("{}/{}", mirror.upstream, mirror.upstream_name(repository)?).parse().ok()?;
        Some(Place { upstream, fresh: mirror.fresh.0, name })
    }

    fn reference(&self, reference: &ManifestReference) -> Option<Reference> {
        match reference {
            ManifestReference::Tag(tag) => self.name.with_tag(tag).ok(),
            ManifestReference::Digest(digest) => Some(self.name.with_digest(digest.clone())),
        }
    }
}

/// Makes sure, where the repository is a mirror's, that a manifest is here if the upstream has it.
pub async fn want_manifest(registry: &Registry, key: &Key) -> Result<(), Failure> {
    let Some(place) = Place::of(registry, &key.0) else { return Ok(()) };
    let is_tag = matches!(key.1, ManifestReference::Tag(_));
    if is_tag && registry.mirrors().is_fresh(key, place.fresh) {
        return Ok(());
    }
    if here(registry, key).await? {
        if is_tag {
            // Whoever comes in the meantime need not ask as well.
            registry.mirrors().note_checked(key);
            tokio::spawn(revalidate(registry.clone(), place, key.clone()));
        }
        return Ok(());
    }
    let turn = registry.mirrors().turn(key);
    let _ours = turn.lock().await;
    if here(registry, key).await? {
        return Ok(());
    }
    let (registry, key) = (registry.clone(), key.clone());
    blocking(move || fetch_manifest(&registry, &place, &key).map(|_| ())).await
}

/// The tags of a repository that is a mirror's, in byte order, as the upstream lists them. `None` where the repository is our
/// own, or the upstream does not answer: then what is here is all that is known.
pub async fn tags(registry: &Registry, repository: &str) -> Option<Arc<[String]>> {
    let place = Place::of(registry, repository)?;
    let remembered = || {
        let lists = locked(&registry.mirrors().lists);
        lists.get(repository).filter(|(at, _)| at.elapsed() < place.fresh).map(|(_, tags)| tags.clone())
    };
    if let Some(tags) = remembered() {
        return Some(tags);
    }
    // One request for all who wait.
    let turn = registry.mirrors().turn(&(repository.to_owned(), ManifestReference::Tag(String::new())));
    let _ours = turn.lock().await;
    if let Some(tags) = remembered() {
        return Some(tags);
    }
    let (upstream, name) = (place.upstream.clone(), place.name.clone());
    let listed = tokio::task::spawn_blocking(move || upstream.tags(&name)).await.ok()?;
    let mut tags = match listed {
        Ok(tags) => tags,
        Err(error) => {
            registry.log().warn("the tags of a mirror are not compared", &[("error", &error)]);
            return None;
        }
    };
    tags.sort_unstable();
    tags.dedup();
    let tags: Arc<[String]> = tags.into();
    let mut lists = locked(&registry.mirrors().lists);
    if lists.len() >= LISTS_MAX {
        lists.clear();
    }
    lists.insert(repository.to_owned(), (Instant::now(), tags.clone()));
    Some(tags)
}

async fn here(registry: &Registry, key: &Key) -> Result<bool, Failure> {
    if registry.manifests().get(key).is_some() {
        return Ok(true);
    }
    let (registry, key) = (registry.clone(), key.clone());
    blocking(move || Ok::<_, Failure>(registry.meta().manifest(&key.0, &key.1)?.is_some())).await
}

/// Compares a tag with the upstream's. Problems are logged; what is here stays.
async fn revalidate(registry: Registry, place: Place, key: Key) {
    let turn = registry.mirrors().turn(&key);
    let _ours = turn.lock().await;
    let log = registry.clone();
    let outcome = blocking(move || refresh(&registry, &place, &key)).await;
    if let Err(failure) = outcome {
        log.log().warn("a tag of a mirror is not compared", &[("error", &failure.message())]);
    }
}

/// Fetches a tag where the upstream's differs; takes it away where the upstream has none any more.
fn refresh(registry: &Registry, place: &Place, key: &Key) -> Result<(), Failure> {
    let Some(reference) = place.reference(&key.1) else { return Ok(()) };
    let stored = registry.meta().manifest(&key.0, &key.1)?;
    let said = place.upstream.digest(&reference);
    if let (Some(stored), Some(said)) = (&stored, &said)
        && stored.digest == said.as_str()
    {
        registry.mirrors().note_checked(key);
        return Ok(());
    }
    match fetch_manifest(registry, place, key) {
        Err(failure) if failure.code() == Code::ManifestUnknown && stored.is_some() => {
            registry.meta().delete_manifest(&key.0, &key.1, &|_| false)?.ok();
            registry.manifests().invalidate(&key.0);
            Ok(registry.write_records()?)
        }
        other => other.map(|_| ()),
    }
}

/// Fetches a manifest and keeps it; its bytes.
fn fetch_manifest(registry: &Registry, place: &Place, key: &Key) -> Result<Vec<u8>, Failure> {
    let (name, wanted) = key;
    let unknown = || Failure::manifest_unknown(name, wanted.as_str());
    let reference = place.reference(wanted).ok_or_else(unknown)?;
    let (bytes, media_type) = place.upstream.manifest(&reference).map_err(|error| explained(&error, unknown()))?;
    let parsed = manifest::parse(&bytes, Some(&media_type), wanted)?;
    let tags = match wanted {
        ManifestReference::Tag(tag) => vec![tag.clone()],
        ManifestReference::Digest(_) => Vec::new(),
    };
    registry.keep_manifest(&NewManifest {
        repository: name,
        manifest: &parsed,
        bytes: &bytes,
        tags: &tags,
        blobs_required: false,
        immutable: &|_| false,
        bytes_max: registry.settings().quota_of(name),
    })?;
    registry.mirrors().note_checked(key);
    Ok(bytes)
}

/// What a client is told of an upstream's answer.
fn explained(error: &Error, unknown: Failure) -> Failure {
    match (error.kind(), error.problem.as_ref()) {
        (_, Problem::RateLimited { .. }) => Failure::new(Code::TooManyRequests, error.to_string()),
        (ErrorKind::NotFound, _) => unknown,
        (ErrorKind::Unauthorized | ErrorKind::Forbidden, _) => Failure::new(Code::Denied, error.to_string()),
        _ => Failure::new(Code::Unknown, error.to_string()).with_status(StatusCode::BAD_GATEWAY),
    }
}

/// Begins to fetch a blob, or joins those who wait for it. `None` where it is here, or nobody can have it.
pub async fn want_blob(registry: &Registry, repository: &str, digest: &Digest) -> Result<Option<Fetch>, Failure> {
    let Some(place) = Place::of(registry, repository) else { return Ok(None) };
    let (registry, repository, digest) = (registry.clone(), repository.to_owned(), digest.clone());
    blocking(move || begin(&registry, place, repository, digest)).await
}

fn begin(registry: &Registry, place: Place, repository: String, digest: Digest) -> Result<Option<Fetch>, Failure> {
    if registry.meta().blob_size(&repository, &digest)?.is_some() {
        return Ok(None);
    }
    let Some(descriptor) = descriptor(registry, &repository, &digest)? else { return Ok(None) };
    let key = (repository, digest);
    let mut fetches = locked(&registry.mirrors().fetches);
    if let Some(fetch) = fetches.get(&key) {
        return Ok(Some(fetch.clone()));
    }
    // One that ended since we looked has left the table after its blob was recorded.
    if registry.meta().blob_size(&key.0, &key.1)?.is_some() {
        return Ok(None);
    }
    let session = registry.spool().whole_file(&key.0, key.1.algorithm())?;
    let (tell, progress) = watch::channel(Progress::Bytes(0));
    let fetch = Fetch { size: descriptor.size, path: session.path().to_owned(), progress };
    fetches.insert(key.clone(), fetch.clone());
    drop(fetches);
    let registry = registry.clone();
    tokio::task::spawn_blocking(move || {
        let outcome = run(&registry, &place, &key, &descriptor, session, &tell);
        locked(&registry.mirrors().fetches).remove(&key);
        if let Err(failure) = &outcome {
            let why = failure.fault().map_or(failure.message(), |fault| fault.why.as_str());
            registry.log().warn("a blob is not mirrored", &[("digest", &key.1), ("error", &why)]);
        }
        tell.send_replace(
            outcome.map_or_else(|failure| Progress::Failed(failure.message().into()), |()| Progress::Stored),
        );
    });
    Ok(Some(fetch))
}

/// Fetches a blob into an upload of our own, and keeps it as a push would.
fn run(
    registry: &Registry,
    place: &Place,
    key: &(String, Digest),
    descriptor: &Descriptor,
    mut session: upload::Held,
    tell: &watch::Sender<Progress>,
) -> Result<(), Failure> {
    let mut written: Result<(), StorageError> = Ok(());
    let fetched = place.upstream.blob(&place.name, descriptor, &mut |bytes| {
        written = session.append(bytes);
        tell.send_replace(Progress::Bytes(session.offset()));
        written.is_ok()
    });
    let unknown = || Failure::blob_unknown(&key.0, &key.1);
    let kept = fetched.map_err(|error| explained(&error, unknown())).and_then(|()| {
        written?;
        session.verify(&key.1)?;
        registry.keep_blob(&key.0, &key.1, &mut session)
    });
    // Clients that follow have it open.
    registry.spool().forget(session.id());
    kept
}

/// What the manifests here say of a blob.
fn descriptor(registry: &Registry, repository: &str, digest: &Digest) -> Result<Option<Descriptor>, Failure> {
    #[derive(Deserialize)]
    struct Document {
        config: Option<Descriptor>,
        #[serde(default)]
        layers: Vec<Descriptor>,
        #[serde(default)]
        blobs: Vec<Descriptor>,
    }
    let Some(bytes) = registry.meta().named_by(repository, digest)? else { return Ok(None) };
    let Ok(document) = serde_json::from_slice::<Document>(&bytes) else { return Ok(None) };
    let named = document.config.into_iter().chain(document.layers).chain(document.blobs);
    Ok(named.into_iter().find(|descriptor| descriptor.digest == *digest))
}

impl Fetch {
    /// Waits until the blob is stored.
    pub async fn stored(mut self) -> Result<(), Failure> {
        let ended = self.progress.wait_for(|progress| !matches!(progress, Progress::Bytes(_))).await;
        match ended.as_deref() {
            Ok(Progress::Failed(why)) => Err(Failure::new(Code::Unknown, &**why).with_status(StatusCode::BAD_GATEWAY)),
            _ => Ok(()),
        }
    }

    /// The blob as it comes; its last bytes only when all have the right digest. `None` where it has ended already.
    pub async fn follow(self) -> Result<Option<Body>, Failure> {
        let (path, size) = (self.path.clone(), self.size);
        let opened = blocking(move || match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).what(|| "follow a fetch".into()),
        });
        let Some(file) = opened.await.map_err(|error: StorageError| Failure::from(error))? else { return Ok(None) };
        let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(FOLLOW_AHEAD);
        let (file, mut progress) = (Arc::new(file), self.progress);
        tokio::spawn(async move {
            let mut at = 0;
            while at < size {
                let moved = progress.wait_for(|progress| ready(progress, size).is_none_or(|ready| ready > at)).await;
                let Some(end) = moved.ok().and_then(|progress| ready(&progress, size)) else {
                    return sender.abort(std::io::Error::other("the upstream's blob did not come whole"));
                };
                let want = usize::try_from(end - at).map_or(SEND_CHUNK_BYTES, |left| left.min(SEND_CHUNK_BYTES));
                let from = file.clone();
                let read = tokio::task::spawn_blocking(move || {
                    let mut buffer = vec![0; want];
                    from.read_exact_at(&mut buffer, at).map(|()| Bytes::from(buffer))
                });
                let Ok(Ok(bytes)) = read.await else {
                    return sender.abort(std::io::Error::other("the blob cannot be read"));
                };
                at += bytes.len() as u64;
                if sender.send_data(bytes).await.is_err() {
                    return;
                }
            }
        });
        Ok(Some(Body::new(body)))
    }
}

/// Bytes that may be given out; `None` where it failed.
fn ready(progress: &Progress, size: u64) -> Option<u64> {
    match progress {
        Progress::Bytes(bytes) => Some((*bytes).min(size.saturating_sub(1))),
        Progress::Stored => Some(size),
        Progress::Failed(_) => None,
    }
}

/// Fetches what is to be here before anybody asks, until the task is ended.
pub async fn keep_synced(registry: Registry) {
    let settings = registry.settings();
    if settings.mirror.iter().all(|mirror| mirror.sync.is_empty()) {
        return;
    }
    let mut due: HashMap<(String, usize), Instant> = HashMap::new();
    loop {
        for mirror in &settings.mirror {
            for (number, sync) in mirror.sync.iter().enumerate() {
                let key = (mirror.prefix().to_owned(), number);
                if due.get(&key).is_some_and(|due| *due > Instant::now()) {
                    continue;
                }
                due.insert(key, Instant::now() + sync.every.0);
                synchronize(&registry, mirror, sync).await;
            }
        }
        tokio::time::sleep(SCHEDULE_TICK).await;
    }
}

async fn synchronize(registry: &Registry, mirror: &Mirror, sync: &Sync) {
    let repository = format!("{}/{}", mirror.prefix(), sync.repository);
    let Some(place) = Place::of(registry, &repository) else { return };
    for tag in &sync.tags {
        let key = (repository.clone(), ManifestReference::Tag(tag.clone()));
        let (shared, place, wanted) = (registry.clone(), place.clone(), key.clone());
        let outcome = match blocking(move || refresh(&shared, &place, &wanted)).await {
            Ok(()) => whole(registry, key).await,
            Err(failure) => Err(failure),
        };
        let fields: [(&str, &dyn std::fmt::Display); 2] = [("repository", &repository), ("tag", tag)];
        match outcome {
            Ok(()) => registry.log().info("synced", &fields),
            Err(failure) => registry.log().warn("not synced", &[fields[0], fields[1], ("error", &failure.message())]),
        }
    }
}

/// Fetches everything a manifest leads to.
async fn whole(registry: &Registry, root: Key) -> Result<(), Failure> {
    let mut waiting = vec![(root, 0)];
    while let Some((key, depth)) = waiting.pop() {
        want_manifest(registry, &key).await?;
        let (shared, wanted) = (registry.clone(), key.clone());
        let stored = blocking(move || Ok::<_, Failure>(shared.meta().manifest(&wanted.0, &wanted.1)?)).await?;
        let stored = stored.ok_or_else(|| Failure::manifest_unknown(&key.0, key.1.as_str()))?;
        let parsed = manifest::parse(&stored.bytes, Some(&stored.media_type), &ManifestReference::Tag(String::new()))?;
        for blob in &parsed.blobs {
            if let Some(fetch) = want_blob(registry, &key.0, blob).await? {
                fetch.stored().await?;
            }
        }
        if depth < INDEX_DEPTH_MAX {
            let children = parsed.children.into_iter();
            waiting.extend(children.map(|digest| ((key.0.clone(), ManifestReference::Digest(digest)), depth + 1)));
        }
    }
    Ok(())
}
