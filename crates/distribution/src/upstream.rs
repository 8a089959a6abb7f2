//! A registry as a mirror sees it: documents and blobs by name, exactly as they are there.
//!
//! Law: what is returned has the digest it was asked by; a blob's bytes are handed on as they come, and whoever takes them
//! checks their digest at the end. Not here: what is kept, and for how long.

use knarr_spec::{Descriptor, Digest, Reference};

use crate::http::Http;
use crate::origin::Origin;
use crate::progress::Silent;
use crate::registry::{Registry, Repository};
use crate::{Error, Network, Problem};

/// A way to other registries; threads share its connections.
pub struct Upstream {
    http: Http,
}

impl Upstream {
    /// Reaches registries as `network` says.
    pub fn new(network: &Network) -> Result<Upstream, Error> {
        let http = Http::new(network);
        http.map(|http| Upstream { http }).map_err(|problem| failed("reach", "other registries", problem))
    }

    /// What `reference` means now, by a request that costs little; `None` where nobody says.
    pub fn digest(&self, reference: &Reference) -> Option<Digest> {
        Registry::new(&self.http, reference, &Silent, false).ok()?.digest()
    }

    /// The manifest or index `reference` means: its exact bytes and its media type.
    pub fn manifest(&self, reference: &Reference) -> Result<(Vec<u8>, String), Error> {
        let document = Registry::new(&self.http, reference, &Silent, false).and_then(|registry| registry.root());
        document
            .map(|document| (document.bytes, document.media_type))
            .map_err(|problem| failed("mirror", reference, problem))
    }

    /// Every tag of the repository of `reference`.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let tags = Repository::new(&self.http, reference, &Silent).and_then(|repository| repository.tags());
        tags.map_err(|problem| failed("mirror", reference.name(), problem))
    }

    /// Hands the bytes of a blob of the repository of `reference` to `take`, until it has had enough and says `false`.
    pub fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), Error> {
        let problem = |problem| failed("mirror", format!("{}@{}", reference.name(), descriptor.digest), problem);
        let registry = Registry::new(&self.http, reference, &Silent, false).map_err(problem)?;
        let mut stream = registry.open(descriptor, 0).map_err(problem)?;
        while let Some(bytes) = stream.chunk().map_err(problem)? {
            if !take(&bytes) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn failed(verb: &'static str, subject: impl ToString, problem: Problem) -> Error {
    Error { verb, subject: subject.to_string(), problem: Box::new(problem) }
}
