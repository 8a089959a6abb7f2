//! Reading a file that another thread is still writing.
//!
//! Law: the reader never sees a byte before it was announced, waits where there is none, and learns from an unfinished end
//! that the rest will not come. So a layer unpacks while it arrives, the bytes of an earlier interrupted pull come first by
//! themselves, a slow disk does not slow the network, and nothing is buffered but pages of the file.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::Problem;

/// Where writer and reader meet.
#[derive(Debug)]
pub(crate) struct Tail {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    available: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Complete,
    Abandoned,
    Unwanted,
}

impl Tail {
    /// A file that has `available` bytes already.
    pub(crate) fn new(available: u64) -> Tail {
        Tail { state: Mutex::new(State { available, end: End::Open }), changed: Condvar::new() }
    }

    /// The reader will not want the rest; the writer hears of it at its next step.
    pub(crate) fn give_up(&self) {
        self.lock().end = End::Unwanted;
    }

    /// The writing end; it ends the file as abandoned unless told otherwise.
    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer { tail: self, end: End::Abandoned }
    }

    /// The reading end, over a descriptor of its own.
    pub(crate) fn reader(&self, file: File) -> Reader<'_> {
        Reader { tail: self, file, position: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding it")
    }

    /// Bytes readable at `position`; zero at the end of a complete file.
    fn wait(&self, position: u64) -> io::Result<u64> {
        let mut state = self.lock();
        loop {
            match state.end {
                _ if state.available > position => return Ok(state.available - position),
                End::Complete => return Ok(0),
                End::Abandoned | End::Unwanted => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download ended early"));
                }
                End::Open => state = self.changed.wait(state).expect("nothing panics while holding it"),
            }
        }
    }
}

/// Announces bytes; its end is the end of the file.
#[derive(Debug)]
pub(crate) struct Writer<'t> {
    tail: &'t Tail,
    end: End,
}

impl Writer<'_> {
    /// `bytes` more may be read; an error where nobody wants them.
    pub(crate) fn advance(&self, bytes: u64) -> Result<(), Problem> {
        let mut state = self.tail.lock();
        state.available += bytes;
        self.tail.changed.notify_one();
        if state.end == End::Unwanted { Err(Problem::Interrupted) } else { Ok(()) }
    }

    /// Nothing follows, and nothing is missing.
    pub(crate) fn complete(mut self) {
        self.end = End::Complete;
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.tail.lock().end = self.end;
        self.tail.changed.notify_one();
    }
}

/// Reads what was announced.
#[derive(Debug)]
pub(crate) struct Reader<'t> {
    tail: &'t Tail,
    file: File,
    position: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let readable = self.tail.wait(self.position)?;
        let wanted = into.len().min(usize::try_from(readable).unwrap_or(usize::MAX));
        let got = self.file.read(&mut into[..wanted])?;
        if got == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the partial blob was cut off by somebody else"));
        }
        self.position += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(pieces: &[&[u8]], complete: bool, expect: Result<&[u8], io::ErrorKind>) {
        let named = tempfile::NamedTempFile::new().unwrap();
        let mut file = named.reopen().unwrap();
        file.write_all(b"before ").unwrap();
        let tail = Tail::new(7);
        let found = std::thread::scope(|scope| {
            let mut reader = tail.reader(named.reopen().unwrap());
            let reader = scope.spawn(move || {
                let mut content = Vec::new();
                reader.read_to_end(&mut content).map(|_| content).map_err(|error| error.kind())
            });
            let writer = tail.writer();
            for piece in pieces {
                file.write_all(piece).unwrap();
                writer.advance(piece.len() as u64).unwrap();
            }
            if complete {
                writer.complete();
            } else {
                drop(writer);
            }
            reader.join().unwrap()
        });
        assert_eq!(found, expect.map(<[u8]>::to_vec));
    }

    #[test]
    fn what_was_there_comes_first_and_the_rest_as_it_is_written() {
        check(&[b"and ", b"after"], true, Ok(b"before and after"));
        check(&[], true, Ok(b"before "));
    }

    #[test]
    fn an_abandoned_file_is_an_error_and_not_an_end() {
        check(&[b"and"], false, Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn a_writer_hears_that_nobody_reads_any_more() {
        let tail = Tail::new(0);
        let writer = tail.writer();
        writer.advance(1).unwrap();
        tail.give_up();
        assert!(matches!(writer.advance(1), Err(Problem::Interrupted)));
    }
}
