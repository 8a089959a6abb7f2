//! The uncompressed bytes of a layer on their way from the blob to the tree: decompressed, hashed and counted, on threads of
//! their own where asked.
//!
//! ```text
//!   second thread             third thread           first thread
//!   blob → decompress ──────► sha256 ──────────────► tar → tree
//!          spent chunks ◄───────────────────────────
//! ```
//! Law: memory is bounded by the chunks in flight; a consumer that gives up ends the producer at its next chunk.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;

use knarr_spec::{Algorithm, DiffId, Digest};
use sha2::{Digest as _, Sha256};

use crate::compression::Decompressor;
use crate::{Compression, Error, HeaderFault, Limits};

/// Bytes of a chunk: large files are written in calls of this size. Each chunk wakes two threads, so smaller ones cost a tenth
/// of the time and more; larger ones only memory.
const CHUNK_BYTES: usize = 512 << 10;

/// Full chunks that wait for the tree: enough to decompress on while a thousand small files are made.
const CHUNKS_WAITING: usize = 4;

/// Chunks that wait for the hash, which is faster than what comes before it and what follows.
const CHUNKS_UNHASHED: usize = 2;

/// Decompresses and counts.
struct Producer<R: Read> {
    decompressor: Decompressor<Counted<R>>,
    compressed_bytes: Arc<AtomicU64>,
    bytes: u64,
    limits: Limits,
}

/// Counts what was read from the blob.
struct Counted<R> {
    reader: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<R: Read> Producer<R> {
    fn open(reader: R, declared: Option<Compression>, limits: &Limits) -> Result<Producer<R>, Error> {
        let compressed_bytes = Arc::new(AtomicU64::new(0));
        let counted = Counted { reader, bytes: compressed_bytes.clone() };
        Ok(Producer {
            decompressor: Decompressor::open(counted, declared)?,
            compressed_bytes,
            bytes: 0,
            limits: limits.clone(),
        })
    }

    /// Fills `chunk`; an empty one is the end.
    fn fill(&mut self, chunk: &mut Vec<u8>) -> Result<(), Error> {
        chunk.resize(CHUNK_BYTES, 0);
        let mut filled = 0;
        while filled < CHUNK_BYTES {
            match self.decompressor.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let at = self.bytes + filled as u64;
                    return Err(Error::Read { at, form: self.decompressor.form(), source });
                }
            }
        }
        chunk.truncate(filled);
        self.bytes += filled as u64;
        self.check_limits()
    }

    fn check_limits(&self) -> Result<(), Error> {
        let Limits { tar_bytes_max, expansion_max, expansion_free_bytes, .. } = self.limits;
        let over = |what: String, limit, field| Err(Error::Limit { at: self.bytes, what, limit, field });
        if self.bytes > tar_bytes_max {
            return over("the uncompressed size".into(), tar_bytes_max, "tar_bytes_max");
        }
        let compressed = self.compressed_bytes.load(Ordering::Relaxed).max(1);
        if self.bytes > expansion_free_bytes && self.bytes / compressed > expansion_max {
            let what = format!("the expansion of {compressed} compressed bytes");
            return over(what, expansion_max, "expansion_max");
        }
        Ok(())
    }
}

/// What is known when everything was read.
pub(crate) struct End {
    pub diff_id: DiffId,
    pub tar_bytes: u64,
}

impl End {
    fn new(hasher: Sha256, tar_bytes: u64) -> End {
        End { diff_id: DiffId(Digest::from_hash(&Algorithm::Sha256, &hasher.finalize())), tar_bytes }
    }
}

/// What one thread sends the next.
enum Piece<E> {
    Chunk(Vec<u8>),
    End(E),
    Failed(Error),
}

/// Where chunks come from.
trait Source {
    /// Swaps a spent chunk for the next one; `Some` at the end.
    fn next(&mut self, chunk: &mut Vec<u8>) -> Result<Option<End>, Error>;
}

/// On this thread.
struct Direct<R: Read>(Option<(Producer<R>, Sha256)>);

impl<R: Read> Source for Direct<R> {
    fn next(&mut self, chunk: &mut Vec<u8>) -> Result<Option<End>, Error> {
        chunk.clear();
        let Some((producer, hasher)) = &mut self.0 else { return Ok(None) };
        producer.fill(chunk)?;
        hasher.update(&*chunk);
        let ended = self.0.take_if(|_| chunk.is_empty());
        Ok(ended.map(|(producer, hasher)| End::new(hasher, producer.bytes)))
    }
}

/// From the threads before this one.
struct Piped {
    hashed: Receiver<Piece<End>>,
    spent: Sender<Vec<u8>>,
}

impl Source for Piped {
    fn next(&mut self, chunk: &mut Vec<u8>) -> Result<Option<End>, Error> {
        let spent = std::mem::take(chunk);
        // The producer is gone after its last piece; then nobody wants the buffer back.
        let _ = self.spent.send(spent);
        match self.hashed.recv() {
            Ok(Piece::Chunk(full)) => *chunk = full,
            Ok(Piece::End(end)) => return Ok(Some(end)),
            Ok(Piece::Failed(error)) => return Err(error),
            Err(_) => {}
        }
        Ok(None)
    }
}

fn produce<R: Read>(mut producer: Producer<R>, full: &SyncSender<Piece<u64>>, spent: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = spent.try_recv().unwrap_or_default();
        let piece = match producer.fill(&mut chunk) {
            Ok(()) if chunk.is_empty() => Piece::End(producer.bytes),
            Ok(()) => Piece::Chunk(chunk),
            Err(error) => Piece::Failed(error),
        };
        let last = !matches!(piece, Piece::Chunk(_));
        if full.send(piece).is_err() || last {
            return;
        }
    }
}

fn hash(full: Receiver<Piece<u64>>, hashed: &SyncSender<Piece<End>>) {
    let mut hasher = Sha256::new();
    for piece in full {
        let piece = match piece {
            Piece::Chunk(chunk) => {
                hasher.update(&chunk);
                Piece::Chunk(chunk)
            }
            Piece::End(tar_bytes) => Piece::End(End::new(std::mem::take(&mut hasher), tar_bytes)),
            Piece::Failed(error) => Piece::Failed(error),
        };
        if hashed.send(piece).is_err() {
            return;
        }
    }
}

/// The uncompressed bytes, to be looked at in place and consumed.
pub(crate) struct Stream<'s> {
    source: Box<dyn Source + 's>,
    chunk: Vec<u8>,
    at: usize,
    consumed: u64,
    end: Option<End>,
}

impl<'s> Stream<'s> {
    /// Everything on this thread.
    pub fn direct<R: Read + 's>(
        reader: R,
        declared: Option<Compression>,
        limits: &Limits,
    ) -> Result<Stream<'s>, Error> {
        Ok(Stream::new(Box::new(Direct(Some((Producer::open(reader, declared, limits)?, Sha256::new()))))))
    }

    /// Decompression and hashing on a thread of `scope` each.
    pub fn piped<'scope, R: Read + Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        reader: R,
        declared: Option<Compression>,
        limits: &Limits,
    ) -> Result<Stream<'s>, Error> {
        let producer = Producer::open(reader, declared, limits)?;
        let (full_in, full) = sync_channel(CHUNKS_UNHASHED);
        let (hashed_in, hashed) = sync_channel(CHUNKS_WAITING);
        let (spent, spent_out) = channel();
        scope.spawn(move || produce(producer, &full_in, &spent_out));
        scope.spawn(move || hash(full, &hashed_in));
        Ok(Stream::new(Box::new(Piped { hashed, spent })))
    }

    fn new(source: Box<dyn Source + 's>) -> Stream<'s> {
        Stream { source, chunk: Vec::new(), at: 0, consumed: 0, end: None }
    }

    /// Bytes consumed so far.
    pub fn position(&self) -> u64 {
        self.consumed
    }

    /// Bytes that can be looked at now; none at the end.
    pub fn peek(&mut self) -> Result<&[u8], Error> {
        if self.at == self.chunk.len() && self.end.is_none() {
            self.at = 0;
            self.end = self.source.next(&mut self.chunk)?;
        }
        Ok(&self.chunk[self.at..])
    }

    /// Takes what was looked at.
    pub fn consume(&mut self, bytes: usize) {
        self.at += bytes;
        self.consumed += bytes as u64;
    }

    /// Reads as much of `into` as there is.
    pub fn read_up_to(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < into.len() {
            let bytes = self.peek()?;
            let take = bytes.len().min(into.len() - filled);
            if take == 0 {
                break;
            }
            into[filled..filled + take].copy_from_slice(&bytes[..take]);
            self.consume(take);
            filled += take;
        }
        Ok(filled)
    }

    /// Reads all of `into`, or says that the archive is cut off.
    pub fn read_exact(&mut self, into: &mut [u8]) -> Result<(), Error> {
        if self.read_up_to(into)? < into.len() { Err(self.cut_off()) } else { Ok(()) }
    }

    /// Passes over `bytes`; returns how many there were.
    pub fn skip(&mut self, bytes: u64) -> Result<u64, Error> {
        let mut left = bytes;
        while left > 0 {
            let take = self.peek()?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if take == 0 {
                break;
            }
            self.consume(take);
            left -= take as u64;
        }
        Ok(bytes - left)
    }

    /// The archive ends where it must not.
    pub fn cut_off(&self) -> Error {
        Error::Header { at: self.consumed, fault: HeaderFault::CutOff }
    }

    /// Passes over what follows the archive, which the digest covers.
    pub fn finish(mut self) -> Result<End, Error> {
        while !self.peek()?.is_empty() {
            self.consume(self.chunk.len() - self.at);
        }
        self.end.ok_or(Error::Header { at: self.consumed, fault: HeaderFault::CutOff })
    }
}
