//! The simulated network as a [`Network`] of the core: what carries bytes in a rehearsal.
//!
//! turmoil moves the bytes; this module adds what its sockets do not know:
//! - **names**: an address `host:port` of a gateway file stands for a port of a simulated host, or for several hosts
//!   behind a load balancer ([`Names`]);
//! - **black holes** ([`Links`]): a held link keeps what is sent. Written bytes that stay unacknowledged for the TCP
//!   user timeout break the connection, as `driver/tokio.rs` sets it up; when a link was held for longer than that, what it
//!   kept is lost and its connections are reset, because no kernel would still retransmit it.

#![expect(clippy::disallowed_methods, reason = "clock and timers are the simulation's")]

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use switchyard::{
    driver::{
        Network,
        network::{ConnectError, Stream},
    },
    topology::BrokerAddress,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};
use turmoil::net::{TcpListener, TcpStream};

/// Sent bytes that stay unacknowledged for so long break the connection: the value of the core's own sockets.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place in the simulation: a turmoil host by name and a port of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Name of the simulated host.
    pub host: String,
    /// Port that is listened on there.
    pub port: u16,
}

/// What a name and port stand for.
#[derive(Debug, Default)]
struct Service {
    places: Vec<Place>,
    /// Hosts that the load balancer has taken out.
    out: BTreeSet<String>,
    next: AtomicUsize,
}

type Services = BTreeMap<(String, u16), Arc<Mutex<Service>>>;

/// Addresses as configurations and clients write them, and where they lead.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<Services>>);

impl Names {
    /// Lets `host:port` lead to these places in turns, as a load balancer does.
    pub fn set(&self, host: &str, port: u16, places: Vec<Place>) {
        let service = Service { places, ..Service::default() };
        lock(&self.0).insert((host.to_owned(), port), Arc::new(Mutex::new(service)));
    }

    /// The load balancer notices that a host is gone, or is back.
    pub fn set_healthy(&self, host: &str, healthy: bool) {
        for service in lock(&self.0).values() {
            let mut service = lock(service);
            if healthy {
                service.out.remove(host);
            } else {
                service.out.insert(host.to_owned());
            }
        }
    }

    /// Where the next connection to this address goes; `None`: the name is unknown.
    pub fn resolve(&self, host: &str, port: u16) -> Option<Place> {
        let service = lock(&self.0).get(&(host.to_owned(), port)).cloned()?;
        let service = lock(&service);
        let healthy: Vec<_> =
            service.places.iter().filter(|place| !service.out.contains(&place.host)).collect();
        // With nobody left the balancer still forwards, into nothing.
        let among = if healthy.is_empty() { service.places.iter().collect() } else { healthy };
        let turn = service.next.fetch_add(1, Ordering::Relaxed);
        among.get(turn % among.len().max(1)).map(|place| (*place).clone())
    }
}

/// The state of one link as its connections see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LinkState {
    /// Since when it keeps what is sent.
    held_since: Option<Instant>,
    /// Raised when its connections are reset.
    resets: u64,
    /// New connections are refused.
    refuses: bool,
    /// It carries in one direction only.
    one_way: bool,
}

/// A link and the connections that want to hear of its changes. They are woken in the order in which they began, which a
/// channel of tokio would not promise.
#[derive(Default)]
struct Link {
    state: LinkState,
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

type SharedLink = Arc<Mutex<Link>>;

/// Links between hosts, for the sockets' eyes. Both directions of a pair are one link here.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<BTreeMap<(IpAddr, IpAddr), SharedLink>>>);

fn pair(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    if a <= b { (a, b) } else { (b, a) }
}

impl Links {
    fn link(&self, a: IpAddr, b: IpAddr) -> SharedLink {
        Arc::clone(lock(&self.0).entry(pair(a, b)).or_default())
    }

    fn change(&self, a: IpAddr, b: IpAddr, change: impl FnOnce(&mut LinkState)) {
        let wakers = {
            let link = self.link(a, b);
            let mut link = lock(&link);
            change(&mut link.state);
            std::mem::take(&mut link.wakers)
        };
        for waker in wakers.into_values() {
            waker.wake();
        }
    }

    /// The link becomes a black hole: nothing is refused, nothing arrives. To be called inside the simulation.
    pub fn hold(&self, a: IpAddr, b: IpAddr) {
        turmoil::hold(a, b);
        self.change(a, b, |link| {
            link.held_since.get_or_insert_with(Instant::now);
        });
    }

    /// What `from` sends to `to` vanishes; the other direction carries. To be called inside the simulation.
    pub fn hold_one_way(&self, from: IpAddr, to: IpAddr) {
        turmoil::partition_oneway(from, to);
        self.change(from, to, |link| {
            link.held_since.get_or_insert_with(Instant::now);
            link.one_way = true;
        });
    }

    /// The link carries again. What a short hold kept arrives now; after a long one, and after one in one direction, it is
    /// lost and the connections are reset.
    pub fn release(&self, a: IpAddr, b: IpAddr) {
        let mut lost = false;
        self.change(a, b, |link| {
            let long = |since: Instant| since.elapsed() >= USER_TIMEOUT;
            lost = link.held_since.take().is_some_and(long) | std::mem::take(&mut link.one_way);
            link.resets += u64::from(lost);
        });
        if lost {
            // A partition forgets what was on its way.
            turmoil::partition(a, b);
            turmoil::repair(a, b);
        } else {
            turmoil::release(a, b);
        }
    }

    /// Whether some link of this host carries in one direction only.
    fn is_one_way(&self, host: IpAddr) -> bool {
        let links = lock(&self.0);
        let mut own = links.iter().filter(|((a, b), _)| *a == host || *b == host);
        own.any(|(_, link)| lock(link).state.one_way)
    }

    /// Connections over the link are reset, and new ones refused, until this is taken back.
    pub fn refuse(&self, a: IpAddr, b: IpAddr, refuse: bool) {
        self.change(a, b, |link| {
            link.refuses = refuse;
            link.resets += u64::from(refuse);
        });
    }

    /// Every connection over the link is reset.
    pub fn reset(&self, a: IpAddr, b: IpAddr) {
        self.change(a, b, |link| link.resets += 1);
    }
}

/// Sockets of the simulated host that polls them.
#[derive(Clone, Default)]
pub struct SimNetwork {
    /// Where names lead.
    pub names: Names,
    /// What the links do.
    pub links: Links,
}

impl Network for SimNetwork {
    type Stream = SimStream;
    type Listener = TcpListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        // A host has one address here, and loopback would be nobody's.
        TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port())).await
    }

    async fn accept(&self, listener: &mut TcpListener) -> io::Result<(SimStream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        Ok((SimStream::new(stream, &self.links)?, peer))
    }

    async fn connect(&self, address: &BrokerAddress) -> Result<SimStream, ConnectError> {
        let place = self.names.resolve(&address.host, address.port).ok_or_else(|| {
            let error = format!("no such host: {}", address.host);
            ConnectError::Unresolvable(io::Error::new(io::ErrorKind::NotFound, error))
        })?;
        let stream = TcpStream::connect((place.host.as_str(), place.port)).await;
        // turmoil refuses at once where a packet that vanished has no answer at all.
        if stream.is_err() && self.links.is_one_way(turmoil::lookup(place.host.as_str())) {
            std::future::pending::<()>().await;
        }
        stream
            .and_then(|stream| SimStream::new(stream, &self.links))
            .and_then(SimStream::unless_refused)
            .map_err(ConnectError::Refused)
    }
}

/// A connection of the simulation.
pub struct SimStream {
    stream: TcpStream,
    link: SharedLink,
    /// Its place among those that are woken.
    place: u64,
    /// Resets of the link when the connection began.
    resets: u64,
    /// Runs while written bytes stay unacknowledged.
    unacknowledged: Option<Pin<Box<Sleep>>>,
    broken: Option<io::ErrorKind>,
}

impl SimStream {
    fn new(stream: TcpStream, links: &Links) -> io::Result<Self> {
        let link = links.link(stream.local_addr()?.ip(), stream.peer_addr()?.ip());
        let (place, resets) = {
            let mut link = lock(&link);
            link.next += 1;
            (link.next, link.state.resets)
        };
        Ok(Self { stream, link, place, resets, unacknowledged: None, broken: None })
    }

    fn unless_refused(self) -> io::Result<Self> {
        let refused = lock(&self.link).state.refuses;
        if refused { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(self) }
    }

    /// Whether the connection is over for a reason that the simulated socket does not know.
    fn poll_broken(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let state = {
            let mut link = lock(&self.link);
            link.wakers.insert(self.place, context.waker().clone());
            link.state
        };
        if state.resets > self.resets {
            self.broken = Some(io::ErrorKind::ConnectionReset);
        } else if state.held_since.is_none() {
            self.unacknowledged = None;
        }
        if let Some(timer) = &mut self.unacknowledged
            && timer.as_mut().poll(context).is_ready()
        {
            self.broken = Some(io::ErrorKind::TimedOut);
        }
        self.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        lock(&self.link).wakers.remove(&self.place);
    }
}

impl Stream for SimStream {}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_broken(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_broken(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        let held = lock(&self.link).state.held_since.is_some();
        if held && self.unacknowledged.is_none() {
            self.unacknowledged = Some(Box::pin(tokio::time::sleep(USER_TIMEOUT)));
            // The timer wakes whoever polls it, which must have happened once.
            self.poll_broken(context)?;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
