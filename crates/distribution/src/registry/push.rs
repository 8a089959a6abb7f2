//! A repository of a registry as a place to put images.
//!
//! Spec: distribution-spec "Pushing blobs" (HEAD, mount, POST, PATCH, PUT), "Pushing manifests", "Pushing manifests with
//! subject" (referrers tag schema where the registry has no referrers API).
//! Law: what is there is not sent; what is in another repository of the same registry is mounted; a broken upload goes on at
//! the byte the registry has, where it can tell, also by another process. The root manifest comes last.

use std::collections::BTreeMap;

use bytes::Bytes;
use knarr_spec::{Descriptor, Digest, Index, Manifest, Reference, media_type};
use knarr_store::Store;
use reqwest::{Method, StatusCode};

use super::endpoint::{Call, Endpoint, Target};
use super::patience::patiently;
use super::upload::Upload;
use crate::error::Part;
use crate::http::{Body, Http};
use crate::origin::{Document, digest_as};
use crate::progress::Progress;
use crate::sink::{Manners, Opener, Presence, Sink};
use crate::{Problem, limits};

/// Where blobs may be had within the registry: repositories by digest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mounts {
    /// For this blob.
    pub(crate) of_blob: BTreeMap<Digest, Vec<String>>,
    /// For any blob.
    pub(crate) of_all: Vec<String>,
}

/// A repository that is pushed to.
pub(crate) struct Push<'a> {
    endpoint: Endpoint<'a>,
    mounts: Mounts,
    /// Where uploads are remembered, so that a push that was killed goes on.
    memory: Option<&'a Store>,
}

impl<'a> Push<'a> {
    pub(crate) fn new(
        http: &'a Http,
        reference: &Reference,
        mounts: Mounts,
        progress: &'a dyn Progress,
        memory: Option<&'a Store>,
    ) -> Result<Push<'a>, Problem> {
        let place = http.network().registries.push_endpoint(reference)?;
        let mut from: Vec<String> = mounts.of_all.iter().chain(mounts.of_blob.values().flatten()).cloned().collect();
        from.sort();
        from.dedup();
        let endpoint = Endpoint::new(http, reference, place, progress).writing(&from);
        Ok(Push { endpoint, mounts, memory })
    }

    /// Repositories `digest` may be mounted from, but this one.
    fn sources<'s>(&'s self, digest: &'s Digest) -> impl Iterator<Item = &'s String> {
        let here = self.endpoint.reference().repository();
        let known = self.mounts.of_blob.get(digest).into_iter().flatten().chain(&self.mounts.of_all);
        known.filter(move |repository| *repository != here).take(limits::MOUNTS_TRIED_MAX)
    }

    fn is_there(&self, digest: &Digest) -> Result<bool, Problem> {
        let path = format!("blobs/{digest}");
        patiently(self.endpoint.http(), || {
            let answer = self.endpoint.ask(&Call::new(Method::HEAD, Target::Repository(&path)))?;
            match answer.status() {
                StatusCode::NOT_FOUND => Ok(false),
                _ => self.endpoint.checked(answer, None).map(|_| true),
            }
        })
    }

    fn put(&self, document: &Document, digest: &Digest, name: &str) -> Result<(), Problem> {
        let path = format!("manifests/{name}");
        let bytes = Bytes::copy_from_slice(&document.bytes);
        let body = Body::Document { content_type: document.media_type.clone(), bytes };
        let call = Call { body, ..Call::new(Method::PUT, Target::Repository(&path)) };
        let put = patiently(self.endpoint.http(), || {
            let answer = self.endpoint.checked(self.endpoint.ask(&call)?, None)?;
            let stored = answer.header("docker-content-digest").map(str::to_owned);
            Ok((stored, answer.header("oci-subject").is_some()))
        });
        let (stored, subject_seen) = put.map_err(|problem| problem.of(Part::Manifest(name.to_owned())))?;
        match stored.and_then(|text| text.parse::<Digest>().ok()) {
            Some(stored) if stored != *digest && stored.algorithm() == digest.algorithm() => {
                return Err(Problem::HeaderMismatch { header: stored.to_string(), got: digest.clone() });
            }
            _ => {}
        }
        match subject(document) {
            Some((subject, descriptor)) if !subject_seen => self.note_referrer(&subject, descriptor),
            _ => Ok(()),
        }
    }

    /// The registry does not index subjects: the referrers tag does.
    fn note_referrer(&self, subject: &Digest, descriptor: Descriptor) -> Result<(), Problem> {
        let tag = super::admin::referrers_tag(subject);
        let mut index = match self.endpoint.manifest(&tag) {
            Ok((bytes, _)) => serde_json::from_slice::<Index>(&bytes)
                .map_err(|source| Problem::Malformed { what: "index of referrers", source })?,
            Err(problem) if matches!(problem.innermost(), Problem::ManifestUnknown { .. }) => {
                super::admin::empty_index()
            }
            Err(problem) => return Err(problem),
        };
        if index.manifests.iter().any(|entry| entry.digest == descriptor.digest) {
            return Ok(());
        }
        index.manifests.push(descriptor);
        let bytes = serde_json::to_vec(&index).expect("an index has string keys");
        let digest = Digest::sha256_of(&bytes);
        self.put(&Document { bytes, media_type: media_type::OCI_INDEX.to_owned() }, &digest, &tag)
    }
}

/// The subject of a manifest, and what its index of referrers says of the manifest.
fn subject(document: &Document) -> Option<(Digest, Descriptor)> {
    let digest = Digest::sha256_of(&document.bytes);
    let mut own = Descriptor::new(&document.media_type, digest, document.bytes.len() as u64);
    if media_type::is_index(&document.media_type) {
        let index: Index = serde_json::from_slice(&document.bytes).ok()?;
        (own.artifact_type, own.annotations) = (index.artifact_type, index.annotations);
        return Some((index.subject?.digest, own));
    }
    let manifest: Manifest = serde_json::from_slice(&document.bytes).ok()?;
    own.artifact_type = manifest.artifact_type.or(Some(manifest.config.media_type));
    own.annotations = manifest.annotations;
    Some((manifest.subject?.digest, own))
}

impl Sink for Push<'_> {
    fn manners(&self) -> Manners {
        Manners { oci_only: false, compresses: true, indexes: true }
    }

    fn presence(&self, blob: &Descriptor) -> Result<Presence, Problem> {
        if self.is_there(&blob.digest)? {
            return Ok(Presence::Present);
        }
        for repository in self.sources(&blob.digest) {
            if Upload::mount(&self.endpoint, &blob.digest, repository)? {
                return Ok(Presence::Mounted(repository.clone()));
            }
        }
        Ok(Presence::Absent)
    }

    fn put_blob(&self, blob: &Descriptor, open: &Opener<'_>, tell: &dyn Fn(u64)) -> Result<(), Problem> {
        let place = self.endpoint.reference().name();
        let note =
            self.memory.filter(|_| Upload::is_worth_a_note(blob)).map(|store| store.upload(&blob.digest, &place));
        Upload::new(&self.endpoint, blob, open, tell, note.and_then(Result::ok).flatten()).run()
    }

    fn put_manifest(&self, document: &Document, digest: &Digest) -> Result<(), Problem> {
        self.put(document, digest, digest.as_str())
    }

    fn put_root(&self, document: &Document, digest: &Digest) -> Result<(), Problem> {
        match (self.endpoint.reference().tag(), self.endpoint.reference().digest()) {
            (_, Some(wanted)) if *wanted != digest_as(wanted, &document.bytes)? => {
                Err(Problem::DigestMismatch { got: digest.clone(), promised: wanted.clone() })
            }
            (Some(tag), None) => self.put(document, digest, tag),
            _ => self.put(document, digest, digest.as_str()),
        }
    }

    fn put_tagged(&self, document: &Document, digest: &Digest, tag: &str) -> Result<(), Problem> {
        self.put(document, digest, tag)
    }

    fn interrupt(&self) {
        self.endpoint.http().interrupt();
    }
}
