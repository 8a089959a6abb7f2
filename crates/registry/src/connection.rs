//! Connections: accepted within bounds, served by hyper, ended when the other side falls silent.
//!
//! Spec: RFC 9112. Law: what a stranger can make us hold is bounded in bytes and in time, whatever he sends or does not send;
//! the limits stand in [`limits`](crate::limits).
//! Not here: what a request means (`handlers`).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::handlers;
use crate::limits::{
    ACCEPT_PAUSE, CONNECTION_BUFFER_BYTES, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_READ_MAX, KEEP_ALIVE_PROBE_AFTER,
    SHUTDOWN_MAX, UNACKNOWLEDGED_MAX,
};
use crate::server::Registry;

/// Serves what `listener` accepts until `ended` completes; requests in flight then have a while to be finished.
pub async fn serve(listener: TcpListener, registry: Registry, ended: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accept = async {
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            let stream = accepted(&listener).await;
            let (registry, watcher) = (registry.clone(), graceful.watcher());
            tokio::spawn(async move {
                converse(stream, registry, watcher).await;
                drop(place);
            });
        }
    };
    tokio::select! {
        never = accept => never,
        () = ended => {}
    }
    drop(listener);
    // Who is still busy after this is cut off; uploads go on at the next start.
    let _ = tokio::time::timeout(SHUTDOWN_MAX, graceful.shutdown()).await;
}

/// The next connection. Failures of `accept` are the client's (it went away) or pass (no descriptor is free).
async fn accepted(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                bound(&stream);
                return stream;
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// What the kernel can watch for us. Failures change nothing but patience.
fn bound(stream: &TcpStream) {
    // Head and body of an answer are two writes: with Nagle's algorithm the second would wait for the client's
    // delayed acknowledgement, 40 ms on every keep-alive connection.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_PROBE_AFTER);
    // Covers the client that has vanished and the one that reads nothing: both leave data unacknowledged or unsent.
    let _ = sockopt::set_tcp_user_timeout(stream, milliseconds(UNACKNOWLEDGED_MAX));
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Answers the requests of one connection. How it ended is the client's matter.
async fn converse<S>(stream: S, registry: Registry, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let registry = registry.clone();
        async move { Ok::<_, std::convert::Infallible>(handlers::handle(registry, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = watcher.watch(connection).await;
}
