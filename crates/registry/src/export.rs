//! `knarr registry static`: the content as plain files, to be pulled from any web server.
//!
//! Law: readers see what is whole: blobs are written before the manifests that name them, manifests before tags and lists;
//! each file is renamed in place. What is there already is not written again.
//! Not here: media types, which plain web servers guess. Clients that need the header get it with the `nginx.conf` written
//! beside the content; ours read the type from the document.
//!
//! ```text
//! <export>/v2/<repository>/blobs/<digest>
//! <export>/v2/<repository>/manifests/<tag or digest>
//! <export>/v2/<repository>/tags/list
//! <export>/v2/<repository>/referrers/<digest>
//! <export>/v2/_catalog
//! <export>/v2/index.html
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use knarr_spec::{Digest, media_type};
use serde_json::json;

use crate::config::values::Glob;
use crate::error::{IoContext, StorageError};
use crate::handlers::descriptor;
use crate::limits::SEND_CHUNK_BYTES;
use crate::metadata::StoredManifest;
use crate::route::ManifestReference;
use crate::server::Registry;

/// Names read in one go.
const NAMES_AT_ONCE: usize = 1000;

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub repositories: u64,
    pub tags: u64,
    pub manifests: u64,
    pub blobs: u64,
    /// Blobs that were there already.
    pub kept: u64,
}

/// Writes the repositories that match to the directory `to`.
pub fn export(registry: &Registry, which: &Glob, to: &Path) -> Result<Exported, StorageError> {
    let mut export = Export { registry, root: to.join("v2"), done: Exported::default(), types: BTreeMap::new() };
    let mut names = Vec::new();
    let mut last = String::new();
    loop {
        let page = registry.meta().repositories(&last, NAMES_AT_ONCE)?;
        for name in &page.entries {
            if which.matches(name) {
                export.repository(name)?;
                names.push(name.clone());
            }
        }
        match page.entries.into_iter().last().filter(|_| page.more) {
            Some(name) => last = name,
            None => break,
        }
    }
    export.write("_catalog", json!({"repositories": names}).to_string().as_bytes(), "application/json")?;
    export.write("index.html", b"{}", "application/json")?;
    let server = export.nginx(to);
    replace(&to.join("nginx.conf"), server.as_bytes())?;
    Ok(export.done)
}

struct Export<'a> {
    registry: &'a Registry,
    root: PathBuf,
    done: Exported,
    /// Media types by path below `/v2/`.
    types: BTreeMap<String, String>,
}

impl Export<'_> {
    fn repository(&mut self, name: &str) -> Result<(), StorageError> {
        let meta = self.registry.meta();
        let (tags, manifests) = meta.facts(name)?;
        for fact in &manifests {
            for used in &fact.uses {
                let Ok(digest) = used.parse::<Digest>() else { continue };
                if meta.blob_size(name, &digest)?.is_some() {
                    self.blob(name, &digest)?;
                }
            }
        }
        let mut subjects: Vec<&str> = manifests.iter().filter_map(|fact| fact.subject.as_deref()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        for fact in &manifests {
            let Ok(digest) = fact.digest.parse::<Digest>() else { continue };
            if let Some(stored) = meta.manifest(name, &ManifestReference::Digest(digest))? {
                self.manifest(name, &stored.digest.clone(), &stored)?;
                self.done.manifests += 1;
            }
        }
        for subject in subjects {
            self.referrers(name, subject)?;
        }
        for tag in &tags {
            if let Some(stored) = meta.manifest(name, &ManifestReference::Tag(tag.name.clone()))? {
                self.manifest(name, &tag.name, &stored)?;
                self.done.tags += 1;
            }
        }
        let listed: Vec<&str> = tags.iter().map(|tag| tag.name.as_str()).collect();
        let list = json!({"name": name, "tags": listed}).to_string();
        self.write(&format!("{name}/tags/list"), list.as_bytes(), "application/json")?;
        self.done.repositories += 1;
        Ok(())
    }

    fn manifest(&mut self, name: &str, reference: &str, stored: &StoredManifest) -> Result<(), StorageError> {
        self.write(&format!("{name}/manifests/{reference}"), &stored.bytes, &stored.media_type)
    }

    fn referrers(&mut self, name: &str, subject: &str) -> Result<(), StorageError> {
        let Ok(digest) = subject.parse::<Digest>() else { return Ok(()) };
        let (mut manifests, mut last) = (Vec::new(), String::new());
        loop {
            let page = self.registry.meta().referrers(name, &digest, None, &last, NAMES_AT_ONCE)?;
            manifests.extend(page.entries.iter().map(descriptor));
            match page.entries.into_iter().last().filter(|_| page.more) {
                Some(entry) => last = entry.digest,
                None => break,
            }
        }
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests});
        self.write(&format!("{name}/referrers/{subject}"), index.to_string().as_bytes(), media_type::OCI_INDEX)
    }

    fn blob(&mut self, name: &str, digest: &Digest) -> Result<(), StorageError> {
        let Some(content) = self.registry.blobs().open(digest)? else { return Ok(()) };
        let path = self.root.join(format!("{name}/blobs/{digest}"));
        // Of the same name and size are the same bytes: files are renamed in place when they are whole.
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == content.size()) {
            self.done.kept += 1;
            return Ok(());
        }
        replace_with(&path, |file| {
            let mut buffer = vec![0; SEND_CHUNK_BYTES];
            let mut at = 0;
            while at < content.size() {
                let length = buffer.len().min(usize::try_from(content.size() - at).unwrap_or(usize::MAX));
                content.read_at(&mut buffer[..length], at)?;
                file.write_all(&buffer[..length])?;
                at += length as u64;
            }
            Ok(())
        })?;
        self.done.blobs += 1;
        Ok(())
    }

    fn write(&mut self, path: &str, bytes: &[u8], media_type: &str) -> Result<(), StorageError> {
        self.types.insert(path.to_owned(), media_type.to_owned());
        replace(&self.root.join(path), bytes)
    }

    /// A server for nginx that knows each document's type.
    fn nginx(&self, to: &Path) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "");
        let mut text = String::from(
            "# Include this in the http block. The media types are those the documents were pushed with.\n\
             map_hash_bucket_size 512;\nmap_hash_max_size 65536;\nmap $uri $knarr_media_type {\n    default application/octet-stream;\n",
        );
        for (path, media_type) in &self.types {
            let _ = writeln!(text, "    \"/v2/{}\" \"{}\";", quoted(path), quoted(media_type));
        }
        let root = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
        let _ = write!(
            text,
            "}}\nserver {{\n    listen 127.0.0.1:5000;\n    root \"{}\";\n    types {{ }}\n    default_type \"\";\n    \
             add_header Content-Type $knarr_media_type always;\n    add_header Docker-Distribution-API-Version registry/2.0 always;\n}}\n",
            quoted(&root.display().to_string())
        );
        text
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    replace_with(path, |file| file.write_all(bytes))
}

fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<(), StorageError> {
    let parent = path.parent().expect("below the directory that is exported to");
    let new = parent.join(format!(".new-{}", std::process::id()));
    let outcome = std::fs::create_dir_all(parent)
        .and_then(|()| File::create(&new))
        .and_then(|mut file| write(&mut file))
        .and_then(|()| std::fs::rename(&new, path));
    outcome.what(|| format!("write {}", path.display()))
}
