//! Looking at images and repositories, deleting them, and trying a login.
//!
//! Law: nothing but documents is fetched.

use std::path::Path;

use knarr_spec::{Digest, Manifest, Raw, Reference, media_type};
use knarr_store::Store;

use crate::copy::{CopyOptions, with_origin};
use crate::fetch;
use crate::http::Http;
use crate::origin::{Document, Origin, check_content, read_all};
use crate::progress::{Progress, Silent};
use crate::registry::Repository;
use crate::{Error, Network, Place, Problem, archive, limits};

/// An image as it shows itself without being fetched.
#[derive(Debug, Clone)]
pub struct Looked {
    /// The document the name means, exactly.
    pub root: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// What it is called where it lies.
    pub names: Vec<Reference>,
    /// The manifest for the platform, and the exact config; where they were asked for.
    pub image: Option<(Raw<Manifest>, Vec<u8>)>,
}

pub(crate) fn said<T>(verb: &'static str, subject: impl ToString, done: Result<T, Problem>) -> Result<T, Error> {
    done.map_err(|problem| Error { verb, subject: subject.to_string(), problem: Box::new(problem) })
}

/// Looks at the image `place` means; `deep` also at the manifest for the platform and its config.
pub fn inspect(store: Option<&Store>, place: &Place, deep: bool, options: &CopyOptions<'_>) -> Result<Looked, Error> {
    let looked = with_origin(store, place, options, |origin, names| {
        let root = origin.root()?;
        let image = if deep { Some(image(origin, root.clone(), options)?) } else { None };
        let digest = Digest::sha256_of(&root.bytes);
        let Document { bytes: root, media_type } = root;
        Ok(Looked { root, media_type, digest, names: names.to_vec(), image })
    });
    said("inspect", place, looked)
}

pub(crate) fn image(
    origin: &dyn Origin,
    mut document: Document,
    options: &CopyOptions<'_>,
) -> Result<(Raw<Manifest>, Vec<u8>), Problem> {
    for _ in 0..limits::INDEX_DEPTH_MAX {
        if !media_type::is_index(&document.media_type) {
            break;
        }
        let index: knarr_spec::Index =
            serde_json::from_slice(&document.bytes).map_err(|source| Problem::Malformed { what: "index", source })?;
        let entry = index.choose(&options.platform).ok_or_else(|| fetch::not_offered(&options.platform, &index))?;
        let bytes = origin.manifest(entry)?;
        check_content(&bytes, &entry.digest, Some(entry.size), origin.who())?;
        document = Document::new(bytes, Some(&entry.media_type))?;
    }
    let manifest: Raw<Manifest> =
        Raw::parse(document.bytes).map_err(|source| Problem::Malformed { what: "manifest", source })?;
    let config = &manifest.config;
    if config.size > limits::CONFIG_BYTES_MAX {
        return Err(Problem::TooLarge { bytes_max: limits::CONFIG_BYTES_MAX });
    }
    let bytes = match fetch::embedded(config)? {
        Some(bytes) => bytes,
        None => read_all(&mut *origin.open(config, 0)?, limits::CONFIG_BYTES_MAX)?,
    };
    check_content(&bytes, &config.digest, Some(config.size), origin.who())?;
    Ok((manifest, bytes))
}

fn at<T>(
    reference: &Reference,
    network: &Network,
    then: impl FnOnce(&Repository<'_>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let http = Http::new(network)?;
    let progress: &dyn Progress = &Silent;
    then(&Repository::new(&http, reference, progress)?)
}

/// Every tag of the repository of `reference`.
pub fn list_tags(reference: &Reference, network: &Network) -> Result<Vec<String>, Error> {
    let tags = || {
        let http = Http::new(network)?;
        Repository::to_read(&http, reference, &Silent)?.tags()
    };
    said("list-tags", reference.name(), tags())
}

/// Every repository of a registry, where it tells.
pub fn catalog(registry: &str, network: &Network) -> Result<Vec<String>, Error> {
    let listed = somewhere(registry).and_then(|reference| at(&reference, network, |repository| repository.catalog()));
    said("catalog", registry, listed)
}

/// The names of the images of a docker archive.
pub fn docker_archive_tags(path: &Path, spool: &Path) -> Result<Vec<String>, Error> {
    said("list-tags", path.display(), archive::docker_archive_tags(path, spool))
}

/// Deletes the manifest that `reference` means, with every tag of it; its digest.
pub fn delete(reference: &Reference, network: &Network) -> Result<Digest, Error> {
    said("delete", reference, at(reference, network, |repository| repository.delete()))
}

/// Takes one tag away; the manifest stays where the registry can do that.
pub fn delete_tag(reference: &Reference, tag: &str, network: &Network) -> Result<(), Error> {
    said("delete", reference, at(reference, network, |repository| repository.delete_manifest(tag)))
}

/// The digest a reference means now.
pub fn digest(reference: &Reference, network: &Network) -> Result<Digest, Error> {
    said("digest", reference, at(reference, network, |repository| repository.digest()))
}

/// Whether `registry` lets us in.
pub fn ping(registry: &str, network: &Network) -> Result<(), Error> {
    let answered = somewhere(registry).and_then(|reference| at(&reference, network, |repository| repository.ping()));
    said("login", registry, answered)
}

/// Any name at a registry, for questions about the registry itself.
pub(crate) fn somewhere(registry: &str) -> Result<Reference, Problem> {
    let registry = registry.trim_end_matches('/');
    let text = format!("{registry}/x");
    let parsed: Result<Reference, _> = text.parse();
    match parsed {
        Ok(reference) if reference.registry() == registry || registry == "index.docker.io" => Ok(reference),
        _ => Err(Problem::Unsupported(format!("{registry:?} is not the name of a registry"))),
    }
}
