//! [`HttpsStream`]: a connection of the built-in client.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::net::TcpStream;

/// A connection of the built-in client, with or without TLS.
pub struct HttpsStream(MaybeHttpsStream<HopStream>);

/// A connection to a host, or to the proxy in front of it.
pub(super) struct HopStream {
    /// It has TLS of its own if the proxy has an https address.
    pub(super) io: MaybeHttpsStream<TokioIo<TcpStream>>,
    /// The proxy forwards the requests, so they need the whole URI.
    pub(super) is_forwarded: bool,
}

impl HttpsStream {
    pub(super) fn new(io: MaybeHttpsStream<HopStream>) -> Self {
        Self(io)
    }
}

impl Connection for HttpsStream {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl Connection for HopStream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_forwarded)
    }
}

/// Implements hyper's I/O traits by those of a field.
macro_rules! io_of {
    ($stream:ty, $io:tt) => {
        impl Read for $stream {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.$io).poll_read(cx, buffer)
            }
        }

        impl Write for $stream {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.$io).poll_write(cx, bytes)
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.$io).poll_flush(cx)
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.$io).poll_shutdown(cx)
            }

            fn is_write_vectored(&self) -> bool {
                self.$io.is_write_vectored()
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.$io).poll_write_vectored(cx, slices)
            }
        }
    };
}

io_of!(HttpsStream, 0);
io_of!(HopStream, io);

impl fmt::Debug for HttpsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsStream").finish_non_exhaustive()
    }
}
