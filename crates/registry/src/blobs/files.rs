//! Blobs and records as files.
//!
//! ```text
//! <root>/blobs/<algorithm>/<first two>/<encoded>
//! <root>/records/<repository>/_manifests/<algorithm>/<encoded>.json
//! <root>/damaged/<algorithm>-<encoded>
//! ```

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::body::Body;
use knarr_spec::Digest;

use super::{Blobs, Content, Result, Stored};
use crate::body::file_body;
use crate::error::IoContext;
use crate::outlet::Outlet;

/// The directories below a root.
pub struct Files {
    blobs: PathBuf,
    records: PathBuf,
    damaged: PathBuf,
    /// A synced file has its names on the disk too.
    names_follow: bool,
    /// Numbers the temporary names of this process.
    next: AtomicU64,
}

impl Files {
    pub fn open(root: &Path) -> Result<Files> {
        let (blobs, records, damaged) = (root.join("blobs"), root.join("records"), root.join("damaged"));
        for directory in [&blobs, &records] {
            make(directory)?;
        }
        let names_follow = names_follow(root);
        Ok(Files { blobs, records, damaged, names_follow, next: AtomicU64::new(0) })
    }

    /// Parsed digests hold no slash and no dot first, so this cannot leave the directory.
    fn blob(&self, digest: &Digest) -> PathBuf {
        let encoded = digest.encoded();
        self.blobs.join(digest.algorithm().as_str()).join(&encoded[..encoded.len().min(2)]).join(encoded)
    }

    /// No component of a repository begins with an underscore, so a repository's records are not another's directory.
    fn record(&self, repository: &str, digest: &Digest) -> PathBuf {
        let directory = self.records.join(repository).join("_manifests").join(digest.algorithm().as_str());
        directory.join(format!("{}.json", digest.encoded()))
    }

    /// Makes a directory for blobs, and with it those of all other first two digits: each would otherwise hold up a push until it is on
    /// the disk. Directories of other things are made alone.
    fn make_shelf(&self, shelf: &Path) -> Result<()> {
        let algorithm = shelf.parent().expect("below a directory of ours");
        if algorithm.parent() == Some(&self.blobs) {
            make(algorithm)?;
            for digits in 0..=u8::MAX {
                let made = std::fs::create_dir(algorithm.join(format!("{digits:02x}")));
                made.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
                    .what(|| format!("make {}", algorithm.display()))?;
            }
            sync(algorithm)?;
        }
        make(shelf)
    }

    /// A name beside `target` that nobody else uses; digests hold no `~`.
    fn beside(&self, target: &Path) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        target.with_extension(format!("~{}-{number}", std::process::id()))
    }

    /// Gives `target` the bytes that `write` puts into a new file; others see the old file or the new one.
    fn replace(&self, target: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
        let parent = target.parent().expect("below a directory of ours");
        if !parent.is_dir() {
            self.make_shelf(parent)?;
        }
        let new = self.beside(target);
        let outcome = write(&new).and_then(|()| std::fs::rename(&new, target));
        if outcome.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        outcome.what(|| format!("write {}", target.display()))
    }
}

impl Content for File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn body(self: Box<Self>, start: u64, length: u64, outlet: Option<Outlet>) -> Body {
        file_body(*self, start, length, outlet)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<()> {
        self.read_exact_at(buffer, at)
    }
}

impl Blobs for Files {
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Content>>> {
        match File::open(self.blob(digest)) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).what(|| format!("open blob {digest}")),
        }
    }

    fn contains(&self, digest: &Digest) -> Result<bool> {
        self.blob(digest).try_exists().what(|| format!("look for blob {digest}"))
    }

    /// A new blob gets its name first, so that syncing the bytes takes the name along where the file system does that, and the
    /// directory need not be synced by itself, which waits for the disk once more. A power cut may leave the name without all its bytes, which no row speaks of then. A
    /// blob that is there is one that rows may speak of: its place is taken by bytes that are on the disk.
    fn put(&self, digest: &Digest, from: &Path) -> Result<()> {
        let target = self.blob(digest);
        let parent = target.parent().expect("below the algorithm");
        if !parent.is_dir() {
            self.make_shelf(parent)?;
        }
        let is_new = std::fs::hard_link(from, &target).is_ok();
        OpenOptions::new().write(true).open(from).and_then(|file| file.sync_all()).what(|| format!("sync {digest}"))?;
        if !is_new {
            // A second name for the same bytes; a copy where the file system knows no second names.
            let copy = |new: &Path| std::fs::copy(from, new).and_then(|_| File::open(new)?.sync_all());
            self.replace(&target, |new| std::fs::hard_link(from, new).or_else(|_| copy(new)))?;
        }
        if self.names_follow && is_new { Ok(()) } else { sync(parent) }
    }

    /// Not synced: the database has the bytes, and was.
    fn put_manifest(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        self.replace(&self.blob(digest), |new| std::fs::write(new, bytes))
    }

    fn remove(&self, digest: &Digest) -> Result<()> {
        remove(&self.blob(digest))
    }

    fn set_aside(&self, digest: &Digest) -> Result<()> {
        make(&self.damaged)?;
        let to = self.damaged.join(format!("{}-{}", digest.algorithm().as_str(), digest.encoded()));
        std::fs::rename(self.blob(digest), to).what(|| format!("set {digest} aside"))
    }

    fn list(&self, visit: &mut dyn FnMut(Stored) -> Result<()>) -> Result<()> {
        for algorithm in names(&self.blobs)? {
            for shelf in names(&self.blobs.join(&algorithm))? {
                let shelf = self.blobs.join(&algorithm).join(shelf);
                for encoded in names(&shelf)? {
                    let Ok(digest) = format!("{algorithm}:{encoded}").parse() else { continue };
                    let Ok(metadata) = std::fs::metadata(shelf.join(&encoded)) else { continue };
                    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    visit(Stored { digest, size: metadata.len(), modified })?;
                }
            }
        }
        Ok(())
    }

    fn put_record(&self, repository: &str, digest: &Digest, text: &[u8]) -> Result<()> {
        self.replace(&self.record(repository, digest), |new| File::create_new(new)?.write_all(text))
    }

    fn remove_record(&self, repository: &str, digest: &Digest) -> Result<()> {
        let path = self.record(repository, digest);
        remove(&path)?;
        // Directories that became empty go too; one that is not, or is being filled, stays.
        for directory in path.ancestors().skip(1).take_while(|directory| *directory != self.records) {
            if std::fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn records(&self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut directories = vec![self.records.clone()];
        while let Some(directory) = directories.pop() {
            for name in names(&directory)? {
                let path = directory.join(&name);
                if path.is_dir() {
                    directories.push(path);
                } else if name.ends_with(".json") {
                    visit(&std::fs::read(&path).what(|| format!("read {}", path.display()))?)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether syncing a file brings the names it was given before to the disk: XFS and ext4 with a journal write that in order, and
/// a file's new name and the change of its own count of names are one entry of it. Read in their sources; no power was cut to see it.
fn names_follow(directory: &Path) -> bool {
    const EXT4: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    match rustix::fs::statfs(directory).map(|found| found.f_type as u64) {
        Ok(XFS) => true,
        Ok(EXT4) => has_journal(directory).unwrap_or(false),
        _ => false,
    }
}

/// Whether an ext4 has a journal: the kernel names its thread, or says `<none>`.
fn has_journal(directory: &Path) -> std::io::Result<bool> {
    let device = std::fs::metadata(directory)?.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let place = std::fs::read_link(Path::new("/sys/dev/block").join(number))?;
    let name = place.file_name().unwrap_or_default();
    let task = std::fs::read_to_string(Path::new("/sys/fs/ext4").join(name).join("journal_task"))?;
    Ok(task.trim().parse::<u32>().is_ok())
}

/// Makes a directory and those above it; what is new is on the disk when this returns.
fn make(directory: &Path) -> Result<()> {
    let parent = directory.parent().expect("below a root");
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(parent)?;
            return make(directory);
        }
        made => made.what(|| format!("make {}", directory.display()))?,
    }
    sync(parent)
}

fn sync(directory: &Path) -> Result<()> {
    // The parent of a name without slash.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory).and_then(|file| file.sync_all()).what(|| format!("sync {}", directory.display()))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).what(|| format!("remove {}", path.display())),
        _ => Ok(()),
    }
}

/// Names in a directory; none where it is missing.
fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).what(|| format!("list {}", directory.display())),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::contract;

    #[test]
    fn files_keep_the_contract() {
        let root = tempfile::tempdir().unwrap();
        contract::check(&Files::open(root.path()).unwrap(), root.path(), true);
    }

    #[test]
    fn what_a_write_leaves_behind_when_it_is_cut_off_is_no_blob() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::open(root.path()).unwrap();
        let digest = Digest::sha256_of(b"x");
        let target = files.blob(&digest);
        make(target.parent().unwrap()).unwrap();
        std::fs::write(files.beside(&target), b"x").unwrap();
        let mut seen = 0;
        files
            .list(&mut |_| {
                seen += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!((seen, files.contains(&digest).unwrap()), (0, false));
    }
}
