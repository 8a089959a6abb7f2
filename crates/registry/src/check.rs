//! `knarr registry check`: whether disk and database agree, and with `--repair` making them agree.
//!
//! Law: without `--repair` nothing is changed. With it, what is true on disk counts: bytes that no longer have their digest
//! are set aside (not deleted), what is lost is forgotten, so that clients push it again; manifests come from the database,
//! else from their blobs and records. A database that cannot be read is set aside and rebuilt.
//! Not here: running beside a server; `--repair` needs the root for itself.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use knarr_spec::Digest;

use crate::blobs::{Blobs, Stored};
use crate::clock::now;
use crate::config::Settings;
use crate::error::{Failure, IoContext, StorageError};
use crate::hasher::Hasher;
use crate::limits::{MANIFEST_BYTES_MAX, SEND_CHUNK_BYTES};
use crate::manifest;
use crate::metadata::{Metadata, Recorded, Sqlite};
use crate::records::{self, Record, VERSION};
use crate::route::ManifestReference;
use crate::server::ServeError;
use crate::storage::{self, Storage, Use};

/// Blobs read from the database in one go.
const BLOBS_AT_ONCE: usize = 1000;

/// Bytes younger than that may be a push that is just being finished.
const NEW_FOR: Duration = Duration::from_secs(3600);

/// As many rows as there are.
const ALL: usize = i64::MAX as usize;

/// The files of a database in WAL mode.
const DATABASE: [&str; 3] = [storage::DATABASE, "registry.db-wal", "registry.db-shm"];

/// Something that is not as it must be.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// The database itself cannot be used.
    Database(String),
    /// The bytes have another digest than their name, or another size than the database says.
    Rotten(Digest),
    /// The database knows a blob that is not there.
    Lost(Digest),
    /// Bytes the database does not know.
    Unknown(Digest),
    /// A record without its manifest in the database.
    Unlisted { repository: String, digest: Digest },
    /// A manifest without record, or with one that says something else.
    Unrecorded { repository: String, digest: Digest },
    /// A record that cannot be used, and why.
    BadRecord(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Database(why) => write!(f, "the database cannot be used: {why}"),
            Finding::Rotten(digest) => write!(f, "blob {digest}: the bytes are not those it was stored with"),
            Finding::Lost(digest) => write!(f, "blob {digest}: in the database, but nowhere else"),
            Finding::Unknown(digest) => write!(f, "blob {digest}: there, but not in the database"),
            Finding::Unlisted { repository, digest } => {
                write!(f, "manifest {repository}@{digest}: recorded, not in the database")
            }
            Finding::Unrecorded { repository, digest } => {
                write!(f, "manifest {repository}@{digest}: its record is not up to date")
            }
            Finding::BadRecord(why) => write!(f, "{why}"),
        }
    }
}

/// What a check saw.
#[derive(Debug, Default)]
pub struct Report {
    pub blobs: u64,
    pub bytes: u64,
    pub findings: Vec<Finding>,
}

/// Looks at everything the settings name, and mends it with `repair`.
pub fn check(settings: &Settings, repair: bool) -> Result<Report, ServeError> {
    let mut report = Report::default();
    let root = &settings.storage.root;
    let failed = |error: StorageError| ServeError::Root { root: root.clone(), source: error.into() };
    let lock = repair.then(|| storage::lock(root)).transpose()?;
    // A database in a file is looked at first: what is damaged cannot be opened.
    let in_file = settings.storage.metadata.is_none();
    if in_file && !make_usable(root, repair, &mut report).map_err(failed)? {
        read_blobs(&*storage::blobs(settings)?, repair, &mut report).map_err(failed)?;
        return Ok(report);
    }
    let how = if repair { Use::Mend } else { Use::Look };
    let storage = Storage::open_locked(settings, how, lock)?;
    let (database, blobs) = (&*storage.meta, &*storage.blobs);
    let sizes = read_blobs(blobs, repair, &mut report).map_err(failed)?;
    Check { database, blobs, sizes, repair }.run(&mut report).map_err(failed)?;
    Ok(report)
}

/// Whether there is a database that can be used. With `repair` one that cannot be is set aside, so that there will be a new one.
fn make_usable(root: &Path, repair: bool, report: &mut Report) -> Result<bool, StorageError> {
    let path = root.join(DATABASE[0]);
    if !path.exists() {
        report.findings.push(Finding::Database("there is none".into()));
        return Ok(repair);
    }
    let complaints = Sqlite::open(&path).and_then(|database| database.complaints());
    let why = match complaints {
        Ok(complaints) if complaints.is_empty() => return Ok(true),
        Ok(complaints) => complaints.join("; "),
        Err(error) => error.to_string(),
    };
    report.findings.push(Finding::Database(why));
    if !repair {
        return Ok(false);
    }
    let aside = root.join("damaged");
    std::fs::create_dir_all(&aside).what(|| format!("make {}", aside.display()))?;
    for name in DATABASE.iter().filter(|name| root.join(name).exists()) {
        let to: PathBuf = aside.join(format!("{name}.{}", now()));
        std::fs::rename(root.join(name), &to).what(|| format!("set {name} aside"))?;
    }
    Ok(true)
}

/// Hashes every blob; sizes of those that are whole.
fn read_blobs(blobs: &dyn Blobs, repair: bool, report: &mut Report) -> Result<HashMap<Digest, u64>, StorageError> {
    let (mut sizes, mut rotten) = (HashMap::new(), Vec::new());
    blobs.list(&mut |Stored { digest, size, .. }| {
        report.blobs += 1;
        report.bytes += size;
        match is_whole(blobs, &digest, size) {
            Ok(true) => drop(sizes.insert(digest, size)),
            // Bytes the disk does not give back are as good as rotten.
            Ok(false) | Err(_) => rotten.push(digest),
        }
        Ok(())
    })?;
    for digest in rotten {
        if repair {
            blobs.set_aside(&digest)?;
        }
        report.findings.push(Finding::Rotten(digest));
    }
    Ok(sizes)
}

fn is_whole(blobs: &dyn Blobs, digest: &Digest, size: u64) -> Result<bool, StorageError> {
    let Some(content) = blobs.open(digest)? else { return Ok(false) };
    let Some(mut hasher) = Hasher::new(&digest.algorithm()) else { return Ok(false) };
    let mut buffer = vec![0; SEND_CHUNK_BYTES];
    let mut at = 0;
    while at < size {
        let length = buffer.len().min(usize::try_from(size - at).unwrap_or(usize::MAX));
        content.read_at(&mut buffer[..length], at).what(|| format!("read blob {digest}"))?;
        hasher.update(&buffer[..length]);
        at += length as u64;
    }
    Ok(hasher.finish() == *digest)
}

struct Check<'a> {
    database: &'a dyn Metadata,
    blobs: &'a dyn Blobs,
    /// Blobs that are whole.
    sizes: HashMap<Digest, u64>,
    repair: bool,
}

impl Check<'_> {
    fn run(&mut self, report: &mut Report) -> Result<(), StorageError> {
        if self.repair {
            // What the database knows is written down before anything is taken from it.
            records::catch_up(self.database, self.blobs)?;
        }
        let recorded = self.read_records(report)?;
        self.compare_manifests(&recorded, report)?;
        let known = self.compare_blobs(report)?;
        self.compare_bytes(&known, report)?;
        if self.repair {
            records::catch_up(self.database, self.blobs)?;
        }
        Ok(())
    }

    /// The records, and manifests in the database for those that have none.
    fn read_records(&mut self, report: &mut Report) -> Result<HashMap<(String, Digest), Record>, StorageError> {
        let (mut records, mut bad) = (HashMap::new(), Vec::new());
        self.blobs.records(&mut |text| {
            match serde_json::from_slice::<Record>(text) {
                Ok(record) if record.version > VERSION => {
                    bad.push(format!("a record of version {} is newer than this program", record.version));
                }
                Ok(record) => match record.digest.parse::<Digest>() {
                    Ok(digest) => drop(records.insert((record.repository.clone(), digest), record)),
                    Err(error) => bad.push(format!("a record of {}: {error}", record.repository)),
                },
                Err(error) => bad.push(format!("a record cannot be read: {error}")),
            }
            Ok(())
        })?;
        report.findings.extend(bad.into_iter().map(Finding::BadRecord));
        for ((repository, digest), record) in &records {
            let reference = ManifestReference::Digest(digest.clone());
            if self.database.manifest(repository, &reference)?.is_some() {
                continue;
            }
            report.findings.push(Finding::Unlisted { repository: repository.clone(), digest: digest.clone() });
            if self.repair
                && let Err(why) = self.restore(repository, digest, record)
            {
                report.findings.push(Finding::BadRecord(why));
            }
        }
        Ok(records)
    }

    fn restore(&self, repository: &str, digest: &Digest, record: &Record) -> Result<(), String> {
        let said = |why: &dyn fmt::Display| format!("manifest {repository}@{digest} is not restored: {why}");
        let bytes = self.manifest_bytes(digest).map_err(|error| said(&error))?;
        let bytes = bytes.ok_or_else(|| said(&"its bytes are lost"))?;
        let reference = ManifestReference::Digest(digest.clone());
        let parsed = manifest::parse(&bytes, Some(&record.media_type), &reference)
            .map_err(|failure: Failure| said(&failure.message()))?;
        let present: Vec<(Digest, u64)> =
            parsed.blobs.iter().filter_map(|blob| Some((blob.clone(), *self.sizes.get(blob)?))).collect();
        let state =
            Recorded { media_type: record.media_type.clone(), bytes, pushed: record.pushed, tags: record.tags.clone() };
        self.database.restore(repository, &parsed, &state, &present).map_err(|error| said(&error))
    }

    fn manifest_bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StorageError> {
        let size = self.sizes.get(digest).copied().filter(|size| *size <= MANIFEST_BYTES_MAX as u64);
        let (Some(size), Some(content)) = (size, self.blobs.open(digest)?) else { return Ok(None) };
        let mut bytes = vec![0; size as usize];
        content.read_at(&mut bytes, 0).what(|| format!("read manifest {digest}"))?;
        Ok(Some(bytes))
    }

    /// Manifests of the database against their records and blobs.
    fn compare_manifests(
        &mut self,
        recorded: &HashMap<(String, Digest), Record>,
        report: &mut Report,
    ) -> Result<(), StorageError> {
        let mut last = String::new();
        loop {
            let page = self.database.repositories(&last, BLOBS_AT_ONCE)?;
            for repository in &page.entries {
                let (tags, manifests) = self.database.facts(repository)?;
                for fact in manifests {
                    let Ok(digest) = fact.digest.parse::<Digest>() else { continue };
                    let now: HashMap<&str, i64> = tags
                        .iter()
                        .filter(|tag| tag.digest == fact.digest)
                        .map(|tag| (tag.name.as_str(), tag.moved))
                        .collect();
                    let record = recorded.get(&(repository.clone(), digest.clone()));
                    let same = record.is_some_and(|record| {
                        record.tags.len() == now.len()
                            && record.tags.iter().all(|(tag, moved)| now.get(tag.as_str()) == Some(moved))
                    });
                    if !same || !self.sizes.contains_key(&digest) {
                        self.record_again(repository, digest, report)?;
                    }
                }
            }
            match page.entries.into_iter().last().filter(|_| page.more) {
                Some(name) => last = name,
                None => return Ok(()),
            }
        }
    }

    fn record_again(&mut self, repository: &str, digest: Digest, report: &mut Report) -> Result<(), StorageError> {
        let reference = ManifestReference::Digest(digest.clone());
        let stored = self.database.manifest(repository, &reference)?;
        if self.repair
            && let Some(stored) = stored
        {
            self.blobs.put_manifest(&digest, &stored.bytes)?;
            self.sizes.insert(digest.clone(), stored.bytes.len() as u64);
            self.database.changed(repository, &digest)?;
        }
        report.findings.push(Finding::Unrecorded { repository: repository.to_owned(), digest });
        Ok(())
    }

    /// Bytes the database does not know: a kill left them between their file and their row. They are recorded, and so become
    /// garbage like any. What has just come may still get its row from its server.
    fn compare_bytes(&self, known: &HashSet<Digest>, report: &mut Report) -> Result<(), StorageError> {
        let old = |modified: SystemTime| modified.elapsed().is_ok_and(|age| age > NEW_FOR);
        let leaving: HashSet<Digest> = self.database.leaving(ALL)?.into_iter().collect();
        let mut unknown = Vec::new();
        self.blobs.list(&mut |Stored { digest, size, modified }| {
            let is_whole = self.sizes.contains_key(&digest);
            if is_whole && !known.contains(&digest) && !leaving.contains(&digest) && (self.repair || old(modified)) {
                unknown.push((digest, size));
            }
            Ok(())
        })?;
        if self.repair {
            self.database.adopt(&unknown)?;
        }
        report.findings.extend(unknown.into_iter().map(|(digest, _)| Finding::Unknown(digest)));
        Ok(())
    }

    /// Blobs of the database that are not on disk, or not whole. Returns the others.
    fn compare_blobs(&self, report: &mut Report) -> Result<HashSet<Digest>, StorageError> {
        let (mut last, mut known) = (String::new(), HashSet::new());
        loop {
            let page = self.database.known_blobs(&last, BLOBS_AT_ONCE)?;
            for (digest, size) in &page.entries {
                if self.sizes.get(digest) == Some(size) {
                    known.insert(digest.clone());
                    continue;
                }
                if self.repair {
                    self.database.forget_blob(digest)?;
                }
                if !report.findings.contains(&Finding::Rotten(digest.clone())) {
                    report.findings.push(Finding::Lost(digest.clone()));
                }
            }
            match page.entries.last().filter(|_| page.more) {
                Some((digest, _)) => last = digest.to_string(),
                None => return Ok(known),
            }
        }
    }
}
