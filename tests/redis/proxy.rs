//! [`Proxy`]: a TCP proxy that delays, cuts, or goes deaf in one direction.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    time::sleep,
};

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    Delay(Duration),
    /// They are read and thrown away. No end of the stream is passed on either.
    Swallow,
    /// The stream ends in this direction. The other one goes on.
    Close,
    /// The connection is reset.
    Cut,
}

/// The faults of one connection: of what the client sends, and of what the server sends.
type Faults = (Fault, Fault);

pub(crate) struct Proxy {
    pub(crate) port: u16,
    connections: Arc<Mutex<Vec<watch::Sender<Faults>>>>,
}

impl Proxy {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<Mutex<Vec<watch::Sender<Faults>>>>::default();
        let made = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (sender, faults) = watch::channel((Fault::None, Fault::None));
                made.lock().unwrap().push(sender);
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, faults.clone(), |faults| faults.0));
                tokio::spawn(pass(from_server, to_client, faults, |faults| faults.1));
            }
        });
        Self { port, connections }
    }

    /// Applies faults to all connections that there are, and not to those to come.
    pub(crate) fn set(&self, faults: Faults) {
        for connection in &*self.connections.lock().unwrap() {
            connection.send_replace(faults);
        }
    }

    /// Returns how many connections were made.
    pub(crate) fn made(&self) -> usize {
        self.connections.lock().unwrap().len()
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Faults>,
    of: fn(Faults) -> Fault,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = faults.changed() => {
                let fault = of(*faults.borrow());
                match fault {
                    Fault::Cut => return,
                    Fault::Close => to.shutdown().await.unwrap_or_default(),
                    _ => {}
                }
                continue;
            }
        };
        let fault = of(*faults.borrow());
        match fault {
            Fault::Swallow | Fault::Close if read == 0 => std::future::pending().await,
            Fault::Swallow | Fault::Close => continue,
            Fault::Delay(time) => sleep(time).await,
            Fault::None | Fault::Cut => {}
        }
        if read == 0 || fault == Fault::Cut || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
