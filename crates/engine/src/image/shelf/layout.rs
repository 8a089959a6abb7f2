//! An OCI image layout as a shelf.
//!
//! Spec: image-spec image-layout.md; `org.opencontainers.image.ref.name` is a tag.
//! Law: blobs are there, synced, before the index names them. A blob's content is its digest's when it is read.
//! Not here: the layout's own files, archives of layouts, other transports (`distribution`).

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use knarr_distribution::archive::{LayoutDir, REF_NAME};
use knarr_spec::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Raw, media_type};

use super::{Picked, Shelf};
use crate::image::problem::ImageProblem;
use crate::{Error, Result};

/// Largest document that is read.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// Indexes in indexes that are followed.
const NESTING_MAX: u32 = 4;

/// The tag where none is given.
const DEFAULT_TAG: &str = "latest";

/// `DIR[:TAG]`.
pub fn split(text: &str) -> (PathBuf, String) {
    let is_tag = |tag: &str| !tag.is_empty() && !tag.contains('/');
    match text.rsplit_once(':') {
        Some((dir, tag)) if is_tag(tag) => (dir.into(), tag.to_owned()),
        _ => (text.trim_end_matches(':').into(), DEFAULT_TAG.to_owned()),
    }
}

/// A directory with images.
#[derive(Debug, Clone)]
pub struct Layout {
    files: LayoutDir,
}

impl Layout {
    /// A layout that is there.
    pub fn open(dir: &Path) -> Result<Layout> {
        Ok(Layout { files: LayoutDir::open(dir)? })
    }

    /// An empty one; the directory must not be there, or be empty.
    pub fn create(dir: &Path) -> Result<Layout> {
        if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(ImageProblem::Exists(dir.to_owned()).into());
        }
        let layout = Layout { files: LayoutDir::make(dir)? };
        layout.change_index(|_| {})?;
        Ok(layout)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.files.path()
    }

    /// The index of the layout.
    pub fn index(&self) -> Result<Index> {
        Ok(self.files.index()?)
    }

    /// Changes the index under the lock.
    pub fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<()> {
        Ok(self.files.change_index(change)?)
    }

    /// What `tag` points to.
    pub fn entry(&self, tag: &str) -> Result<Descriptor> {
        let index = self.index()?;
        let named = |entry: &&Descriptor| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag);
        let by_digest = |entry: &&Descriptor| entry.digest.as_str() == tag;
        let found = index.manifests.iter().find(named).or_else(|| index.manifests.iter().find(by_digest));
        found.cloned().ok_or_else(|| {
            let offered = index.manifests.iter().filter_map(|entry| entry.annotations.get(REF_NAME).cloned()).collect();
            ImageProblem::NoTag { path: self.dir().to_owned(), tag: tag.to_owned(), offered }.into()
        })
    }

    /// Whether there is such a tag.
    pub fn has(&self, tag: &str) -> Result<bool> {
        let named = |entry: &Descriptor| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag);
        Ok(self.index()?.manifests.iter().any(named))
    }

    /// Lets `tag` point to `descriptor`.
    pub fn tag(&self, descriptor: Descriptor, tag: &str) -> Result<()> {
        let mut entry = descriptor;
        entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        self.change_index(|index| {
            index.manifests.retain(|entry| entry.annotations.get(REF_NAME).is_none_or(|name| name != tag));
            index.manifests.push(entry);
        })
    }

    /// Every tag, in the order of the index.
    pub fn tags(&self) -> Result<Vec<String>> {
        Ok(self.index()?.manifests.into_iter().filter_map(|mut entry| entry.annotations.remove(REF_NAME)).collect())
    }

    /// Takes `tag` away, and the blobs that nothing else in the layout needs. Where something else cannot be read, all blobs
    /// stay.
    pub fn delete(&self, tag: &str) -> Result<()> {
        self.entry(tag)?;
        let named = |entry: &Descriptor| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag);
        let (mut gone, mut staying) = (Vec::new(), Vec::new());
        self.change_index(|index| {
            gone.extend(index.manifests.extract_if(.., |entry| named(entry)));
            staying.clone_from(&index.manifests);
        })?;
        let mut needed = BTreeSet::new();
        for entry in &staying {
            self.reach(entry, NESTING_MAX, &mut needed)?;
        }
        let mut own = BTreeSet::new();
        for entry in &gone {
            // Of a broken image goes what is known of it.
            let _ = self.reach(entry, NESTING_MAX, &mut own);
        }
        for digest in own.difference(&needed) {
            let path = self.path(digest);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds the blobs that are there of what `entry` describes: itself, and what it names.
    fn reach(&self, entry: &Descriptor, depth: u32, found: &mut BTreeSet<Digest>) -> Result<()> {
        if depth == 0 || !self.path(&entry.digest).exists() || !found.insert(entry.digest.clone()) {
            return Ok(());
        }
        let what = || format!("document {}", entry.digest);
        if media_type::is_index(&entry.media_type) {
            let index = Raw::<Index>::parse(self.document(&entry.digest)?);
            let index = index.map_err(|source| ImageProblem::Document { what: what(), source })?;
            return index.manifests.iter().try_for_each(|entry| self.reach(entry, depth - 1, found));
        }
        if media_type::is_manifest(&entry.media_type) {
            let manifest = Raw::<Manifest>::parse(self.document(&entry.digest)?);
            let manifest = manifest.map_err(|source| ImageProblem::Document { what: what(), source })?;
            found.extend(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest.clone()));
        }
        Ok(())
    }

    /// The image of a manifest, whether it has a tag or not.
    pub fn pick_manifest(&self, digest: &Digest) -> Result<Picked> {
        let what = format!("manifest {digest}");
        let manifest = Raw::<Manifest>::parse(self.document(digest)?);
        let manifest = manifest.map_err(|source| ImageProblem::Document { what, source })?;
        let what = format!("config {}", manifest.config.digest);
        let config = Raw::<ImageConfig>::parse(self.document(&manifest.config.digest)?);
        let config = config.map_err(|source| ImageProblem::Document { what, source })?;
        Ok(Picked { manifest, index: None, config })
    }

    /// A whole document, verified.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let file = self.blob(digest)?;
        let path = self.path(digest);
        let mut bytes = Vec::new();
        file.take(DOCUMENT_BYTES_MAX).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        let wrong = |why: &str| Error::from(ImageProblem::Layout { path: path.clone(), why: why.to_owned() });
        match digest.algorithm().as_str() {
            "sha256" if Digest::sha256_of(&bytes) != *digest => Err(wrong("its content has another digest")),
            _ => Ok(bytes),
        }
    }

    /// Stores a document.
    pub fn put_document(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        let mut spool = self.spool()?;
        std::io::Write::write_all(&mut spool, bytes).map_err(Error::io("write", self.dir()))?;
        self.keep(spool, &digest, bytes.len() as u64)?;
        Ok(digest)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.files.blob_path(digest)
    }
}

impl Shelf for Layout {
    fn pick(&self, name: &str, platform: &Platform) -> Result<Picked> {
        let mut entry = self.entry(name)?;
        let mut index = None;
        for _ in 0..NESTING_MAX {
            if !media_type::is_index(&entry.media_type) {
                break;
            }
            let what = format!("index {}", entry.digest);
            let document = Raw::<Index>::parse(self.document(&entry.digest)?);
            let document = document.map_err(|source| ImageProblem::Document { what, source })?;
            let chosen = document.choose(platform).cloned();
            entry = chosen.ok_or_else(|| ImageProblem::Mismatch(format!("{name}: has no image for {platform}")))?;
            index.get_or_insert(document);
        }
        Ok(Picked { index, ..self.pick_manifest(&entry.digest)? })
    }

    fn blob(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(ImageProblem::NoBlob(digest.clone()).into())
            }
            Err(error) => Err(Error::io("open", &path)(error)),
        }
    }

    fn spool(&self) -> Result<File> {
        let file = knarr_sys::fs::unnamed_file(self.dir()).map_err(Error::sys("make a temporary file"))?;
        Ok(File::from(file))
    }

    fn keep(&self, mut spool: File, digest: &Digest, _: u64) -> Result<()> {
        let path = self.path(digest);
        if path.exists() {
            return Ok(());
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        spool.set_permissions(Permissions::from_mode(0o644)).map_err(Error::io("chmod", &path))?;
        spool.sync_data().map_err(Error::io("sync", &path))?;
        if knarr_sys::fs::name_file(&spool, &path).is_ok() || path.exists() {
            return Ok(());
        }
        // A file system that cannot name it.
        let fresh = path.with_extension("new");
        spool.rewind().map_err(Error::io("rewind", &fresh))?;
        let mut copy = File::create(&fresh).map_err(Error::io("create", &fresh))?;
        std::io::copy(&mut spool, &mut copy).map_err(Error::io("copy", &fresh))?;
        copy.sync_data().map_err(Error::io("sync", &fresh))?;
        fs::rename(&fresh, &path).map_err(Error::io("rename", &fresh))
    }

    fn put(&self, manifest: Raw<Manifest>, config: Raw<ImageConfig>, name: Option<&str>) -> Result<()> {
        self.put_document(config.bytes())?;
        let digest = self.put_document(manifest.bytes())?;
        let media_type = manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
        let mut entry = Descriptor::new(media_type, digest, manifest.bytes().len() as u64);
        entry.platform = Some(config.platform.clone());
        self.tag(entry, name.unwrap_or(DEFAULT_TAG))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_stands_behind_the_last_colon() {
        let check = |text: &str, dir: &str, tag: &str| assert_eq!(split(text), (dir.into(), tag.to_owned()), "{text}");
        check("layout", "layout", "latest");
        check("layout:v1", "layout", "v1");
        check("./a:b/layout:v1", "./a:b/layout", "v1");
        check("./a:b/layout", "./a:b/layout", "latest");
    }

    #[test]
    fn two_tags_of_one_layout_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(&dir.path().join("layout")).unwrap();
        for tag in ["a", "b", "a"] {
            let (manifest, config) = crate::image::compose::Draft::scratch(Platform::host()).seal();
            layout.put(manifest, config, Some(tag)).unwrap();
        }
        assert_eq!(layout.index().unwrap().manifests.len(), 2);
        assert!(layout.pick("b", &Platform::host()).is_ok());
        assert!(layout.pick("c", &Platform::host()).is_err());
        assert!(Layout::create(layout.dir()).is_err());
    }

    #[test]
    fn a_deleted_tag_takes_the_blobs_that_were_its_alone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(&dir.path().join("layout")).unwrap();
        for (tag, author) in [("a", "one"), ("b", "two"), ("c", "one")] {
            let mut draft = crate::image::compose::Draft::scratch(Platform::host());
            draft.config.author = Some(author.to_owned());
            let (manifest, config) = draft.seal();
            layout.put(manifest, config, Some(tag)).unwrap();
        }
        let blobs = || fs::read_dir(layout.dir().join("blobs/sha256")).unwrap().count();
        assert_eq!((layout.tags().unwrap(), blobs()), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], 4));
        layout.delete("a").unwrap();
        assert_eq!((layout.tags().unwrap(), blobs()), (vec!["b".to_owned(), "c".to_owned()], 4));
        layout.delete("b").unwrap();
        assert_eq!(blobs(), 2);
        assert!(layout.pick("c", &Platform::host()).is_ok());
        assert!(layout.delete("b").is_err());
        layout.delete("c").unwrap();
        assert_eq!((layout.tags().unwrap().len(), blobs()), (0, 0));
    }
}
