//! An image of the store as an origin.
//!
//! Law: the bytes are those that came: manifest, config and blobs as they were pulled, so whatever is made of them keeps its
//! digests. The index is the root only where every image of it is here; else the manifest is.

use std::sync::Arc;

use knarr_spec::{Descriptor, Digest, Index, Manifest, media_type};
use knarr_store::{DocumentKind, ImageRecord, Store};

use crate::archive::Section;
use crate::origin::{Document, Origin, Stream};
use crate::{Problem, limits};

/// An image of the store.
pub(crate) struct Stored<'s> {
    store: &'s Store,
    root: Digest,
}

impl<'s> Stored<'s> {
    pub(crate) fn new(store: &'s Store, image: &ImageRecord) -> Stored<'s> {
        let stored = Stored { store, root: image.manifest_digest.clone() };
        match &image.index_digest {
            Some(index) if stored.has_all(index, 0) => Stored { root: index.clone(), ..stored },
            _ => stored,
        }
    }

    /// For one platform, whatever else is here.
    pub(crate) fn manifest_of(store: &'s Store, image: &ImageRecord) -> Stored<'s> {
        Stored { store, root: image.manifest_digest.clone() }
    }

    /// A list or artifact: the document `root`, whatever it is called.
    pub(crate) fn document_of(store: &'s Store, root: Digest) -> Stored<'s> {
        Stored { store, root }
    }

    /// Whether the document `digest` and all it names is in the store.
    fn has_all(&self, digest: &Digest, depth: usize) -> bool {
        let Ok(document) = self.document(digest, None) else { return false };
        if depth > limits::INDEX_DEPTH_MAX {
            return false;
        }
        if media_type::is_index(&document.media_type) {
            let index: Option<Index> = serde_json::from_slice(&document.bytes).ok();
            return index
                .is_some_and(|index| index.manifests.iter().all(|entry| self.has_all(&entry.digest, depth + 1)));
        }
        let manifest: Option<Manifest> = serde_json::from_slice(&document.bytes).ok();
        let has = |blob: &Descriptor| matches!(self.store.blob(&blob.digest), Ok(Some(_)));
        manifest.is_some_and(|manifest| manifest.layers.iter().chain([&manifest.config]).all(has))
    }

    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, Problem> {
        let bytes = self.store.blob_bytes(digest, limits::MANIFEST_BYTES_MAX)?;
        bytes.ok_or_else(|| Problem::NotStored(digest.clone()))
    }

    fn document(&self, digest: &Digest, declared: Option<&str>) -> Result<Document, Problem> {
        Document::new(self.bytes(digest)?, declared)
    }
}

impl Origin for Stored<'_> {
    fn root(&self) -> Result<Document, Problem> {
        self.document(&self.root, None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Problem> {
        self.bytes(&descriptor.digest)
    }

    fn open<'a>(&'a self, descriptor: &'a Descriptor, offset: u64) -> Result<Box<dyn Stream + 'a>, Problem> {
        let digest = &descriptor.digest;
        let file = self.store.blob_file(digest)?.ok_or_else(|| Problem::NotStored(digest.clone()))?;
        let (file, path) = (Arc::new(file), self.store.blob_path(digest));
        Ok(Box::new(Section { file, path, start: 0, bytes: descriptor.size }.stream(offset)))
    }

    /// Artifacts that are here and say that they refer to `digest`.
    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Problem> {
        let mut found = Vec::new();
        for record in self.store.documents()?.into_iter().filter(|record| record.kind == DocumentKind::Artifact) {
            let document = self.document(&record.digest, None)?;
            let manifest: Manifest = serde_json::from_slice(&document.bytes)
                .map_err(|source| Problem::Malformed { what: "manifest", source })?;
            if manifest.subject.is_some_and(|subject| subject.digest == *digest) {
                let bytes = document.bytes.len() as u64;
                let mut entry = Descriptor::new(&document.media_type, record.digest, bytes);
                entry.artifact_type = manifest.artifact_type.or(Some(manifest.config.media_type));
                entry.annotations = manifest.annotations;
                found.push(entry);
            }
        }
        Ok(found)
    }

    fn who(&self) -> &'static str {
        "store"
    }
}
