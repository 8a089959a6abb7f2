//! Uploads in progress.
//!
//! Law: every byte that was acknowledged is in the upload's file, so an upload goes on after the process was killed; the
//! hash is then computed again from the file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
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
    file: File,
    offset: u64,
    algorithm: Algorithm,
    hasher: Hasher,
}

/// A session shared between the table and the request that holds it.
pub type Shared = Arc<AsyncMutex<Session>>;

/// All uploads in progress.
pub struct Uploads {
    directory: PathBuf,
    sessions: Mutex<HashMap<String, Shared>>,
}

impl Uploads {
    pub fn open(directory: PathBuf) -> Result<Uploads, StorageError> {
        std::fs::create_dir_all(&directory).what(|| format!("make {}", directory.display()))?;
        Ok(Uploads { directory, sessions: Mutex::default() })
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
        Session::create(self.path(&id), repository, algorithm)
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
        let file = OpenOptions::new().write(true).create_new(true).open(&path).what(|| "begin an upload".into())?;
        let hasher = Hasher::new(&algorithm).expect("only computable algorithms are accepted");
        Ok(Session { path, repository: repository.to_owned(), file, offset: 0, algorithm, hasher })
    }

    fn reopen(path: PathBuf, repository: String, algorithm: Algorithm) -> Result<Session, StorageError> {
        let file = OpenOptions::new().append(true).create(true).open(&path).what(|| "reopen an upload".into())?;
        let (hasher, offset) = hash_file(&path, &algorithm)?;
        Ok(Session { path, repository, file, offset, algorithm, hasher })
    }

    /// Bytes received so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The upload's file, to be adopted as a blob.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends bytes. After an error the session must not be used: file and hash may differ.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_all(bytes).what(|| "write an upload".into())?;
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
