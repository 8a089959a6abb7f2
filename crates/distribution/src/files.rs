//! The files of an image, wherever it is: listed and read without fetching layers that have a table of contents.
//!
//! ```text
//! layer ─► annotations promise a table? ─► its bytes by range ─► digest agrees ─► list          a few requests
//!            └► no, or it is not what was promised: the whole layer, digest and diff id agree ─► list
//! ```
//! Law: a table is believed as far as the manifest vouches for it by digest; whoever wants to know better asks for `whole`.
//! Not here: reading tables (`layer::toc`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use knarr_layer::Limits;
use knarr_layer::listing::{self, Item};
use knarr_layer::toc::{self, Form, Promise, Spot};
pub use knarr_layer::{Kind, Listed};
use knarr_spec::{Descriptor, DiffId, Digest, ImageConfig, media_type};
use knarr_store::Store;

use crate::copy::{CopyOptions, with_origin};
use crate::error::{Inconsistency, Part};
use crate::fetch::embedded;
use crate::look::{self, said};
use crate::origin::{Origin, Stream};
use crate::together::together;
use crate::verified::Source;
use crate::{Error, Place, Problem};

/// Bytes of the end of a blob that are asked for at once: the footer, and with some luck the table before it.
const TAIL_BYTES: u64 = 16 << 10;

/// Links followed within an image before it counts as a loop; the kernel's number.
const LINKS_MAX: usize = 40;

/// What an image holds.
#[derive(Debug)]
pub struct Files {
    /// Each path with the number of the layer it comes from, from 0 for the lowest.
    pub entries: BTreeMap<Vec<u8>, (usize, Listed)>,
    /// How each layer was read, the lowest first.
    pub layers: Vec<LayerRead>,
}

/// How a layer was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRead {
    /// Its blob.
    pub digest: Digest,
    /// The blob's size.
    pub bytes: u64,
    /// What was read of it.
    pub bytes_read: u64,
    /// The form of its table, if that is what was read.
    pub table: Option<Form>,
    /// Why its table was not believed, or could not be had.
    pub distrust: Option<String>,
}

/// Lists the files of the image `place` means; with `whole` from the layers themselves, whatever their tables say.
pub fn list(store: Option<&Store>, place: &Place, whole: bool, options: &CopyOptions<'_>) -> Result<Files, Error> {
    let listed = with_origin(store, place, options, |origin, _| Reading { origin, options, whole }.files());
    said("list", place, listed)
}

/// Writes the file `path` of the image to `out`, once all of it is verified; links are followed.
pub fn read(
    store: Option<&Store>,
    place: &Place,
    path: &[u8],
    options: &CopyOptions<'_>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let copied =
        with_origin(store, place, options, |origin, _| Reading { origin, options, whole: false }.file(path, out));
    said("read", place, copied)
}

/// An image being looked into.
struct Reading<'a> {
    origin: &'a dyn Origin,
    options: &'a CopyOptions<'a>,
    whole: bool,
}

/// The layers of an image with what their trees are called.
type Layers = Vec<(Descriptor, DiffId)>;

/// What is known of a layer: its list, and how it was read.
type Known = (Vec<Item>, LayerRead);

impl Reading<'_> {
    fn layers(&self) -> Result<Layers, Problem> {
        let (manifest, config) = look::image(self.origin, self.origin.root()?, self.options)?;
        let config: ImageConfig =
            serde_json::from_slice(&config).map_err(|source| Problem::Malformed { what: "image config", source })?;
        let (layers, diff_ids) = (&manifest.layers, config.rootfs.diff_ids);
        if layers.len() != diff_ids.len() {
            let (manifest, config) = (layers.len(), diff_ids.len());
            return Err(Problem::Inconsistent(Inconsistency::LayerCount { manifest, config }));
        }
        Ok(layers.iter().cloned().zip(diff_ids).collect())
    }

    fn files(&self) -> Result<Files, Problem> {
        self.listed(&self.layers()?)
    }

    fn listed(&self, layers: &Layers) -> Result<Files, Problem> {
        let known: Vec<Mutex<Option<Known>>> = layers.iter().map(|_| Mutex::default()).collect();
        let job = |at: usize| {
            let (layer, diff_id) = &layers[at];
            let read = self.layer(layer, diff_id).map_err(|problem| problem.of(Part::Layer(layer.digest.clone())))?;
            *known[at].lock().expect("no panic while it is held") = Some(read);
            Ok(())
        };
        together(layers.len(), self.options.concurrency, &|| self.origin.interrupt(), &job)?;
        let known = known.into_iter().map(|known| known.into_inner().expect("no panic while it was held"));
        let (items, layers): (Vec<_>, Vec<_>) = known.map(|known| known.expect("every job ran")).unzip();
        Ok(Files { entries: listing::merged(items), layers })
    }

    fn layer(&self, layer: &Descriptor, diff_id: &DiffId) -> Result<Known, Problem> {
        let parts = Parts::new(self.origin, layer)?;
        let read = LayerRead {
            digest: layer.digest.clone(),
            bytes: layer.size,
            bytes_read: layer.size,
            table: None,
            distrust: None,
        };
        let distrust = match if self.whole { Ok(None) } else { parts.table() } {
            Ok(Some((table, promise, _))) => {
                let bytes_read = parts.read.load(Ordering::Relaxed);
                return Ok((table.items, LayerRead { bytes_read, table: Some(promise.form), ..read }));
            }
            Ok(None) => None,
            // A registry that fails here will fail there, but for ranges.
            Err(problem @ (Problem::Table(_) | Problem::NoRanges { .. })) => Some(reason(&problem)),
            Err(problem) => return Err(problem),
        };
        let items = self.whole_layer(layer, diff_id)?;
        Ok((items, LayerRead { distrust, ..read }))
    }

    fn whole_layer(&self, layer: &Descriptor, diff_id: &DiffId) -> Result<Vec<Item>, Problem> {
        let (compression, mut source) = self.source(layer)?;
        let listed = listing::list(&mut source, Some(compression), &Limits::default()).map_err(Problem::from);
        let listed = source.verified(layer, listed)?;
        match listed.diff_id == *diff_id {
            true => Ok(listed.items),
            false => Err(Problem::DiffIdMismatch { got: listed.diff_id, promised: diff_id.clone() }),
        }
    }

    fn source<'l>(&'l self, layer: &'l Descriptor) -> Result<(media_type::Compression, Source<'l>), Problem> {
        let unknown = || Problem::MediaType { what: "layer", media_type: layer.media_type.clone() };
        let compression = media_type::layer_compression(&layer.media_type).ok_or_else(unknown)?;
        Ok((compression, Source::new(self.origin.open(layer, 0)?, &layer.digest)?))
    }

    fn file(&self, path: &[u8], out: &mut dyn Write) -> Result<(), Problem> {
        let layers = self.layers()?;
        let files = self.listed(&layers)?;
        let (at, file) = found(&files.entries, path)?;
        let layer = &layers[at].0;
        let mut spool = tempfile::tempfile_in(&self.options.spool).map_err(|source| self.spool(source))?;
        let read = self.content(layer, file, files.layers[at].table, &mut spool);
        read.map_err(|problem| problem.of(Part::Layer(layer.digest.clone())))?;
        spool.rewind().and_then(|()| io::copy(&mut spool, out)).map_err(|source| self.spool(source))?;
        Ok(())
    }

    fn spool(&self, source: io::Error) -> Problem {
        Problem::File { path: self.options.spool.clone(), source }
    }

    /// By range where the table knows of one, and it is no lie; else out of the whole layer.
    fn content(&self, layer: &Descriptor, file: &Listed, table: Option<Form>, spool: &mut File) -> Result<(), Problem> {
        if file.bytes == 0 {
            return Ok(());
        }
        if let Some(form) = table {
            let parts = Parts::new(self.origin, layer)?;
            let mut open = |range| parts.reader(range);
            match toc::copy_content(file, form, &mut open, spool) {
                Ok(()) => return Ok(()),
                Err(fault) => match parts.problem.take() {
                    None | Some(Problem::NoRanges { .. }) if !matches!(fault, toc::Fault::Write(_)) => {}
                    Some(problem) => return Err(problem),
                    None => return Err(fault.into()),
                },
            }
        }
        let (compression, mut source) = self.source(layer)?;
        let copied = listing::extract(&mut source, Some(compression), &Limits::default(), &file.data_path(), spool);
        match source.verified(layer, copied.map_err(Problem::from))? {
            true => Ok(()),
            false => Err(no_file(&file.path, "the layer does not have it")),
        }
    }
}

/// Ranges of one layer's blob.
struct Parts<'p> {
    origin: &'p dyn Origin,
    layer: &'p Descriptor,
    /// What the descriptor carries itself.
    carried: Option<Bytes>,
    /// Bytes that came.
    read: AtomicU64,
    /// Why reading failed, which an `io::Error` cannot carry.
    problem: RefCell<Option<Problem>>,
}

impl<'p> Parts<'p> {
    fn new(origin: &'p dyn Origin, layer: &'p Descriptor) -> Result<Parts<'p>, Problem> {
        let carried = embedded(layer)?.map(Bytes::from);
        Ok(Parts { origin, layer, carried, read: AtomicU64::new(0), problem: RefCell::default() })
    }

    /// The table the annotations promise, if it is what they promise.
    fn table(&self) -> Result<Option<(toc::Table, Promise, Spot)>, Problem> {
        let blob_bytes = self.layer.size;
        let Some(promise) = toc::promise(&self.layer.annotations, blob_bytes)? else { return Ok(None) };
        let tail_at = blob_bytes.saturating_sub(TAIL_BYTES);
        let (spot, tail) = match promise.spot {
            Some(spot) => (spot, None),
            None => {
                let tail = self.bytes(tail_at..blob_bytes)?;
                (toc::footer(promise.form, &tail, blob_bytes)?, Some(tail))
            }
        };
        let range = spot.range();
        let packed = match tail {
            Some(tail) if range.start >= tail_at => {
                tail[(range.start - tail_at) as usize..(range.end - tail_at) as usize].to_vec()
            }
            _ => self.bytes(range)?,
        };
        Ok(Some((toc::read(&packed, &promise, &spot)?, promise, spot)))
    }

    fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>, Problem> {
        let wanted = range.end - range.start;
        let mut bytes = Vec::new();
        match self.reader(range).and_then(|mut reader| reader.read_to_end(&mut bytes)) {
            Ok(_) if bytes.len() as u64 == wanted => Ok(bytes),
            Ok(_) => {
                let (by, got) = (self.origin.who(), bytes.len() as u64);
                Err(Problem::Size { by, got, more: false, promised: wanted })
            }
            Err(_) => Err(self.problem.take().expect("reading fails with a problem")),
        }
    }

    /// The bytes of a range; failures are in `problem`.
    fn reader<'s>(&'s self, range: Range<u64>) -> io::Result<Box<dyn Read + 's>> {
        let left = range.end - range.start;
        let stream = match &self.carried {
            Some(bytes) => {
                let bytes = bytes.slice(range.start as usize..range.end as usize);
                return Ok(Box::new(bytes.reader()));
            }
            None => match self.origin.open_part(self.layer, range.start, range.end) {
                Some(stream) => Ok(stream),
                None => self.origin.open(self.layer, range.start),
            },
        };
        let stream = stream.map_err(|problem| self.failed(problem))?;
        Ok(Box::new(Stretch { parts: self, stream, piece: Bytes::new(), left }))
    }

    fn failed(&self, problem: Problem) -> io::Error {
        self.problem.replace(Some(problem));
        io::Error::other("the source failed")
    }
}

/// A range on its way.
struct Stretch<'s, 'p> {
    parts: &'s Parts<'p>,
    stream: Box<dyn Stream + 's>,
    piece: Bytes,
    left: u64,
}

impl Read for Stretch<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.left > 0 {
            let piece = self.stream.chunk().map_err(|problem| self.parts.failed(problem))?;
            self.piece = piece.unwrap_or_default();
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
            self.piece.truncate(wanted);
            self.left -= self.piece.len() as u64;
            self.parts.read.fetch_add(self.piece.len() as u64, Ordering::Relaxed);
        }
        let got = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..got]);
        Ok(got)
    }
}

/// A problem in one line, with what is behind it.
fn reason(problem: &Problem) -> String {
    let mut text = problem.to_string();
    let mut source = std::error::Error::source(problem);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

fn no_file(path: &[u8], why: &'static str) -> Problem {
    Problem::NoFile { path: String::from_utf8_lossy(path).into_owned(), why }
}

/// The file that `path` leads to, and the number of its layer.
fn found<'e>(entries: &'e BTreeMap<Vec<u8>, (usize, Listed)>, path: &[u8]) -> Result<(usize, &'e Listed), Problem> {
    let components = |path: &[u8]| path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut ahead = components(path);
    let mut at: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(component) = ahead.pop() {
        match &component[..] {
            b"" | b"." => continue,
            b".." => at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            name => {
                let above = at.len();
                if above > 0 {
                    at.push(b'/');
                }
                at.extend_from_slice(name);
                let Some((_, Listed { kind: Kind::Symlink, link, .. })) = entries.get(&at) else { continue };
                links += 1;
                if links > LINKS_MAX {
                    return Err(no_file(path, "too many links"));
                }
                at.truncate(if link.starts_with(b"/") { 0 } else { above });
                ahead.extend(components(link));
            }
        }
    }
    match entries.get(&at) {
        Some((layer, file)) if matches!(file.kind, Kind::File | Kind::HardLink) => Ok((*layer, file)),
        Some(_) => Err(no_file(path, "not a regular file")),
        None => Err(no_file(path, "no such file in the image")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `path`, `path -> link`, `path/`.
    fn image(lines: &[&str]) -> BTreeMap<Vec<u8>, (usize, Listed)> {
        let entry = |line: &&str| {
            let (path, link) = line.split_once(" -> ").unwrap_or((line, ""));
            let kind = match () {
                () if !link.is_empty() => Kind::Symlink,
                () if path.ends_with('/') => Kind::Directory,
                () => Kind::File,
            };
            let path = path.trim_end_matches('/').as_bytes().to_vec();
            let listed = Listed {
                path: path.clone(),
                kind,
                link: link.as_bytes().to_vec(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                bytes: 0,
                modified_s: 0,
                device: (0, 0),
                content: listing::Content::default(),
            };
            (path, (0, listed))
        };
        lines.iter().map(entry).collect()
    }

    fn check(path: &str, expect: Result<&str, &str>) {
        let entries = image(&[
            "etc/",
            "usr/lib/os-release",
            "etc/os-release -> ../usr/lib/os-release",
            "lib -> usr/lib",
            "abs -> /usr/../etc/os-release",
            "loop -> loop",
            "out -> ../../../../usr/lib/os-release",
        ]);
        match (found(&entries, path.as_bytes()), expect) {
            (Ok((_, file)), Ok(expect)) => assert_eq!(file.path, expect.as_bytes(), "{path}"),
            (Err(problem), Err(expect)) => assert!(problem.to_string().contains(expect), "{path}: {problem}"),
            (found, _) => panic!("{path}: {found:?}"),
        }
    }

    #[test]
    fn links_are_followed_within_the_image() {
        for path in
            ["/usr/lib/os-release", "etc/os-release", "/lib/os-release", "./abs", "lib/../lib/os-release", "out"]
        {
            check(path, Ok("usr/lib/os-release"));
        }
    }

    #[test]
    fn what_is_no_file_is_said() {
        check("/etc", Err("not a regular file"));
        check("/", Err("no such file"));
        check("/etc/passwd", Err("no such file"));
        check("/loop", Err("too many links"));
    }
}
