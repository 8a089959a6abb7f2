//! A blob on its way into a directory: what a killed copy left of it is gone on with.
//!
//! Law: the bytes so far are `.new-<digits of the digest>`, in order, from the first on; who writes has its lock. It gets its
//! name when size and digest agree. What an ordinary failure leaves stays only where fetching it again would take a while.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use knarr_spec::Descriptor;

use crate::Problem;
use crate::hash::Hash;
use crate::sink::Opener;

/// What is shorter is not kept.
const KEPT_BYTES_MIN: u64 = 1 << 20;

/// Bytes read back at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Writes the blob into `dir`, under the digits of its digest.
pub(super) fn store_blob(dir: &Path, blob: &Descriptor, open: &Opener<'_>, tell: &dyn Fn(u64)) -> Result<(), Problem> {
    let Some(mut partial) = Partial::open(dir, blob)? else { return Ok(()) };
    let (mut hash, begun) = partial.catch_up(blob)?;
    let mut outcome = partial.go_on(blob, open, tell, &mut hash);
    if begun > 0 && matches!(outcome, Err(Problem::DigestMismatch { .. })) {
        // The bytes that were there may have been spoiled, by a power cut for one.
        partial.restart()?;
        hash = Hash::like(&blob.digest)?;
        outcome = partial.go_on(blob, open, tell, &mut hash);
    }
    partial.end(dir, blob, outcome)
}

/// The file, and how much of it is there.
struct Partial {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Partial {
    /// Ours to write; `None` where somebody else finished it while we waited for the lock.
    fn open(dir: &Path, blob: &Descriptor) -> Result<Option<Partial>, Problem> {
        let path = dir.join(format!(".new-{}", blob.digest.encoded()));
        let failed = |source| Problem::File { path: path.clone(), source };
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
            let file = file.map_err(failed)?;
            file.lock().map_err(failed)?;
            let ours = file.metadata().map_err(failed)?;
            // Who had the lock may have given the file its name.
            if fs::metadata(&path).is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Some(Partial { file, path, bytes: 0 }));
            }
            if fs::metadata(dir.join(blob.digest.encoded())).is_ok_and(|there| there.len() == blob.size) {
                return Ok(None);
            }
        }
    }

    /// Hashes what is there, and says how much that is.
    fn catch_up(&mut self, blob: &Descriptor) -> Result<(Hash, u64), Problem> {
        let mut hash = Hash::like(&blob.digest)?;
        if self.file.metadata().map_err(|source| self.failed(source))?.len() > blob.size {
            self.restart()?;
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match self.file.read(&mut chunk).map_err(|source| self.failed(source))? {
                0 => return Ok((hash, self.bytes)),
                got => {
                    hash.update(&chunk[..got]);
                    self.bytes += got as u64;
                }
            }
        }
    }

    fn restart(&mut self) -> Result<(), Problem> {
        self.bytes = 0;
        let emptied = self.file.set_len(0).and_then(|()| std::io::Seek::rewind(&mut self.file));
        emptied.map_err(|source| self.failed(source))
    }

    /// Writes the rest, and compares the whole.
    fn go_on(
        &mut self,
        blob: &Descriptor,
        open: &Opener<'_>,
        tell: &dyn Fn(u64),
        hash: &mut Hash,
    ) -> Result<(), Problem> {
        if self.bytes < blob.size || blob.size == 0 {
            let mut stream = open(self.bytes)?;
            while let Some(chunk) = stream.chunk()? {
                if self.bytes + chunk.len() as u64 > blob.size {
                    let got = self.bytes + chunk.len() as u64;
                    return Err(Problem::Size { by: "source", got, more: true, promised: blob.size });
                }
                hash.update(&chunk);
                self.file.write_all(&chunk).map_err(|source| self.failed(source))?;
                self.bytes += chunk.len() as u64;
                tell(self.bytes);
            }
        }
        if self.bytes < blob.size {
            return Err(Problem::Size { by: "source", got: self.bytes, more: false, promised: blob.size });
        }
        match hash.digest() {
            got if got == blob.digest => Ok(()),
            got => Err(Problem::DigestMismatch { got, promised: blob.digest.clone() }),
        }
    }

    /// Gives a whole blob its name; keeps of another what may be of use.
    fn end(self, dir: &Path, blob: &Descriptor, outcome: Result<(), Problem>) -> Result<(), Problem> {
        match &outcome {
            Ok(()) => {
                let named = fs::rename(&self.path, dir.join(blob.digest.encoded()));
                return named.map_err(|source| self.failed(source));
            }
            Err(Problem::DigestMismatch { .. } | Problem::Size { .. }) => {}
            Err(_) if self.bytes >= KEPT_BYTES_MIN => return outcome,
            Err(_) => {}
        }
        // Under the lock, so that nobody else's is taken away.
        let _ = fs::remove_file(&self.path);
        outcome
    }

    fn failed(&self, source: std::io::Error) -> Problem {
        Problem::File { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Mutex;

    use bytes::Bytes;
    use knarr_spec::{Digest, media_type};

    use super::*;
    use crate::origin::Stream;

    struct Once(Option<Bytes>);

    impl Stream for Once {
        fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
            Ok(self.0.take().filter(|bytes| !bytes.is_empty()))
        }
    }

    /// Stores `content` over a partial file that holds `left`; the offsets asked for, and how it ended.
    fn check(content: &[u8], left: Option<&[u8]>) -> (Vec<u64>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256_of(content), content.len() as u64);
        if let Some(left) = left {
            fs::write(dir.path().join(format!(".new-{}", blob.digest.encoded())), left).unwrap();
        }
        let asked = Mutex::new(Vec::new());
        let open = |offset: u64| {
            asked.lock().unwrap().push(offset);
            let rest = Bytes::copy_from_slice(&content[offset as usize..]);
            Ok(Box::new(Once(Some(rest))) as Box<dyn Stream>)
        };
        let told = RefCell::new(0);
        store_blob(dir.path(), &blob, &open, &|bytes| *told.borrow_mut() = bytes).unwrap();
        assert_eq!(fs::read(dir.path().join(blob.digest.encoded())).unwrap(), content);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        (asked.into_inner().unwrap(), dir)
    }

    #[test]
    fn what_is_there_is_not_asked_for_again() {
        assert_eq!(check(b"a whole blob", None).0, [0]);
        assert_eq!(check(b"a whole blob", Some(b"a whole")).0, [7]);
        assert_eq!(check(b"a whole blob", Some(b"a whole blob")).0, [0; 0]);
        assert_eq!(check(b"", Some(b"")).0, [0]);
    }

    #[test]
    fn spoiled_bytes_and_too_many_are_begun_anew() {
        assert_eq!(check(b"a whole blob", Some(b"\0\0\0")).0, [3, 0]);
        assert_eq!(check(b"a whole blob", Some(b"a whole blob and more")).0, [0]);
    }

    fn failing(bytes_before: usize, kept: bool) {
        let dir = tempfile::tempdir().unwrap();
        let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256_of(b"x"), 5 << 20);
        struct Broken(Option<Bytes>);
        impl Stream for Broken {
            fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
                self.0.take().map(Some).ok_or(Problem::Interrupted)
            }
        }
        let open = |_| Ok(Box::new(Broken(Some(vec![7; bytes_before].into()))) as Box<dyn Stream>);
        assert!(store_blob(dir.path(), &blob, &open, &|_| ()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count() == 1, kept);
    }

    #[test]
    fn a_failure_leaves_what_would_take_a_while_to_fetch_again() {
        failing(1000, false);
        failing(2 << 20, true);
    }
}
