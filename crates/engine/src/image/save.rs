//! `save`: images as one tar that docker, podman, skopeo and every reader of OCI layouts load.
//!
//! Spec: image-spec image-layout.md; `manifest.json` as moby's image spec v1.2 has it, and as docker writes it since 25: the
//! two beside each other, blobs as they are, so that every digest survives.
//! Law: the same images, the same bytes: names sorted, times zero.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use knarr_spec::image::{Annotations, Descriptor};
use knarr_spec::{Digest, Index, Manifest, Platform, Raw, Reference, media_type};
use knarr_store::ImageRecord;
use serde::Serialize;

use super::problem::ImageProblem;
use super::shelf::{Local, Shelf};
use crate::{Context, Error, Result};

/// containerd's full name of an image.
const FULL_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An element of `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// What goes into the tar.
#[derive(Debug)]
pub struct Plan {
    blobs: BTreeMap<String, Digest>,
    documents: BTreeMap<&'static str, Vec<u8>>,
}

/// One image under the names it is to have.
struct Chosen {
    image: ImageRecord,
    names: Vec<Reference>,
}

/// Decides what goes into the tar: for a name without tag every tag of that repository, as docker has it.
pub fn plan(context: &Context, names: &[String], platform: Option<&Platform>) -> Result<Plan> {
    let mut chosen: Vec<Chosen> = Vec::new();
    for name in names {
        for (image, name) in choose(context, name)? {
            if let Some(wanted) = platform.filter(|wanted| wanted.preference(&image.config.platform).is_none()) {
                let what = name.as_ref().map_or_else(|| image.id.to_string(), Reference::familiar);
                return Err(ImageProblem::Mismatch(format!(
                    "image {what} is for {}, not {wanted}",
                    image.config.platform
                ))
                .into());
            }
            match chosen.iter_mut().find(|known| known.image.id == image.id) {
                Some(known) => known.names.extend(name),
                None => chosen.push(Chosen { image, names: name.into_iter().collect() }),
            }
        }
    }
    let mut plan = Plan { blobs: BTreeMap::new(), documents: BTreeMap::new() };
    let mut entries = Vec::new();
    let mut manifests = Vec::new();
    for Chosen { image, mut names } in chosen {
        names.sort_by_key(Reference::to_string);
        names.dedup();
        let picked = Local(context).documents(&image)?;
        let index = picked.index.as_ref().filter(|_| platform.is_none());
        let root = root(&picked.manifest, index);
        for digest in digests(&image, &picked.manifest, index) {
            plan.blobs.insert(path(&digest), digest);
        }
        match names.is_empty() {
            true => manifests.push(root),
            false => manifests.extend(names.iter().map(|name| named(&root, name))),
        }
        entries.push(Entry {
            config: path(&image.id),
            repo_tags: names.iter().map(Reference::familiar).collect(),
            layers: picked.manifest.layers.iter().map(|layer| path(&layer.digest)).collect(),
        });
    }
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: Annotations::new(),
    };
    plan.documents.insert("index.json", Raw::from_document(index).into_bytes());
    plan.documents.insert("manifest.json", serde_json::to_vec(&entries).expect("strings"));
    plan.documents.insert("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec());
    Ok(plan)
}

/// The images a name means, each with the name it was meant by.
fn choose(context: &Context, text: &str) -> Result<Vec<(ImageRecord, Option<Reference>)>> {
    let tagged = text.contains('@') || text.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if let Some(repository) = text.parse::<Reference>().ok().filter(|_| !tagged) {
        let mut all = Vec::new();
        for image in context.store.images()? {
            let same = image.names.iter().filter(|name| name.name() == repository.name());
            all.extend(same.cloned().collect::<Vec<_>>().into_iter().map(|name| (image.clone(), Some(name))));
        }
        if !all.is_empty() {
            return Ok(all);
        }
    }
    let image = context.store.resolve_image(text)?;
    let name = text.parse::<Reference>().ok().filter(|name| image.names.contains(name));
    Ok(vec![(image, name)])
}

fn root(manifest: &Raw<Manifest>, index: Option<&Raw<Index>>) -> Descriptor {
    match index {
        Some(index) => {
            let kind = index.media_type.as_deref().unwrap_or(media_type::OCI_INDEX);
            Descriptor::new(kind, index.digest(), index.bytes().len() as u64)
        }
        None => {
            let kind = manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
            Descriptor::new(kind, manifest.digest(), manifest.bytes().len() as u64)
        }
    }
}

fn digests(image: &ImageRecord, manifest: &Raw<Manifest>, index: Option<&Raw<Index>>) -> BTreeSet<Digest> {
    let mut digests: BTreeSet<Digest> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
    digests.extend([image.id.clone(), manifest.digest()]);
    digests.extend(index.map(Raw::digest));
    digests
}

fn named(root: &Descriptor, name: &Reference) -> Descriptor {
    let mut entry = root.clone();
    entry.annotations.insert(FULL_NAME.to_owned(), name.to_string());
    entry.annotations.insert(REF_NAME.to_owned(), name.tag().unwrap_or("latest").to_owned());
    entry
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.encoded())
}

/// Writes the tar.
pub fn write(context: &Context, plan: &Plan, out: impl Write) -> Result<()> {
    let failed = |source| Error::Io { action: "write", path: "the archive".into(), source };
    let mut tar = tar::Builder::new(out);
    let mut dirs: BTreeSet<String> = BTreeSet::from(["blobs/".to_owned()]);
    dirs.extend(plan.blobs.keys().filter_map(|path| Some(format!("{}/", path.rsplit_once('/')?.0))));
    for dir in dirs {
        append(&mut tar, &dir, 0, tar::EntryType::Directory, std::io::empty()).map_err(failed)?;
    }
    for (path, digest) in &plan.blobs {
        let file = Local(context).blob(digest)?;
        let bytes = file.metadata().map_err(failed)?.len();
        append(&mut tar, path, bytes, tar::EntryType::Regular, file).map_err(failed)?;
    }
    for (name, bytes) in &plan.documents {
        append(&mut tar, name, bytes.len() as u64, tar::EntryType::Regular, bytes.as_slice()).map_err(failed)?;
    }
    tar.into_inner().and_then(|mut out| out.flush()).map_err(failed)
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: u64,
    kind: tar::EntryType,
    content: impl Read,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(bytes);
    header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, name, content)
}
