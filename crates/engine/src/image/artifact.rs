//! Artifacts: files of any kind under a name, as podman's `artifact` has them.
//!
//! Spec: image-spec manifest.md, "Guidelines for Artifact Usage": an empty config, `artifactType`, a layer for each file whose
//! `org.opencontainers.image.title` is the file's name.
//! Law: a name from a manifest becomes a file's name only if it is a plain one.
//! Not here: the way to and from registries (`distribution`).

use std::fs::File;
use std::path::{Path, PathBuf};

use knarr_distribution::{Copied, CopyOptions};
use knarr_spec::image::{Annotations, Descriptor};
use knarr_spec::{Digest, Manifest, Raw, Reference, media_type};
use knarr_store::{DocumentKind, DocumentRecord};

use super::problem::ImageProblem;
use crate::{Context, Error, Result};

/// podman's type where none is given.
const UNKNOWN: &str = "application/vnd.unknown.artifact.v1";
const OCTETS: &str = "application/octet-stream";
const TITLE: &str = "org.opencontainers.image.title";
const CREATED: &str = "org.opencontainers.image.created";

/// The empty config, and its bytes in base64.
const EMPTY: &[u8] = b"{}";
const EMPTY_BASE64: &str = "e30=";

/// Largest manifest that is read.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// What an artifact is to be.
#[derive(Debug, Clone, Default)]
pub struct ArtifactWanted {
    /// The artifact's type.
    pub kind: Option<String>,
    /// The media type of the files.
    pub file_type: Option<String>,
    /// `name=value`, of each file.
    pub annotations: Vec<String>,
    /// Add to the artifact that is there.
    pub append: bool,
}

/// An artifact with its manifest.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Its record.
    pub record: DocumentRecord,
    /// Its manifest.
    pub manifest: Raw<Manifest>,
}

impl Artifact {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.manifest.layers.iter().map(|layer| layer.size).sum()
    }
}

/// Makes an artifact of files, or adds them to one.
pub fn add(context: &Context, name: &Reference, files: &[PathBuf], wanted: &ArtifactWanted) -> Result<Digest> {
    let mut manifest = match (find(context, name)?, wanted.append) {
        (Some(artifact), true) => artifact.manifest.document().clone(),
        (None, true) => return Err(no_such(&name.familiar())),
        (Some(_), false) => {
            return Err(ImageProblem::Mismatch(format!("{}: artifact already exists", name.familiar())).into());
        }
        (None, false) => empty(context, wanted)?,
    };
    for path in files {
        let title = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if manifest.layers.iter().any(|layer| layer.annotations.get(TITLE) == Some(&title)) {
            return Err(
                ImageProblem::Mismatch(format!("{}: has a file called {title:?} already", name.familiar())).into()
            );
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        let blob = context.store.put_stream(file)?;
        let mut layer = Descriptor::new(wanted.file_type.as_deref().unwrap_or(OCTETS), blob.digest, blob.bytes);
        for text in &wanted.annotations {
            let wrong = || ImageProblem::Change { text: text.clone(), why: "expected NAME=VALUE" };
            let (name, value) = text.split_once('=').ok_or_else(wrong)?;
            layer.annotations.insert(name.to_owned(), value.to_owned());
        }
        layer.annotations.insert(TITLE.to_owned(), title);
        manifest.layers.push(layer);
    }
    let mut needs: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
    needs.push(manifest.config.digest.clone());
    let manifest = Raw::from_document(manifest);
    Ok(context.store.put_document(name, DocumentKind::Artifact, manifest.bytes(), &needs)?)
}

fn empty(context: &Context, wanted: &ArtifactWanted) -> Result<Manifest> {
    let digest = context.store.put_blob(EMPTY)?;
    let mut config = Descriptor::new(media_type::OCI_EMPTY, digest, EMPTY.len() as u64);
    config.data = Some(EMPTY_BASE64.to_owned());
    Ok(Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: Some(wanted.kind.clone().unwrap_or_else(|| UNKNOWN.to_owned())),
        config,
        layers: Vec::new(),
        subject: None,
        annotations: Annotations::from([(CREATED.to_owned(), crate::clock::now_text())]),
    })
}

/// Fetches an artifact from its registry, in the place of what has the name; its digest. `options` say how registries are
/// reached.
pub fn pull(context: &Context, name: &Reference, options: &CopyOptions<'_>) -> Result<Digest> {
    let manifest = knarr_distribution::pull_artifact(&context.store, name, options)?;
    let parts = manifest.layers.iter().chain([&manifest.config]);
    let needs: Vec<Digest> = parts.map(|part| part.digest.clone()).collect();
    Ok(context.store.put_document(name, DocumentKind::Artifact, manifest.bytes(), &needs)?)
}

/// Pushes an artifact as `target`.
pub fn push(context: &Context, name: &str, target: &Reference, options: &CopyOptions<'_>) -> Result<Copied> {
    let found = existing(context, name)?;
    Ok(knarr_distribution::push_document(&context.store, &found.record.digest, target, options)?)
}

/// Every artifact.
pub fn list(context: &Context) -> Result<Vec<Artifact>> {
    let records = context.store.documents()?.into_iter().filter(|record| record.kind == DocumentKind::Artifact);
    records.map(|record| read(context, record)).collect()
}

/// The artifact of that name.
pub fn find(context: &Context, name: &Reference) -> Result<Option<Artifact>> {
    let record = context.store.document(name)?.filter(|record| record.kind == DocumentKind::Artifact);
    record.map(|record| read(context, record)).transpose()
}

/// The artifact that is there under that name.
pub fn existing(context: &Context, name: &str) -> Result<Artifact> {
    let found = match name.parse::<Reference>() {
        Ok(reference) => find(context, &reference)?,
        Err(_) => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    let same = |artifact: &Artifact| artifact.record.digest.encoded().starts_with(name.trim_start_matches("sha256:"));
    let digits = name.trim_start_matches("sha256:").len();
    list(context)?.into_iter().find(|artifact| digits >= 4 && same(artifact)).ok_or_else(|| no_such(name))
}

/// Forgets an artifact; its digest.
pub fn remove(context: &Context, name: &str) -> Result<Digest> {
    let found = existing(context, name)?;
    context.store.remove_document(&found.record.name)?;
    Ok(found.record.digest)
}

/// Copies an artifact's files to `target`: into it if it is a directory, else the only file there is, or the one that
/// `title` or `digest` names.
pub fn extract(context: &Context, name: &str, target: &Path, title: Option<&str>, digest: Option<&str>) -> Result<()> {
    let found = existing(context, name)?;
    let wanted = |layer: &&Descriptor| {
        title.is_none_or(|title| layer.annotations.get(TITLE).is_some_and(|known| known == title))
            && digest.is_none_or(|digest| layer.digest.as_str() == digest || layer.digest.encoded() == digest)
    };
    let layers: Vec<&Descriptor> = found.manifest.layers.iter().filter(wanted).collect();
    if layers.is_empty() {
        return Err(ImageProblem::Mismatch(format!("{name}: no blob with this title or digest")).into());
    }
    if target.is_dir() {
        for layer in layers {
            copy(context, layer, &target.join(file_name(layer)))?;
        }
        return Ok(());
    }
    match layers[..] {
        [only] => copy(context, only, target),
        _ => {
            let why = format!("{name}: has several files, and {} is no directory", target.display());
            Err(ImageProblem::Mismatch(why).into())
        }
    }
}

/// The title, if a directory can have it as a name; else the digest.
fn file_name(layer: &Descriptor) -> String {
    let plain = |title: &&String| !matches!(title.as_str(), "" | "." | "..") && !title.contains(['/', '\0']);
    layer.annotations.get(TITLE).filter(plain).cloned().unwrap_or_else(|| layer.digest.encoded().to_owned())
}

fn copy(context: &Context, layer: &Descriptor, path: &Path) -> Result<()> {
    let blob = context.store.blob_file(&layer.digest)?;
    let mut blob = blob.ok_or_else(|| ImageProblem::NoBlob(layer.digest.clone()))?;
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    std::io::copy(&mut blob, &mut file).map(drop).map_err(Error::io("write", path))
}

fn read(context: &Context, record: DocumentRecord) -> Result<Artifact> {
    let bytes = context.store.blob_bytes(&record.digest, DOCUMENT_BYTES_MAX)?;
    let bytes = bytes.ok_or_else(|| ImageProblem::NoBlob(record.digest.clone()))?;
    let what = format!("artifact {}", record.digest);
    let manifest = Raw::parse(bytes).map_err(|source| ImageProblem::Document { what, source })?;
    Ok(Artifact { record, manifest })
}

fn no_such(name: &str) -> Error {
    ImageProblem::NoDocument { kind: "artifact", name: name.to_owned() }.into()
}
