//! skopeo's `dir:`: one image as plain files, for looking at and for tests.
//!
//! Spec: containers-transports(5): `version`, `manifest.json`, blobs by the hex digits of their digest, manifests of an index
//! as `<hex>.manifest.json`.
//! Law: a directory that holds something else is not written into.

use std::fs;
use std::path::{Path, PathBuf};

use knarr_spec::{Descriptor, Digest, Reference};

use super::Loadable;
use super::layout_dir::{mark, write_file};
use super::members::{Directory, Members};
use super::partial::store_blob;
use crate::error::ArchiveProblem;
use crate::origin::{Document, Origin, Stream, check_content};
use crate::sign::Signature;
use crate::sink::{Manners, Opener, Presence, Sink};
use crate::{Problem, limits, lookaside};

const VERSION: &str = "Directory Transport Version: 1.1\n";

/// An image in a directory.
pub(super) struct Dir {
    files: Directory,
    path: PathBuf,
}

impl Dir {
    pub(super) fn open(path: &Path) -> Result<Dir, Problem> {
        Ok(Dir { files: Directory::open(path)?, path: path.to_owned() })
    }
}

fn manifest_name(digest: &Digest) -> String {
    format!("{}.manifest.json", digest.encoded())
}

impl Origin for Dir {
    fn root(&self) -> Result<Document, Problem> {
        Document::new(super::document(&self.files, "manifest.json", limits::MANIFEST_BYTES_MAX)?, None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Problem> {
        super::document(&self.files, &manifest_name(&descriptor.digest), limits::MANIFEST_BYTES_MAX)
    }

    fn open<'a>(&'a self, descriptor: &'a Descriptor, offset: u64) -> Result<Box<dyn Stream + 'a>, Problem> {
        let name = descriptor.digest.encoded();
        let missing = || Problem::Archive(ArchiveProblem::Missing(name.to_owned()));
        Ok(Box::new(self.files.section(name)?.ok_or_else(missing)?.stream(offset)))
    }

    /// `signature-1` and so on are those of `manifest.json`, `<hex>.signature-1` of another manifest.
    fn signatures(&self, digest: &Digest) -> Result<Vec<Vec<u8>>, Problem> {
        let is_root = check_content(&self.root()?.bytes, digest, None, self.who()).is_ok();
        let prefix = if is_root { String::new() } else { format!("{}.", digest.encoded()) };
        let names = (1..=limits::SIGNATURES_MAX).map(|number| format!("{prefix}signature-{number}"));
        let read = names.map(|name| lookaside::read(&self.path.join(name)).transpose());
        read.take_while(Option::is_some).flatten().collect()
    }

    fn who(&self) -> &'static str {
        "directory"
    }
}

impl Loadable for Dir {
    fn names(&self) -> &[Reference] {
        &[]
    }

    fn origin(&self) -> &dyn Origin {
        self
    }
}

/// A directory being filled.
pub(crate) struct DirSink(PathBuf);

impl DirSink {
    pub(crate) fn create(path: &Path) -> Result<DirSink, Problem> {
        if let Some(version) = mark(path, "version", VERSION)? {
            if !version.starts_with(b"Directory Transport Version: 1.") {
                return Err(Problem::Archive(ArchiveProblem::NotOurs(path.to_owned())));
            }
            write_file(&path.join("version"), VERSION.as_bytes())?;
        }
        Ok(DirSink(path.to_owned()))
    }
}

impl Sink for DirSink {
    fn manners(&self) -> Manners {
        Manners { oci_only: false, compresses: false, indexes: true }
    }

    fn presence(&self, blob: &Descriptor) -> Result<Presence, Problem> {
        let there = fs::metadata(self.0.join(blob.digest.encoded())).is_ok_and(|found| found.len() == blob.size);
        Ok(if there { Presence::Present } else { Presence::Absent })
    }

    fn put_blob(&self, blob: &Descriptor, open: &Opener<'_>, tell: &dyn Fn(u64)) -> Result<(), Problem> {
        store_blob(&self.0, blob, open, tell)
    }

    fn put_manifest(&self, document: &Document, digest: &Digest) -> Result<(), Problem> {
        write_file(&self.0.join(manifest_name(digest)), &document.bytes)
    }

    fn put_signatures(&self, digest: &Digest, root: bool, signatures: &[Signature]) -> Result<(), Problem> {
        let prefix = if root { String::new() } else { format!("{}.", digest.encoded()) };
        signatures.iter().zip(1..).try_for_each(|(signature, number)| {
            write_file(&self.0.join(format!("{prefix}signature-{number}")), &signature.file())
        })
    }

    fn put_root(&self, document: &Document, _: &Digest) -> Result<(), Problem> {
        write_file(&self.0.join("manifest.json"), &document.bytes)
    }
}
