//! From an origin into the store: choose, fetch, verify, unpack, make visible.
//!
//! Law: what was stored before is asked first; everything that arrives is compared with what named it (reference ►
//! index ► manifest ► config ► diff id); the image becomes visible last, in one step, when all of it is there.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_spec::{Descriptor, DiffId, Digest, ImageConfig, Index, Manifest, Raw, Reference, media_type};
use knarr_store::{ImageRecord, LayerRecord, NewImage, Store};

use crate::error::{Inconsistency, Part};
use crate::layer_job::LayerJob;
use crate::origin::{Document, Origin, check_content, read_all};
use crate::policy::Subject;
use crate::segments::Connections;
use crate::together::together;
use crate::{Place, Problem, PullOptions, limits};

/// An image on its way.
pub(crate) struct Fetch<'a> {
    pub(crate) store: &'a Store,
    pub(crate) options: &'a PullOptions<'a>,
    pub(crate) origin: &'a dyn Origin,
    /// What the user called it, for the policy.
    pub(crate) place: &'a Place,
}

/// The manifest that fits, and the documents that led to it.
struct Chosen {
    manifest: Raw<Manifest>,
    /// The index that names it.
    index: Option<Raw<Index>>,
    /// The index above that, and so on.
    outer: Vec<Raw<Index>>,
}

impl Chosen {
    /// What docker prints as the digest of the image: of the outermost document.
    fn digest(&self) -> Digest {
        let index = self.outer.first().or(self.index.as_ref());
        index.map_or_else(|| self.manifest.digest(), Raw::digest)
    }

    /// The digest an image of our store can be found by.
    fn stored_digest(&self) -> Digest {
        self.index.as_ref().map_or_else(|| self.manifest.digest(), Raw::digest)
    }
}

impl Fetch<'_> {
    /// Brings the image the origin's name means; `names` are what it is called, `subject` what the user called it.
    pub(crate) fn image(&self, subject: &str, names: &[Reference]) -> Result<ImageRecord, Problem> {
        let root = self.origin.root()?;
        self.image_from(root, subject, names)
    }

    /// The same from a document that is here already.
    pub(crate) fn image_from(
        &self,
        root: Document,
        subject: &str,
        names: &[Reference],
    ) -> Result<ImageRecord, Problem> {
        let chosen = self.choose(root)?;
        self.options.progress.resolved(subject, &chosen.digest());
        self.check_policy(&chosen)?;
        let config = self.config(&chosen.manifest.config)?;
        check_layers(&chosen.manifest, &config)?;
        let layers = self.layers(&chosen.manifest.layers, &config)?;
        for outer in &chosen.outer {
            self.store.put_blob(outer.bytes())?;
        }
        let digest = chosen.stored_digest();
        let names = names.iter().map(|name| stored_name(name, &digest)).collect();
        let Chosen { manifest, index, .. } = chosen;
        Ok(self.store.put_image(NewImage { manifest, index, config, layers, names })?)
    }

    /// Before a byte of the image is fetched.
    fn check_policy(&self, chosen: &Chosen) -> Result<(), Problem> {
        let outer = chosen.outer.iter().map(Raw::bytes);
        let documents: Vec<&[u8]> =
            outer.chain(chosen.index.as_ref().map(Raw::bytes)).chain([chosen.manifest.bytes()]).collect();
        let subject = Subject { place: self.place, origin: self.origin, documents: &documents };
        self.options.policy.check(&subject)
    }

    /// Goes down from the root document to the manifest for our platform.
    fn choose(&self, root: Document) -> Result<Chosen, Problem> {
        let mut document = root;
        let mut indexes: Vec<Raw<Index>> = Vec::new();
        while media_type::is_index(&document.media_type) {
            if indexes.len() == limits::INDEX_DEPTH_MAX {
                return Err(Problem::Inconsistent(Inconsistency::IndexDepth));
            }
            let index: Raw<Index> =
                Raw::parse(document.bytes).map_err(|source| Problem::Malformed { what: "index", source })?;
            let wanted = &self.options.platform;
            let entry = index.choose(wanted).ok_or_else(|| not_offered(wanted, &index))?.clone();
            indexes.push(index);
            document = self.document(&entry).map_err(|p| p.of(Part::Manifest(entry.digest.to_string())))?;
        }
        let manifest = Raw::parse(document.bytes).map_err(|source| Problem::Malformed { what: "manifest", source })?;
        let index = indexes.pop();
        Ok(Chosen { manifest, index, outer: indexes })
    }

    /// A manifest or index that an index names, from the store or the origin.
    fn document(&self, descriptor: &Descriptor) -> Result<Document, Problem> {
        let bytes = self.known(descriptor, limits::MANIFEST_BYTES_MAX, || self.origin.manifest(descriptor))?;
        Document::new(bytes, Some(&descriptor.media_type))
    }

    fn config(&self, descriptor: &Descriptor) -> Result<Raw<ImageConfig>, Problem> {
        if !matches!(descriptor.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
            let media_type = descriptor.media_type.clone();
            return Err(Problem::MediaType { what: "config", media_type });
        }
        let fetch = || read_all(&mut *self.origin.open(descriptor, 0)?, limits::CONFIG_BYTES_MAX);
        let read = || {
            let bytes = self.known(descriptor, limits::CONFIG_BYTES_MAX, fetch)?;
            Raw::parse(bytes).map_err(|source| Problem::Malformed { what: "image config", source })
        };
        read().map_err(|problem: Problem| problem.of(Part::Config(descriptor.digest.clone())))
    }

    /// A small content: embedded in its descriptor, in the store, or fetched; verified in each case.
    fn known(
        &self,
        descriptor: &Descriptor,
        bytes_max: u64,
        fetch: impl FnOnce() -> Result<Vec<u8>, Problem>,
    ) -> Result<Vec<u8>, Problem> {
        if descriptor.size > bytes_max {
            return Err(Problem::TooLarge { bytes_max });
        }
        let bytes = match (embedded(descriptor)?, self.stored(descriptor, bytes_max)) {
            (Some(bytes), _) | (None, Some(bytes)) => bytes,
            (None, None) => fetch()?,
        };
        check_content(&bytes, &descriptor.digest, Some(descriptor.size), self.origin.who())?;
        Ok(bytes)
    }

    /// From the store, if it is there and sound; damage there is mended by fetching again.
    fn stored(&self, descriptor: &Descriptor, bytes_max: u64) -> Option<Vec<u8>> {
        self.store.blob_bytes(&descriptor.digest, bytes_max).ok().flatten()
    }

    /// All layers, several at once. The first that fails stops the others.
    fn layers(&self, descriptors: &[Descriptor], config: &ImageConfig) -> Result<Vec<LayerRecord>, Problem> {
        let diff_ids = &config.rootfs.diff_ids;
        let distinct = diff_ids.iter().collect::<HashSet<_>>().len();
        let connections = Connections::new(self.options.concurrency, distinct);
        let jobs: Vec<LayerJob<'_>> = descriptors
            .iter()
            .zip(diff_ids)
            .map(|(descriptor, diff_id)| LayerJob::new(self, descriptor, diff_id, &connections))
            .collect::<Result<_, _>>()?;
        // A layer that occurs twice is fetched once.
        let firsts: Vec<usize> =
            (0..jobs.len()).filter(|at| diff_ids.iter().position(|id| *id == diff_ids[*at]) == Some(*at)).collect();
        firsts.iter().for_each(|at| jobs[*at].announce());
        let threads = self.options.concurrency;
        let bring = || {
            together(firsts.len(), threads, &|| self.origin.interrupt(), &|at| {
                let _connection = connections.of_blob(at);
                jobs[firsts[at]].run()
            })
        };
        self.store.flush_while(bring)?;
        let record = |diff_id| {
            self.store.layer(diff_id)?.ok_or_else(|| knarr_store::Error::NoSuchLayer(DiffId::clone(diff_id)).into())
        };
        diff_ids.iter().map(record).collect()
    }
}

/// The content a descriptor carries itself.
pub(crate) fn embedded(descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Problem> {
    let Some(data) = &descriptor.data else { return Ok(None) };
    let bytes = STANDARD.decode(data).map_err(|_| Problem::Inconsistent(Inconsistency::Data))?;
    match check_content(&bytes, &descriptor.digest, Some(descriptor.size), "") {
        Ok(()) => Ok(Some(bytes)),
        Err(_) => Err(Problem::Inconsistent(Inconsistency::Data)),
    }
}

fn check_layers(manifest: &Manifest, config: &ImageConfig) -> Result<(), Problem> {
    let (manifest, config) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    match manifest {
        _ if manifest != config => Err(Problem::Inconsistent(Inconsistency::LayerCount { manifest, config })),
        too_many if too_many > limits::LAYERS_MAX => Err(Problem::Inconsistent(Inconsistency::TooManyLayers(too_many))),
        _ => Ok(()),
    }
}

pub(crate) fn not_offered(wanted: &knarr_spec::Platform, index: &Index) -> Problem {
    let mut offered: Vec<String> =
        index.manifests.iter().filter_map(|entry| Some(entry.platform.as_ref()?.to_string())).collect();
    offered.retain(|platform| !platform.starts_with("unknown/"));
    offered.sort();
    offered.dedup();
    Problem::Platform { wanted: wanted.to_string(), offered }
}

/// What an image pulled as `name` is called here: a tag with the digest it meant, or, as docker does, the digest alone where
/// the user gave one.
fn stored_name(name: &Reference, digest: &Digest) -> Reference {
    match (name.tag(), name.digest()) {
        (Some(tag), None) => {
            let text = format!("{}:{tag}@{digest}", name.name());
            text.parse().expect("made of checked parts")
        }
        _ => name.with_digest(digest.clone()),
    }
}
