//! Uploads that were begun: where a push that was killed goes on.
//!
//! Law: the file `uploads/<alg>/<hex>.<place>` is the lock of one blob's upload to one place. Its holder writes down where the
//! registry wants the next request, and removes the file when the blob is there. What it says is a hint: the registry is asked
//! before it is believed, so a torn or stale file costs a request and nothing else.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use knarr_spec::Digest;

use crate::error::{IoContext, Result};
use crate::lock::{self, Locked};
use crate::store::Store;

/// Age after which no registry knows an upload any more: the longest usual patience is a week.
pub(crate) const UPLOAD_AGE_MAX: Duration = Duration::from_secs(8 * 24 * 3600);

/// Hex digits that tell places apart.
const PLACE_DIGITS: usize = 16;

/// The longest location that is read back; longer ones are not remembered.
const LOCATION_BYTES_MAX: usize = 16 << 10;

/// An upload of ours, until it is dropped.
pub struct UploadNote {
    file: Locked,
    path: PathBuf,
    place: String,
    location: Option<String>,
}

impl Store {
    /// What is known of an upload of the blob `digest` to `place` (a registry and a repository), ours until it is dropped;
    /// `None` while somebody else is at it.
    pub fn upload(&self, digest: &Digest, place: &str) -> Result<Option<UploadNote>> {
        let dir = self.dir(&format!("uploads/{}", digest.algorithm().as_str()))?;
        let whole = Digest::sha256_of(place.as_bytes());
        let mark = &whole.encoded()[..PLACE_DIGITS];
        let path = dir.join(format!("{}.{mark}", digest.encoded()));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let Some(file) = lock::try_lock(file.doing("open", &path)?, &path)? else { return Ok(None) };
        let mut text = String::new();
        // What is no text is as good as nothing.
        let _ = (&*file).take(LOCATION_BYTES_MAX as u64 * 2).read_to_string(&mut text);
        let location = remembered(&text, place).map(str::to_owned);
        Ok(Some(UploadNote { file, path, place: place.to_owned(), location }))
    }
}

impl UploadNote {
    /// Where an earlier process was told to go on.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Remembers where to go on, on the disk.
    pub fn keep(&mut self, location: &str) -> Result<()> {
        if self.location.as_deref() == Some(location) || location.len() > LOCATION_BYTES_MAX || location.contains('\n')
        {
            return Ok(());
        }
        let text = format!("1 {}\n{location}\n", self.place);
        // In this order a death in between leaves lines behind the second, which nobody reads.
        self.file.write_all_at(text.as_bytes(), 0).doing("write", &self.path)?;
        self.file.set_len(text.len() as u64).doing("truncate", &self.path)?;
        self.file.sync_data().doing("sync", &self.path)?;
        self.location = Some(location.to_owned());
        Ok(())
    }

    /// There is nothing to go on with: the blob is there, or the registry has forgotten the upload.
    pub fn forget(&mut self) -> Result<()> {
        self.location = None;
        self.file.set_len(0).doing("truncate", &self.path)
    }
}

impl Drop for UploadNote {
    fn drop(&mut self) {
        if self.location.is_none() {
            // An empty file that stays is rubbish by its age.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether nobody will go on with what `path` speaks of.
pub(crate) fn is_stale(path: &Path) -> Result<bool> {
    let Some(metadata) = lock::look(path)? else { return Ok(false) };
    Ok(metadata.modified().is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > UPLOAD_AGE_MAX)))
}

/// The location in a file about `place`.
fn remembered<'t>(text: &'t str, place: &str) -> Option<&'t str> {
    let (first, rest) = text.split_once('\n')?;
    let (location, _) = rest.split_once('\n')?;
    (first.strip_prefix("1 ")? == place && !location.is_empty()).then_some(location)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(remembered(text, "r/app"), expect, "{text:?}");
    }

    #[test]
    fn only_a_whole_note_about_the_same_place_counts() {
        check("1 r/app\nhttp://r/u1\n", Some("http://r/u1"));
        check("1 r/app\nhttp://r/u1\nrest of a longer one\n", Some("http://r/u1"));
        check("1 r/app\nhttp://r/u", None);
        check("1 r/other\nhttp://r/u1\n", None);
        check("2 r/app\nhttp://r/u1\n", None);
        check("1 r/app\n\n", None);
        check("", None);
    }
}
