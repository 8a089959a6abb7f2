//! Bodies in and out: bounded memory whatever the size.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use serde_json::json;

use crate::error::{Code, Failure, StorageError};
use crate::limits::{CONNECTION_BUFFER_BYTES, SEND_CHUNK_BYTES, SEND_FILE_BYTES};
use crate::outlet::Outlet;
use crate::upload::Session;

/// Bytes gathered before they are written and hashed in one go: a blob of this size is handed over to a worker thread once.
const RECEIVE_CHUNK_BYTES: usize = 1024 * 1024;
/// The same while all uploads together hold more than [`GATHERED_BYTES_MAX`].
const RECEIVE_CHUNK_BYTES_SCARCE: usize = 128 * 1024;
const GATHERED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Pieces below this size are copied: an eighth of what a buffer of a connection holds.
const COPIED_BYTES_MAX: usize = CONNECTION_BUFFER_BYTES / 8;
/// Chunks read ahead of a slow client.
const SEND_AHEAD: usize = 2;

/// Runs blocking work on the runtime's pool.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(StorageError::Worker.into()))
}

/// An upload to which all but the last bytes of a body were appended: who goes on with it appends those first, on the same
/// worker thread.
pub struct Received {
    session: Box<dyn Session>,
    rest: Gathered,
}

impl Received {
    /// Appends what is left. Blocks.
    pub fn complete(mut self) -> Result<Box<dyn Session>, StorageError> {
        self.session.append_all(self.rest.all())?;
        Ok(self.session)
    }
}

/// Pieces of a body that wait to be written, counted for the process as a whole.
///
/// A piece keeps the whole buffer that it was read into: a client that sends byte by byte would make us hold thousands of times what it
/// sent. So small pieces are copied together.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    /// Small pieces since the last large one.
    small: Vec<u8>,
    bytes: usize,
}

/// What all uploads hold.
static GATHERED_BYTES: AtomicUsize = AtomicUsize::new(0);

impl Gathered {
    fn add(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        GATHERED_BYTES.fetch_add(piece.len(), Ordering::Relaxed);
        if piece.len() < COPIED_BYTES_MAX {
            self.small.extend_from_slice(&piece);
        } else {
            self.end_small();
            self.pieces.push(piece);
        }
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).into());
        }
    }

    /// All of it, in order.
    fn all(&mut self) -> &[Bytes] {
        self.end_small();
        &self.pieces
    }

    fn is_enough(&self) -> bool {
        let is_scarce = GATHERED_BYTES.load(Ordering::Relaxed) > GATHERED_BYTES_MAX;
        self.bytes > if is_scarce { RECEIVE_CHUNK_BYTES_SCARCE } else { RECEIVE_CHUNK_BYTES }
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        GATHERED_BYTES.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Appends a request's body to an upload. What arrived before the client went away is acknowledged; otherwise that is the
/// caller's to do. A client that says nothing for as long as `silence` has gone away as well.
pub async fn receive(mut body: Body, mut session: Box<dyn Session>, silence: Duration) -> Result<Received, Failure> {
    let mut gathered = Gathered::default();
    loop {
        match next_piece(&mut body, silence).await {
            Some(Ok(piece)) => gathered.add(piece),
            None => return Ok(Received { session, rest: gathered }),
            Some(Err(incomplete)) => {
                blocking(move || Received { session, rest: gathered }.complete()?.acknowledge()).await?;
                return Err(incomplete.refusal(Code::BlobUploadInvalid));
            }
        }
        if gathered.is_enough() {
            let chunk = Received { session, rest: std::mem::take(&mut gathered) };
            session = blocking(move || chunk.complete().map_err(Failure::from)).await?;
        }
    }
}

/// Reads a whole small body.
pub async fn collect(mut body: Body, bytes_max: usize, silence: Duration) -> Result<Vec<u8>, Failure> {
    let mut collected = Vec::new();
    while let Some(piece) = next_piece(&mut body, silence).await {
        let data = piece.map_err(|incomplete| incomplete.refusal(Code::ManifestInvalid))?;
        if collected.len() + data.len() > bytes_max {
            return Err(Failure::new(Code::SizeInvalid, format!("manifests may have {bytes_max} bytes at most"))
                .with_detail(json!({"bytesMax": bytes_max}))
                .with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected)
}

/// Why a body did not arrive whole.
enum Incomplete {
    Cut,
    Silent(Duration),
}

impl Incomplete {
    fn refusal(self, code: Code) -> Failure {
        match self {
            Incomplete::Cut => Failure::new(code, "the connection broke before the whole body had arrived"),
            Incomplete::Silent(silence) => {
                Failure::new(code, format!("nothing of the body has arrived for {silence:?}"))
                    .with_status(StatusCode::REQUEST_TIMEOUT)
                    .with_header(header::CONNECTION, "close".into())
            }
        }
    }
}

/// The next bytes of a body; trailers are passed over.
async fn next_piece(body: &mut Body, silence: Duration) -> Option<Result<Bytes, Incomplete>> {
    loop {
        match tokio::time::timeout(silence, body.frame()).await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => return Some(Ok(data)),
                Err(_) => continue,
            },
            Ok(Some(Err(_))) => return Some(Err(Incomplete::Cut)),
            Ok(None) => return None,
            Err(_) => return Some(Err(Incomplete::Silent(silence))),
        }
    }
}

/// A body that sends `length` bytes of `file` from `start`: through `outlet` what is in memory, and what is not is read by a worker
/// thread, a bounded number of chunks ahead.
pub fn file_body(file: File, start: u64, length: u64, outlet: Option<Outlet>) -> Body {
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(SEND_AHEAD);
    tokio::spawn(async move {
        let file = Arc::new(file);
        let (mut at, end) = (start, start + length);
        while at < end {
            let stand_in =
                outlet.as_ref().and_then(|outlet| outlet.stand_in(&file, at, at_most(SEND_FILE_BYTES, end - at)));
            let bytes = match stand_in {
                Some(bytes) => Ok(bytes),
                None => read(file.clone(), at, at_most(SEND_CHUNK_BYTES, end - at)).await,
            };
            match bytes {
                Ok(bytes) => {
                    at += bytes.len() as u64;
                    if sender.send_data(bytes).await.is_err() {
                        return;
                    }
                }
                Err(error) => return sender.abort(error),
            }
        }
    });
    Body::new(body)
}

fn at_most(bytes_max: usize, left: u64) -> usize {
    usize::try_from(left).map_or(bytes_max, |left| left.min(bytes_max))
}

async fn read(file: Arc<File>, at: u64, length: usize) -> std::io::Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, at).map(|()| Bytes::from(buffer))
    });
    read.await.unwrap_or_else(|_| Err(std::io::Error::other("a worker ended early")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_held_as_one_and_large_ones_as_they_came() {
        let mut gathered = Gathered::default();
        let large = Bytes::from(vec![b'L'; COPIED_BYTES_MAX]);
        for _ in 0..1000 {
            gathered.add(Bytes::from_static(b"s"));
        }
        gathered.add(large.clone());
        gathered.add(Bytes::from_static(b"end"));
        let pieces = gathered.all();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [1000, COPIED_BYTES_MAX, 3]);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
        assert_eq!(gathered.bytes, 1003 + COPIED_BYTES_MAX);
    }
}
