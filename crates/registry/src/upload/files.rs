//! Uploads as files, for one process.
//!
//! Law: every byte that was acknowledged is in the upload's file, so an upload goes on after the process was killed; the
//! hash is then computed again from the file. Before the first is acknowledged there is nothing to keep: an upload whose blob
//! comes in one request leaves no file but the blob's.
//!
//! ```text
//! <root>/uploads/<id>         bytes received so far
//! <root>/uploads/<id>.json    whose upload it is, from its first acknowledgement on
//! ```

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use knarr_spec::{Algorithm, Digest};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{Uploads, incomputable, mismatch, random_id, unknown};
use crate::blobs::Blobs;
use crate::error::{Failure, IoContext, StorageError};
use crate::hasher::Hasher;
use crate::limits::SEND_CHUNK_BYTES;

/// What is kept beside the bytes of an upload.
#[derive(Serialize, Deserialize)]
struct Owner {
    repository: String,
    algorithm: String,
}

/// One upload; locked by the request that works on it.
pub struct Upload {
    id: String,
    path: PathBuf,
    repository: String,
    blobs: Arc<dyn Blobs>,
    /// Open while a request writes; an upload that waits for its next chunk holds no descriptor.
    file: Option<File>,
    /// Bytes received so far; read by who asks for the progress without waiting for who writes.
    offset: Arc<AtomicU64>,
    algorithm: Algorithm,
    hasher: Hasher,
    /// Where it says whose it is, until that is written; held for as long, since nobody else says so.
    unsaid: Option<(PathBuf, Busy)>,
}

/// An upload held by a request.
pub type Held = OwnedMutexGuard<Upload>;

/// An upload of this process, and what can be known of it while a request holds it.
#[derive(Clone)]
struct Known {
    upload: Arc<AsyncMutex<Upload>>,
    repository: String,
    offset: Arc<AtomicU64>,
    begun: Instant,
}

impl Known {
    fn new(upload: Upload) -> Known {
        let (repository, offset) = (upload.repository.clone(), upload.offset.clone());
        Known { upload: Arc::new(AsyncMutex::new(upload)), repository, offset, begun: Instant::now() }
    }

    /// Whether nothing came for so long.
    fn is_forgotten(&self, idle_max: Duration) -> bool {
        self.offset.load(Ordering::Acquire) == 0 && self.begun.elapsed() > idle_max && self.upload.try_lock().is_ok()
    }
}

/// All uploads of a process.
pub struct Files {
    directory: PathBuf,
    blobs: Arc<dyn Blobs>,
    sessions: Mutex<HashMap<String, Known>>,
    busy: Arc<Mutex<HashMap<String, usize>>>,
}

/// Says that somebody uploads to a repository, as long as it lives.
struct Busy {
    repository: String,
    table: Arc<Mutex<HashMap<String, usize>>>,
}

impl Busy {
    fn new(table: &Arc<Mutex<HashMap<String, usize>>>, repository: &str) -> Busy {
        *table.lock().unwrap_or_else(PoisonError::into_inner).entry(repository.to_owned()).or_default() += 1;
        Busy { repository: repository.to_owned(), table: table.clone() }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.get_mut(&self.repository) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.repository);
            }
        }
    }
}

impl Files {
    /// Uploads below `directory` that become blobs of `blobs`.
    pub fn open(directory: PathBuf, blobs: Arc<dyn Blobs>) -> Result<Files, StorageError> {
        std::fs::create_dir_all(&directory).what(|| format!("make {}", directory.display()))?;
        Ok(Files { directory, blobs, sessions: Mutex::default(), busy: Arc::default() })
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upload `id` of `repository`; after a restart, from its file.
    fn known(&self, repository: &str, id: &str) -> Result<Known, Failure> {
        let known = self.sessions().get(id).cloned();
        let known = match known {
            Some(known) => known,
            None => {
                let upload = self.reopen(id)?.ok_or_else(|| unknown(repository, id))?;
                self.sessions().entry(id.to_owned()).or_insert_with(|| Known::new(upload)).clone()
            }
        };
        if known.repository == repository { Ok(known) } else { Err(unknown(repository, id)) }
    }

    /// As [`Uploads::whole`], as a file.
    pub fn whole_file(&self, repository: &str, algorithm: Algorithm) -> Result<Held, StorageError> {
        let id = random_id().what(|| "draw an upload id".into())?;
        let upload = self.create(&id, repository, algorithm);
        let file = Some(upload.reopened()?);
        let upload = Upload { file, ..upload };
        Ok(Arc::new(AsyncMutex::new(upload)).try_lock_owned().expect("nobody else has it"))
    }

    fn create(&self, id: &str, repository: &str, algorithm: Algorithm) -> Upload {
        let hasher = Hasher::new(&algorithm).expect("only computable algorithms are accepted");
        Upload {
            id: id.to_owned(),
            path: self.path(id),
            repository: repository.to_owned(),
            blobs: self.blobs.clone(),
            file: None,
            offset: Arc::default(),
            algorithm,
            hasher,
            unsaid: Some((self.owner_path(id), Busy::new(&self.busy, repository))),
        }
    }

    fn reopen(&self, id: &str) -> Result<Option<Upload>, StorageError> {
        let owner: Owner = match std::fs::read(self.owner_path(id)) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(owner) => owner,
                Err(_) => return Ok(None),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).what(|| format!("read upload {id}")),
        };
        let algorithm = crate::manifest::upload_algorithm(Some(&owner.algorithm)).unwrap_or(Algorithm::Sha256);
        let path = self.path(id);
        OpenOptions::new().append(true).create(true).open(&path).what(|| "reopen an upload".into())?;
        own(&path)?;
        let (hasher, offset) = hash_file(&path, &algorithm)?;
        Ok(Some(Upload {
            id: id.to_owned(),
            path,
            repository: owner.repository,
            blobs: self.blobs.clone(),
            file: None,
            offset: Arc::new(AtomicU64::new(offset)),
            algorithm,
            hasher,
            unsaid: None,
        }))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    fn owner_path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }
}

impl Uploads for Files {
    fn begin(&self, repository: &str, algorithm: Algorithm) -> Result<String, StorageError> {
        let id = random_id().what(|| "draw an upload id".into())?;
        let upload = self.create(&id, repository, algorithm);
        self.sessions().insert(id.clone(), Known::new(upload));
        Ok(id)
    }

    /// Nothing is written before the first byte comes.
    fn begin_at_once(&self, repository: &str, algorithm: &Algorithm) -> Option<Result<String, StorageError>> {
        Some(self.begin(repository, algorithm.clone()))
    }

    fn whole(&self, repository: &str, algorithm: Algorithm) -> Result<Box<dyn super::Session>, StorageError> {
        Ok(Box::new(self.whole_file(repository, algorithm)?))
    }

    fn find(&self, repository: &str, id: &str) -> Result<Box<dyn super::Session>, Failure> {
        let held = self.known(repository, id)?.upload.try_lock_owned().map_err(|_| super::busy(id))?;
        Ok(Box::new(held))
    }

    /// Uploads this process has been working on need not be read from their files.
    fn find_at_once(&self, repository: &str, id: &str) -> Option<Result<Box<dyn super::Session>, Failure>> {
        let is_known = self.sessions().contains_key(id);
        is_known.then(|| self.find(repository, id))
    }

    fn offset(&self, repository: &str, id: &str) -> Result<u64, Failure> {
        Ok(self.known(repository, id)?.offset.load(Ordering::Acquire))
    }

    fn forget(&self, id: &str) {
        self.sessions().remove(id);
        for path in [self.path(id), self.owner_path(id)] {
            // What stays behind here is removed by `expire` one day.
            let _ = std::fs::remove_file(path);
        }
    }

    fn expire(&self, idle_max: Duration) -> Result<usize, StorageError> {
        let entries = std::fs::read_dir(&self.directory).what(|| "list uploads".into())?;
        let mut removed = HashSet::new();
        for entry in entries.flatten() {
            let age =
                entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| SystemTime::now().duration_since(t).ok());
            let name = entry.file_name();
            let Some(id) = name.to_str().map(|name| name.trim_end_matches(".json")) else { continue };
            let data_idle = std::fs::metadata(self.path(id)).and_then(|m| m.modified()).ok();
            let data_idle = data_idle.and_then(|t| SystemTime::now().duration_since(t).ok()).or(age);
            if data_idle.is_some_and(|idle| idle > idle_max) {
                self.forget(id);
                removed.insert(id.to_owned());
            }
        }
        let mut sessions = self.sessions();
        let before = sessions.len();
        sessions.retain(|_, known| !known.is_forgotten(idle_max));
        Ok(removed.len() + before - sessions.len())
    }

    /// Also after a restart.
    fn busy(&self) -> Result<HashSet<String>, StorageError> {
        let mut busy: HashSet<String> =
            self.busy.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let entries = std::fs::read_dir(&self.directory).what(|| "list uploads".into())?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some()) {
            let owner = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Owner>(&bytes).ok());
            busy.extend(owner.map(|owner| owner.repository));
        }
        Ok(busy)
    }
}

impl Upload {
    /// The upload's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it or, where that fails, nothing.
    fn write(&mut self, mut slices: &mut [IoSlice<'_>]) -> Result<(), StorageError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.reopened()?,
        };
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let written = match file.write_vectored(slices) {
                Ok(0) => Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                written => written,
            };
            match written {
                Ok(bytes) => IoSlice::advance_slices(&mut slices, bytes),
                Err(error) => {
                    file.set_len(self.offset.load(Ordering::Acquire)).what(|| "take back part of a write".into())?;
                    return Err(error).what(|| "write an upload".into());
                }
            }
        }
        self.file = Some(file);
        Ok(())
    }

    /// The file, which is made when the first bytes come.
    fn reopened(&self) -> Result<File, StorageError> {
        OpenOptions::new().append(true).create(true).open(&self.path).what(|| "open an upload".into())
    }
}

impl super::Session for Held {
    fn id(&self) -> &str {
        &self.id
    }

    fn offset(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.write(&mut [IoSlice::new(bytes)])?;
        self.hasher.update(bytes);
        self.offset.fetch_add(bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    /// All at once: a megabyte comes in many small pieces, each of which would be a call of its own.
    fn append_all(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        self.write(&mut slices)?;
        for piece in pieces {
            self.hasher.update(piece);
            self.offset.fetch_add(piece.len() as u64, Ordering::Release);
        }
        Ok(())
    }

    /// Closes the file until more is appended.
    fn acknowledge(&mut self) -> Result<(), Failure> {
        self.file = None;
        if let Some((path, _busy)) = &self.unsaid {
            let owner = Owner { repository: self.repository.clone(), algorithm: self.algorithm.as_str().to_owned() };
            let text = serde_json::to_vec(&owner).expect("two strings");
            std::fs::write(path, text).what(|| format!("note whose upload {} is", self.id))?;
            self.unsaid = None;
        }
        Ok(())
    }

    fn verify(&mut self, wanted: &Digest) -> Result<(), Failure> {
        let algorithm = wanted.algorithm();
        let found = if algorithm == self.algorithm {
            self.hasher.clone().finish()
        } else if algorithm.hasher_known() {
            self.reopened()?;
            hash_file(&self.path, &algorithm)?.0.finish()
        } else {
            return Err(incomputable(&algorithm));
        };
        if found == *wanted { Ok(()) } else { Err(mismatch(self.offset(), &found, wanted)) }
    }

    /// The blob is a second name of the upload's file, which must not be written to any more.
    fn store(&mut self, digest: &Digest) -> Result<(), StorageError> {
        if self.offset() == 0 {
            self.reopened()?;
        }
        self.file = None;
        self.blobs.put(digest, &self.path)
    }
}

/// A file with a second name had become a blob when the process was killed: the upload goes on in a copy.
fn own(path: &Path) -> Result<(), StorageError> {
    let links = std::fs::metadata(path).what(|| "reopen an upload".into())?.nlink();
    if links == 1 {
        return Ok(());
    }
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).and_then(|_| std::fs::rename(&copy, path)).what(|| "copy an upload".into())
}

fn hash_file(path: &Path, algorithm: &Algorithm) -> Result<(Hasher, u64), StorageError> {
    let mut hasher = Hasher::new(algorithm).expect("only computable algorithms are accepted");
    let mut file = File::open(path).what(|| "read an upload".into())?;
    let mut buffer = vec![0; SEND_CHUNK_BYTES];
    let mut offset = 0;
    loop {
        let read = file.read(&mut buffer).what(|| "read an upload".into())?;
        if read == 0 {
            return Ok((hasher, offset));
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::{self, Blobs};
    use crate::upload::contract;

    fn open(root: &Path) -> Files {
        let blobs: Arc<dyn Blobs> = Arc::new(blobs::Files::open(root).unwrap());
        Files::open(root.join("uploads"), blobs).unwrap()
    }

    #[test]
    fn files_keep_the_contract() {
        let root = tempfile::tempdir().unwrap();
        contract::check(|| open(root.path()), &blobs::Files::open(root.path()).unwrap(), 1 << 20);
    }

    #[test]
    fn an_upload_that_became_a_blob_before_a_kill_never_writes_to_the_blob() {
        let root = tempfile::tempdir().unwrap();
        let first = open(root.path());
        let id = first.begin("a", Algorithm::Sha256).unwrap();
        let mut upload = first.find("a", &id).unwrap();
        upload.append(b"abc").unwrap();
        upload.acknowledge().unwrap();
        let abc = Digest::sha256_of(b"abc");
        upload.store(&abc).unwrap();
        // The process is killed here; another takes its place.
        let mut upload = open(root.path()).find("a", &id).unwrap();
        upload.append(b"def").unwrap();
        upload.verify(&Digest::sha256_of(b"abcdef")).unwrap();
        let blob = blobs::Files::open(root.path()).unwrap().open(&abc).unwrap().unwrap();
        let mut bytes = [0; 3];
        blob.read_at(&mut bytes, 0).unwrap();
        assert_eq!((blob.size(), &bytes), (3, b"abc"));
    }

    #[test]
    fn who_uploads_keeps_the_repository_busy_also_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let uploads = open(root.path());
        let id = uploads.begin("a", Algorithm::Sha256).unwrap();
        uploads.begin("c", Algorithm::Sha256).unwrap();
        uploads.find("a", &id).unwrap().acknowledge().unwrap();
        let whole = uploads.whole("b", Algorithm::Sha256).unwrap();
        assert_eq!(uploads.busy().unwrap(), ["a", "b", "c"].map(str::to_owned).into());
        uploads.expire(Duration::ZERO).unwrap();
        assert_eq!(uploads.busy().unwrap(), HashSet::from(["b".to_owned()]), "nothing came");
        let id = uploads.begin("a", Algorithm::Sha256).unwrap();
        uploads.find("a", &id).unwrap().acknowledge().unwrap();
        assert_eq!(uploads.busy().unwrap(), HashSet::from(["a".to_owned(), "b".to_owned()]));
        drop(whole);
        let restarted = open(root.path());
        assert_eq!(restarted.busy().unwrap(), HashSet::from(["a".to_owned()]));
        restarted.forget(&id);
        assert!(restarted.busy().unwrap().is_empty());
    }
}
