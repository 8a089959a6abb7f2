//! The two files of an OCI image layout in a directory, for everybody who reads or changes one.
//!
//! Spec: image-spec image-layout.md.
//! Law: `index.json` is replaced in one step, under a lock on the directory, so that several writers lose nothing of one
//! another.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use knarr_spec::{Descriptor, Digest, Index, media_type};
use serde::Deserialize;

use crate::error::ArchiveProblem;
use crate::{Error, Problem, limits};

/// The annotation that holds a tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

pub(super) const LAYOUT_FILE: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

const INDEX_FILE: &str = "index.json";

/// What names of files begin with that are being written.
const TEMPORARY: &str = ".new-";

/// A directory with a layout.
#[derive(Debug, Clone)]
pub struct LayoutDir(PathBuf);

impl LayoutDir {
    /// A layout that is there.
    pub fn open(dir: &Path) -> Result<LayoutDir, Error> {
        let open = || {
            let path = dir.join("oci-layout");
            check_version(&fs::read(&path).map_err(|source| Problem::File { path, source })?)
        };
        open().map(|()| LayoutDir(dir.to_owned())).map_err(|problem| said(dir, problem))
    }

    /// A layout, made where there is none; in a directory that holds anything else it is refused.
    pub fn make(dir: &Path) -> Result<LayoutDir, Error> {
        let make = || {
            let made = LayoutDir::make_in(dir)?;
            let blobs = dir.join("blobs/sha256");
            fs::create_dir_all(&blobs).map_err(|source| Problem::File { path: blobs, source })?;
            Ok(made)
        };
        make().map_err(|problem| said(dir, problem))
    }

    /// The same without room for blobs, which may be kept elsewhere.
    pub(super) fn make_in(dir: &Path) -> Result<LayoutDir, Problem> {
        if let Some(file) = mark(dir, "oci-layout", LAYOUT_FILE)? {
            check_version(&file)?;
        }
        let blobs = dir.join("blobs");
        fs::create_dir_all(&blobs).map_err(|source| Problem::File { path: blobs, source })?;
        Ok(LayoutDir(dir.to_owned()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the bytes of `digest` are, whether they are there or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs").join(digest.algorithm().as_str()).join(digest.encoded())
    }

    /// What it holds.
    pub fn index(&self) -> Result<Index, Error> {
        self.read_index().map_err(|problem| said(&self.0, problem))
    }

    fn read_index(&self) -> Result<Index, Problem> {
        let path = self.0.join(INDEX_FILE);
        match fs::read(&path) {
            Ok(bytes) if bytes.len() as u64 > limits::MANIFEST_BYTES_MAX => {
                Err(Problem::TooLarge { bytes_max: limits::MANIFEST_BYTES_MAX })
            }
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| Problem::Malformed { what: INDEX_FILE, source })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(new_index(Vec::new())),
            Err(source) => Err(Problem::File { path, source }),
        }
    }

    /// Changes the index under the lock, and brings it to the disk.
    pub fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<(), Error> {
        self.rewrite_index(write_synced, change).map_err(|problem| said(&self.0, problem))
    }

    /// `write` decides whether the new index waits for the disk.
    pub(super) fn rewrite_index(
        &self,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), Problem>,
        change: impl FnOnce(&mut Index),
    ) -> Result<(), Problem> {
        let failed = |source| Problem::File { path: self.0.clone(), source };
        let lock = File::open(&self.0).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut index = self.read_index()?;
        change(&mut index);
        write(&self.0.join(INDEX_FILE), &serde_json::to_vec(&index).expect("an index has string keys"))
    }
}

fn said(dir: &Path, problem: Problem) -> Error {
    Error { verb: "image layout", subject: dir.display().to_string(), problem: Box::new(problem) }
}

/// Refuses what is no layout of version 1. Of 1.x only 1.0.0 was ever written; a 2 would be another layout.
pub(super) fn check_version(file: &[u8]) -> Result<(), Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct LayoutFile {
        image_layout_version: String,
    }
    let file: LayoutFile =
        serde_json::from_slice(file).map_err(|source| Problem::Malformed { what: "oci-layout", source })?;
    if file.image_layout_version.starts_with("1.") {
        return Ok(());
    }
    Err(Problem::Archive(ArchiveProblem::LayoutVersion(file.image_layout_version)))
}

pub(super) fn new_index(manifests: Vec<Descriptor>) -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: Default::default(),
    }
}

/// Makes `dir` and, where that is empty, the file `name` with `content` that says what it is; gives what the file has that is there.
/// A directory with anything else is refused. What a writer left behind that was killed at just this counts as nothing.
pub(super) fn mark(dir: &Path, name: &str, content: &str) -> Result<Option<Vec<u8>>, Problem> {
    let failed = |source| Problem::File { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    let lock = File::open(dir).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let file = dir.join(name);
    match fs::read(&file) {
        Ok(found) => return Ok(Some(found)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(Problem::File { path: file, source }),
    }
    let entries = fs::read_dir(dir).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if !entries.iter().all(|entry| entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes())) {
        return Err(Problem::Archive(ArchiveProblem::NotOurs(dir.to_owned())));
    }
    for left in entries {
        fs::remove_file(left.path()).map_err(|source| Problem::File { path: left.path(), source })?;
    }
    write_file(&file, content.as_bytes())?;
    Ok(None)
}

/// A small file, whole or not at all.
pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<(), Problem> {
    let failed = |source| Problem::File { path: path.to_owned(), source };
    let mut file = temporary(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The same, on the disk before it has its name.
fn write_synced(path: &Path, content: &[u8]) -> Result<(), Problem> {
    let failed = |source| Problem::File { path: path.to_owned(), source };
    let mut file = temporary(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    file.write_all(content).and_then(|()| file.as_file().sync_data()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

pub(super) fn temporary(dir: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(TEMPORARY).permissions(fs::Permissions::from_mode(0o644)).tempfile_in(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_behind_before_the_first_file_is_no_content() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".new-x1"), b"{\"im").unwrap();
        LayoutDir::make(dir.path()).unwrap();
        LayoutDir::make(dir.path()).unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["blobs", "oci-layout"]);
    }

    #[test]
    fn a_directory_with_anything_else_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".new-x1", "letter"] {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        let refused = LayoutDir::make(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("holds something else"), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
