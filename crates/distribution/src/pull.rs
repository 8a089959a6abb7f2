//! The verbs: `pull` from any source, `load` from an archive.

use knarr_spec::{Digest, Reference};
use knarr_store::{ImageRecord, Store};

use crate::archive::{self, Input};
use crate::fetch::Fetch;
use crate::http::Http;
use crate::progress::Outcome;
use crate::registry::Registry;
use crate::{Error, Place, Problem, PullOptions};

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
