//! Bodies in and out: bounded memory whatever the size.

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use serde_json::json;
use tokio::sync::OwnedMutexGuard;

use crate::blobs::Content;
use crate::error::{Code, Failure, StorageError};
use crate::limits::{BODY_STALL_MAX, SEND_CHUNK_BYTES};
use crate::upload::Session;

/// Bytes gathered before they are written and hashed in one go: large enough that the hand-over to a worker thread costs
/// nothing, small enough that a thousand uploads fit in memory.
const RECEIVE_CHUNK_BYTES: usize = 512 * 1024;
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

/// Where received bytes go: a session that a worker thread can be lent.
pub trait Sink: Send + 'static {
    fn session(&mut self) -> &mut Session;
}

impl Sink for OwnedMutexGuard<Session> {
    fn session(&mut self) -> &mut Session {
        self
    }
}

impl Sink for Session {
    fn session(&mut self) -> &mut Session {
        self
    }
}

/// Appends a request's body to an upload. What arrived before the client went away stays.
pub async fn receive<S: Sink>(mut body: Body, mut sink: S) -> Result<S, Failure> {
    let mut gathered: Vec<Bytes> = Vec::new();
    let mut gathered_bytes = 0;
    loop {
        let piece = next_piece(&mut body).await;
        let ended = !matches!(piece, Some(Ok(_)));
        if let Some(Ok(data)) = &piece {
            gathered_bytes += data.len();
            gathered.push(data.clone());
        }
        if gathered_bytes >= RECEIVE_CHUNK_BYTES || (ended && gathered_bytes > 0) {
            let chunk = std::mem::take(&mut gathered);
            gathered_bytes = 0;
            sink = blocking(move || {
                for bytes in &chunk {
                    sink.session().append(bytes)?;
                }
                Ok::<S, Failure>(sink)
            })
            .await?;
        }
        if ended {
            sink.session().rest();
        }
        if let Some(Err(incomplete)) = piece {
            return Err(incomplete.refusal(Code::BlobUploadInvalid));
        }
        if ended {
            return Ok(sink);
        }
    }
}

/// Reads a whole small body.
pub async fn collect(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut collected = Vec::new();
    while let Some(piece) = next_piece(&mut body).await {
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
    Silent,
}

impl Incomplete {
    fn refusal(self, code: Code) -> Failure {
        match self {
            Incomplete::Cut => Failure::new(code, "the connection broke before the whole body had arrived"),
            Incomplete::Silent => {
                let seconds = BODY_STALL_MAX.as_secs();
                Failure::new(code, format!("nothing of the body has arrived for {seconds} seconds"))
                    .with_status(StatusCode::REQUEST_TIMEOUT)
                    .with_header(header::CONNECTION, "close".into())
            }
        }
    }
}

/// The next bytes of a body; trailers are passed over.
async fn next_piece(body: &mut Body) -> Option<Result<Bytes, Incomplete>> {
    loop {
        match tokio::time::timeout(BODY_STALL_MAX, body.frame()).await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => return Some(Ok(data)),
                Err(_) => continue,
            },
            Ok(Some(Err(_))) => return Some(Err(Incomplete::Cut)),
            Ok(None) => return None,
            Err(_) => return Some(Err(Incomplete::Silent)),
        }
    }
}

/// A body that streams `length` bytes of `content` from `start`, reading ahead by a bounded number of chunks.
pub fn content_body(content: Box<dyn Content>, start: u64, length: u64) -> Body {
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(SEND_AHEAD);
    tokio::spawn(async move {
        let content: std::sync::Arc<dyn Content> = content.into();
        let mut at = start;
        let end = start + length;
        while at < end {
            let want = usize::try_from(end - at).map_or(SEND_CHUNK_BYTES, |left| left.min(SEND_CHUNK_BYTES));
            let from = content.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; want];
                from.read_at(&mut buffer, at).map(|()| Bytes::from(buffer))
            });
            match read.await {
                Ok(Ok(bytes)) => {
                    at += bytes.len() as u64;
                    if sender.send_data(bytes).await.is_err() {
                        return;
                    }
                }
                Ok(Err(error)) => return sender.abort(error),
                Err(_) => return sender.abort(std::io::Error::other("a worker ended early")),
            }
        }
    });
    Body::new(body)
}
