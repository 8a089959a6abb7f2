//! `push`: images, lists and artifacts of the store to a registry.
//!
//! Law: what was pulled keeps its digests. Layers that another repository of the same registry is known to have are mounted.

use std::collections::BTreeMap;

use knarr_spec::{Digest, Manifest, Reference};
use knarr_store::{ImageRecord, Store};

use crate::copy::{Copied, Copier, CopyOptions, MultiArch};
use crate::http::Http;
use crate::registry::{Mounts, Push};
use crate::stored::Stored;
use crate::{Error, Place, Problem, limits};

/// Pushes `image` as `name`. With [`MultiArch::All`] the index goes too, which must be here with all its images.
pub fn push(store: &Store, image: &ImageRecord, name: &Reference, options: &CopyOptions<'_>) -> Result<Copied, Error> {
    let pushed = to_registry(store, image, name, options);
    pushed.map_err(|problem| Error { verb: "push", subject: name.to_string(), problem: Box::new(problem) })
}

/// Pushes the list or artifact whose document has the digest `root`, with all it names unless
/// [`MultiArch::IndexOnly`] is asked for.
pub fn push_document(
    store: &Store,
    root: &Digest,
    name: &Reference,
    options: &CopyOptions<'_>,
) -> Result<Copied, Error> {
    let pushed = send(store, &Stored::document_of(store, root.clone()), name, options);
    pushed.map_err(|problem| Error { verb: "push", subject: name.to_string(), problem: Box::new(problem) })
}

fn to_registry(
    store: &Store,
    image: &ImageRecord,
    name: &Reference,
    options: &CopyOptions<'_>,
) -> Result<Copied, Problem> {
    let origin = match options.multi {
        MultiArch::System => Stored::manifest_of(store, image),
        _ => Stored::new(store, image),
    };
    send(store, &origin, name, options)
}

fn send(store: &Store, origin: &Stored<'_>, name: &Reference, options: &CopyOptions<'_>) -> Result<Copied, Problem> {
    let http = Http::new(&options.destination)?;
    let mounts = Mounts { of_blob: known_places(store, name.registry())?, of_all: Vec::new() };
    let sink = Push::new(&http, name, mounts, options.progress, Some(store))?;
    let (from, to) = (Place::Local(name.to_string()), Place::Registry(name.clone()));
    Copier { origin, sink: &sink, from: &from, to: &to, options }.run()
}

/// Which repositories of `registry` are known to have which layers, from the images of the store.
fn known_places(store: &Store, registry: &str) -> Result<BTreeMap<Digest, Vec<String>>, Problem> {
    let mut places: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for image in store.images()? {
        let there = image.repo_digests.iter().filter(|name| name.registry() == registry);
        let repositories: Vec<&str> = there.map(Reference::repository).collect();
        if repositories.is_empty() {
            continue;
        }
        let manifest = store.blob_bytes(&image.manifest_digest, limits::MANIFEST_BYTES_MAX).ok().flatten();
        let manifest = manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
        for layer in manifest.into_iter().flat_map(|manifest| manifest.layers) {
            let known = places.entry(layer.digest).or_default();
            known.extend(repositories.iter().map(|repository| (*repository).to_owned()));
            known.sort();
            known.dedup();
        }
    }
    Ok(places)
}
