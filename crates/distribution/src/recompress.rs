//! A layer in another compression.
//!
//! Law: what comes is verified by its digest while it is decompressed; what is made lies in an unnamed file until somebody
//! takes it, because only then its digest is known. The tar inside does not change, so neither does its diff id,
//! but for eStargz, whose table is a file of the tar.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use knarr_layer::toc::{self, Stargz};
use knarr_spec::image::Annotations;
use knarr_spec::media_type::Compression;
use knarr_spec::{Descriptor, DiffId, Digest};

use crate::Problem;
use crate::archive::Section;
use crate::copy::Recompression;
use crate::hash::Hash;
use crate::origin::Stream;
use crate::verified::Source;

/// Bytes moved at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A layer that was made.
pub(crate) struct Recompressed {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    /// What its descriptor says beside.
    pub(crate) annotations: Annotations,
    /// Of the tar inside, where it is another one than before.
    pub(crate) diff_id: Option<DiffId>,
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
    let mut source = Source::new(stream, &from.digest)?;
    let file = tempfile::tempfile_in(spool).map_err(failed)?;
    let out = Hashing { file, hash: Hash::sha256(), bytes: 0 };
    let done = knarr_layer::decompress(&mut source, declared)
        .map_err(Problem::from)
        .and_then(|mut plain| compress(&mut plain, out, to).map_err(failed));
    let Packed { out, annotations, diff_id } = source.verified(from, done)?;
    let mut file = out.file;
    file.rewind().map_err(failed)?;
    Ok(Recompressed { digest: out.hash.finish(), bytes: out.bytes, annotations, diff_id, file: Arc::new(file) })
}

/// What was written, and what is to be said of it.
struct Packed {
    out: Hashing,
    annotations: Annotations,
    diff_id: Option<DiffId>,
}

fn compress(plain: &mut dyn Read, out: Hashing, to: &Recompression) -> io::Result<Packed> {
    let out = match to.kind {
        Compression::Gzip if to.chunked => {
            let (out, Stargz { diff_id, annotations }) = toc::write_stargz(plain, out, to.level)?;
            return Ok(Packed { out, annotations, diff_id: Some(diff_id) });
        }
        Compression::Zstd if to.chunked => {
            let (out, annotations) = toc::write_chunked(plain, out, to.level)?;
            return Ok(Packed { out, annotations, diff_id: None });
        }
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
    out.map(|out| Packed { out, annotations: Annotations::new(), diff_id: None })
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
