//! A registry, with its mirrors, as an origin of images.
//!
//! Spec: distribution-spec, "Pulling manifests" and "Pulling blobs"; Docker's token authentication.
//! Law: the endpoints stand for the same names, so a stream that breaks at one goes on at the next, at the same byte.

mod admin;
mod blob;
mod endpoint;
pub(crate) mod patience;
mod push;
mod upload;

pub(crate) use admin::Repository;
pub(crate) use push::{Mounts, Push};

use std::sync::atomic::{AtomicUsize, Ordering};

use knarr_spec::{Descriptor, Digest, Reference};

use crate::http::Http;
use crate::origin::{Document, Origin, Stream};
use crate::progress::Progress;
use crate::{Problem, limits};

use blob::BlobStream;
use endpoint::Endpoint;

/// The endpoints that stand behind one reference.
pub(crate) struct Registry<'a> {
    http: &'a Http,
    endpoints: Vec<Endpoint<'a>>,
    /// The endpoint that answered last.
    current: AtomicUsize,
    progress: &'a dyn Progress,
    /// Whether layers may come from the URLs of their descriptors.
    foreign_layers: bool,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(
        http: &'a Http,
        reference: &Reference,
        progress: &'a dyn Progress,
        foreign_layers: bool,
    ) -> Result<Registry<'a>, Problem> {
        let places = http.network().registries.endpoints(reference)?;
        let endpoints = places.into_iter().map(|place| Endpoint::new(http, reference, place, progress)).collect();
        Ok(Registry { http, endpoints, current: AtomicUsize::new(0), progress, foreign_layers })
    }

    /// What the reference means now, by a request that costs the registry little; `None` where it does not say.
    pub(crate) fn digest(&self) -> Option<Digest> {
        let digest = self.endpoints.iter().find_map(|endpoint| endpoint.manifest_digest().ok());
        digest.flatten()
    }

    /// Tries the endpoints in turn, beginning with the one that answered last.
    fn any<T>(&self, ask: impl Fn(&Endpoint<'a>) -> Result<T, Problem>) -> Result<T, Problem> {
        let first = self.current.load(Ordering::Relaxed);
        let mut failed = None;
        for at in (first..self.endpoints.len()).chain(0..first) {
            match ask(&self.endpoints[at]) {
                Ok(answer) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(problem) => failed = Some(problem),
            }
        }
        Err(failed.expect("a reference has at least its own registry"))
    }
}

impl Origin for Registry<'_> {
    fn root(&self) -> Result<Document, Problem> {
        self.any(Endpoint::root)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Problem> {
        let (bytes, _) = self.any(|endpoint| endpoint.manifest(descriptor.digest.as_str()))?;
        Ok(bytes)
    }

    fn open<'a>(&'a self, descriptor: &'a Descriptor, offset: u64) -> Result<Box<dyn Stream + 'a>, Problem> {
        Ok(Box::new(BlobStream::new(self, descriptor, offset, descriptor.size)))
    }

    fn open_part<'a>(&'a self, descriptor: &'a Descriptor, offset: u64, end: u64) -> Option<Box<dyn Stream + 'a>> {
        let stream = BlobStream::new(self, descriptor, offset, end);
        descriptor.urls.is_empty().then(|| Box::new(stream) as Box<dyn Stream>)
    }

    fn repository(&self) -> Option<(&str, &str)> {
        let endpoint = &self.endpoints[self.current.load(Ordering::Relaxed)];
        Some((endpoint.reference().registry(), endpoint.reference().repository()))
    }

    fn tagged(&self, tag: &str) -> Result<Option<Document>, Problem> {
        match self.any(|endpoint| endpoint.manifest(tag)) {
            Ok((bytes, content_type)) => Document::new(bytes, content_type.as_deref()).map(Some),
            Err(problem) if matches!(problem.innermost(), Problem::ManifestUnknown { .. }) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Problem> {
        self.any(|endpoint| endpoint.referrers(digest))
    }

    fn signatures(&self, digest: &Digest) -> Result<Vec<Vec<u8>>, Problem> {
        crate::lookaside::signatures(self.http, self.endpoints[0].wanted(), digest)
    }

    fn who(&self) -> &'static str {
        "registry"
    }

    fn interrupt(&self) {
        self.http.interrupt();
    }
}

/// Largest document asked for at `manifests/`.
const MANIFEST_BYTES_MAX: u64 = limits::MANIFEST_BYTES_MAX;
