//! Bodies in and out: bounded memory whatever the size.

use std::fs::File;
use std::os::unix::fs::FileExt;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use tokio::sync::OwnedMutexGuard;

use crate::error::{Code, Failure, StorageError};
use crate::limits::SEND_CHUNK_BYTES;
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
        let frame = body.frame().await;
        let ended = !matches!(frame, Some(Ok(_)));
        let broken = matches!(frame, Some(Err(_)));
        if let Some(Ok(frame)) = frame
            && let Ok(data) = frame.into_data()
        {
            gathered_bytes += data.len();
            gathered.push(data);
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
        if broken {
            return Err(Failure::new(
                Code::BlobUploadInvalid,
                "the connection broke before the whole body had arrived",
            ));
        }
        if ended {
            return Ok(sink);
        }
    }
}

/// Reads a whole small body.
pub async fn collect(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Failure::new(Code::ManifestInvalid, "the connection broke before the whole body had arrived")
        })?;
        if let Ok(data) = frame.into_data() {
            if collected.len() + data.len() > bytes_max {
                return Err(Failure::new(Code::SizeInvalid, format!("manifests may have {bytes_max} bytes at most"))
                    .with_status(axum::http::StatusCode::PAYLOAD_TOO_LARGE));
            }
            collected.extend_from_slice(&data);
        }
    }
    Ok(collected)
}

/// A body that streams `length` bytes of `file` from `start`, reading ahead by a bounded number of chunks.
pub fn file_body(file: File, start: u64, length: u64) -> Body {
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(SEND_AHEAD);
    tokio::spawn(async move {
        let file = std::sync::Arc::new(file);
        let mut at = start;
        let end = start + length;
        while at < end {
            let want = usize::try_from(end - at).map_or(SEND_CHUNK_BYTES, |left| left.min(SEND_CHUNK_BYTES));
            let from = file.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; want];
                from.read_exact_at(&mut buffer, at).map(|()| Bytes::from(buffer))
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
