//! A file's data out of the blob, chunk by chunk.
//!
//! Law: each chunk has exactly its bytes, and what the table has a digest of agrees; a file without any digest is not read.

use std::io::{self, BufReader, Read, Write};
use std::ops::Range;

use flate2::bufread::MultiGzDecoder;
use knarr_spec::{Algorithm, Digest};
use sha2::{Digest as _, Sha256};

use super::{Fault, Form};
use crate::Kind;
use crate::listing::{Chunk, Item, Listed};

/// Bytes moved at once.
const COPY_BYTES: usize = 128 << 10;

/// Largest window of zstd, as a power of two; see `compression`.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Copies the data of `file` to `out`; `open` gives the bytes of the blob in a range.
pub fn copy_content<'b>(
    file: &Listed,
    form: Form,
    open: &mut dyn FnMut(Range<u64>) -> io::Result<Box<dyn Read + 'b>>,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    let content = &file.content;
    let bad = |what| Fault::Content { name: String::from_utf8_lossy(&file.path).into_owned(), what };
    let known = content.digest.is_some() || content.chunks.iter().all(|chunk| chunk.digest.is_some());
    if !known || content.chunks.is_empty() != (file.bytes == 0) {
        return Err(bad("the table does not say what it is"));
    }
    let mut whole = Sha256::new();
    for chunk in &content.chunks {
        let mut reader = match chunk.at {
            Some(at) => Some(opened(form, open(at..chunk.end).map_err(Fault::Read)?, chunk)?),
            None => None,
        };
        let mut hash = Sha256::new();
        let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(chunk.bytes).unwrap_or(COPY_BYTES))];
        let mut left = chunk.bytes;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let got = match &mut reader {
                Some(reader) => reader.read(&mut buffer[..wanted]).map_err(Fault::Read)?,
                None => wanted,
            };
            if got == 0 {
                return Err(bad("its data is shorter than the table says"));
            }
            hash.update(&buffer[..got]);
            whole.update(&buffer[..got]);
            out.write_all(&buffer[..got]).map_err(Fault::Write)?;
            left -= got as u64;
        }
        same(chunk.digest.as_ref(), hash).then_some(()).ok_or_else(|| bad("its data is not what the table says"))?;
    }
    same(content.digest.as_ref(), whole).then_some(()).ok_or_else(|| bad("its data is not what the table says"))
}

fn same(promised: Option<&Digest>, hash: Sha256) -> bool {
    promised.is_none_or(|promised| *promised == Digest::from_hash(&Algorithm::Sha256, &hash.finalize()))
}

/// The uncompressed bytes of a chunk and what follows it.
fn opened<'b>(form: Form, packed: Box<dyn Read + 'b>, chunk: &Chunk) -> Result<Box<dyn Read + 'b>, Fault> {
    let packed = BufReader::new(packed);
    let mut reader: Box<dyn Read + 'b> = match form {
        Form::Chunked => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(Fault::Read)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(Fault::Read)?;
            Box::new(decoder)
        }
        Form::Stargz => Box::new(MultiGzDecoder::new(packed)),
    };
    io::copy(&mut (&mut reader).take(chunk.inner), &mut io::sink()).map_err(Fault::Read)?;
    Ok(reader)
}

/// Reads every file that `items` know chunks of, and compares.
pub fn check_contents<'b>(
    items: &[Item],
    form: Form,
    open: &mut dyn FnMut(Range<u64>) -> io::Result<Box<dyn Read + 'b>>,
) -> Result<(), Fault> {
    for item in items {
        match item {
            Item::Entry(file) if file.kind == Kind::File && !file.content.chunks.is_empty() => {
                copy_content(file, form, open, &mut io::sink())?;
            }
            _ => {}
        }
    }
    Ok(())
}
