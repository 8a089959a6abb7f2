//! An image of a `docker save` archive.
//!
//! Spec: moby image spec v1.2, "Combined Image JSON + Filesystem Changeset Format": `manifest.json` lists config, tags and
//! layers by member name. Old archives call layers `<id>/layer.tar` (perhaps as links to one another), new ones
//! `blobs/sha256/<hex>`.
//! Law: such an archive has no manifest with a digest, so one is made, the same for the same content: an OCI manifest over
//! the layers as they lie in the archive. The config's diff ids decide what a layer must be.

use std::collections::HashMap;
use std::io::Read;

use bytes::Bytes;
use knarr_layer::compression::{Compression, Sniffed, sniff};
use knarr_spec::{Descriptor, DiffId, Digest, ImageConfig, Manifest, Raw, Reference, media_type};
use serde::Deserialize;
use sha2::Digest as _;

use super::members::{CHUNK_BYTES, Members, Section, SectionStream};
use super::{SNIFF_BYTES, document, limits};
use crate::Problem;
use crate::error::{ArchiveProblem, Inconsistency, Part};
use crate::origin::{Document, Origin, Stream};

/// One element of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Entry {
    fn tags(&self) -> &[String] {
        self.repo_tags.as_deref().unwrap_or_default()
    }
}

/// One image of the archive.
pub(super) struct DockerArchive<'m> {
    members: &'m dyn Members,
    /// The manifest we made.
    manifest: Vec<u8>,
    /// Where the contents are that it names.
    places: HashMap<Digest, String>,
    pub(super) names: Vec<Reference>,
}

/// The image with the `RepoTags` entry `tag`; without one, the only image there is.
pub(super) fn single<'m>(members: &'m dyn Members, tag: Option<&str>) -> Result<DockerArchive<'m>, Problem> {
    let entries = entries(members)?;
    let offered = || entries.iter().flat_map(Entry::tags).cloned().collect();
    let wanted = |entry: &&Entry| match tag {
        None => true,
        Some(tag) => entry.tags().iter().any(|name| same_name(name, tag)),
    };
    let mut found = entries.iter().filter(wanted);
    match (found.next(), found.next(), tag) {
        (Some(entry), None, _) | (Some(entry), _, Some(_)) => DockerArchive::new(members, entry),
        (Some(_), Some(_), None) => Err(Problem::Archive(ArchiveProblem::Ambiguous(offered()))),
        (None, _, Some(tag)) => {
            Err(Problem::Archive(ArchiveProblem::NoSuchTag { wanted: tag.to_owned(), offered: offered() }))
        }
        (None, _, None) => Err(Problem::Archive(ArchiveProblem::NoImage)),
    }
}

/// The names of all images.
pub(super) fn tags(members: &dyn Members) -> Result<Vec<String>, Problem> {
    Ok(entries(members)?.iter().flat_map(Entry::tags).cloned().collect())
}

/// Every image of the archive.
pub(super) fn all(members: &dyn Members) -> Result<Vec<DockerArchive<'_>>, Problem> {
    let entries = entries(members)?;
    if entries.is_empty() {
        return Err(Problem::Archive(ArchiveProblem::NoImage));
    }
    entries.iter().map(|entry| DockerArchive::new(members, entry)).collect()
}

fn entries(members: &dyn Members) -> Result<Vec<Entry>, Problem> {
    let bytes = document(members, "manifest.json", limits::MANIFEST_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(|source| Problem::Malformed { what: "manifest.json", source })
}

/// `alpine` and `docker.io/library/alpine:latest` are one name.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    match (a.parse::<Reference>(), b.parse::<Reference>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

impl<'m> DockerArchive<'m> {
    fn new(members: &'m dyn Members, entry: &Entry) -> Result<DockerArchive<'m>, Problem> {
        let config_bytes = document(members, &entry.config, limits::CONFIG_BYTES_MAX)?;
        let config: Raw<ImageConfig> = Raw::parse(config_bytes).map_err(|source| {
            Problem::Malformed { what: "image config", source }.of(Part::Member(entry.config.clone()))
        })?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != entry.layers.len() {
            let (manifest, config) = (entry.layers.len(), diff_ids.len());
            return Err(Problem::Inconsistent(Inconsistency::LayerCount { manifest, config }));
        }
        let mut places = HashMap::from([(config.digest(), entry.config.clone())]);
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (name, diff_id) in entry.layers.iter().zip(diff_ids) {
            let layer = layer(members, name, diff_id)?;
            places.insert(layer.digest.clone(), name.clone());
            layers.push(layer);
        }
        let config = Descriptor::new(media_type::OCI_CONFIG, config.digest(), config.bytes().len() as u64);
        let names = entry.tags().iter().filter_map(|tag| tag.parse().ok()).collect();
        Ok(DockerArchive { members, manifest: manifest(config, layers), places, names })
    }

    fn section(&self, digest: &Digest) -> Result<Section, Problem> {
        let missing = || Problem::Archive(ArchiveProblem::Missing(digest.to_string()));
        let name = self.places.get(digest).ok_or_else(missing)?;
        self.members.section(name)?.ok_or_else(missing)
    }
}

fn manifest(config: Descriptor, layers: Vec<Descriptor>) -> Vec<u8> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: Default::default(),
    };
    Raw::from_document(manifest).into_bytes()
}

/// What a layer of the archive is. A plain one must be its diff id; of a compressed one the digest is computed.
fn layer(members: &dyn Members, name: &str, diff_id: &DiffId) -> Result<Descriptor, Problem> {
    let missing = || Problem::Archive(ArchiveProblem::Missing(name.to_owned()));
    let section = members.section(name)?.ok_or_else(missing)?;
    Ok(match sniff(&section.start(SNIFF_BYTES)?) {
        Sniffed::Layer(Compression::Gzip) => {
            Descriptor::new(media_type::OCI_LAYER_GZIP, hash(&section)?, section.bytes)
        }
        Sniffed::Layer(Compression::Zstd) => {
            Descriptor::new(media_type::OCI_LAYER_ZSTD, hash(&section)?, section.bytes)
        }
        // No media type says so; the layer is the tar in it.
        Sniffed::Old(_) => {
            let mut stream = Unpacked::new(section, 0)?;
            let mut bytes = 0;
            while let Some(chunk) = stream.chunk()? {
                bytes += chunk.len() as u64;
                if bytes > limits::ARCHIVE_BYTES_MAX {
                    return Err(Problem::Archive(ArchiveProblem::TooLarge));
                }
            }
            Descriptor::new(media_type::OCI_LAYER, diff_id.0.clone(), bytes)
        }
        _ => Descriptor::new(media_type::OCI_LAYER, diff_id.0.clone(), section.bytes),
    })
}

fn hash(section: &Section) -> Result<Digest, Problem> {
    let mut hasher = sha2::Sha256::new();
    let mut stream = section.clone().stream(0);
    while let Some(chunk) = stream.chunk()? {
        hasher.update(&chunk);
    }
    Ok(Digest::from_hash(&knarr_spec::Algorithm::Sha256, &hasher.finalize()))
}

/// The tar in a layer of a form that no media type has.
struct Unpacked(knarr_layer::Decompressor<SectionStream>);

impl Unpacked {
    fn new(section: Section, offset: u64) -> Result<Unpacked, Problem> {
        let mut tar = knarr_layer::decompress(section.stream(0), None)?;
        std::io::copy(&mut (&mut tar).take(offset), &mut std::io::sink()).map_err(damaged)?;
        Ok(Unpacked(tar))
    }
}

impl Stream for Unpacked {
    fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let mut chunk = Vec::new();
        (&mut self.0).take(CHUNK_BYTES).read_to_end(&mut chunk).map_err(damaged)?;
        Ok((!chunk.is_empty()).then(|| chunk.into()))
    }
}

fn damaged(error: std::io::Error) -> Problem {
    Problem::Archive(ArchiveProblem::Damaged(error.to_string()))
}

impl Origin for DockerArchive<'_> {
    fn root(&self) -> Result<Document, Problem> {
        Document::new(self.manifest.clone(), None)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Problem> {
        self.section(&descriptor.digest)?.read(limits::MANIFEST_BYTES_MAX)
    }

    fn open<'a>(&'a self, descriptor: &'a Descriptor, offset: u64) -> Result<Box<dyn Stream + 'a>, Problem> {
        let section = self.section(&descriptor.digest)?;
        match sniff(&section.start(SNIFF_BYTES)?) {
            Sniffed::Old(_) => Ok(Box::new(Unpacked::new(section, offset)?)),
            _ => Ok(Box::new(section.stream(offset))),
        }
    }

    fn who(&self) -> &'static str {
        "archive"
    }
}
