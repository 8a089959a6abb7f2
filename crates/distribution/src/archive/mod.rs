//! Images in files: OCI layouts and archives, `docker save` archives.
//!
//! Spec: image-spec image-layout.md; moby's image spec v1.2 for `manifest.json`.
//! Law: an archive is read by member names and never unpacked, so no name in it can reach outside; links are followed inside
//! the archive only; what is not seekable or compressed is first spooled, decompressed and bounded, into an unnamed file.

mod docker;
mod layout;
mod members;
mod tar_index;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use knarr_layer::compression::{Compression, Sniffed, sniff};
use knarr_spec::Reference;
use knarr_store::{ImageRecord, Store};

use crate::error::{ArchiveProblem, Part};
use crate::fetch::Fetch;
use crate::origin::Origin;
use crate::progress::Outcome;
use crate::{Problem, PullOptions, limits};

use docker::DockerArchive;
use layout::Layout;
use members::{Directory, Members};
use tar_index::TarIndex;

/// Enough to tell compressed forms apart.
const SNIFF_BYTES: u64 = 512;

/// What `load` reads.
pub enum Input {
    /// A file or a directory.
    Path(PathBuf),
    /// A stream, standard input for example.
    Stream(Box<dyn Read + Send>),
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Path(path) => path.display().fmt(f),
            Input::Stream(_) => f.write_str("standard input"),
        }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({self})")
    }
}

pub(crate) fn pull_layout(
    store: &Store,
    dir: &Path,
    tag: Option<&str>,
    options: &PullOptions<'_>,
) -> Result<ImageRecord, Problem> {
    let members = Directory::open(dir)?;
    layout::single(&members, tag, options).and_then(|image| image.bring(store, options))
}

pub(crate) fn pull_oci_archive(
    store: &Store,
    path: &Path,
    tag: Option<&str>,
    options: &PullOptions<'_>,
) -> Result<ImageRecord, Problem> {
    let members = open_archive(store, path)?;
    layout::single(&members, tag, options).and_then(|image| image.bring(store, options))
}

pub(crate) fn pull_docker_archive(
    store: &Store,
    path: &Path,
    tag: Option<&str>,
    options: &PullOptions<'_>,
) -> Result<ImageRecord, Problem> {
    let members = open_archive(store, path)?;
    docker::single(&members, tag).and_then(|image| image.bring(store, options))
}

pub(crate) fn load(store: &Store, input: Input, options: &PullOptions<'_>) -> Result<Vec<ImageRecord>, Problem> {
    match input {
        Input::Path(path) if path.is_dir() => load_members(store, &Directory::open(&path)?, options),
        Input::Path(path) => load_members(store, &open_archive(store, &path)?, options),
        Input::Stream(stream) => {
            let (file, path) = spool(store, stream)?;
            load_members(store, &TarIndex::read(file, &path)?, options)
        }
    }
}

/// An archive of today's docker is both a layout and a docker archive; as a layout it keeps its manifests' digests.
fn load_members(store: &Store, members: &dyn Members, options: &PullOptions<'_>) -> Result<Vec<ImageRecord>, Problem> {
    if members.section("index.json")?.is_some() && members.section("oci-layout")?.is_some() {
        let images = layout::all(members, options)?;
        return images.iter().map(|image| image.bring(store, options)).collect();
    }
    if members.section("manifest.json")?.is_some() {
        let images = docker::all(members)?;
        return images.iter().map(|image| image.bring(store, options)).collect();
    }
    Err(Problem::Archive(ArchiveProblem::NoImage))
}

/// An image of an archive that can be brought into the store.
trait Loadable: Origin + Sized {
    /// What it is called in the archive.
    fn names(&self) -> &[Reference];

    fn bring(&self, store: &Store, options: &PullOptions<'_>) -> Result<ImageRecord, Problem> {
        let names: Vec<Reference> = self.names().iter().chain(&options.names).cloned().collect();
        let subject = names.first().map_or_else(|| "archive".to_owned(), Reference::to_string);
        let image = Fetch { store, options, origin: self }.image(&subject, &names)?;
        options.progress.finished(&subject, Outcome::Downloaded);
        Ok(image)
    }
}

impl Loadable for Layout<'_> {
    fn names(&self) -> &[Reference] {
        &self.names
    }
}

impl Loadable for DockerArchive<'_> {
    fn names(&self) -> &[Reference] {
        &self.names
    }
}

/// Opens the file as it is where that is possible, else a decompressed copy.
fn open_archive(store: &Store, path: &Path) -> Result<TarIndex, Problem> {
    let failed = |source| Problem::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        let (file, path) = spool(store, Box::new(file))?;
        return TarIndex::read(file, &path);
    }
    let mut start = Vec::new();
    (&file).take(SNIFF_BYTES).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    match sniff(&start) {
        Sniffed::Layer(Compression::None) => TarIndex::read(file, path),
        _ => {
            let (file, _) = spool(store, Box::new(file))?;
            TarIndex::read(file, path)
        }
    }
}

/// Copies a stream, decompressed, into a file without a name in the store's directory.
fn spool(store: &Store, stream: Box<dyn Read + Send>) -> Result<(File, PathBuf), Problem> {
    let path = store.state().to_owned();
    let failed = |source| Problem::File { path: path.clone(), source };
    let mut file = tempfile::tempfile_in(&path).map_err(failed)?;
    let mut plain = knarr_layer::decompress(stream, None)?.take(limits::ARCHIVE_BYTES_MAX + 1);
    let mut buffer = vec![0; 256 << 10];
    let mut copied = 0;
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => {
                file.write_all(&buffer[..got]).map_err(failed)?;
                copied += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Problem::Archive(ArchiveProblem::Damaged(error.to_string()))),
        }
    }
    if copied > limits::ARCHIVE_BYTES_MAX {
        return Err(Problem::Archive(ArchiveProblem::TooLarge));
    }
    Ok((file, path))
}

/// A whole small member, which must be there.
fn document(members: &dyn Members, name: &str, bytes_max: u64) -> Result<Vec<u8>, Problem> {
    let read = || {
        let missing = || Problem::Archive(ArchiveProblem::Missing(name.to_owned()));
        members.section(name)?.ok_or_else(missing)?.read(bytes_max)
    };
    read().map_err(|problem| match problem {
        Problem::Archive(_) => problem,
        other => other.of(Part::Member(name.to_owned())),
    })
}
