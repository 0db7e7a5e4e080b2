//! A listener that leads over links.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout},
};

use super::{Direction, Link, carrier};
use crate::Result;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// A connect that took longer was not answered: the queue is full.
const FILLED_AFTER: Duration = Duration::from_millis(100);

/// Own connections that may be needed to fill a queue. With a backlog of 0 the kernel keeps one.
const FILLERS_MAX: usize = 8;

/// How long a dial of a backend may take. It is on the same machine, so there is no answer only where nothing is.
const DIAL_TIME_MAX: Duration = Duration::from_millis(300);

/// How often a backend that is away is tried.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// How long a balancer before several backends takes to notice that one is gone: as in rehearsals.
const BALANCER_NOTICES: Duration = Duration::from_secs(2);

/// Where a front leads.
pub struct Backend {
    /// What lies between.
    pub link: Link,
    /// Where it listens.
    address: Mutex<SocketAddr>,
    away_since: Mutex<Option<Instant>>,
}

impl Backend {
    /// One that is there.
    pub fn new(link: &Link, address: SocketAddr) -> Self {
        Self { link: link.clone(), address: Mutex::new(address), away_since: Mutex::default() }
    }

    fn away_since(&self) -> Option<Instant> {
        *self.away_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_away(&self, away: bool) {
        let mut since = self.away_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if away { since.or_else(|| Some(Instant::now())) } else { None };
    }

    async fn dial(&self) -> Option<TcpStream> {
        let address = *self.address.lock().unwrap_or_else(PoisonError::into_inner);
        let dialled = timeout(DIAL_TIME_MAX, TcpStream::connect(address)).await;
        let stream = dialled.ok().and_then(io::Result::ok);
        self.set_away(stream.is_none());
        stream
    }
}

/// Text that must not pass to those who dial.
pub struct Watch {
    needles: Vec<String>,
    found: Box<dyn Fn(&str) + Send + Sync>,
}

impl Watch {
    /// `found` is called with each of `needles` whenever it passes.
    pub fn new(needles: Vec<String>, found: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { needles, found: Box::new(found) }
    }

    /// Looks at the next bytes of a stream whose newest bytes before are in `tail`.
    pub(super) fn look(&self, tail: &mut Vec<u8>, bytes: &[u8]) {
        let kept = self.needles.iter().map(String::len).max().unwrap_or(1).saturating_sub(1);
        let seen_before = tail.len();
        tail.extend_from_slice(bytes);
        for needle in &self.needles {
            // What lies wholly in the tail was found before.
            let from = (seen_before + 1).saturating_sub(needle.len());
            let new = tail.get(from..).unwrap_or_default();
            if new.windows(needle.len().max(1)).any(|window| window == needle.as_bytes()) {
                (self.found)(needle);
            }
        }
        tail.drain(..tail.len().saturating_sub(kept));
    }
}

/// What a listener does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Accepts,
    /// No answer to any attempt.
    Silent,
    /// Nothing listens.
    Closed,
}

/// A listener. Dropping it closes it and all its connections.
pub struct Front {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    address: SocketAddr,
    backends: Vec<Backend>,
    watch: Option<Arc<Watch>>,
    changed: Arc<Notify>,
    next: AtomicUsize,
}

impl Front {
    /// Listens at an address; connections go to the backends in turns.
    pub fn listen(
        address: SocketAddr,
        backends: Vec<Backend>,
        watch: Option<Arc<Watch>>,
    ) -> Result<Self> {
        let changed = Arc::new(Notify::new());
        for backend in &backends {
            let mut fronts = backend.link.0.fronts.lock().unwrap_or_else(PoisonError::into_inner);
            fronts.push(Arc::clone(&changed));
        }
        let shared =
            Arc::new(Shared { address, backends, watch, changed, next: AtomicUsize::new(0) });
        // The first time an error is the caller's; later ones are tried again.
        let listener =
            listener(address).map_err(|error| format!("cannot listen at {address}: {error}"))?;
        let task = tokio::spawn(Arc::clone(&shared).run(Some(listener)));
        Ok(Self { shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The backends are at another address now, with the same ports.
    pub fn move_backends(&self, to: IpAddr) {
        for backend in &self.shared.backends {
            backend.address.lock().unwrap_or_else(PoisonError::into_inner).set_ip(to);
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Shared {
    fn mode(&self) -> Mode {
        let there =
            |backend: &&Backend| backend.away_since().is_none() && !backend.link.state().refuses;
        let mut there = self.backends.iter().filter(there).peekable();
        if there.peek().is_none() {
            // An end that is away behind a hole does not refuse either.
            let silent = self.backends.iter().any(|backend| backend.link.state().is_held());
            return if silent { Mode::Silent } else { Mode::Closed };
        }
        if there.all(|backend| backend.link.state().is_held()) {
            Mode::Silent
        } else {
            Mode::Accepts
        }
    }

    async fn run(self: Arc<Self>, mut own: Option<TcpListener>) {
        let mut connections = JoinSet::new();
        let mut fillers: Vec<TcpStream> = Vec::new();
        let mut filled: BTreeSet<SocketAddr> = BTreeSet::new();
        loop {
            match self.mode() {
                Mode::Closed => {
                    own = None;
                    fillers.clear();
                    filled.clear();
                    self.wait_for_a_backend().await;
                }
                Mode::Silent => {
                    if fillers.is_empty()
                        && let Some(listener) = self.opened(&mut own)
                    {
                        fillers = fill(listener, self.address).await;
                        filled.extend(fillers.iter().filter_map(|it| it.local_addr().ok()));
                    }
                    self.changed.notified().await;
                }
                Mode::Accepts => {
                    let Some(listener) = self.opened(&mut own) else {
                        tokio::time::sleep(TRY_EVERY).await;
                        continue;
                    };
                    if !fillers.is_empty() {
                        // An error leaves the short queue, with which the listener works as well.
                        drop(SockRef::from(listener).listen(BACKLOG));
                        fillers.clear();
                    }
                    tokio::select! {
                        accepted = listener.accept() => if let Ok((stream, peer)) = accepted
                            && !filled.remove(&peer)
                        {
                            connections.spawn(Arc::clone(&self).connection(stream));
                        },
                        () = self.changed.notified() => {}
                        Some(_) = connections.join_next() => {}
                    }
                }
            }
        }
    }

    fn opened<'a>(&self, own: &'a mut Option<TcpListener>) -> Option<&'a TcpListener> {
        if own.is_none() {
            *own = listener(self.address).ok();
        }
        own.as_ref()
    }

    /// Until some backend is there again, or a link has changed.
    async fn wait_for_a_backend(&self) {
        loop {
            for backend in &self.backends {
                if backend.away_since().is_some() && backend.dial().await.is_some() {
                    return;
                }
            }
            if timeout(TRY_EVERY, self.changed.notified()).await.is_ok() {
                return;
            }
        }
    }

    /// The next in turn of those that the balancer believes to be there.
    async fn choose(&self) -> Option<&Backend> {
        let mut believed = Vec::new();
        for backend in &self.backends {
            let noticed =
                backend.away_since().is_some_and(|since| since.elapsed() > BALANCER_NOTICES);
            if !noticed || backend.dial().await.is_some() {
                believed.push(backend);
            }
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        believed.get(turn.checked_rem(believed.len())?).copied()
    }

    async fn connection(self: Arc<Self>, dialler: TcpStream) {
        let Some(backend) = self.choose().await else { return carrier::reset(dialler) };
        let link = &backend.link;
        // It came in just before the hole, or to a balancer that has nobody else.
        let mut changes = link.0.state.subscribe();
        drop(changes.wait_for(|state| !state.is_held()).await);
        let listener = if link.state().refuses { None } else { backend.dial().await };
        match listener {
            Some(listener) => {
                let first = carrier::carry(link, dialler, listener, self.watch.clone()).await;
                // When a backend goes it ends its connections; then nobody may be let in.
                let goes = first == Some(Direction::Back) && backend.away_since().is_none();
                if goes && backend.dial().await.is_none() {
                    self.changed.notify_one();
                }
            }
            None => {
                carrier::reset(dialler);
                self.changed.notify_one();
            }
        }
    }
}

/// Makes the kernel drop further attempts: the queue of accepted connections becomes as short as can be, and full.
async fn fill(listener: &TcpListener, address: SocketAddr) -> Vec<TcpStream> {
    let mut fillers = Vec::new();
    if SockRef::from(listener).listen(0).is_err() {
        return fillers;
    }
    while fillers.len() < FILLERS_MAX {
        match timeout(FILLED_AFTER, TcpStream::connect(address)).await {
            Ok(Ok(filler)) => fillers.push(filler),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    fillers
}
