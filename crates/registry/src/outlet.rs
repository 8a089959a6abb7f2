//! Bytes that go from a file to a socket inside the kernel.
//!
//! hyper writes bodies that are bytes in memory and knows no files. So the body of a file that is in the page cache yields bytes
//! that only stand in for the file's, and says here which they are; the connection knows the stand-ins by where they lie in
//! memory when hyper gives them to it to be written, and lets the kernel send the file's in their place (`sendfile(2)`).
//! The read into memory and the copy out of it are saved, which is most of what a large blob costs.
//!
//! Law: stand-ins go only where an outlet is, that is to a connection without TLS, and in the order in which they were made; a
//! stand-in nobody made ends the connection. Only what is in memory goes this way: a thread that answers many connections does
//! not wait for a disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::body::Bytes;
use rustix::io::ReadWriteFlags;

use crate::limits::SEND_FILE_BYTES;

/// What stand-ins are made of; never read nor sent, so that it takes addresses but no memory.
static STAND_IN: LazyLock<&[u8]> = LazyLock::new(|| Box::leak(vec![0; SEND_FILE_BYTES].into_boxed_slice()));

/// The files' bytes that one connection is about to send. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Outlet(Arc<Mutex<VecDeque<Part>>>);

/// A part of a file, and how much of it is still to be sent.
#[derive(Debug)]
struct Part {
    file: Arc<File>,
    at: u64,
    left: usize,
}

impl Outlet {
    /// Stand-ins for `length` bytes of `file` from `at` on, at most [`SEND_FILE_BYTES`]; `None` where they would have to come from
    /// the disk first.
    pub fn stand_in(&self, file: &Arc<File>, at: u64, length: usize) -> Option<Bytes> {
        if length == 0 || length > STAND_IN.len() || !is_in_memory(file, at, length) {
            return None;
        }
        self.parts().push_back(Part { file: file.clone(), at, left: length });
        Some(Bytes::from_static(&STAND_IN[..length]))
    }

    /// Sends what the stand-ins at `slice` stand for to `socket`, as much of it as the socket takes.
    pub fn send(&self, socket: impl AsFd, slice: &[u8]) -> io::Result<usize> {
        let mut parts = self.parts();
        let part = parts.front_mut().ok_or(ErrorKind::InvalidData)?;
        let wanted = part.left.min(slice.len());
        let sent = rustix::fs::sendfile(socket, &part.file, Some(&mut part.at), wanted)?;
        if sent == 0 {
            // The file has become shorter than it was.
            return Err(ErrorKind::UnexpectedEof.into());
        }
        part.left -= sent;
        if part.left == 0 {
            parts.pop_front();
        }
        Ok(sent)
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, VecDeque<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether these bytes are stand-ins.
pub fn stands_in(slice: &[u8]) -> bool {
    STAND_IN.as_ptr_range().contains(&slice.as_ptr()) && !slice.is_empty()
}

/// The slices before the first stand-in.
pub fn before_stand_ins<'a, 'b>(slices: &'a [IoSlice<'b>]) -> &'a [IoSlice<'b>] {
    let count = slices.iter().take_while(|slice| !stands_in(slice)).count();
    &slices[..count]
}

/// Whether the first and the last byte can be read without waiting: what was read ahead or written lies there as a whole, mostly.
fn is_in_memory(file: &File, at: u64, length: usize) -> bool {
    [at, at + length as u64 - 1].into_iter().all(|at| {
        let mut byte = [0];
        let read = rustix::io::preadv2(file, &mut [io::IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT);
        read == Ok(1)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn file_of(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    #[test]
    fn stand_ins_are_sent_as_the_bytes_they_stand_for() {
        let file = file_of(b"0123456789");
        let (outlet, (ours, mut theirs)) = (Outlet::default(), UnixStream::pair().unwrap());
        let (Some(first), Some(second)) = (outlet.stand_in(&file, 2, 3), outlet.stand_in(&file, 7, 2)) else {
            // A file system that cannot say what is in memory.
            return assert!(!is_in_memory(&file, 0, 1));
        };
        assert!(stands_in(&first) && stands_in(&second) && !stands_in(b"234"));
        assert_eq!(outlet.send(&ours, &first).unwrap(), 3);
        assert_eq!(outlet.send(&ours, &second[..1]).unwrap(), 1);
        assert_eq!(outlet.send(&ours, &second[1..]).unwrap(), 1);
        drop(ours);
        let mut received = String::new();
        theirs.read_to_string(&mut received).unwrap();
        assert_eq!(received, "23478");
    }

    #[test]
    fn a_stand_in_that_nobody_made_is_not_sent() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(Outlet::default().send(&ours, &STAND_IN[..1]).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error_and_no_other_bytes() {
        let file = file_of(b"0123456789");
        let (outlet, (ours, _theirs)) = (Outlet::default(), UnixStream::pair().unwrap());
        let Some(bytes) = outlet.stand_in(&file, 5, 5) else { return assert!(!is_in_memory(&file, 0, 1)) };
        file.set_len(5).unwrap();
        assert_eq!(outlet.send(&ours, &bytes).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_comes_before_stand_ins_is_told_apart() {
        let (plain, stand_in) = (IoSlice::new(b"head"), IoSlice::new(&STAND_IN[..5]));
        assert_eq!(before_stand_ins(&[plain, plain, stand_in, plain]).len(), 2);
        assert_eq!(before_stand_ins(&[stand_in, plain]).len(), 0);
        assert_eq!(before_stand_ins(&[]).len(), 0);
    }
}
