//! The listener and its connections, which can be reset on demand.

use std::{
    convert::Infallible,
    io,
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
    task::JoinSet,
};
use tower_service::Service;

const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// After a failed accept, which is mostly a shortage that passes, such as of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes connections until `stopped` says so, then lets those under way end.
///
/// Dropping the future closes every connection at once.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
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
            // Only to forget those that have ended.
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
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
    // The answers that need a `Date` have one of the sandbox's own clock.
    builder.http1().auto_date_header(false);
    builder.http2().auto_date_header(false);
    let connection = watcher.watch(builder.serve_connection(io, service).into_owned());
    tokio::select! {
        // An error here is the client's: it hung up, or sent what isn't HTTP.
        _ = connection => {}
        // Leaving drops the connection, and with it the stream.
        () = reset.inner.demanded.notified() => {}
    }
}

/// A handle on the connection that a request came by, among the request's extensions.
#[derive(Clone, Default)]
pub(super) struct ConnectionReset {
    inner: Arc<ResetState>,
}

#[derive(Default)]
struct ResetState {
    armed: AtomicBool,
    demanded: Notify,
}

impl ConnectionReset {
    /// Resets the connection. Never returns, so that no answer can be sent before the connection is gone.
    pub(super) async fn reset<T>(&self) -> T {
        self.inner.armed.store(true, Ordering::Release);
        self.inner.demanded.notify_one();
        std::future::pending().await
    }
}

/// A stream that is closed with a TCP reset, not in order, once a reset has been asked for.
struct ResettableStream {
    stream: TcpStream,
    reset: ConnectionReset,
}

impl Drop for ResettableStream {
    fn drop(&mut self) {
        if self.reset.inner.armed.load(Ordering::Acquire) {
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
