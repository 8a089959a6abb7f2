//! A repository of a registry as a place to put images.
//!
//! Spec: distribution-spec "Pushing blobs" (HEAD, mount, POST, PATCH, PUT), "Pushing manifests", "Pushing manifests with
//! subject" (referrers tag schema where the registry has no referrers API).
//! Law: what is there is not sent; what is in another repository of the same registry is mounted; a broken upload goes on at
//! the byte the registry has, where it can tell, also by another process. The root manifest comes last.

use std::collections::BTreeMap;

use bytes::Bytes;
use knarr_spec::image::Annotations;
use knarr_spec::{Descriptor, Digest, Index, Manifest, Reference, media_type};
use knarr_store::Store;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::endpoint::{Call, Endpoint, Target};
use super::patience::patiently;
use super::upload::Upload;
use crate::error::Part;
use crate::http::{Body, Http};
use crate::origin::{Carried, Document, check_content, digest_as};
use crate::progress::Progress;
use crate::sign::Signature;
use crate::sink::{Manners, Opener, Presence, Sink};
use crate::{Problem, limits, lookaside, policy};

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

/// A signed claim, and its signature with what else is known of it.
type Claim<'c> = (&'c Vec<u8>, &'c Annotations);

impl Push<'_> {
    /// Adds signed claims to the image under the tag made of `digest`, where cosign keeps them.
    fn attach(&self, digest: &Digest, claims: &[Claim<'_>]) -> Result<(), Problem> {
        let tag = policy::signatures_tag(digest);
        let (mut layers, mut config) = self.attached(&tag)?;
        for (payload, annotations) in claims {
            let mut layer = self.put_bytes(policy::CLAIM_MEDIA_TYPE, payload)?;
            layer.annotations.clone_from(annotations);
            if layers.contains(&layer) {
                continue;
            }
            if let Some(diff_ids) = config["rootfs"]["diff_ids"].as_array_mut() {
                diff_ids.push(layer.digest.as_str().into());
            }
            layers.push(layer);
        }
        let config = self.put_bytes(media_type::OCI_CONFIG, &serde_json::to_vec(&config).expect("it is JSON"))?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers,
        });
        let document = Document {
            bytes: serde_json::to_vec(&manifest).expect("strings and numbers"),
            media_type: media_type::OCI_MANIFEST.to_owned(),
        };
        self.put(&document, &Digest::sha256_of(&document.bytes), &tag)
    }

    /// The signatures that are there, and the config that counts them.
    fn attached(&self, tag: &str) -> Result<(Vec<Descriptor>, Value), Problem> {
        let bytes = match self.endpoint.manifest(tag) {
            Ok((bytes, _)) => bytes,
            Err(problem) if matches!(problem.innermost(), Problem::ManifestUnknown { .. }) => {
                let config =
                    json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
                return Ok((Vec::new(), config));
            }
            Err(problem) => return Err(problem),
        };
        let malformed = |source| Problem::Malformed { what: "manifest of signatures", source };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(malformed)?;
        let config = &manifest.config.digest;
        let answer = patiently(self.endpoint.http(), || {
            self.endpoint.checked(self.endpoint.blob(config, 0, None)?, None)?.document(limits::CONFIG_BYTES_MAX)
        })?;
        check_content(&answer, config, Some(manifest.config.size), "registry")?;
        let config = serde_json::from_slice(&answer).map_err(malformed)?;
        Ok((manifest.layers, config))
    }

    fn put_bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Problem> {
        let bytes = Bytes::copy_from_slice(bytes);
        let descriptor = Descriptor::new(media_type, Digest::sha256_of(&bytes), bytes.len() as u64);
        if self.presence(&descriptor)? == Presence::Absent {
            self.put_blob(&descriptor, &|offset| Ok(Box::new(Carried(Some(bytes.clone()), offset))), &|_| ())?;
        }
        Ok(descriptor)
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

    fn put_signatures(&self, digest: &Digest, _: bool, signatures: &[Signature]) -> Result<(), Problem> {
        let mut claims = Vec::new();
        for signature in signatures {
            match signature {
                Signature::Simple(message) => {
                    let lookaside = &self.endpoint.http().network().lookaside;
                    lookaside::write(lookaside, self.endpoint.wanted(), digest, message)?;
                }
                Signature::Sigstore { payload, annotations } => claims.push((payload, annotations)),
            }
        }
        if claims.is_empty() { Ok(()) } else { self.attach(digest, &claims) }
    }

    fn interrupt(&self) {
        self.endpoint.http().interrupt();
    }
}
