//! Connections: accepted within bounds, served by hyper, ended when the other side falls silent.
//!
//! Spec: RFC 9112. Law: what a stranger can make us hold is bounded in bytes and in time, whatever he sends or does not send;
//! the limits stand in [`limits`](crate::limits).
//! Not here: what a request means (`handlers`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::front;
use crate::limits::{
    ACCEPT_PAUSE, CONNECTION_BUFFER_BYTES, CONNECTIONS_MAX, HANDSHAKE_MAX, HEAD_BYTES_MAX, KEEP_ALIVE_PROBE_AFTER,
    UNACKNOWLEDGED_MAX,
};
use crate::metrics::Held;
use crate::outlet::{self, Outlet};
use crate::peer::Peer;
use crate::server::Registry;
use crate::tls;

/// Serves what `listener` accepts until `ended` completes; requests in flight then have a while to be finished.
pub async fn serve(listener: TcpListener, registry: Registry, ended: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    tokio::select! {
        () = accept_all(&listener, &registry, &graceful, false) => {}
        () = ended => {}
    }
    drop(listener);
    // Who is still busy after this is cut off; uploads go on at the next start.
    let _ = tokio::time::timeout(registry.settings().http.shutdown_grace.0, graceful.shutdown()).await;
}

/// Serves nothing but the metrics, for as long as it is let.
pub async fn serve_metrics(listener: TcpListener, registry: Registry) {
    accept_all(&listener, &registry, &GracefulShutdown::new(), true).await;
}

async fn accept_all(listener: &TcpListener, registry: &Registry, graceful: &GracefulShutdown, metrics_only: bool) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, address) = accepted(listener).await;
        let peer = Peer { address, tls: false, certificate: None, metrics_only, outlet: None };
        let (registry, watcher) = (registry.clone(), graceful.watcher());
        tokio::spawn(async move {
            let metrics = registry.metrics().clone();
            let _counted = Held::new(&metrics.connections);
            welcome(stream, peer, registry, watcher).await;
            drop(place);
        });
    }
}

/// Speaks TLS first, where that is spoken.
async fn welcome(stream: TcpStream, mut peer: Peer, registry: Registry, watcher: Watcher) {
    let live = registry.live();
    let Some(config) = live.tls.clone().filter(|_| !peer.metrics_only) else {
        let outlet = Outlet::default();
        peer.outlet = Some(outlet.clone());
        return converse(Stream::Plain(stream, outlet), peer, registry, watcher).await;
    };
    match tokio::time::timeout(HANDSHAKE_MAX, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let source = live.settings.tls.as_ref().map(|tls| tls.client_name).unwrap_or_default();
            peer.certificate = shown.and_then(|certificate| tls::name(certificate, source));
            peer.tls = true;
            drop(live);
            converse(Stream::Tls(Box::new(stream)), peer, registry, watcher).await;
        }
        failed => {
            registry.metrics().handshakes_failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let why = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => format!("nothing was agreed on within {} s", HANDSHAKE_MAX.as_secs()),
            };
            registry.log().debug("no TLS with somebody", &[("address", &peer.address), ("error", &why)]);
        }
    }
}

/// Both kinds of connection as one, so that the code that speaks HTTP is there once.
enum Stream {
    Plain(TcpStream, Outlet),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream, _) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream, outlet) if outlet::stands_in(bytes) => poll_send(stream, outlet, context, bytes),
            Stream::Plain(stream, _) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream, outlet) => match (outlet::before_stand_ins(slices), slices) {
                ([], [first, ..]) => poll_send(stream, outlet, context, first),
                (before, _) => Pin::new(stream).poll_write_vectored(context, before),
            },
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream, _) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream, _) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream, _) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Writes what stand-ins stand for, as the poll functions of a socket write.
fn poll_send(stream: &TcpStream, outlet: &Outlet, context: &mut Context<'_>, slice: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(context))?;
        match stream.try_io(Interest::WRITABLE, || outlet.send(stream, slice)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

/// The next connection. Failures of `accept` are the client's (it went away) or pass (no descriptor is free).
async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                bound(&stream);
                return (stream, address);
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
async fn converse(stream: Stream, peer: Peer, registry: Registry, watcher: Watcher) {
    let silence = registry.settings().limits.silence.0;
    let peer = Arc::new(peer);
    let service = service_fn(move |request: Request<Incoming>| {
        let (registry, peer) = (registry.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(front::answer(registry, peer, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(silence)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = watcher.watch(connection).await;
}
