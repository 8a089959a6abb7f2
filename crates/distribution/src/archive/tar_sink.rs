//! An archive of images being written: an OCI layout as a tar, or what `docker save` writes today, which is both a layout and
//! a docker archive.
//!
//! Spec: image-spec image-layout.md; moby's image spec v1.2 for `manifest.json`.
//! Law: every blob's place in the tar is fixed before it arrives, so blobs arrive in parallel and the same images give the same
//! archive; blobs stay as they are, compressed or not, so that digests survive. A file gets its name when it is complete.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use knarr_spec::{Descriptor, Digest, Manifest, Reference, media_type};
use serde::Serialize;

use super::layout::FULL_NAME;
use super::layout_dir::{LAYOUT_FILE, REF_NAME, new_index};
use super::layout_sink::copy_blob;
use crate::error::ArchiveProblem;
use crate::origin::Document;
use crate::sink::{Manners, Opener, Presence, Sink};
use crate::{Problem, limits};

/// Tar's unit.
const BLOCK: u64 = 512;

/// The two forms of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveForm {
    /// A layout.
    Oci,
    /// A layout with docker's `manifest.json`.
    Docker,
}

/// What an archive is written to.
enum Out {
    /// Any part at any time.
    File { file: File, temporary: tempfile::TempPath, path: PathBuf },
    /// One part after the other.
    Stream(Mutex<Box<dyn Write + Send>>),
}

/// An archive.
pub(crate) struct TarSink {
    form: ArchiveForm,
    out: Out,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes given away so far.
    end: u64,
    places: HashMap<Digest, Region>,
    /// What the next root is called.
    names: Vec<String>,
    roots: Vec<Descriptor>,
    entries: Vec<Entry>,
    dirs: Vec<String>,
}

#[derive(Clone, Copy)]
struct Region {
    start: u64,
    bytes: u64,
    filled: bool,
}

/// One element of docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl TarSink {
    /// A new file at `path`, which appears when it is complete; what is no file (a pipe, `/dev/stdout`) is written in order.
    pub(crate) fn create(path: &Path, form: ArchiveForm) -> Result<TarSink, Problem> {
        let failed = |source| Problem::File { path: path.to_owned(), source };
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(failed(std::io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => {
                let file = std::fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
                return Ok(TarSink::to_stream(Box::new(file), form));
            }
            _ => {}
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let permissions = std::fs::Permissions::from_mode(0o644);
        let temporary = tempfile::Builder::new().prefix(".new-").permissions(permissions).tempfile_in(dir);
        let (file, temporary) = temporary.map_err(failed)?.into_parts();
        let out = Out::File { file, temporary, path: path.to_owned() };
        Ok(TarSink { form, out, state: Mutex::default() })
    }

    /// Into a pipe or whatever else cannot be gone back in.
    pub(crate) fn to_stream(stream: Box<dyn Write + Send>, form: ArchiveForm) -> TarSink {
        TarSink { form, out: Out::Stream(Mutex::new(stream)), state: Mutex::default() }
    }

    /// What the image that comes next is called.
    pub(crate) fn name_next(&self, names: Vec<String>) {
        self.lock().names = names;
    }

    /// Takes an image under the names it was given: `root` is what `index.json` leads to, `manifest` what docker is told of.
    pub(super) fn put_image(&self, root: &Document, digest: &Digest, manifest: &Document) -> Result<(), Problem> {
        self.put_manifest(root, digest)?;
        let names = std::mem::take(&mut self.lock().names);
        if self.form == ArchiveForm::Docker {
            let entry = TarSink::entry(manifest, &names)?;
            self.lock().entries.push(entry);
        }
        let descriptors = self.descriptors(root, digest, &names);
        self.lock().roots.extend(descriptors);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    /// Writes `bytes` at `at`; a stream is always there.
    fn write(&self, bytes: &[u8], at: u64) -> Result<(), Problem> {
        let (written, path) = match &self.out {
            Out::File { file, path, .. } => (file.write_all_at(bytes, at), path.clone()),
            Out::Stream(stream) => {
                let mut stream = stream.lock().expect("nothing panics while it is held");
                (stream.write_all(bytes), PathBuf::from("output"))
            }
        };
        written.map_err(|source| Problem::File { path, source })
    }

    /// Makes room for a member and writes its header; where its content goes.
    fn reserve(&self, state: &mut State, name: &str, kind: tar::EntryType, bytes: u64) -> Result<u64, Problem> {
        let mut header = tar::Header::new_ustar();
        let fits = header.set_path(name);
        fits.map_err(|_| Problem::Archive(ArchiveProblem::Damaged(format!("{name} is too long for a tar"))))?;
        header.set_entry_type(kind);
        header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes);
        header.set_cksum();
        self.write(header.as_bytes(), state.end)?;
        let start = state.end + BLOCK;
        state.end = start + bytes.next_multiple_of(BLOCK);
        Ok(start)
    }

    fn padding(bytes: u64) -> Vec<u8> {
        vec![0; (bytes.next_multiple_of(BLOCK) - bytes) as usize]
    }

    /// The directories above a blob, each once.
    fn directories(&self, state: &mut State, digest: &Digest) -> Result<(), Problem> {
        for name in ["blobs/".to_owned(), format!("blobs/{}/", digest.algorithm().as_str())] {
            if !state.dirs.contains(&name) {
                self.reserve(state, &name, tar::EntryType::Directory, 0)?;
                state.dirs.push(name);
            }
        }
        Ok(())
    }

    fn place(&self, state: &mut State, digest: &Digest, bytes: u64) -> Result<Region, Problem> {
        if let Some(region) = state.places.get(digest) {
            return Ok(*region);
        }
        self.directories(state, digest)?;
        let start = self.reserve(state, &blob_name(digest), tar::EntryType::Regular, bytes)?;
        let region = Region { start, bytes, filled: false };
        state.places.insert(digest.clone(), region);
        Ok(region)
    }

    fn add_document(&self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        let mut state = self.lock();
        let start = self.reserve(&mut state, name, tar::EntryType::Regular, bytes.len() as u64)?;
        self.fill(bytes, start)
    }

    fn fill(&self, bytes: &[u8], start: u64) -> Result<(), Problem> {
        self.write(bytes, start)?;
        self.write(&TarSink::padding(bytes.len() as u64), start + bytes.len() as u64)
    }

    fn is_stream(&self) -> bool {
        matches!(self.out, Out::Stream(_))
    }

    /// Docker's view of an image.
    fn entry(document: &Document, names: &[String]) -> Result<Entry, Problem> {
        if !media_type::is_manifest(&document.media_type) {
            return Err(Problem::Archive(ArchiveProblem::NoRoomForIndex));
        }
        let manifest: Manifest = serde_json::from_slice(&document.bytes)
            .map_err(|source| Problem::Malformed { what: "manifest", source })?;
        let layers = manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect();
        Ok(Entry { config: blob_name(&manifest.config.digest), repo_tags: names.to_vec(), layers })
    }

    /// What `index.json` says of the root: one entry per name, one without where there is none.
    fn descriptors(&self, document: &Document, digest: &Digest, names: &[String]) -> Vec<Descriptor> {
        let plain = Descriptor::new(&document.media_type, digest.clone(), document.bytes.len() as u64);
        if names.is_empty() {
            return vec![plain];
        }
        let named = names.iter().map(|name| {
            let mut entry = plain.clone();
            entry.annotations = annotations(self.form, name);
            entry
        });
        named.collect()
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.encoded())
}

fn annotations(form: ArchiveForm, name: &str) -> BTreeMap<String, String> {
    let full = name.parse::<Reference>().ok().filter(|_| form == ArchiveForm::Docker);
    match full {
        Some(reference) => {
            let tag = reference.tag().unwrap_or("latest").to_owned();
            BTreeMap::from([(FULL_NAME.to_owned(), reference.to_string()), (REF_NAME.to_owned(), tag)])
        }
        None => BTreeMap::from([(REF_NAME.to_owned(), name.to_owned())]),
    }
}

impl Sink for TarSink {
    fn manners(&self) -> Manners {
        match self.form {
            ArchiveForm::Oci => Manners { oci_only: true, compresses: true, indexes: true },
            ArchiveForm::Docker => Manners { oci_only: false, compresses: false, indexes: false },
        }
    }

    /// Places in a file are given away in this order; a stream has its own.
    fn expect(&self, blobs: &[&Descriptor]) -> Result<(), Problem> {
        if self.is_stream() {
            return Ok(());
        }
        let mut state = self.lock();
        blobs.iter().try_for_each(|blob| self.place(&mut state, &blob.digest, blob.size).map(drop))
    }

    fn presence(&self, blob: &Descriptor) -> Result<Presence, Problem> {
        let filled = self.lock().places.get(&blob.digest).is_some_and(|region| region.filled);
        Ok(if filled { Presence::Present } else { Presence::Absent })
    }

    fn put_blob(&self, blob: &Descriptor, open: &Opener<'_>, tell: &dyn Fn(u64)) -> Result<(), Problem> {
        if blob.size > limits::BLOB_BYTES_MAX {
            return Err(Problem::TooLarge { bytes_max: limits::BLOB_BYTES_MAX });
        }
        let mut state = self.lock();
        let region = self.place(&mut state, &blob.digest, blob.size)?;
        if region.filled {
            return Ok(());
        }
        // A stream takes one blob after the other: the state stays locked until this one is through.
        let held = if self.is_stream() {
            Some(state)
        } else {
            drop(state);
            None
        };
        let mut last = 0;
        copy_blob(blob, open, &mut |bytes, at| {
            self.write(bytes, region.start + last)?;
            last = at;
            tell(at);
            Ok(())
        })?;
        self.write(&TarSink::padding(region.bytes), region.start + region.bytes)?;
        let mut state = held.unwrap_or_else(|| self.lock());
        state.places.entry(blob.digest.clone()).and_modify(|region| region.filled = true);
        Ok(())
    }

    fn put_manifest(&self, document: &Document, digest: &Digest) -> Result<(), Problem> {
        let mut state = self.lock();
        let region = self.place(&mut state, digest, document.bytes.len() as u64)?;
        if !region.filled {
            self.fill(&document.bytes, region.start)?;
            state.places.entry(digest.clone()).and_modify(|region| region.filled = true);
        }
        Ok(())
    }

    fn put_root(&self, document: &Document, digest: &Digest) -> Result<(), Problem> {
        self.put_image(document, digest, document)
    }

    fn finish(&self) -> Result<(), Problem> {
        let roots = std::mem::take(&mut self.lock().roots);
        let entries = std::mem::take(&mut self.lock().entries);
        let index = serde_json::to_vec(&new_index(roots)).expect("an index has string keys");
        self.add_document("oci-layout", LAYOUT_FILE.as_bytes())?;
        self.add_document("index.json", &index)?;
        if self.form == ArchiveForm::Docker {
            let manifest = serde_json::to_vec(&entries).expect("strings");
            self.add_document("manifest.json", &manifest)?;
        }
        let end = self.lock().end;
        self.write(&[0; 2 * BLOCK as usize], end)?;
        match &self.out {
            Out::File { temporary, path, .. } => {
                std::fs::rename(temporary, path).map_err(|source| Problem::File { path: path.clone(), source })
            }
            Out::Stream(stream) => {
                let flushed = stream.lock().expect("nothing panics while it is held").flush();
                flushed.map_err(|source| Problem::File { path: "output".into(), source })
            }
        }
    }
}
