//! A fake cluster on sockets: those of the machine, or those of any other [`Network`].
//!
//! One task a connection; the cluster itself is behind one lock, which is held for the length of one request.

#![expect(clippy::disallowed_methods, reason = "it owns the clock and the tasks")]

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, Bytes, BytesMut};
use switchyard::driver::Network;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use crate::cluster::{Cluster, ConnectionId, Output, Time};

/// Kafka's `socket.request.max.bytes`.
const FRAME_BYTES_MAX: usize = 104_857_600;
/// What a connection reads at once at the least.
const READ_BYTES_MIN: usize = 64 << 10;

/// Gives the time to the cluster.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// A cluster that several tasks feed.
#[derive(Clone)]
pub struct SharedCluster {
    state: Arc<Mutex<State>>,
    /// The next deadline may be earlier than it was.
    timers: Arc<Notify>,
    clock: Clock,
}

struct State {
    cluster: Cluster,
    outboxes: BTreeMap<ConnectionId, Arc<Outbox>>,
}

/// What waits to be written to one client.
#[derive(Default)]
struct Outbox {
    content: Mutex<Content>,
    changed: Notify,
}

#[derive(Default)]
struct Content {
    frames: Vec<Bytes>,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in the cluster is a bug that its own task reports; the others need not fall over it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedCluster {
    /// Shares a cluster among tasks.
    pub fn new(cluster: Cluster, clock: Clock) -> Self {
        let state = State { cluster, outboxes: BTreeMap::new() };
        Self { state: Arc::new(Mutex::new(state)), timers: Arc::new(Notify::new()), clock }
    }

    /// Does something with the cluster at the current time, and hands out what comes of it.
    pub fn with<T>(&self, act: impl FnOnce(&mut Cluster, Time) -> T) -> T {
        let mut state = lock(&self.state);
        let before = state.cluster.deadline();
        let result = act(&mut state.cluster, (self.clock)());
        while let Some(output) = state.cluster.poll_output() {
            match output {
                Output::Send { connection, frame } => {
                    if let Some(outbox) = state.outboxes.get(&connection) {
                        lock(&outbox.content).frames.push(frame);
                        outbox.changed.notify_one();
                    }
                }
                Output::Close { connection, cause } => {
                    if let Some(outbox) = state.outboxes.remove(&connection) {
                        tracing::debug!(connection = connection.0, ?cause, "closed");
                        lock(&outbox.content).closed = true;
                        outbox.changed.notify_one();
                    }
                }
            }
        }
        if state.cluster.deadline() != before {
            self.timers.notify_one();
        }
        result
    }

    fn open(&self, broker: i32, peer: SocketAddr) -> Option<(ConnectionId, Arc<Outbox>)> {
        let mut state = lock(&self.state);
        let connection = state.cluster.open(broker, &peer.ip().to_string())?;
        let outbox = Arc::new(Outbox::default());
        state.outboxes.insert(connection, Arc::clone(&outbox));
        Some((connection, outbox))
    }

    fn close(&self, connection: ConnectionId) {
        let mut state = lock(&self.state);
        state.outboxes.remove(&connection);
        state.cluster.close(connection);
    }

    /// Wakes the cluster at its deadlines, for ever.
    pub async fn keep_time(self) {
        loop {
            let deadline = lock(&self.state).cluster.deadline();
            let changed = self.timers.notified();
            match deadline {
                None => changed.await,
                Some(deadline) => {
                    let wait = deadline.since((self.clock)());
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = tokio::time::sleep(wait) => self.with(|cluster, now| cluster.handle_time(now)),
                    }
                }
            }
        }
    }
}

/// Accepts clients of one broker, for ever.
///
/// # Errors
/// When accepting fails.
pub async fn accept<N: Network>(
    network: N,
    mut listener: N::Listener,
    cluster: SharedCluster,
    broker: i32,
) -> io::Result<()> {
    loop {
        let (stream, peer) = network.accept(&mut listener).await?;
        // A broker that is down refuses connections; dropping is the nearest to it.
        let Some((connection, outbox)) = cluster.open(broker, peer) else { continue };
        let cluster = cluster.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &cluster, connection, &outbox).await {
                tracing::debug!(connection = connection.0, %error, "connection lost");
            }
            cluster.close(connection);
        });
    }
}

async fn converse<S>(
    mut stream: S,
    cluster: &SharedCluster,
    connection: ConnectionId,
    outbox: &Outbox,
) -> io::Result<()>
where
    S: switchyard::driver::network::Stream,
{
    let mut read = BytesMut::new();
    loop {
        while let Some(frame) = take_frame(&mut read)? {
            cluster.with(|cluster, now| cluster.handle_frame(now, connection, frame));
        }
        let (frames, closed) = {
            let mut content = lock(&outbox.content);
            (std::mem::take(&mut content.frames), content.closed)
        };
        for mut frame in frames {
            stream.write_all_buf(&mut frame).await?;
        }
        if closed {
            return stream.shutdown().await;
        }
        let idle = !cluster.with(|cluster, _| cluster.is_serving(connection));
        tokio::select! {
            biased;
            () = outbox.changed.notified() => {}
            bytes = stream.read_buf(&mut read), if idle => {
                if bytes? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// A whole frame without its length; makes room for the rest of one that has begun.
fn take_frame(read: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(length) = read.first_chunk::<4>() else {
        read.reserve(READ_BYTES_MIN);
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(*length))
        .ok()
        .filter(|length| *length <= FRAME_BYTES_MAX)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no length of a frame"))?;
    if read.len() < 4 + length {
        read.reserve((4 + length - read.len()).max(READ_BYTES_MIN));
        return Ok(None);
    }
    read.advance(4);
    Ok(Some(read.split_to(length).freeze()))
}
