//! [`ClosedPort`]: an address at which nobody listens.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port on loopback that refuses every connection.
///
/// The port is held meanwhile. One that was only let go may be another test's the moment after.
pub struct ClosedPort(TcpSocket);

impl ClosedPort {
    /// Holds a port that the system chooses.
    ///
    /// # Panics
    ///
    /// Panics if the system has none.
    #[must_use]
    pub fn hold() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        Self(socket)
    }

    /// Returns its address.
    ///
    /// # Panics
    ///
    /// Panics if the system does not tell it.
    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }
}
