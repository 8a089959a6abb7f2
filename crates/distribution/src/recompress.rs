//! A layer in another compression.
//!
//! Law: what comes is verified by its digest while it is decompressed; what is made lies in an unnamed file until somebody
//! takes it, because only then its digest is known. The tar inside does not change, so neither does its diff id.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use knarr_spec::image::Annotations;
use knarr_spec::media_type::Compression;
use knarr_spec::{Descriptor, Digest};

use crate::archive::Section;
use crate::copy::Recompression;
use crate::hash::Hash;
use crate::origin::Stream;
use crate::{Problem, chunked};

/// Bytes moved at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A layer that was made.
pub(crate) struct Recompressed {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    /// What its descriptor says beside.
    pub(crate) annotations: Annotations,
    file: Arc<File>,
}

impl Recompressed {
    /// Its bytes from `offset` on.
    pub(crate) fn open(&self, offset: u64) -> Box<dyn Stream> {
        let (file, path) = (self.file.clone(), "a temporary file".into());
        Box::new(Section { file, path, start: 0, bytes: self.bytes }.stream(offset))
    }
}

/// Decompresses `stream`, which is the layer `from`, and compresses it as `to` says.
pub(crate) fn recompress(
    stream: Box<dyn Stream + '_>,
    from: &Descriptor,
    declared: Option<Compression>,
    to: &Recompression,
    spool: &Path,
) -> Result<Recompressed, Problem> {
    let failed = |source| Problem::File { path: spool.to_owned(), source };
    let mut source = Source { stream, left: Bytes::new(), hash: Hash::like(&from.digest)?, read: 0, problem: None };
    let file = tempfile::tempfile_in(spool).map_err(failed)?;
    let out = Hashing { file, hash: Hash::sha256(), bytes: 0 };
    let done = knarr_layer::decompress(&mut source, declared)
        .map_err(Problem::from)
        .and_then(|mut plain| compress(&mut plain, out, to).map_err(failed));
    if let Some(problem) = source.problem.take() {
        return Err(problem);
    }
    let (out, annotations) = done?;
    // Behind the end of the compressed stream there may be more of the blob.
    source.read_to_end_of_blob()?;
    source.check(from)?;
    let mut file = out.file;
    file.rewind().map_err(failed)?;
    Ok(Recompressed { digest: out.hash.finish(), bytes: out.bytes, annotations, file: Arc::new(file) })
}

fn compress(plain: &mut dyn Read, out: Hashing, to: &Recompression) -> io::Result<(Hashing, Annotations)> {
    if to.chunked {
        return chunked::write(plain, out, to.level);
    }
    let out = match to.kind {
        Compression::None => {
            let mut out = out;
            pump(plain, &mut out)?;
            Ok(out)
        }
        Compression::Gzip => {
            let level = flate2::Compression::new(to.level.unwrap_or(6).clamp(0, 9) as u32);
            // Like our layers: no name, no time, an unknown system.
            let mut encoder = flate2::GzBuilder::new().mtime(0).write(out, level);
            pump(plain, &mut encoder)?;
            encoder.finish()
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(out, to.level.unwrap_or(3))?;
            pump(plain, &mut encoder)?;
            encoder.finish()
        }
    };
    out.map(|out| (out, Annotations::new()))
}

fn pump(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => to.write_all(&buffer[..got])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A stream as a reader that hashes what it gives.
struct Source<'s> {
    stream: Box<dyn Stream + 's>,
    left: Bytes,
    hash: Hash,
    read: u64,
    /// Why reading failed, which an `io::Error` cannot carry.
    problem: Option<Problem>,
}

impl Source<'_> {
    fn read_to_end_of_blob(&mut self) -> Result<(), Problem> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(_) => return Err(self.problem.take().expect("reading fails with a problem")),
            }
        }
    }

    fn check(self, promised: &Descriptor) -> Result<(), Problem> {
        if self.read != promised.size {
            return Err(Problem::Size { by: "source", got: self.read, more: false, promised: promised.size });
        }
        match self.hash.finish() {
            got if got == promised.digest => Ok(()),
            got => Err(Problem::DigestMismatch { got, promised: promised.digest.clone() }),
        }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            match self.stream.chunk() {
                Ok(Some(chunk)) => self.left = chunk,
                Ok(None) => return Ok(0),
                Err(problem) => {
                    self.problem = Some(problem);
                    return Err(io::Error::other("the source failed"));
                }
            }
            self.hash.update(&self.left);
            self.read += self.left.len() as u64;
        }
        let got = into.len().min(self.left.len());
        self.left.copy_to_slice(&mut into[..got]);
        Ok(got)
    }
}

/// A file that hashes what is written to it.
struct Hashing {
    file: File,
    hash: Hash,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
