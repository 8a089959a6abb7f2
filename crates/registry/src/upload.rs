//! Uploads in progress.
//!
//! Law: every byte that was acknowledged is in the upload's file, so an upload goes on after the process was killed; the
//! hash is then computed again from the file.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use knarr_spec::{Algorithm, Digest};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex as AsyncMutex;

use crate::error::{Code, Failure, IoContext, StorageError};
use crate::hasher::Hasher;
use crate::limits::SEND_CHUNK_BYTES;

/// What is kept beside the bytes of an upload.
#[derive(Serialize, Deserialize)]
struct Owner {
    repository: String,
    algorithm: String,
}

/// One upload; locked by the request that works on it.
pub struct Session {
    path: PathBuf,
    repository: String,
    /// Open while a request writes; an upload that waits for its next chunk holds no descriptor.
    file: Option<File>,
    offset: u64,
    algorithm: Algorithm,
    hasher: Hasher,
    /// Held by an upload that has no file of its owner.
    _busy: Option<Busy>,
}

/// A session shared between the table and the request that holds it.
pub type Shared = Arc<AsyncMutex<Session>>;

/// All uploads in progress.
pub struct Uploads {
    directory: PathBuf,
    sessions: Mutex<HashMap<String, Shared>>,
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

impl Uploads {
    pub fn open(directory: PathBuf) -> Result<Uploads, StorageError> {
        std::fs::create_dir_all(&directory).what(|| format!("make {}", directory.display()))?;
        Ok(Uploads { directory, sessions: Mutex::default(), busy: Arc::default() })
    }

    /// Repositories somebody uploads to, also after a restart.
    pub fn busy(&self) -> Result<HashSet<String>, StorageError> {
        let mut busy: HashSet<String> =
            self.busy.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let entries = std::fs::read_dir(&self.directory).what(|| "list uploads".into())?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some()) {
            let owner = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Owner>(&bytes).ok());
            busy.extend(owner.map(|owner| owner.repository));
        }
        Ok(busy)
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, Shared>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload and returns its id.
    pub fn begin(&self, repository: &str, algorithm: Algorithm) -> Result<String, StorageError> {
        let id = random_id().what(|| "draw an upload id".into())?;
        let owner = Owner { repository: repository.to_owned(), algorithm: algorithm.as_str().to_owned() };
        let text = serde_json::to_vec(&owner).expect("two strings");
        std::fs::write(self.owner_path(&id), text).what(|| format!("begin upload {id}"))?;
        let session = Session::create(self.path(&id), repository, algorithm)?;
        self.sessions().insert(id.clone(), Arc::new(AsyncMutex::new(session)));
        Ok(id)
    }

    /// A session without a name, for a blob that comes in one request.
    pub fn anonymous(&self, repository: &str, algorithm: Algorithm) -> Result<Session, StorageError> {
        let id = random_id().what(|| "draw an upload id".into())?;
        let session = Session::create(self.path(&id), repository, algorithm)?;
        Ok(Session { _busy: Some(Busy::new(&self.busy, repository)), ..session })
    }

    /// The upload `id` of `repository`, also when it was begun before a restart.
    pub fn find(&self, repository: &str, id: &str) -> Result<Shared, Failure> {
        let unknown = || {
            Failure::new(Code::BlobUploadUnknown, format!("no upload {id} in {repository}"))
                .with_detail(json!({"name": repository, "upload": id}))
        };
        let known = self.sessions().get(id).cloned();
        let session = match known {
            Some(session) => session,
            None => {
                let session = self.reopen(id)?.ok_or_else(unknown)?;
                self.sessions().entry(id.to_owned()).or_insert_with(|| Arc::new(AsyncMutex::new(session))).clone()
            }
        };
        let owner = session.try_lock().map(|session| session.repository == repository);
        match owner {
            Ok(true) => Ok(session),
            Ok(false) => Err(unknown()),
            Err(_) => {
                Err(Failure::new(Code::BlobUploadInvalid, format!("upload {id} is being written by another request"))
                    .with_status(axum::http::StatusCode::CONFLICT))
            }
        }
    }

    fn reopen(&self, id: &str) -> Result<Option<Session>, StorageError> {
        let owner: Owner = match std::fs::read(self.owner_path(id)) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(owner) => owner,
                Err(_) => return Ok(None),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).what(|| format!("read upload {id}")),
        };
        let algorithm = crate::manifest::upload_algorithm(Some(&owner.algorithm)).unwrap_or(Algorithm::Sha256);
        Session::reopen(self.path(id), owner.repository, algorithm).map(Some)
    }

    /// Forgets an upload that became a blob or was cancelled.
    pub fn forget(&self, id: &str) {
        self.sessions().remove(id);
        for path in [self.path(id), self.owner_path(id)] {
            // What stays behind here is removed by `expire` one day.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Removes uploads nobody has touched for `idle_max`. Returns how many.
    pub fn expire(&self, idle_max: Duration) -> Result<usize, StorageError> {
        let entries = std::fs::read_dir(&self.directory).what(|| "list uploads".into())?;
        let mut removed = 0;
        for entry in entries.flatten() {
            let age =
                entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| SystemTime::now().duration_since(t).ok());
            let name = entry.file_name();
            let Some(id) = name.to_str().map(|name| name.trim_end_matches(".json")) else { continue };
            let data_idle = std::fs::metadata(self.path(id)).and_then(|m| m.modified()).ok();
            let data_idle = data_idle.and_then(|t| SystemTime::now().duration_since(t).ok()).or(age);
            if data_idle.is_some_and(|idle| idle > idle_max) {
                self.forget(id);
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    fn owner_path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }
}

impl Session {
    fn create(path: PathBuf, repository: &str, algorithm: Algorithm) -> Result<Session, StorageError> {
        let file = OpenOptions::new().append(true).create_new(true).open(&path).what(|| "begin an upload".into())?;
        let hasher = Hasher::new(&algorithm).expect("only computable algorithms are accepted");
        let (repository, file) = (repository.to_owned(), Some(file));
        Ok(Session { path, repository, file, offset: 0, algorithm, hasher, _busy: None })
    }

    fn reopen(path: PathBuf, repository: String, algorithm: Algorithm) -> Result<Session, StorageError> {
        OpenOptions::new().append(true).create(true).open(&path).what(|| "reopen an upload".into())?;
        own(&path)?;
        let (hasher, offset) = hash_file(&path, &algorithm)?;
        Ok(Session { path, repository, file: None, offset, algorithm, hasher, _busy: None })
    }

    /// Bytes received so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The upload's file, to be adopted as a blob.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file until more is appended.
    pub fn rest(&mut self) {
        self.file = None;
    }

    /// Appends bytes; all of them or, where that fails, none.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).open(&self.path).what(|| "reopen an upload".into())?,
        };
        if let Err(error) = file.write_all(bytes) {
            file.set_len(self.offset).what(|| "take back part of a write".into())?;
            return Err(error).what(|| "write an upload".into());
        }
        self.file = Some(file);
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Whether everything received has the digest `wanted`; a refusal otherwise.
    pub fn verify(&mut self, wanted: &Digest) -> Result<(), Failure> {
        let algorithm = wanted.algorithm();
        let hasher = if algorithm == self.algorithm {
            std::mem::replace(&mut self.hasher, Hasher::new(&self.algorithm).expect("known"))
        } else if algorithm.hasher_known() {
            hash_file(&self.path, &algorithm)?.0
        } else {
            return Err(Failure::new(Code::DigestInvalid, format!("cannot compute {} digests", algorithm.as_str())));
        };
        let found = hasher.finish();
        if found == *wanted {
            return Ok(());
        }
        Err(Failure::new(
            Code::DigestInvalid,
            format!("the {} bytes sent have the digest {found}, not {wanted}", self.offset),
        )
        .with_detail(json!({"bytes": self.offset, "found": found.as_str(), "wanted": wanted.as_str()})))
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

fn random_id() -> std::io::Result<String> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_that_became_a_blob_before_a_kill_never_writes_to_the_blob() {
        let root = tempfile::tempdir().unwrap();
        let blob = root.path().join("blob");
        let uploads = || Uploads::open(root.path().join("uploads")).unwrap();
        let first = uploads();
        let id = first.begin("a", Algorithm::Sha256).unwrap();
        first.find("a", &id).unwrap().try_lock().unwrap().append(b"abc").unwrap();
        std::fs::hard_link(first.path(&id), &blob).unwrap();
        // The process is killed here; another takes its place.
        let session = uploads().find("a", &id).unwrap();
        let mut session = session.try_lock().unwrap();
        session.append(b"def").unwrap();
        session.verify(&Digest::sha256_of(b"abcdef")).unwrap();
        assert_eq!(std::fs::read(blob).unwrap(), b"abc");
    }

    #[test]
    fn who_uploads_keeps_the_repository_busy_also_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(root.path().to_owned()).unwrap();
        let id = uploads.begin("a", Algorithm::Sha256).unwrap();
        let whole = uploads.anonymous("b", Algorithm::Sha256).unwrap();
        assert_eq!(uploads.busy().unwrap(), HashSet::from(["a".to_owned(), "b".to_owned()]));
        drop(whole);
        let restarted = Uploads::open(root.path().to_owned()).unwrap();
        assert_eq!(restarted.busy().unwrap(), HashSet::from(["a".to_owned()]));
        restarted.forget(&id);
        assert!(restarted.busy().unwrap().is_empty());
    }
}
