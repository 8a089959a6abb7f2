//! Blob files: content-addressed, written once, never changed.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use knarr_spec::Digest;

use crate::error::{IoContext, StorageError};

/// The directory `blobs`.
pub struct Blobs {
    directory: PathBuf,
}

impl Blobs {
    pub fn open(directory: PathBuf) -> Result<Blobs, StorageError> {
        std::fs::create_dir_all(&directory).what(|| format!("make {}", directory.display()))?;
        Ok(Blobs { directory })
    }

    /// `<algorithm>/<first two>/<encoded>`: parsed digests hold no slash and no dot, so this cannot leave the directory.
    fn path(&self, digest: &Digest) -> PathBuf {
        let encoded = digest.encoded();
        self.directory.join(digest.algorithm().as_str()).join(&encoded[..encoded.len().min(2)]).join(encoded)
    }

    /// Opens a blob for reading; `None` where there is none.
    pub fn file(&self, digest: &Digest) -> Result<Option<File>, StorageError> {
        match File::open(self.path(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).what(|| format!("open blob {digest}")),
        }
    }

    /// Moves a finished upload in place: its bytes reach the disk before its name does.
    pub fn adopt(&self, upload: &Path, digest: &Digest) -> Result<(), StorageError> {
        let target = self.path(digest);
        let parent = target.parent().expect("the path has three components");
        let sync =
            |path: &Path| File::open(path).and_then(|file| file.sync_all()).what(|| format!("sync {}", path.display()));
        OpenOptions::new()
            .write(true)
            .open(upload)
            .and_then(|file| file.sync_all())
            .what(|| format!("sync blob {digest}"))?;
        if !parent.is_dir() {
            std::fs::create_dir_all(parent).what(|| format!("make {}", parent.display()))?;
            sync(parent.parent().expect("below the algorithm"))?;
        }
        std::fs::rename(upload, &target).what(|| format!("name blob {digest}"))?;
        sync(parent)
    }

    /// Removes a blob's file; its absence is no error.
    pub fn remove(&self, digest: &Digest) -> Result<(), StorageError> {
        match std::fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).what(|| format!("remove blob {digest}")),
            _ => Ok(()),
        }
    }
}
