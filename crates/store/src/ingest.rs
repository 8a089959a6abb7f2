//! Blobs in the making: resumable by anyone, written by one.
//!
//! ```text
//! ingest/<alg>/<hex>         the bytes so far, in order; the writer holds an flock on this file
//! ingest/<alg>/<hex>.state   "1 <boot id> <offset> <hash state>": the hash of the first <offset> bytes
//! ```
//!
//! Law: partial bytes are kept until they prove wrong. The saved hash counts only in the boot it was made in: a power cut
//! may have changed what is on disk behind it, so after one the bytes are hashed again.

use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use knarr_spec::Digest;
use rusqlite::Connection;

use crate::blob::Blob;
use crate::database::Fault;
use crate::error::{Error, IoContext, Result};
use crate::hash::Hasher;
use crate::lock::Locked;
use crate::partial::link;
use crate::store::{Store, now_ns};
use crate::{lease, lock};

/// Bytes between two saves of the hash: what a killed download must hash again, 20 ms of work.
const SAVE_EVERY_BYTES: u64 = 32 << 20;

/// In the name of a finished file on its way to its partial name, for two system calls.
pub(crate) const TAKE_OVER_MARK: &str = "new-";

/// Bytes read at once when a partial blob is hashed again.
const CHUNK_BYTES: usize = 256 << 10;

/// A blob that is ours to write. Dropping it keeps the bytes for whoever comes next.
pub struct Ingest {
    store: Store,
    digest: Digest,
    size: Option<u64>,
    path: PathBuf,
    file: Locked,
    hasher: Box<Hasher>,
    offset: u64,
    saved: u64,
    /// The digest was computed by whoever wrote the file.
    trusted: bool,
}

impl Ingest {
    /// Of the open, locked `file`, as if it were empty.
    pub(crate) fn begin(
        store: Store,
        digest: Digest,
        size: Option<u64>,
        path: PathBuf,
        file: Locked,
    ) -> Result<Ingest> {
        let hasher = Box::new(Hasher::for_digest(&digest)?);
        Ok(Ingest { store, digest, size, path, file, hasher, offset: 0, saved: 0, trusted: false })
    }

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
        (self.offset, self.saved) = (0, 0);
        Ok(())
    }

    /// Puts the finished, unnamed `file` in the place of the bytes so far; its digest is not computed again. `false` where
    /// the file system cannot name it.
    pub(crate) fn take_over(&mut self, file: &File, bytes: u64) -> Result<bool> {
        let file = file.try_clone().doing("clone", &self.path)?;
        let fresh = self.path.with_extension(format!("{TAKE_OVER_MARK}{}", crate::store::token()?));
        // Locked before it has a name: who finds the name finds it held.
        let Some(file) = lock::lock_unnamed(file, &self.path)? else { return Ok(false) };
        if knarr_sys::fs::name_file(&*file, &fresh).is_err() {
            return Ok(false);
        }
        let _ = std::fs::remove_file(self.state_path());
        if let Err(error) = std::fs::rename(&fresh, &self.path) {
            let _ = std::fs::remove_file(&fresh);
            return Err(error).doing("rename", fresh);
        }
        (self.file, self.offset, self.saved) = (file, bytes, bytes);
        self.trusted = true;
        Ok(true)
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
    pub(crate) fn place(&mut self) -> Result<()> {
        self.verify()?;
        self.file.sync_data().doing("sync", &self.path)?;
        link(&self.path, &self.store.blob_path(&self.digest))
    }

    pub(crate) fn record(&self, c: &Connection, token: &str) -> Result<(), Fault> {
        c.prepare_cached("INSERT OR REPLACE INTO blobs (digest, bytes, stored_ns) VALUES (?1, ?2, ?3)")?.execute((
            self.digest.as_str(),
            self.offset,
            now_ns(),
        ))?;
        lease::hold_blob(c, token, self.digest.as_str())
    }

    /// The partial name goes; what fails here the next collection does.
    pub(crate) fn tidy(&mut self) {
        let _ = self.file.set_permissions(Permissions::from_mode(0o444));
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(self.state_path());
        self.saved = self.offset;
    }

    fn verify(&mut self) -> Result<()> {
        if self.trusted {
            return Ok(());
        }
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
    pub(crate) fn catch_up(mut self) -> Result<Ingest> {
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
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
