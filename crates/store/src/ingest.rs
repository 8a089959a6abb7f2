//! Blobs in the making: resumable by anyone, written by one.
//!
//! ```text
//! ingest/<alg>/<hex>         the bytes so far, in order; the writer holds an flock on this file
//! ingest/<alg>/<hex>.state   "1 <boot id> <offset> <hash state>": the hash of the first <offset> bytes
//! ```
//!
//! Law: partial bytes are kept until they prove wrong. The saved hash counts only in the boot it was made in: a power cut
//! may have changed what is on disk behind it, so after one the bytes are hashed again.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use knarr_spec::Digest;
use knarr_sys::sync_file_range::start_writeback;
use rusqlite::Connection;

use crate::blob::{self, Blob};
use crate::database::{Durability, Fault};
use crate::error::{Error, IoContext, Result};
use crate::hash::Hasher;
use crate::store::{Store, now_ns};
use crate::{lease, lock};

/// Bytes between two saves of the hash: what a killed download must hash again, 20 ms of work.
const SAVE_EVERY_BYTES: u64 = 32 << 20;

/// Bytes after which the disk begins to write while more arrive, so that the fsync at the end waits for little.
const FLUSH_EVERY_BYTES: u64 = 8 << 20;

/// Bytes read at once when a partial blob is hashed again.
const CHUNK_BYTES: usize = 256 << 10;

/// How far a blob is.
pub enum IngestState {
    /// It is there.
    Present(Blob),
    /// Another living thread or process is writing it.
    Busy(IngestBusy),
    /// It is ours to write, from [`Ingest::offset`] on.
    Partial(Ingest),
}

/// A blob that somebody else writes.
pub struct IngestBusy {
    file: File,
    path: PathBuf,
}

impl IngestBusy {
    /// Blocks until the writer finished, gave up or died. Then call [`Store::ingest`] again.
    pub fn wait(self) -> Result<()> {
        self.file.lock_shared().doing("lock", &self.path)
    }
}

/// A blob that is ours to write. Dropping it keeps the bytes for whoever comes next.
pub struct Ingest {
    store: Store,
    digest: Digest,
    size: Option<u64>,
    path: PathBuf,
    file: File,
    hasher: Box<Hasher>,
    offset: u64,
    saved: u64,
    flushed: u64,
}

impl Store {
    /// Starts or continues the blob `digest`, of `size` bytes where that is known. From here on the blob is protected from
    /// collection as long as this store is open.
    pub fn ingest(&self, digest: &Digest, size: Option<u64>) -> Result<IngestState> {
        let fresh = Hasher::for_digest(digest)?;
        if let Some(blob) = self.present(digest)? {
            return Ok(IngestState::Present(blob));
        }
        let path = self.partial_path(digest)?;
        let Some(mut file) = lock::try_lock(open_partial(&path)?, &path)? else {
            return Ok(IngestState::Busy(IngestBusy { file: open_partial(&path)?, path }));
        };
        // Between the look and the lock the last writer may have finished.
        if let Some(blob) = self.present(digest)? {
            let _ = std::fs::remove_file(&path);
            return Ok(IngestState::Present(blob));
        }
        if let Some(orphan) = self.adopt(digest, &path)? {
            file = orphan;
        }
        let ingest = Ingest {
            store: self.clone(),
            digest: digest.clone(),
            size,
            path,
            file,
            hasher: Box::new(fresh),
            offset: 0,
            saved: 0,
            flushed: 0,
        };
        ingest.catch_up().map(IngestState::Partial)
    }

    /// `ingest/<alg>/<hex>`.
    pub(crate) fn partial_path(&self, digest: &Digest) -> Result<PathBuf> {
        Ok(self.dir(&format!("ingest/{}", digest.algorithm().as_str()))?.join(digest.encoded()))
    }

    /// Makes finished blobs visible together.
    pub(crate) fn commit_all(&self, mut ingests: Vec<Ingest>) -> Result<()> {
        let token = self.lease()?;
        let mut dirs = BTreeSet::new();
        for ingest in &mut ingests {
            dirs.insert(self.dir(&format!("blobs/{}", ingest.digest.algorithm().as_str()))?);
            ingest.place()?;
        }
        dirs.iter().try_for_each(|dir| sync_dir(dir))?;
        self.database().write("add blob", Durability::Normal, |c| {
            ingests.iter().try_for_each(|ingest| ingest.record(c, &token))
        })?;
        ingests.iter_mut().for_each(Ingest::tidy);
        Ok(())
    }

    /// The blob if it is there, now protected by our lease. A row that lost its file is forgotten.
    fn present(&self, digest: &Digest) -> Result<Option<Blob>> {
        if self.database().read("find blob", |c| blob::row(c, digest))?.is_none() {
            return Ok(None);
        }
        let token = self.lease()?;
        let there = self.blob(digest)?;
        self.database().write("hold blob", Durability::Normal, |c| {
            if there.is_none() {
                c.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([digest.as_str()])?;
                return Ok(None);
            }
            lease::hold_blob(c, &token, digest.as_str())?;
            Ok(blob::row(c, digest)?.and(there))
        })
    }

    /// A finished file without a row, left by a death between its link and the commit, becomes the partial blob again; its
    /// bytes are verified like any.
    fn adopt(&self, digest: &Digest, partial: &Path) -> Result<Option<File>> {
        let path = self.blob_path(digest);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => reopen_writable(&path)?,
        };
        let Some(file) = lock::try_lock(file, &path)? else { return Ok(None) };
        std::fs::rename(&path, partial).doing("rename", &path)?;
        Ok(Some(file))
    }
}

/// Gives the finished file its place. Not a rename: the name that writers and collectors lock must lead to our locked
/// file until the row is there, or a collector takes the new blob for a stray.
fn link(partial: &Path, place: &Path) -> Result<()> {
    match std::fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("replace", place),
        _ => std::fs::hard_link(partial, place).doing("link", place),
    }
}

/// Finished files are read-only, which stops an ordinary user's `open` for writing.
fn reopen_writable(path: &Path) -> Result<File> {
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).doing("chmod", path)?;
    OpenOptions::new().read(true).write(true).open(path).doing("open", path)
}

pub(crate) fn open_partial(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    match options.open(path) {
        // A death between the last steps of a commit leaves the name of the finished, read-only file.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => reopen_writable(path),
        other => other.doing("open", path),
    }
}

impl Ingest {
    /// Bytes that are there already: ask the source for what follows them.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The digest this blob must have.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// A second descriptor that reads the bytes so far from the beginning, for unpacking while the rest arrives.
    pub fn read_back(&self) -> Result<File> {
        File::open(&self.path).doing("open", &self.path)
    }

    /// Drops the bytes so far, for a source that cannot continue in the middle.
    pub fn restart(&mut self) -> Result<()> {
        let _ = std::fs::remove_file(self.state_path());
        self.file.set_len(0).doing("truncate", &self.path)?;
        self.file.rewind().doing("seek", &self.path)?;
        *self.hasher = Hasher::for_digest(&self.digest)?;
        (self.offset, self.saved, self.flushed) = (0, 0, 0);
        Ok(())
    }

    /// Appends `bytes`. An error leaves what fitted in place.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        if let Some(expected) = self.size
            && self.offset + bytes.len() as u64 > expected
        {
            let actual = self.offset + bytes.len() as u64;
            return Err(Error::WrongSize { digest: self.digest.clone(), expected, actual });
        }
        while !bytes.is_empty() {
            let written = match self.file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.doing("write", &self.path)?,
            };
            self.hasher.update(&bytes[..written]);
            self.offset += written as u64;
            bytes = &bytes[written..];
        }
        if self.offset - self.flushed >= FLUSH_EVERY_BYTES {
            let _ = start_writeback(&self.file, self.flushed, self.offset - self.flushed);
            self.flushed = self.offset;
        }
        if self.offset - self.saved >= SAVE_EVERY_BYTES {
            self.save();
        }
        Ok(())
    }

    /// Verifies size and digest and makes the blob visible. Content that proves wrong is dropped.
    pub fn commit(self) -> Result<Blob> {
        let blob = Blob { digest: self.digest.clone(), bytes: self.offset };
        let store = self.store.clone();
        store.commit_all(vec![self])?;
        Ok(blob)
    }

    /// The bytes on the disk, under the blob's name.
    fn place(&mut self) -> Result<()> {
        self.verify()?;
        self.file.sync_data().doing("sync", &self.path)?;
        link(&self.path, &self.store.blob_path(&self.digest))
    }

    fn record(&self, c: &Connection, token: &str) -> Result<(), Fault> {
        c.prepare_cached("INSERT OR REPLACE INTO blobs (digest, bytes, stored_ns) VALUES (?1, ?2, ?3)")?.execute((
            self.digest.as_str(),
            self.offset,
            now_ns(),
        ))?;
        lease::hold_blob(c, token, self.digest.as_str())
    }

    /// The partial name goes; what fails here the next collection does.
    fn tidy(&mut self) {
        let _ = self.file.set_permissions(Permissions::from_mode(0o444));
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(self.state_path());
        self.saved = self.offset;
    }

    fn verify(&mut self) -> Result<()> {
        match self.size {
            // Too short is only unfinished: the bytes may be right, and the next try goes on from here.
            Some(expected) if self.offset < expected => {
                return Err(Error::WrongSize { digest: self.digest.clone(), expected, actual: self.offset });
            }
            _ => {}
        }
        let actual = self.hasher.as_ref().clone().finish();
        if actual == self.digest {
            return Ok(());
        }
        self.restart()?;
        Err(Error::WrongDigest { expected: self.digest.clone(), actual })
    }

    /// Brings hash and offset to the end of the bytes that are there.
    fn catch_up(mut self) -> Result<Ingest> {
        let length = self.file.metadata().doing("stat", &self.path)?.len();
        if self.size.is_some_and(|size| length > size) {
            self.restart()?;
            return Ok(self);
        }
        if let Some((offset, hasher)) = self.load(length) {
            (self.offset, self.saved, self.hasher) = (offset, offset, Box::new(hasher));
        }
        self.file.seek(SeekFrom::Start(self.offset)).doing("seek", &self.path)?;
        let mut chunk = vec![0; if length > self.offset { CHUNK_BYTES } else { 0 }];
        while self.offset < length {
            match self.file.read(&mut chunk).doing("read", &self.path)? {
                0 => break,
                got => {
                    self.hasher.update(&chunk[..got]);
                    self.offset += got as u64;
                }
            }
        }
        Ok(self)
    }

    fn state_path(&self) -> PathBuf {
        self.path.with_extension("state")
    }

    /// Puts the hash down. Only a saving of time: a failure costs nothing but that.
    fn save(&mut self) {
        let text = format!("1 {} {} {}\n", boot_id(), self.offset, self.hasher.save());
        let fresh = self.path.with_extension("state.new");
        if std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, self.state_path())).is_ok() {
            self.saved = self.offset;
        }
    }

    fn load(&self, length: u64) -> Option<(u64, Hasher)> {
        let text = std::fs::read_to_string(self.state_path()).ok()?;
        let [version, boot, offset, state] = text.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        let offset = offset.parse().ok()?;
        let usable = version == "1" && !boot.is_empty() && boot == boot_id() && offset <= length;
        usable.then(|| self.hasher.resume(state))?.map(|hasher| (offset, hasher))
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ingest::write(self, bytes).map_err(io_error)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if self.offset > self.saved {
            self.save();
        }
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } if source.raw_os_error().is_some() => source,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// The kernel's name for this boot; empty where it does not tell, which then matches nothing.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Makes renames into `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).doing("sync", dir)
}
