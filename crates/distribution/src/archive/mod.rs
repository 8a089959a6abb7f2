//! Images in files: OCI layouts and archives, `docker save` archives.
//!
//! Spec: image-spec image-layout.md; moby's image spec v1.2 for `manifest.json`.
//! Law: an archive is read by member names and never unpacked, so no name in it can reach outside; links are followed inside
//! the archive only; what is not seekable or compressed is first spooled, decompressed and bounded, into an unnamed file.

mod dir;
mod docker;
mod layout;
mod layout_dir;
mod layout_sink;
mod members;
mod partial;
mod save;
mod tar_index;
mod tar_sink;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use knarr_layer::compression::{Compression, Sniffed, sniff};
use knarr_spec::{Platform, Reference};
use knarr_store::{ImageRecord, Store};

use crate::error::{ArchiveProblem, Part};
use crate::fetch::Fetch;
use crate::origin::Origin;
use crate::progress::Outcome;
use crate::{Place, Problem, PullOptions, limits};

use docker::DockerArchive;
use layout::Layout;
use tar_index::TarIndex;

pub(crate) use dir::DirSink;
pub use layout_dir::{LayoutDir, REF_NAME};
pub(crate) use layout_sink::LayoutSink;
pub(crate) use members::Section;
use members::{Directory, Members};
pub use save::{Output, Saved, save};
pub(crate) use tar_sink::{ArchiveForm, TarSink};

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

/// The image `place` means, as an origin, and what it is called there; for places that are files. `blobs` is where a layout
/// that shares its blobs has them.
pub(crate) fn with_image<T>(
    place: &Place,
    platform: &Platform,
    spool: &Path,
    blobs: Option<&Path>,
    then: impl FnOnce(&dyn Loadable) -> Result<T, Problem>,
) -> Result<T, Problem> {
    match place {
        Place::OciLayout { dir, tag } => {
            let members = Directory::open(dir)?.with_blobs(blobs);
            then(&layout::single(&members, tag.as_deref(), platform)?)
        }
        Place::OciArchive { path, tag } => {
            let members = open_archive(spool, path)?;
            then(&layout::single(&members, tag.as_deref(), platform)?)
        }
        Place::DockerArchive { path, tag } => {
            let members = open_archive(spool, path)?;
            match is_layout(&members)? {
                true => then(&layout::single(&members, tag.as_deref(), platform)?),
                false => then(&docker::single(&members, tag.as_deref())?),
            }
        }
        Place::Dir(path) => then(&dir::Dir::open(path)?),
        Place::Registry(_) | Place::Local(_) => unreachable!("not a file"),
    }
}

/// The names of all images of a docker archive.
pub(crate) fn docker_archive_tags(path: &Path, spool: &Path) -> Result<Vec<String>, Problem> {
    docker::tags(&open_archive(spool, path)?)
}

pub(crate) fn load(store: &Store, input: Input, options: &PullOptions<'_>) -> Result<Vec<ImageRecord>, Problem> {
    // For the policy, which knows places: an archive that says of itself what it is counts as a docker archive.
    let place = |path: &Path| Place::DockerArchive { path: path.to_owned(), tag: None };
    match input {
        Input::Path(path) if path.is_dir() => {
            let place = Place::OciLayout { dir: path.clone(), tag: None };
            load_members(store, &Directory::open(&path)?, &place, options)
        }
        Input::Path(path) => load_members(store, &open_archive(store.state(), &path)?, &place(&path), options),
        Input::Stream(stream) => {
            let (file, path) = spool(store.state(), stream)?;
            load_members(store, &TarIndex::read(file, &path)?, &place(Path::new("-")), options)
        }
    }
}

fn is_layout(members: &dyn Members) -> Result<bool, Problem> {
    Ok(members.section("index.json")?.is_some() && members.section("oci-layout")?.is_some())
}

/// An archive of today's docker is both a layout and a docker archive; as a layout it keeps its manifests' digests.
fn load_members(
    store: &Store,
    members: &dyn Members,
    place: &Place,
    options: &PullOptions<'_>,
) -> Result<Vec<ImageRecord>, Problem> {
    if is_layout(members)? {
        let images = layout::all(members, &options.platform)?;
        return images.iter().map(|image| bring(image, place, store, options)).collect();
    }
    if members.section("manifest.json")?.is_some() {
        let images = docker::all(members)?;
        return images.iter().map(|image| bring(image, place, store, options)).collect();
    }
    Err(Problem::Archive(ArchiveProblem::NoImage))
}

/// An image of an archive, with its names there.
pub(crate) trait Loadable: Origin {
    /// What it is called in the archive.
    fn names(&self) -> &[Reference];

    /// The same without the names.
    fn origin(&self) -> &dyn Origin;
}

/// Brings an image of an archive into the store.
pub(crate) fn bring(
    image: &dyn Loadable,
    place: &Place,
    store: &Store,
    options: &PullOptions<'_>,
) -> Result<ImageRecord, Problem> {
    let names: Vec<Reference> = image.names().iter().chain(&options.names).cloned().collect();
    let subject = names.first().map_or_else(|| "archive".to_owned(), Reference::to_string);
    let image = Fetch { store, options, origin: image.origin(), place }.image(&subject, &names)?;
    options.progress.finished(&subject, Outcome::Downloaded);
    Ok(image)
}

impl Loadable for Layout<'_> {
    fn names(&self) -> &[Reference] {
        &self.names
    }

    fn origin(&self) -> &dyn Origin {
        self
    }
}

impl Loadable for DockerArchive<'_> {
    fn names(&self) -> &[Reference] {
        &self.names
    }

    fn origin(&self) -> &dyn Origin {
        self
    }
}

/// Opens the file as it is where that is possible, else a decompressed copy.
fn open_archive(spool_dir: &Path, path: &Path) -> Result<TarIndex, Problem> {
    let failed = |source| Problem::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        let (file, path) = spool(spool_dir, Box::new(file))?;
        return TarIndex::read(file, &path);
    }
    let mut start = Vec::new();
    (&file).take(SNIFF_BYTES).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    match sniff(&start) {
        Sniffed::Layer(Compression::None) => TarIndex::read(file, path),
        _ => {
            let (file, _) = spool(spool_dir, Box::new(file))?;
            TarIndex::read(file, path)
        }
    }
}

/// Copies a stream, decompressed, into a file without a name in `dir`.
fn spool(dir: &Path, stream: Box<dyn Read + Send>) -> Result<(File, PathBuf), Problem> {
    let path = dir.to_owned();
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
