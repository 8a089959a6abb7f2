//! How an uncompressed layer is made of its tree again, bit for bit: what stands between the files' data, and where their
//! data is.
//!
//! ```text
//! "knarrR1\n", then one zstd stream of pieces:
//!   0                                      the end
//!   1  <u32 length> <bytes>                these bytes
//!   2  <u16 length> <path> <u64 length>    the data of this file of the tree, which has exactly so many bytes
//! ```
//! Numbers are little endian. Law: [`write()`] compares every byte that a recipe leaves to the tree; [`remake`] returns the
//! digest of what it made, and the caller compares it.
//! Not here: compressed layers. The next version of a compressor may write other bytes, and then the blob were lost.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use knarr_sys::at::{Mode, OFlags};
use knarr_sys::{InRoot, Root};

use crate::archive::{Archive, Kind};
use crate::pack::{PackOptions, Packed, Sink};
use crate::stream::Stream;
use crate::unpack::Place;
use crate::{Compression, Error, Limits};

const MAGIC: &[u8; 8] = b"knarrR1\n";

const END: u8 = 0;
const BYTES: u8 = 1;
const FILE: u8 = 2;

/// Bytes of the largest piece that is written out, and compared or copied at once.
const CHUNK_BYTES: usize = 128 << 10;

/// Data that is not worth looking for in the tree: naming the file takes as much.
const DATA_BYTES_MIN: u64 = 64;

/// Headers, names and zeros shrink to next to nothing.
const ZSTD_LEVEL: i32 = 3;

/// Writes the recipe of the uncompressed layer in `blob`, whose tree is `tree`. What the tree does not have as the layer
/// says it (a file that a later entry replaces, the pieces of a sparse one) stands in the recipe itself.
pub fn write(blob: &File, tree: &Root, limits: &Limits, out: impl Write) -> Result<(), Error> {
    let mut recipe = Writer::new(out, blob)?;
    let reader = BufReader::new(ReadAt { file: blob, at: 0 });
    let mut stream = Stream::direct(reader, Some(Compression::None), limits)?;
    let mut archive = Archive::new(&mut stream, limits);
    while let Some(entry) = archive.next()? {
        let data = archive.data();
        if entry.kind != Kind::File || entry.sparse.is_some() || data.bytes < DATA_BYTES_MIN {
            continue;
        }
        let Ok(place) = Place::of(&entry.name) else { continue };
        if has_data(tree, place.path(), blob, data)? {
            recipe.file(place.path(), data)?;
        }
    }
    let bytes = stream.finish()?.tar_bytes;
    recipe.finish(bytes)
}

/// Makes the layer again. The digest of what was written is the caller's to compare.
pub fn remake(recipe: impl Read, tree: &Root, out: impl Write) -> Result<Packed, Error> {
    let bad = |source| Error::Recipe { source };
    let mut reader = BufReader::new(recipe);
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).map_err(bad)?;
    if magic != *MAGIC {
        return Err(bad(io::Error::new(io::ErrorKind::InvalidData, "it does not begin with knarrR1")));
    }
    let mut pieces = zstd::stream::read::Decoder::with_buffer(reader).map_err(bad)?;
    let options = PackOptions { compression: Compression::None, ..PackOptions::default() };
    let mut sink = Sink::new(out, &options)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match number::<1>(&mut pieces).map_err(bad)? as u8 {
            END => return sink.end(0),
            BYTES => {
                let bytes = number::<4>(&mut pieces).map_err(bad)?;
                copy(&mut pieces, bytes, &mut chunk, &mut sink, bad)?;
            }
            FILE => {
                let length = number::<2>(&mut pieces).map_err(bad)? as usize;
                let mut path = vec![0; length];
                pieces.read_exact(&mut path).map_err(bad)?;
                let bytes = number::<8>(&mut pieces).map_err(bad)?;
                copy_file(tree, &path, bytes, &mut chunk, &mut sink)?;
            }
            other => {
                let what = format!("it has a piece of kind {other}");
                return Err(bad(io::Error::new(io::ErrorKind::InvalidData, what)));
            }
        }
    }
}

/// Where the data of an entry stands in its archive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    /// The first byte.
    pub at: u64,
    /// How many there are.
    pub bytes: u64,
}

struct Writer<'b, W: Write> {
    out: zstd::stream::write::Encoder<'static, BufWriter<W>>,
    blob: &'b File,
    /// Bytes of the blob that the recipe accounts for.
    done: u64,
}

impl<'b, W: Write> Writer<'b, W> {
    fn new(out: W, blob: &'b File) -> Result<Writer<'b, W>, Error> {
        let mut out = BufWriter::new(out);
        out.write_all(MAGIC).map_err(Error::Write)?;
        let out = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL).map_err(Error::Write)?;
        Ok(Writer { out, blob, done: 0 })
    }

    fn file(&mut self, path: &[u8], data: Data) -> Result<(), Error> {
        self.bytes_up_to(data.at)?;
        let length = u16::try_from(path.len()).expect("limits.path_bytes_max is PATH_MAX");
        let piece = [&[FILE][..], &length.to_le_bytes(), path, &data.bytes.to_le_bytes()].concat();
        self.out.write_all(&piece).map_err(Error::Write)?;
        self.done = data.at + data.bytes;
        Ok(())
    }

    fn bytes_up_to(&mut self, end: u64) -> Result<(), Error> {
        let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(end - self.done).unwrap_or(CHUNK_BYTES))];
        while self.done < end {
            let take = chunk.len().min(usize::try_from(end - self.done).unwrap_or(usize::MAX));
            let bytes = &mut chunk[..take];
            let unread = |source| Error::Read { at: self.done, form: "", source };
            self.blob.read_exact_at(bytes, self.done).map_err(unread)?;
            let head = [&[BYTES][..], &(take as u32).to_le_bytes()].concat();
            self.out.write_all(&head).and_then(|()| self.out.write_all(bytes)).map_err(Error::Write)?;
            self.done += take as u64;
        }
        Ok(())
    }

    fn finish(mut self, end: u64) -> Result<(), Error> {
        self.bytes_up_to(end)?;
        self.out.write_all(&[END]).map_err(Error::Write)?;
        self.out.finish().and_then(|mut out| out.flush()).map_err(Error::Write)
    }
}

/// Whether the file of the tree is exactly the data.
fn has_data(tree: &Root, path: &[u8], blob: &File, data: Data) -> Result<bool, Error> {
    let Some(file) = open(tree, path) else { return Ok(false) };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == data.bytes) {
        return Ok(false);
    }
    let longest = CHUNK_BYTES.min(usize::try_from(data.bytes).unwrap_or(CHUNK_BYTES));
    let (mut ours, mut theirs) = (vec![0; longest], vec![0; longest]);
    let mut compared = 0;
    while compared < data.bytes {
        let take = longest.min(usize::try_from(data.bytes - compared).unwrap_or(usize::MAX));
        let unread = |source| Error::Read { at: data.at + compared, form: "", source };
        blob.read_exact_at(&mut theirs[..take], data.at + compared).map_err(unread)?;
        let same = file.read_exact_at(&mut ours[..take], compared).is_ok() && ours[..take] == theirs[..take];
        if !same {
            return Ok(false);
        }
        compared += take as u64;
    }
    Ok(true)
}

fn open(tree: &Root, path: &[u8]) -> Option<File> {
    let path = InRoot::parse(OsStr::from_bytes(path)).ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    tree.open_file(&path, flags, Mode::empty()).ok().map(File::from)
}

fn copy_file(tree: &Root, path: &[u8], bytes: u64, chunk: &mut [u8], sink: &mut Sink<impl Write>) -> Result<(), Error> {
    let name = || crate::unpack::show(path);
    let mut file = open(tree, path).ok_or_else(|| Error::Unpackable { name: name(), why: "the file is gone" })?;
    copy(&mut file, bytes, chunk, sink, |source| Error::Unreadable { name: name(), source })
}

fn copy(
    from: &mut impl Read,
    bytes: u64,
    chunk: &mut [u8],
    sink: &mut Sink<impl Write>,
    unread: impl Fn(io::Error) -> Error,
) -> Result<(), Error> {
    let mut left = bytes;
    while left > 0 {
        let take = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        from.read_exact(&mut chunk[..take]).map_err(&unread)?;
        sink.write(&chunk[..take])?;
        left -= take as u64;
    }
    Ok(())
}

fn number<const BYTES: usize>(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes[..BYTES])?;
    Ok(u64::from_le_bytes(bytes))
}

/// Reads a file from a place of its own, so that its descriptor can be shared.
struct ReadAt<'f> {
    file: &'f File,
    at: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
