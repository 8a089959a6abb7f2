//! An image of an OCI image layout, in a directory or a tar.
//!
//! Spec: image-spec image-layout.md and annotations.md (`org.opencontainers.image.ref.name`); containerd's
//! `io.containerd.image.name`, which docker and buildkit write, carries the full name.

use knarr_spec::{Descriptor, Digest, Index, Platform, Raw, Reference};
use serde::Deserialize;

use super::docker::same_name;
use super::layout_dir::{REF_NAME, check_version, new_index};
use super::members::Members;
use super::{document, limits};
use crate::Problem;
use crate::error::ArchiveProblem;
use crate::origin::{Document, Origin, Stream};

pub(super) const FULL_NAME: &str = "io.containerd.image.name";

/// One image of a layout.
pub(crate) struct Layout<'m> {
    members: &'m dyn Members,
    root: Descriptor,
    pub(super) names: Vec<Reference>,
}

/// The image that `tag` means: a `ref.name`, a full name, or a digest; without one, the only image there is.
pub(super) fn single<'m>(
    members: &'m dyn Members,
    tag: Option<&str>,
    platform: &Platform,
) -> Result<Layout<'m>, Problem> {
    let index = index(members)?;
    let offered = || index.manifests.iter().filter_map(label).collect();
    let matches = |entry: &&Descriptor| match tag {
        None => true,
        Some(tag) => {
            label(entry).as_deref() == Some(tag)
                || annotation(entry, FULL_NAME).is_some_and(|name| same_name(name, tag))
                || entry.digest.as_str() == tag
        }
    };
    let found: Vec<&Descriptor> = index.manifests.iter().filter(matches).collect();
    let mut groups = groups(&found);
    match (groups.len(), tag) {
        (0, Some(tag)) => {
            Err(Problem::Archive(ArchiveProblem::NoSuchTag { wanted: tag.to_owned(), offered: offered() }))
        }
        (0, None) => Err(Problem::Archive(ArchiveProblem::NoImage)),
        (1, _) => image(members, &groups.remove(0), platform),
        _ => Err(Problem::Archive(ArchiveProblem::Ambiguous(offered()))),
    }
}

/// Every image of the layout.
pub(super) fn all<'m>(members: &'m dyn Members, platform: &Platform) -> Result<Vec<Layout<'m>>, Problem> {
    let index = index(members)?;
    let entries: Vec<&Descriptor> = index.manifests.iter().collect();
    let groups = groups(&entries);
    if groups.is_empty() {
        return Err(Problem::Archive(ArchiveProblem::NoImage));
    }
    groups.iter().map(|group| image(members, group, platform)).collect()
}

/// Entries that are the same image for several platforms: those with one label, and those without any.
fn groups<'d>(entries: &[&'d Descriptor]) -> Vec<Vec<&'d Descriptor>> {
    let mut groups: Vec<Vec<&Descriptor>> = Vec::new();
    for &entry in entries {
        match groups.iter_mut().find(|group| name(group[0]) == name(entry)) {
            Some(group) => group.push(entry),
            None => groups.push(vec![entry]),
        }
    }
    groups
}

fn image<'m>(members: &'m dyn Members, group: &[&Descriptor], platform: &Platform) -> Result<Layout<'m>, Problem> {
    let root = match group {
        [only] => (*only).clone(),
        several => {
            let index = new_index(several.iter().copied().cloned().collect());
            let chosen = index.choose(platform).cloned();
            chosen.ok_or_else(|| crate::fetch::not_offered(platform, &index))?
        }
    };
    let names = name(&root).and_then(full_reference).into_iter().collect();
    Ok(Layout { members, root, names })
}

fn annotation<'d>(entry: &'d Descriptor, name: &str) -> Option<&'d str> {
    entry.annotations.get(name).map(String::as_str)
}

/// The entry's name, as complete as it is given.
fn name(entry: &Descriptor) -> Option<&str> {
    annotation(entry, FULL_NAME).or_else(|| annotation(entry, REF_NAME))
}

/// What the entry is chosen by.
fn label(entry: &Descriptor) -> Option<String> {
    annotation(entry, REF_NAME).or_else(|| annotation(entry, FULL_NAME)).map(str::to_owned)
}

/// A name with a registry or with a tag, as skopeo and podman write it; `latest` or `v1` alone name nothing.
fn full_reference(name: &str) -> Option<Reference> {
    let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let has_registry =
        name.split_once('/').is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost");
    name.parse().ok().filter(|_| has_registry || has_tag)
}

fn index(members: &dyn Members) -> Result<Index, Problem> {
    check_version(&document(members, "oci-layout", limits::ANSWER_BYTES_MAX)?)?;
    let index = document(members, "index.json", limits::MANIFEST_BYTES_MAX)?;
    let malformed = |source| Problem::Malformed { what: "index.json", source };
    Raw::<Index>::parse(index).map(|index| index.document().clone()).map_err(malformed)
}

fn member_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.encoded())
}

impl Origin for Layout<'_> {
    fn root(&self) -> Result<Document, Problem> {
        let bytes = self.manifest(&self.root)?;
        crate::origin::check_content(&bytes, &self.root.digest, Some(self.root.size), self.who())?;
        Document::new(bytes, Some(&self.root.media_type))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Problem> {
        document(self.members, &member_name(&descriptor.digest), limits::MANIFEST_BYTES_MAX)
    }

    fn open<'a>(&'a self, descriptor: &'a Descriptor, offset: u64) -> Result<Box<dyn Stream + 'a>, Problem> {
        let name = member_name(&descriptor.digest);
        let section = self.members.section(&name)?;
        let section = section.ok_or(Problem::Archive(ArchiveProblem::Missing(name)))?;
        if section.bytes != descriptor.size {
            let (got, promised) = (section.bytes, descriptor.size);
            return Err(Problem::Size { by: self.who(), got, more: false, promised });
        }
        Ok(Box::new(section.stream(offset)))
    }

    fn tagged(&self, tag: &str) -> Result<Option<Document>, Problem> {
        let index = index(self.members)?;
        let entry = index.manifests.iter().find(|entry| annotation(entry, REF_NAME) == Some(tag));
        entry.map(|entry| Document::new(self.manifest(entry)?, Some(&entry.media_type))).transpose()
    }

    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Problem> {
        #[derive(Deserialize)]
        struct Referring {
            subject: Option<Descriptor>,
        }
        let mut found = Vec::new();
        for entry in index(self.members)?.manifests {
            let bytes = self.manifest(&entry)?;
            let referring: Option<Referring> = serde_json::from_slice(&bytes).ok();
            if referring.and_then(|referring| referring.subject).is_some_and(|subject| subject.digest == *digest) {
                found.push(entry);
            }
        }
        Ok(found)
    }

    fn who(&self) -> &'static str {
        "archive"
    }
}
