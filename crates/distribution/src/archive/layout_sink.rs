//! An OCI image layout being written.
//!
//! Spec: image-spec image-layout.md.
//! Law: a blob gets its name when size and digest agree. A name that is taken moves; what had it stays, without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use knarr_spec::{Descriptor, Digest};

use super::layout_dir::{LayoutDir, REF_NAME, write_file};
use super::partial::store_blob;
use crate::Problem;
use crate::hash::Hash;
use crate::origin::Document;
use crate::sink::{Manners, Opener, Presence, Sink};

/// A layout that images are added to.
pub(crate) struct LayoutSink {
    dir: LayoutDir,
    /// `blobs`, or a directory several layouts share.
    blobs: PathBuf,
    tag: Option<String>,
    roots: Mutex<Vec<Descriptor>>,
}

impl LayoutSink {
    pub(crate) fn create(dir: &Path, tag: Option<&str>, shared_blobs: Option<&Path>) -> Result<LayoutSink, Problem> {
        let blobs = shared_blobs.map_or_else(|| dir.join("blobs"), Path::to_owned);
        let dir = LayoutDir::make_in(dir)?;
        let sha256 = blobs.join("sha256");
        fs::create_dir_all(&sha256).map_err(|source| Problem::File { path: sha256, source })?;
        Ok(LayoutSink { dir, blobs, tag: tag.map(str::to_owned), roots: Mutex::default() })
    }

    fn blob_dir(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.algorithm().as_str())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_dir(digest).join(digest.encoded())
    }
}

impl Sink for LayoutSink {
    fn manners(&self) -> Manners {
        Manners { oci_only: true, compresses: true, indexes: true }
    }

    fn presence(&self, blob: &Descriptor) -> Result<Presence, Problem> {
        let there = fs::metadata(self.blob_path(&blob.digest)).is_ok_and(|found| found.len() == blob.size);
        Ok(if there { Presence::Present } else { Presence::Absent })
    }

    fn put_blob(&self, blob: &Descriptor, open: &Opener<'_>, tell: &dyn Fn(u64)) -> Result<(), Problem> {
        let dir = self.blob_dir(&blob.digest);
        fs::create_dir_all(&dir).map_err(|source| Problem::File { path: dir.clone(), source })?;
        store_blob(&dir, blob, open, tell)
    }

    fn put_manifest(&self, document: &Document, digest: &Digest) -> Result<(), Problem> {
        write_file(&self.blob_path(digest), &document.bytes)
    }

    fn put_root(&self, document: &Document, digest: &Digest) -> Result<(), Problem> {
        self.put_manifest(document, digest)?;
        let mut entry = Descriptor::new(&document.media_type, digest.clone(), document.bytes.len() as u64);
        entry.annotations.extend(self.tag.iter().map(|tag| (REF_NAME.to_owned(), tag.clone())));
        self.roots.lock().expect("no panic while it is held").push(entry);
        Ok(())
    }

    /// A layout's index lists what refers to others, or nobody would find it.
    fn put_referrer(&self, document: &Document, entry: &Descriptor) -> Result<(), Problem> {
        self.put_manifest(document, &entry.digest)?;
        self.roots.lock().expect("no panic while it is held").push(Descriptor { data: None, ..entry.clone() });
        Ok(())
    }

    fn put_tagged(&self, document: &Document, digest: &Digest, tag: &str) -> Result<(), Problem> {
        self.put_manifest(document, digest)?;
        let mut entry = Descriptor::new(&document.media_type, digest.clone(), document.bytes.len() as u64);
        entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        self.roots.lock().expect("no panic while it is held").push(entry);
        Ok(())
    }

    fn finish(&self) -> Result<(), Problem> {
        let roots = std::mem::take(&mut *self.roots.lock().expect("no panic while it is held"));
        self.dir.rewrite_index(write_file, |index| roots.into_iter().for_each(|entry| add(&mut index.manifests, entry)))
    }
}

/// Adds `entry`; an entry of its name loses the name, a nameless one of its digest is replaced.
fn add(manifests: &mut Vec<Descriptor>, entry: Descriptor) {
    if let Some(name) = entry.annotations.get(REF_NAME) {
        for old in manifests.iter_mut().filter(|old| old.annotations.get(REF_NAME) == Some(name)) {
            old.annotations.remove(REF_NAME);
        }
    }
    let same = |old: &&mut Descriptor| old.digest == entry.digest && !old.annotations.contains_key(REF_NAME);
    match manifests.iter_mut().find(same) {
        Some(old) => *old = entry,
        None => manifests.push(entry),
    }
}

/// Takes the next bytes of a blob, and how much it is with them.
type WriteBlob<'w> = dyn FnMut(&[u8], u64) -> Result<(), Problem> + 'w;

/// Gives `write` all of a blob, and how much that was; what it was given is compared with size and digest.
pub(super) fn copy_blob(blob: &Descriptor, open: &Opener<'_>, write: &mut WriteBlob<'_>) -> Result<(), Problem> {
    let mut stream = open(0)?;
    let mut hash = Hash::like(&blob.digest)?;
    let mut written = 0;
    while let Some(chunk) = stream.chunk()? {
        written += chunk.len() as u64;
        if written > blob.size {
            return Err(Problem::Size { by: "source", got: written, more: true, promised: blob.size });
        }
        hash.update(&chunk);
        write(&chunk, written)?;
    }
    if written < blob.size {
        return Err(Problem::Size { by: "source", got: written, more: false, promised: blob.size });
    }
    match hash.finish() {
        got if got == blob.digest => Ok(()),
        got => Err(Problem::DigestMismatch { got, promised: blob.digest.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use knarr_spec::media_type;

    use super::*;

    fn entry(content: &str, name: Option<&str>) -> Descriptor {
        let mut entry = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256_of(content.as_bytes()), 1);
        entry.annotations.extend(name.map(|name| (REF_NAME.to_owned(), name.to_owned())));
        entry
    }

    fn check(entries: &[Descriptor], expect: &[Descriptor]) {
        let mut manifests = Vec::new();
        entries.iter().cloned().for_each(|entry| add(&mut manifests, entry));
        assert_eq!(manifests, expect);
    }

    #[test]
    fn a_name_moves_and_what_had_it_stays() {
        check(&[entry("a", Some("v1")), entry("b", Some("v1"))], &[entry("a", None), entry("b", Some("v1"))]);
        check(&[entry("a", Some("v1")), entry("a", Some("v1"))], &[entry("a", Some("v1"))]);
    }

    #[test]
    fn one_image_may_have_two_names() {
        check(&[entry("a", Some("v1")), entry("a", Some("v2"))], &[entry("a", Some("v1")), entry("a", Some("v2"))]);
    }
}
