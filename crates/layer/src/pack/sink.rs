//! Where packed bytes go: hashed, compressed, hashed again, counted.

use std::io::{self, Write};

use knarr_spec::{Algorithm, DiffId, Digest};
use sha2::{Digest as _, Sha256};

use super::{PackOptions, Packed};
use crate::archive::header::BLOCK_BYTES;
use crate::{Compression, Error};

/// gzip's own default; higher levels cost time out of proportion.
const GZIP_LEVEL: i32 = 6;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;
/// gzip's header names the system it was made on; 255 is "unknown".
const GZIP_SYSTEM_UNKNOWN: u8 = 255;

/// Hashes and counts what passes.
struct Hashed<W> {
    out: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W> Hashed<W> {
    fn new(out: W) -> Hashed<W> {
        Hashed { out, hasher: Sha256::new(), bytes: 0 }
    }

    fn digest(self) -> (Digest, u64) {
        (Digest::from_hash(&Algorithm::Sha256, &self.hasher.finalize()), self.bytes)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

enum Compressor<W: Write> {
    Plain(W),
    Gzip(Box<flate2::write::GzEncoder<W>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> Compressor<W> {
    fn new(out: W, options: &PackOptions) -> io::Result<Compressor<W>> {
        Ok(match options.compression {
            Compression::None => Compressor::Plain(out),
            Compression::Gzip => {
                let level = options.level.unwrap_or(GZIP_LEVEL).clamp(0, 9).cast_unsigned();
                let header = flate2::GzBuilder::new().mtime(0).operating_system(GZIP_SYSTEM_UNKNOWN);
                Compressor::Gzip(Box::new(header.write(out, flate2::Compression::new(level))))
            }
            Compression::Zstd => {
                Compressor::Zstd(Box::new(zstd::stream::write::Encoder::new(out, options.level.unwrap_or(ZSTD_LEVEL))?))
            }
        })
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Compressor::Plain(out) => Ok(out),
            Compressor::Gzip(encoder) => encoder.finish(),
            Compressor::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Compressor::Plain(out) => out.write(bytes),
            Compressor::Gzip(encoder) => encoder.write(bytes),
            Compressor::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Compressor::Plain(out) => out.flush(),
            Compressor::Gzip(encoder) => encoder.flush(),
            Compressor::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// The way of the tar's bytes.
pub struct Sink<W: Write> {
    tar: Hashed<Compressor<Hashed<W>>>,
}

impl<W: Write> Sink<W> {
    pub fn new(out: W, options: &PackOptions) -> Result<Sink<W>, Error> {
        let compressor = Compressor::new(Hashed::new(out), options).map_err(Error::Write)?;
        Ok(Sink { tar: Hashed::new(compressor) })
    }

    /// Writes bytes of the tar.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.tar.write_all(bytes).map_err(Error::Write)
    }

    /// Fills the block that was begun.
    pub fn pad(&mut self) -> Result<(), Error> {
        let over = (self.tar.bytes % BLOCK_BYTES as u64) as usize;
        if over > 0 { self.write(&[0; BLOCK_BYTES][over..]) } else { Ok(()) }
    }

    /// Ends the tar with two blocks of zeros.
    pub fn finish(mut self, entries: u64) -> Result<Packed, Error> {
        self.write(&[0; 2 * BLOCK_BYTES])?;
        self.end(entries)
    }

    /// Ends what was written as it is.
    pub fn end(self, entries: u64) -> Result<Packed, Error> {
        let Hashed { out: compressor, hasher, bytes: tar_bytes } = self.tar;
        let mut blob = compressor.finish().map_err(Error::Write)?;
        blob.flush().map_err(Error::Write)?;
        let (digest, blob_bytes) = blob.digest();
        let diff_id = DiffId(Digest::from_hash(&Algorithm::Sha256, &hasher.finalize()));
        Ok(Packed { diff_id, digest, blob_bytes, tar_bytes, entries })
    }
}
