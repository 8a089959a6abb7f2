//! Which repository holds which blobs, manifests and tags.
//!
//! Law: what a method changes, it changes in one transaction, and what it decides (is the blob there? may the tag move? is
//! there room?) it decides in the same one. Transactions are short and never span I/O on blobs, except
//! [`Metadata::while_unknown`], whose whole purpose that is.
//! Not here: bytes of blobs (`blobs`), policies (`retention`, `settings`): they come as arguments.
//!
//! A second implementation has to pass `contract`; handlers know this interface only.

#[cfg(test)]
mod contract;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::collections::BTreeMap;

use knarr_spec::Digest;
use serde_json::json;

use crate::error::{Code, Failure, StorageError};
use crate::manifest::Parsed;
use crate::route::ManifestReference;

#[cfg(all(test, feature = "postgres"))]
pub use postgres::tests::open as open_for_tests;
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, Progress};
pub use sqlite::Sqlite;

pub type Result<T> = std::result::Result<T, StorageError>;

/// A change that may be refused for a reason the client is told.
pub type Decided<T> = Result<std::result::Result<T, Refusal>>;

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The repository does not show these blobs.
    MissingBlobs(Vec<String>),
    /// The tag is there and must stay what it is.
    Immutable(String),
    /// The repository would hold more than it may.
    OverQuota { bytes: u64, bytes_max: u64 },
}

impl Refusal {
    /// What the client is told.
    pub fn explained(self, repository: &str) -> Failure {
        match self {
            Refusal::MissingBlobs(digests) => {
                let message = format!("blobs unknown to {repository}: {}", digests.join(", "));
                let detail = json!({"name": repository, "digests": digests});
                Failure::new(Code::ManifestBlobUnknown, message).with_detail(detail)
            }
            Refusal::Immutable(tag) => {
                let message = format!("the tag {tag} of {repository} is immutable");
                Failure::new(Code::Denied, message).with_detail(json!({"name": repository, "tag": tag}))
            }
            Refusal::OverQuota { bytes, bytes_max } => {
                let message = format!("{repository} would hold {bytes} bytes, it may hold {bytes_max}");
                let detail = json!({"name": repository, "bytes": bytes, "bytesMax": bytes_max});
                Failure::new(Code::Denied, message).with_detail(detail)
            }
        }
    }
}

/// A manifest to be stored, and under which conditions.
pub struct NewManifest<'a> {
    pub repository: &'a str,
    pub manifest: &'a Parsed,
    pub bytes: &'a [u8],
    pub tags: &'a [String],
    /// Whether all its blobs must be shown by the repository.
    pub blobs_required: bool,
    pub immutable: &'a dyn Fn(&str) -> bool,
    pub bytes_max: Option<u64>,
}

/// A manifest with what is sent beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    pub digest: String,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

/// One entry of a referrers list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    pub digest: String,
    pub media_type: String,
    pub size: u64,
    pub artifact_type: Option<String>,
    pub annotations: Option<String>,
}

/// A page and whether more follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub entries: Vec<T>,
    pub more: bool,
}

impl<T> Page<T> {
    /// Of entries of which one more than `limit` was asked for.
    pub fn of(mut entries: Vec<T>, limit: usize) -> Page<T> {
        let more = entries.len() > limit;
        entries.truncate(limit);
        Page { entries, more }
    }
}

/// Where a garbage collection stands between two of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sweep {
    /// Before the first link.
    #[default]
    Begin,
    /// Behind this link (repository, blob).
    Links(i64, i64),
    /// Behind this blob.
    Blobs(i64),
    /// At the end.
    Done,
}

/// What a garbage collection may take.
pub struct Garbage<'a> {
    /// Seconds since 1970: only what has been as it is since then.
    pub before: i64,
    /// Repositories into which somebody is pushing: what is there waits for its manifest.
    pub busy: &'a dyn Fn(&str) -> bool,
}

/// Something changed about a manifest: the record of it is to be written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub repository: String,
    pub digest: Digest,
    /// What the manifest is now; `None` where it is gone.
    pub state: Option<Recorded>,
}

/// What has to be known of a manifest to rebuild the database, beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub media_type: String,
    pub bytes: Vec<u8>,
    /// Seconds since 1970.
    pub pushed: i64,
    /// Tags that point to it, and since when.
    pub tags: BTreeMap<String, i64>,
}

/// A pull that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    pub repository: String,
    pub reference: ManifestReference,
    /// Seconds since 1970.
    pub at: i64,
}

/// A tag, as retention sees it. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFact {
    pub name: String,
    pub digest: String,
    pub moved: i64,
    pub pulled: Option<i64>,
}

/// A manifest, as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFact {
    pub digest: String,
    pub pushed: i64,
    pub pulled: Option<i64>,
    pub subject: Option<String>,
    /// What it names: blobs, and manifests of an index.
    pub uses: Vec<String>,
}

/// What is to be removed, if it is still what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    Tag { name: String, moved: i64 },
    Manifest { digest: String, pushed: i64 },
}

/// The database of a registry. All methods block.
pub trait Metadata: Send + Sync {
    /// Size of a blob that `repository` shows.
    fn blob_size(&self, repository: &str, digest: &Digest) -> Result<Option<u64>>;

    /// Records a blob whose bytes are in place and shows it in `repository`.
    fn add_blob(&self, repository: &str, digest: &Digest, size: u64, bytes_max: Option<u64>) -> Decided<()>;

    /// Shows a blob another repository shows. `false` where there is none (or none anywhere, without `from`).
    fn mount_blob(
        &self,
        repository: &str,
        digest: &Digest,
        from: Option<&str>,
        bytes_max: Option<u64>,
    ) -> Decided<bool>;

    /// Takes a blob out of a repository. `false` where it was not in it.
    fn unlink_blob(&self, repository: &str, digest: &Digest) -> Result<bool>;

    /// A manifest by tag or digest.
    fn manifest(&self, repository: &str, reference: &ManifestReference) -> Result<Option<StoredManifest>>;

    /// Stores a manifest and points tags at it, all or nothing.
    fn put_manifest(&self, new: &NewManifest<'_>) -> Decided<()>;

    /// Removes a tag, or a manifest with every tag that points to it. `false` where there was none.
    fn delete_manifest(
        &self,
        repository: &str,
        reference: &ManifestReference,
        immutable: &dyn Fn(&str) -> bool,
    ) -> Decided<bool>;

    /// Tags behind `last` in byte order; `None` for an unknown repository.
    fn tags(&self, repository: &str, last: &str, limit: usize) -> Result<Option<Page<String>>>;

    /// Repositories behind `last` in byte order that hold a manifest.
    fn repositories(&self, last: &str, limit: usize) -> Result<Page<String>>;

    /// Manifests of `repository` whose subject is `subject`, behind `last` in digest order.
    fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: &str,
        limit: usize,
    ) -> Result<Page<Referrer>>;

    /// The bytes of a manifest of the repository that names this blob or manifest.
    fn named_by(&self, repository: &str, digest: &Digest) -> Result<Option<Vec<u8>>>;

    /// One step of a garbage collection: looks at `limit` links or blobs at most and moves `sweep` behind them. Links that no
    /// manifest of their repository uses go, then blobs without link that are no manifest either: those are [`leaving`]
    /// from then on. Returns the repositories that show less than before.
    ///
    /// [`leaving`]: Metadata::leaving
    fn sweep(&self, sweep: &mut Sweep, garbage: &Garbage<'_>, limit: usize) -> Result<Vec<String>>;

    /// Blobs, `limit` at most, whose bytes are to be removed: nobody knows them any more, or has since they were listed.
    fn leaving(&self, limit: usize) -> Result<Vec<Digest>>;

    /// Takes blobs off that list.
    fn left(&self, digests: &[Digest]) -> Result<()>;

    /// Runs `remove` while no blob can be recorded, unless this one is known (again).
    fn while_unknown(&self, digest: &Digest, remove: &mut dyn FnMut()) -> Result<()>;

    /// Shows changes that are still to be recorded, the oldest first and `limit` at most, to `write`, and to nobody else
    /// meanwhile. Where it succeeds they are not shown again. Returns how many there were.
    fn record(&self, limit: usize, write: &mut dyn FnMut(&[Change]) -> Result<()>) -> Result<usize>;

    /// Forgets what has been recorded.
    fn tidy(&self) -> Result<()>;

    /// Notes when manifests were pulled.
    fn note_pulls(&self, pulls: &[Pull]) -> Result<()>;

    /// What retention decides on.
    fn facts(&self, repository: &str) -> Result<(Vec<TagFact>, Vec<ManifestFact>)>;

    /// Removes what is still as it was seen; a manifest only while no tag points to it and no index names it. Returns
    /// what was removed.
    fn retire(&self, repository: &str, removals: &[Removal]) -> Result<Vec<Removal>>;

    /// All recorded blobs behind `last` in digest order, with their sizes.
    fn known_blobs(&self, last: &str, limit: usize) -> Result<Page<(Digest, u64)>>;

    /// Records bytes that are there without a row, as of now: garbage, unless somebody uses them in time.
    fn adopt(&self, found: &[(Digest, u64)]) -> Result<()>;

    /// Forgets a blob whose bytes are lost; returns the repositories that showed it.
    fn forget_blob(&self, digest: &Digest) -> Result<Vec<String>>;

    /// Takes in a manifest from its record, and shows the blobs of `present` it names.
    fn restore(&self, repository: &str, manifest: &Parsed, state: &Recorded, present: &[(Digest, u64)]) -> Result<()>;

    /// Lists the manifest among the changes, so that its record is written again.
    fn changed(&self, repository: &str, digest: &Digest) -> Result<()>;

    /// Whether the database holds together, by its own means. Returns what it complains of.
    fn complaints(&self) -> Result<Vec<String>>;

    /// Does what only one of several instances need do at a time; nothing where another is at it.
    fn alone(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}
