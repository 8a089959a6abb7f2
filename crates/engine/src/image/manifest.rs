//! Lists of images for several platforms, kept beside the images: `manifest create`, `add`, `annotate`, `inspect`, `push`, `rm`.
//!
//! Spec: image-spec image-index.md. Law: a list is a new document after every change; it keeps the manifests, configs and
//! layers it names from collection.
//! Not here: the way to registries (`distribution`).

use std::collections::BTreeSet;

use knarr_distribution::{Copied, CopyOptions};
use knarr_spec::image::{Annotations, Descriptor};
use knarr_spec::{Digest, Index, Manifest, Raw, Reference, media_type};
use knarr_store::DocumentKind;

use super::problem::ImageProblem;
use super::shelf::Local;
use crate::{Context, Error, Result};

/// Largest document that is read.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// What is said of an entry.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// `amd64`.
    pub architecture: Option<String>,
    /// `linux`.
    pub os: Option<String>,
    /// `v8`.
    pub variant: Option<String>,
    /// `10.0.17763`.
    pub os_version: Option<String>,
    /// `win32k`.
    pub os_features: Vec<String>,
    /// `name=value`.
    pub annotations: Vec<String>,
}

/// Makes a list of images. One that is there is only added to with `amend`.
pub fn create(
    context: &Context,
    list: &Reference,
    images: &[String],
    amend: bool,
    annotations: &[String],
) -> Result<Digest> {
    let mut index = match find(context, list)? {
        Some(index) if amend => index.document().clone(),
        Some(_) => {
            return Err(
                ImageProblem::Mismatch(format!("{}: is there already (--amend adds to it)", list.familiar())).into()
            );
        }
        None => Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: Vec::new(),
            subject: None,
            annotations: Annotations::new(),
        },
    };
    index.annotations.extend(annotations.iter().map(|text| pair(text)).collect::<Result<Vec<_>>>()?);
    for image in images {
        put(&mut index, descriptor(context, image)?);
    }
    save(context, list, index)
}

/// Adds an image, or replaces its entry.
pub fn add(context: &Context, list: &Reference, image: &str, entry: &Entry) -> Result<Digest> {
    let mut index = existing(context, list)?.document().clone();
    let mut descriptor = descriptor(context, image)?;
    describe(&mut descriptor, entry)?;
    put(&mut index, descriptor);
    save(context, list, index)
}

/// Changes what is said of an entry. `image` is an image's name, or the digest of an entry.
pub fn annotate(context: &Context, list: &Reference, image: &str, entry: &Entry) -> Result<Digest> {
    let mut index = existing(context, list)?.document().clone();
    let digest = entry_digest(context, image)?;
    let here = index.manifests.iter_mut().find(|known| known.digest == digest);
    let here = here.ok_or_else(|| missing(list, image))?;
    describe(here, entry)?;
    save(context, list, index)
}

/// Takes an entry out.
pub fn remove(context: &Context, list: &Reference, image: &str) -> Result<Digest> {
    let mut index = existing(context, list)?.document().clone();
    let digest = entry_digest(context, image)?;
    let before = index.manifests.len();
    index.manifests.retain(|known| known.digest != digest);
    if index.manifests.len() == before {
        return Err(missing(list, image));
    }
    save(context, list, index)
}

/// The bytes of a list, or of an image's manifest.
pub fn inspect(context: &Context, name: &str) -> Result<Vec<u8>> {
    let reference: Reference = name.parse()?;
    if let Some(index) = find(context, &reference)? {
        return Ok(index.into_bytes());
    }
    match context.store.resolve_image(name) {
        Ok(image) => Ok(Local(context).documents(&image)?.manifest.into_bytes()),
        Err(error) if error.kind() == knarr_store::Kind::NotFound => Err(no_such(name)),
        Err(error) => Err(error.into()),
    }
}

/// Pushes a list as `target`, with its images unless `options` want the index only.
pub fn push(context: &Context, list: &Reference, target: &Reference, options: &CopyOptions<'_>) -> Result<Copied> {
    let index = existing(context, list)?;
    Ok(knarr_distribution::push_document(&context.store, &index.digest(), target, options)?)
}

/// Forgets a list; its images stay.
pub fn forget(context: &Context, list: &Reference) -> Result<()> {
    match context.store.document(list)? {
        Some(record) if record.kind == DocumentKind::List => {
            context.store.remove_document(list)?;
            Ok(())
        }
        _ => Err(no_such(&list.familiar())),
    }
}

/// The names of all lists.
pub fn names(context: &Context) -> Result<Vec<String>> {
    let records = context.store.documents()?.into_iter().filter(|record| record.kind == DocumentKind::List);
    Ok(records.map(|record| record.name.familiar()).collect())
}

/// The list of that name.
pub fn find(context: &Context, list: &Reference) -> Result<Option<Raw<Index>>> {
    let Some(record) = context.store.document(list)?.filter(|record| record.kind == DocumentKind::List) else {
        return Ok(None);
    };
    let bytes = context.store.blob_bytes(&record.digest, DOCUMENT_BYTES_MAX)?;
    let bytes = bytes.ok_or_else(|| ImageProblem::NoBlob(record.digest.clone()))?;
    let what = format!("list {}", record.digest);
    Ok(Some(Raw::parse(bytes).map_err(|source| ImageProblem::Document { what, source })?))
}

fn existing(context: &Context, list: &Reference) -> Result<Raw<Index>> {
    find(context, list)?.ok_or_else(|| no_such(&list.familiar()))
}

fn no_such(name: &str) -> Error {
    ImageProblem::NoDocument { kind: "manifest", name: name.to_owned() }.into()
}

fn missing(list: &Reference, image: &str) -> Error {
    ImageProblem::Mismatch(format!("{}: has no entry for {image}", list.familiar())).into()
}

fn pair(text: &str) -> Result<(String, String)> {
    let wrong = || ImageProblem::Change { text: text.to_owned(), why: "expected NAME=VALUE" };
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.to_owned(), value.to_owned()))
}

/// One entry for one manifest.
fn put(index: &mut Index, descriptor: Descriptor) {
    match index.manifests.iter_mut().find(|known| known.digest == descriptor.digest) {
        Some(known) => *known = descriptor,
        None => index.manifests.push(descriptor),
    }
}

fn entry_digest(context: &Context, image: &str) -> Result<Digest> {
    match image.parse::<Digest>() {
        Ok(digest) => Ok(digest),
        Err(_) => Ok(context.store.resolve_image(image)?.manifest_digest),
    }
}

fn descriptor(context: &Context, name: &str) -> Result<Descriptor> {
    let image = context.store.resolve_image(name)?;
    let manifest = Local(context).documents(&image)?.manifest;
    let kind = manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
    let mut descriptor = Descriptor::new(kind, manifest.digest(), manifest.bytes().len() as u64);
    descriptor.platform = Some(image.config.platform.clone());
    Ok(descriptor)
}

fn describe(descriptor: &mut Descriptor, entry: &Entry) -> Result<()> {
    let platform = descriptor.platform.get_or_insert_with(knarr_spec::Platform::host);
    if let Some(architecture) = &entry.architecture {
        platform.architecture.clone_from(architecture);
    }
    if let Some(os) = &entry.os {
        platform.os.clone_from(os);
    }
    if entry.variant.is_some() {
        platform.variant.clone_from(&entry.variant);
    }
    if entry.os_version.is_some() {
        platform.os_version.clone_from(&entry.os_version);
    }
    if !entry.os_features.is_empty() {
        platform.os_features.clone_from(&entry.os_features);
    }
    descriptor.annotations.extend(entry.annotations.iter().map(|text| pair(text)).collect::<Result<Vec<_>>>()?);
    Ok(())
}

fn save(context: &Context, list: &Reference, index: Index) -> Result<Digest> {
    let mut needs = BTreeSet::new();
    for entry in &index.manifests {
        let Some(bytes) = context.store.blob_bytes(&entry.digest, DOCUMENT_BYTES_MAX)? else { continue };
        needs.insert(entry.digest.clone());
        let what = format!("manifest {}", entry.digest);
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|source| ImageProblem::Document { what, source })?;
        needs.extend(manifest.layers.into_iter().chain([manifest.config]).map(|part| part.digest));
    }
    let needs: Vec<Digest> = needs.into_iter().collect();
    let index = Raw::from_document(index);
    Ok(context.store.put_document(list, DocumentKind::List, index.bytes(), &needs)?)
}
