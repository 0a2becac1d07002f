//! Opens a connection: name, TCP or Unix socket, TLS, login.
//!
//! The client crate gets a stream that is ready. So the client crate never has the password in its
//! buffers. TLS has the same provider and trust roots as in the feature `client`. A connection ends
//! when this crate says so.

use std::{io, sync::Arc, time::Duration};

use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use rustls::{ClientConfig, pki_types::ServerName};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::{
    address::{Address, Login, Server},
    refusal,
};
use crate::store::StoreError;

/// For the TCP connection, to whichever address of the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// After so long without a sign of the other machine the kernel gives a connection up.
const SILENCE: Duration = Duration::from_secs(10);

/// The longest first line of a server. One that speaks another protocol may send anything.
const LONGEST_LINE: usize = 512;

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) type Stream = Box<dyn Io>;

/// Opens a connection to `server` and logs in.
pub(super) async fn open(
    server: &Server,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Stream, StoreError> {
    let mut stream = match &server.address {
        Address::Tcp { host, port } => tcp(server, host, *port, tls).await?,
        Address::Unix(path) => unix(server, path).await?,
    };
    if let Some(login) = &server.login {
        log_in(&mut stream, login).await?;
    }
    Ok(stream)
}

async fn tcp(
    server: &Server,
    host: &str,
    port: u16,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Stream, StoreError> {
    let addresses = lookup_host((host, port)).await.map_err(|error| lost(server, error))?;
    let addresses: Vec<_> = addresses.collect();
    // Divided, so that a dead address leaves time for the next.
    let share = CONNECT_TIMEOUT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failed = io::ErrorKind::NotFound.into();
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                watch_over(&stream).map_err(|error| lost(server, error))?;
                return secured(server, host, stream, tls).await;
            }
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(lost(server, failed))
}

/// Lets the kernel notice that the other machine has gone.
fn watch_over(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE / 2))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(())
}

async fn secured(
    server: &Server,
    host: &str,
    stream: TcpStream,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Stream, StoreError> {
    let Some(config) = tls.filter(|_| server.tls) else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| StoreError::unusable(format!("{server} is no name")).with_source(error))?;
    match TlsConnector::from(Arc::clone(config)).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        // rustls reports a certificate that it does not trust, or no TLS at all, in this way.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let message = format!("{server} failed the TLS handshake; check its certificate");
            Err(StoreError::unusable(message).with_source(error))
        }
        Err(error) => Err(lost(server, error)),
    }
}

#[cfg(unix)]
async fn unix(server: &Server, path: &std::path::Path) -> Result<Stream, StoreError> {
    let stream = tokio::net::UnixStream::connect(path).await;
    Ok(Box::new(stream.map_err(|error| lost(server, error))?))
}

#[cfg(not(unix))]
async fn unix(server: &Server, _: &std::path::Path) -> Result<Stream, StoreError> {
    Err(StoreError::unusable(format!("{server} needs Unix sockets")))
}

fn lost(server: &Server, error: io::Error) -> StoreError {
    let message = format!("{server} can't be reached");
    // The file of a socket that this process may not open stays so.
    if error.kind() == io::ErrorKind::PermissionDenied {
        return StoreError::denied(message).with_source(error);
    }
    StoreError::unavailable(message).with_source(error)
}

/// Sends `AUTH`, and reads the one line that the server responds with.
async fn log_in(stream: &mut Stream, login: &Login) -> Result<(), StoreError> {
    let broken = |error| {
        StoreError::unavailable("the server closed the connection at the login").with_source(error)
    };
    stream.write_all(&auth(login)).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut line = Vec::new();
    // Byte by byte, since what comes after the line is the client crate's.
    while !line.ends_with(b"\r\n") && line.len() < LONGEST_LINE {
        line.push(stream.read_u8().await.map_err(broken)?);
    }
    match str::from_utf8(&line).ok().and_then(|line| line.trim_end().split_at_checked(1)) {
        Some(("+", "OK")) => Ok(()),
        Some(("-", error)) => {
            let (code, text) = error.split_once(' ').unwrap_or((error, ""));
            Err(refused(code, text))
        }
        _ => Err(StoreError::unusable("the server does not respond to a login as Redis does")),
    }
}

fn refused(code: &str, text: &str) -> StoreError {
    // A default user without a password, for whom one was given.
    if code == "ERR" && text.contains("without any password configured") {
        return refusal::of_server("WRONGPASS", "");
    }
    refusal::of_server(code, text)
}

/// Returns the command that logs in, in a buffer that is wiped, and that never grew.
fn auth(login: &Login) -> Zeroizing<Vec<u8>> {
    let password = login.password.expose_secret();
    let user = login.user.as_deref();
    let arguments = ["AUTH"].into_iter().chain(user).chain([password]);
    let length: usize = arguments.clone().map(|argument| argument.len() + 32).sum();
    let mut command = Zeroizing::new(Vec::with_capacity(length + 32));
    command.extend_from_slice(format!("*{}\r\n", arguments.clone().count()).as_bytes());
    for argument in arguments {
        command.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        command.extend_from_slice(argument.as_bytes());
        command.extend_from_slice(b"\r\n");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_one_command_in_a_buffer_that_never_grew() {
        let login = |user: Option<&str>| Login {
            user: user.map(Box::from),
            password: "hunter2\r\n".into(),
        };
        let command = auth(&login(Some("reauth")));
        assert_eq!(**command, b"*3\r\n$4\r\nAUTH\r\n$6\r\nreauth\r\n$9\r\nhunter2\r\n\r\n"[..]);
        let command = auth(&login(None));
        assert_eq!(**command, b"*2\r\n$4\r\nAUTH\r\n$9\r\nhunter2\r\n\r\n"[..]);
        assert!(command.capacity() > command.len());
    }
}
