//! Sockets as the driver needs them. Production uses [`super::tokio`]; a rehearsal brings its own.

use std::{future::Future, io, net::SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::topology::BrokerAddress;

/// A world of sockets.
pub trait Network: Clone + Send + Sync + 'static {
    /// One connection.
    type Stream: Stream;
    /// One listening socket.
    type Listener: Send + 'static;

    /// Binds and listens.
    fn bind(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// The next accepted connection.
    fn accept(
        &self,
        listener: &mut Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Resolves and connects, trying each resolved address in turn; the caller sets the deadline.
    fn connect(
        &self,
        address: &BrokerAddress,
    ) -> impl Future<Output = Result<Self::Stream, ConnectError>> + Send;
}

/// A connection that carries bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Called before another worker than the one that accepted polls it for the first time.
    fn detach(self) -> io::Result<Self>
    where
        Self: Sized,
    {
        Ok(self)
    }

    /// Whether the peer is known to have closed, even if unread bytes stand before the end. Best effort.
    fn peer_closed(&self) -> bool {
        false
    }
}

/// Why no connection came about.
#[derive(Debug)]
pub enum ConnectError {
    /// The name has no address.
    Unresolvable(io::Error),
    /// No address answered with a connection.
    Refused(io::Error),
}
