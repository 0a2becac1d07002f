//! The listener and its connections, which can be reset on demand.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
};
use tower_service::Service;

/// The time that requests in flight have at a shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// The pause after a failed accept. The cause is mostly a passing shortage, such as of file
/// descriptors, so an immediate retry would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that runs on a task. Dropping it closes all connections at once.
pub(super) struct Running {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Running {
    /// Starts to serve `router` to the connections of `listener`, whose address is `addr`.
    pub(super) fn start(listener: TcpListener, addr: SocketAddr, router: Router) -> Self {
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve(listener, router, stopped));
        Self { addr, stop, server }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Lets the requests in flight finish, for a bounded time. Dropping the future does not stop
    /// that.
    pub(super) async fn shutdown(&self) {
        self.stop.send_replace(true);
        // The task holds the only receiver, so this waits for its end.
        self.stop.closed().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Accepts connections until `stopped` changes, and then lets the requests in flight finish.
///
/// Dropping the future closes every connection at once, because their tasks are in its `JoinSet`.
async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, router.clone(), graceful.watcher()));
                }
                Err(error) => {
                    tracing::debug!(%error, "the sandbox could not take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Frees what the set keeps of a connection that has ended.
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    // Before the wait, so that a client that connects now is refused at once.
    drop(listener);
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown()).await;
    connections.shutdown().await;
}

async fn serve_connection(stream: TcpStream, router: Router, watcher: Watcher) {
    let _ = stream.set_nodelay(true);
    let reset = ConnectionReset::default();
    let io = TokioIo::new(ResettableStream { stream, reset: reset.clone() });
    let service = {
        let reset = reset.clone();
        hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(reset.clone());
            let response = router.clone().call(request);
            async { response.await.map_err(|never: Infallible| never) }
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The router sets the `Date` by the sandbox's own clock.
    builder.http1().auto_date_header(false);
    builder.http2().auto_date_header(false);
    let connection = watcher.watch(builder.serve_connection(io, service).into_owned());
    tokio::select! {
        // An error needs no report: the client hung up or sent no HTTP, or a fault cut the body.
        _ = connection => {}
        // The return drops the connection, and its stream sends the reset.
        () = reset.inner.demanded.notified() => {}
    }
}

/// A handle on the connection by which a request came. It is in the request's extensions.
#[derive(Clone, Default)]
pub(super) struct ConnectionReset {
    inner: Arc<ResetState>,
}

#[derive(Default)]
struct ResetState {
    /// Stored with `Release` before `demanded` is notified, and loaded with `Acquire` when the
    /// stream is dropped, which may be on another thread.
    armed: AtomicBool,
    demanded: Notify,
}

impl ConnectionReset {
    /// Resets the connection. Never returns, so that no response is sent before the reset.
    pub(super) async fn reset<T>(&self) -> T {
        self.inner.armed.store(true, Ordering::Release);
        self.inner.demanded.notify_one();
        std::future::pending().await
    }
}

/// A stream that closes with a TCP reset if one was demanded, and in order otherwise.
struct ResettableStream {
    stream: TcpStream,
    reset: ConnectionReset,
}

impl Drop for ResettableStream {
    fn drop(&mut self) {
        if self.reset.inner.armed.load(Ordering::Acquire) {
            // With a linger of zero, closing the socket sends RST and no FIN.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for ResettableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ResettableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
