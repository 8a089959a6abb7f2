//! The verbs: `pull` from any source, `load` from an archive, and `artifact pull`.

use knarr_spec::{Digest, Manifest, Raw, Reference};
use knarr_store::{ImageRecord, Store};

use crate::archive::{self, Input};
use crate::copy::{Copied, Copier, CopyOptions};
use crate::fetch::Fetch;
use crate::http::Http;
use crate::progress::Outcome;
use crate::registry::Registry;
use crate::store_sink::StoreSink;
use crate::{Error, Place, Problem, PullOptions, limits};

/// Brings the image `place` means into the store and returns its record. What is there already is not fetched again; what
/// an interrupted pull left is continued.
pub fn pull(store: &Store, place: &Place, options: &PullOptions<'_>) -> Result<ImageRecord, Error> {
    let subject = place.to_string();
    let pulled = match place {
        Place::Registry(reference) => from_registry(store, place, reference, options),
        Place::Local(name) => store.resolve_image(name).map_err(Problem::from),
        file => archive::with_image(file, &options.platform, store.state(), None, |image| {
            archive::bring(image, file, store, options)
        }),
    };
    pulled.map_err(|problem| Error { verb: "pull", subject, problem: Box::new(problem) })
}

/// Brings every image of an archive into the store. Its form (`docker save`, OCI archive or layout; plain, gzip or zstd)
/// shows by itself.
pub fn load(store: &Store, input: Input, options: &PullOptions<'_>) -> Result<Vec<ImageRecord>, Error> {
    let subject = input.to_string();
    archive::load(store, input, options).map_err(|problem| Error { verb: "load", subject, problem: Box::new(problem) })
}

/// Brings an artifact into the store, which then has its manifest (returned) and all blobs it names, and no name for it yet.
pub fn pull_artifact(store: &Store, name: &Reference, options: &CopyOptions<'_>) -> Result<Raw<Manifest>, Error> {
    let pulled = || {
        let copied = keep_document(store, name, options)?;
        let bytes = store.blob_bytes(&copied.digest, limits::MANIFEST_BYTES_MAX)?;
        let bytes = bytes.ok_or_else(|| Problem::NotStored(copied.digest.clone()))?;
        Raw::parse(bytes).map_err(|source| Problem::Malformed { what: "manifest", source })
    };
    pulled().map_err(|problem| Error { verb: "pull", subject: name.to_string(), problem: Box::new(problem) })
}

/// Brings again what the store lacks of a list or artifact, by the digest in `name`.
pub fn fetch_document(store: &Store, name: &Reference, options: &CopyOptions<'_>) -> Result<(), Error> {
    let fetched = keep_document(store, name, options).map(drop);
    fetched.map_err(|problem| Error { verb: "pull", subject: name.to_string(), problem: Box::new(problem) })
}

fn keep_document(store: &Store, name: &Reference, options: &CopyOptions<'_>) -> Result<Copied, Problem> {
    let http = Http::new(&options.source)?;
    let origin = Registry::new(&http, name, options.progress, false)?;
    let (from, to) = (Place::Registry(name.clone()), Place::Local(name.to_string()));
    Copier { origin: &origin, sink: &StoreSink(store), from: &from, to: &to, options }.run()
}

fn from_registry(
    store: &Store,
    place: &Place,
    reference: &Reference,
    options: &PullOptions<'_>,
) -> Result<ImageRecord, Problem> {
    let subject = reference.to_string();
    let known = known(store, reference, options);
    // A digest means the same for ever.
    if let (Some(image), Some(digest)) = (&known, reference.digest()) {
        return Ok(up_to_date(image, &subject, digest, options));
    }
    let http = Http::new(&options.network)?;
    let registry = Registry::new(&http, reference, options.progress, options.foreign_layers)?;
    if let Some(image) = &known
        && let Some(digest) = registry.digest()
        && is_current(image, reference, &digest)
        && options.names.is_empty()
    {
        return Ok(up_to_date(image, &subject, &digest, options));
    }
    let names: Vec<Reference> = [reference].into_iter().chain(&options.names).cloned().collect();
    let image = Fetch { store, options, origin: &registry, place }.image(&subject, &names)?;
    let same = known.is_some_and(|known| known.id == image.id && known.manifest_digest == image.manifest_digest);
    options.progress.finished(&subject, if same { Outcome::UpToDate } else { Outcome::Downloaded });
    Ok(image)
}

/// The image of this name in the store, if nothing of it is lost and it is for the wanted platform.
fn known(store: &Store, reference: &Reference, options: &PullOptions<'_>) -> Option<ImageRecord> {
    let image = store.resolve_image(&reference.to_string()).ok()?;
    let unpacked = image.layers.len() == image.config.rootfs.diff_ids.len();
    let whole = unpacked && !store.lacks_blobs(&image.id).unwrap_or(true);
    let fits = options.platform.preference(&image.config.platform) == Some(0);
    (whole && fits).then_some(image)
}

fn is_current(image: &ImageRecord, reference: &Reference, digest: &Digest) -> bool {
    let known = image.manifest_digest == *digest || image.index_digest.as_ref() == Some(digest);
    known && image.names.contains(reference)
}

fn up_to_date(image: &ImageRecord, subject: &str, digest: &Digest, options: &PullOptions<'_>) -> ImageRecord {
    options.progress.resolved(subject, digest);
    options.progress.finished(subject, Outcome::UpToDate);
    image.clone()
}
