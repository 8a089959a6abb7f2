//! `save`: images of the store as one tar that docker, podman, skopeo and every reader of OCI layouts load.
//!
//! Law: the same images in the same order, the same bytes; blobs as they are, so that every digest survives, and verified on
//! the way out.

use std::io::Write;
use std::path::PathBuf;

use knarr_spec::{Digest, Manifest, Reference};
use knarr_store::{ImageRecord, Store};

use super::tar_sink::{ArchiveForm, TarSink};
use crate::origin::{Document, Origin};
use crate::sink::Sink;
use crate::stored::Stored;
use crate::{Error, Problem};

/// One image of the archive.
#[derive(Debug)]
pub struct Saved {
    /// The image.
    pub image: ImageRecord,
    /// What it is called in the archive.
    pub names: Vec<Reference>,
    /// Whether the index it came with is kept too.
    pub with_index: bool,
}

/// Where the archive goes.
pub enum Output {
    /// A file, which appears when it is complete.
    File(PathBuf),
    /// Whatever takes bytes.
    Stream(Box<dyn Write + Send>),
}

/// Writes the archive.
pub fn save(store: &Store, images: &[Saved], to: Output) -> Result<(), Error> {
    let subject = match &to {
        Output::File(path) => path.display().to_string(),
        Output::Stream(_) => "output".to_owned(),
    };
    let write = || {
        let sink = match to {
            Output::File(path) => TarSink::create(&path, ArchiveForm::Docker)?,
            Output::Stream(out) => TarSink::to_stream(out, ArchiveForm::Docker),
        };
        images.iter().try_for_each(|saved| add(store, &sink, saved))?;
        sink.finish()
    };
    write().map_err(|problem| Error { verb: "save", subject, problem: Box::new(problem) })
}

fn add(store: &Store, sink: &TarSink, saved: &Saved) -> Result<(), Problem> {
    let origin = Stored::manifest_of(store, &saved.image);
    let document = origin.root()?;
    let manifest: Manifest =
        serde_json::from_slice(&document.bytes).map_err(|source| Problem::Malformed { what: "manifest", source })?;
    for blob in [&manifest.config].into_iter().chain(&manifest.layers) {
        sink.put_blob(blob, &|offset| origin.open(blob, offset), &|_| {})?;
    }
    sink.put_manifest(&document, &saved.image.manifest_digest)?;
    let index = saved.image.index_digest.as_ref().filter(|_| saved.with_index);
    let (root, digest): (Document, &Digest) = match index {
        Some(index) => (Stored::document_of(store, index.clone()).root()?, index),
        None => (document.clone(), &saved.image.manifest_digest),
    };
    sink.name_next(saved.names.iter().map(Reference::familiar).collect());
    sink.put_image(&root, digest, &document)
}
