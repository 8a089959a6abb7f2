//! A blob as a reader whose bytes are compared with the blob's descriptor.
//!
//! Law: what was made of the bytes is given out only when all of them came and are what was promised.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use knarr_spec::{Descriptor, Digest};

use crate::Problem;
use crate::hash::Hash;
use crate::origin::Stream;

/// Bytes moved at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A stream as a reader that hashes what it gives.
pub(crate) struct Source<'s> {
    stream: Box<dyn Stream + 's>,
    left: Bytes,
    hash: Hash,
    read: u64,
    /// Why reading failed, which an `io::Error` cannot carry.
    problem: Option<Problem>,
}

impl<'s> Source<'s> {
    /// Reads `stream`, whose digest is to be like `promised`.
    pub(crate) fn new(stream: Box<dyn Stream + 's>, promised: &Digest) -> Result<Source<'s>, Problem> {
        Ok(Source { stream, left: Bytes::new(), hash: Hash::like(promised)?, read: 0, problem: None })
    }

    /// What was `done` with the bytes, if the source did not fail and is what was promised: reads whatever is left of it.
    pub(crate) fn verified<T>(mut self, promised: &Descriptor, done: Result<T, Problem>) -> Result<T, Problem> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        let done = done?;
        // Behind the end of the compressed stream there may be more of the blob.
        self.read_to_end_of_blob()?;
        self.check(promised)?;
        Ok(done)
    }

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
