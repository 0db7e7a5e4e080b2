//! The network of the operating system.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpListener, TcpStream, lookup_host},
};

use super::network::{ConnectError, Network, Stream};
use crate::topology::BrokerAddress;

/// Connections that the kernel keeps until they are accepted: a reconnect storm fits.
const BACKLOG: i32 = 4096;

/// A peer that vanished without a word is noticed after idle + 4 × interval.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 4;

/// Sent bytes that stay unacknowledged for so long break the connection (a black hole, which would
/// otherwise last for a quarter of an hour of retransmissions).
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Sockets of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNetwork;

/// A TCP connection.
#[derive(Debug)]
pub struct TokioStream(State);

#[derive(Debug)]
enum State {
    Registered(TcpStream),
    /// Belongs to no runtime until it is polled; `None` when that failed.
    Detached(Option<std::net::TcpStream>),
}

impl TokioStream {
    fn registered(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if let State::Detached(stream) = &mut self.0 {
            let stream = stream.take().ok_or(io::ErrorKind::NotConnected)?;
            self.0 = State::Registered(TcpStream::from_std(stream)?);
        }
        match &mut self.0 {
            State::Registered(stream) => Ok(Pin::new(stream)),
            State::Detached(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Network for TokioNetwork {
    type Stream = TokioStream;
    type Listener = TcpListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted gateway must not wait for connections of its predecessor to time out.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        // Linux hands the listener's options on to what is accepted: six system calls less for each.
        prepare(SockRef::from(&socket))?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    }

    async fn accept(&self, listener: &mut TcpListener) -> io::Result<(TokioStream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        #[cfg(not(target_os = "linux"))]
        prepare(SockRef::from(&stream))?;
        Ok((TokioStream(State::Registered(stream)), peer))
    }

    async fn connect(&self, address: &BrokerAddress) -> Result<TokioStream, ConnectError> {
        let resolved = lookup_host((address.host.as_str(), address.port))
            .await
            .map_err(ConnectError::Unresolvable)?;
        let mut last = None;
        for address in resolved {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    prepare(SockRef::from(&stream)).map_err(ConnectError::Refused)?;
                    return Ok(TokioStream(State::Registered(stream)));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(error) => ConnectError::Refused(error),
            None => ConnectError::Unresolvable(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            )),
        })
    }
}

/// Small requests must not wait for each other's acknowledgement, and dead peers must be noticed.
fn prepare(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

impl Stream for TokioStream {
    fn detach(self) -> io::Result<Self> {
        Ok(Self(match self.0 {
            State::Registered(stream) => State::Detached(Some(stream.into_std()?)),
            detached @ State::Detached(_) => detached,
        }))
    }

    fn peer_closed(&self) -> bool {
        let State::Registered(stream) = &self.0 else { return false };
        let mut context = Context::from_waker(std::task::Waker::noop());
        let ready = std::pin::pin!(stream.ready(Interest::READABLE));
        matches!(ready.poll(&mut context), Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }
}

impl AsyncRead for TokioStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().registered()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for TokioStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().registered()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().registered()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().registered()?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without them small requests wait for each other, and a peer that vanished keeps its session for a quarter of
    /// an hour.
    #[tokio::test]
    async fn sockets_of_both_sides_have_their_options() {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listener = TokioNetwork.bind(any_port).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let address = BrokerAddress { host: "127.0.0.1".to_owned(), port };
        let connected = TokioNetwork.connect(&address).await.expect("connects");
        let (accepted, _) = TokioNetwork.accept(&mut listener).await.expect("accepts");
        for stream in [connected, accepted] {
            let State::Registered(stream) = stream.0 else { unreachable!("nobody detached it") };
            let socket = SockRef::from(&stream);
            assert!(socket.tcp_nodelay().expect("can be asked"));
            assert!(socket.keepalive().expect("can be asked"));
            assert_eq!(socket.tcp_keepalive_time().expect("can be asked"), KEEPALIVE_IDLE);
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().expect("can be asked"), Some(USER_TIMEOUT));
        }
    }
}
