//! An issuer of tokens over HTTP/1.1 on loopback: one thread for all, a port for each.

use std::{net, sync::OnceLock, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::Semaphore,
    task::AbortHandle,
};

use crate::answer::{Issuer, LIFETIME};

/// More than any bench opens at once.
const CONNECTIONS: usize = 2048;

static SLOTS: Semaphore = Semaphore::const_new(CONNECTIONS);

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: net::SocketAddr,
    task: AbortHandle,
}

impl Server {
    /// Asks for the `issuer` at each connection, so that the issuer can own its server.
    pub fn start<I>(issuer: impl Fn() -> Option<I> + Send + 'static) -> Self
    where
        I: Issuer,
    {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap()
        });
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let task = runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let slot = SLOTS.acquire().await.unwrap();
                let Ok((stream, _)) = listener.accept().await else {
                    // No descriptors left: some time for others to end.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                let Some(issuer) = issuer() else { return };
                tokio::spawn(async move {
                    let _slot = slot;
                    // A client that goes away ends its connection, which is no concern of the
                    // others.
                    let _ = connection(stream, issuer).await;
                });
            }
        });
        Self { address, task: task.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(mut stream: TcpStream, issuer: impl Issuer) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while request(&mut stream, &mut buffer).await? {
        let answer = match issuer.issue().await {
            Ok(token) => {
                let lifetime = LIFETIME.as_secs();
                let body = serde_json::json!({
                    "access_token": token, "token_type": "Bearer", "expires_in": lifetime,
                });
                response("200 OK", &body.to_string())
            }
            Err(_) => response("400 Bad Request", r#"{"error": "invalid_client"}"#),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

fn response(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: \
         {length}\r\n\r\n{body}"
    )
}

/// Reads one request; whether there was one.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if buffer.len() >= whole {
                buffer.drain(..whole);
                return Ok(true);
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(false);
        }
    }
}
