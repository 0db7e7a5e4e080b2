//! One client connection at work: a single task polls both directions and keeps the session's clock.
//!
//! A read goes into the worker's scratch buffer, the session says what becomes of it, and the bytes are
//! written on at once. Only what a socket did not take is copied, into a queue of the connection, and
//! while such a queue is not empty its source is not read. So an idle connection owns no buffer.
//! No lock and no channel stands on the way of a byte.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

use super::{
    dial::{Dialled, dial},
    gateway::Shared,
    network::{Network, Stream},
    routes::{Ending, RouteState, SessionRecord},
};
use crate::{
    session::{ClientWait, CloseCause, Op, Ops, Session},
    telemetry::RouteMetrics,
};

/// Large reads are what makes a relay cheap: half a socket buffer in one system call.
const SCRATCH_BYTES: usize = 256 * 1024;

/// Steps of one poll before other connections of the worker get their turn.
const STEPS_PER_POLL: u32 = 16;

/// How long a session that ends may take to deliver what it still has for its client, its goodbye included.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to close its side after the gateway's. One that reads does it at once.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const _: () = assert!(LINGER_TIMEOUT.as_nanos() < FLUSH_TIMEOUT.as_nanos());

/// What a client may send in that time: more than what it and the kernels have under way when the session ends.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Answers that may wait for a client that does not read before its requests are not read either.
const CLIENT_BACKLOG_BYTES_MAX: usize = 512 * 1024;

/// A client that gave up while it had to wait keeps its connection no longer than this.
const LOOK_AT_CLIENT_EVERY: Duration = Duration::from_secs(1);

/// The buffer of an incomplete head is kept for the next one up to this size.
const LEFT_OVER_BYTES_KEPT: usize = 256;

struct Scratch {
    bytes: Vec<u8>,
    ops: Ops,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { bytes: vec![0; SCRATCH_BYTES], ops: Ops::default() });
}

/// Bytes that a socket did not take yet.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    sent: usize,
    /// When the socket last took a byte while some were waiting.
    progress_at: Duration,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn push(&mut self, now: Duration, bytes: &[u8]) {
        if self.bytes.is_empty() {
            self.progress_at = now;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes until empty; `Pending` when the socket is full.
    fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        now: Duration,
        socket: &mut S,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let n = ready!(Pin::new(&mut *socket).poll_write(context, &self.bytes[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
            self.progress_at = now;
        }
        self.sent = 0;
        self.bytes = Vec::new(); // An idle connection owns no buffer.
        Poll::Ready(Ok(()))
    }

    /// Writes now what the socket takes and keeps the rest.
    fn send<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        now: Duration,
        socket: &mut S,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while self.is_empty() && !bytes.is_empty() {
            match Pin::new(&mut *socket).poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => bytes = &bytes[n..],
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.push(now, bytes);
                    return Ok(());
                }
            }
        }
        if !bytes.is_empty() {
            self.push(now, bytes);
        }
        Ok(())
    }
}

type DialFuture<S> = Pin<Box<dyn Future<Output = Result<Dialled<S>, CloseCause>> + Send>>;

enum Upstream<S> {
    None,
    Dialling(DialFuture<S>),
    Connected(S),
}

/// How far the goodbye of a session has come. The client is given up at `until`.
#[derive(Clone, Copy)]
enum Closing {
    /// The client is owed answers, and the end of the stream after them.
    Flushing { until: Duration },
    /// The client has been sent everything; what it still sends is thrown away.
    Lingering { until: Duration, bytes_left: usize },
}

impl Closing {
    fn until(self) -> Duration {
        match self {
            Self::Flushing { until } | Self::Lingering { until, .. } => until,
        }
    }
}

/// Whether a step of the pump achieved something, so that another one may.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Moved,
    Idle,
}

/// A client connection until its end; resolves to the cause.
pub(super) struct Pump<N: Network> {
    shared: Arc<Shared<N>>,
    route: Arc<RouteState>,
    metrics: Arc<RouteMetrics>,
    record: Arc<SessionRecord>,
    session: Session,
    client: N::Stream,
    upstream: Upstream<N::Stream>,
    /// Bytes of the client that the session has not taken yet.
    left_over: Vec<u8>,
    to_client: Queue,
    to_upstream: Queue,
    /// The version of the route's publication that the session has seen.
    version: u64,
    /// While the client's bytes are not taken, nothing but a look tells that it is gone.
    look_at_client_at: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
    /// Of a session that has ended.
    closing: Option<Closing>,
}

impl<N: Network> Pump<N> {
    pub(super) fn new(
        shared: Arc<Shared<N>>,
        route: Arc<RouteState>,
        record: Arc<SessionRecord>,
        port: u16,
        client: N::Stream,
    ) -> Self {
        let published = route.published();
        let session = Session::new(shared.now(), port, Arc::clone(&published.setting));
        Self {
            shared,
            route,
            metrics: published.metrics,
            record,
            session,
            client,
            upstream: Upstream::None,
            left_over: Vec::new(),
            to_client: Queue::default(),
            to_upstream: Queue::default(),
            // None yet: the first step acts on this publication, which may be the one that ends the route.
            version: 0,
            look_at_client_at: None,
            timer: None,
            waker: None,
            closing: None,
        }
    }

    /// Publications wake the task; its waker only has to be left once, as a task keeps it.
    fn leave_waker(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
            self.record.leave_waker(context.waker());
        }
    }

    fn apply_publication(&mut self) {
        if self.route.version() == self.version {
            return;
        }
        let published = self.route.published();
        self.version = published.version;
        self.metrics = published.metrics;
        let held = self.session.client_wait().is_fence();
        self.session.handle_setting(published.setting);
        if matches!(self.upstream, Upstream::Dialling(_)) && !self.session.is_dialling() {
            self.upstream = Upstream::None;
        }
        if held && self.session.takes_client_bytes() && self.client.peer_closed() {
            // The client gave up while it was held and has sent its request elsewhere by now.
            self.session.handle_end(CloseCause::ClientClosed);
        }
        match published.ending {
            Some(Ending { cause, at_once: false }) => self.session.handle_drain(cause),
            Some(Ending { cause, at_once: true }) => self.session.handle_end(cause),
            None => {}
        }
    }

    fn step(&mut self, context: &mut Context<'_>, now: Duration, scratch: &mut Scratch) -> Step {
        let steps = [
            self.step_dial(context),
            self.step_client(context, now, scratch),
            self.step_upstream(context, now, scratch),
        ];
        if steps.contains(&Step::Moved) { Step::Moved } else { Step::Idle }
    }

    fn step_dial(&mut self, context: &mut Context<'_>) -> Step {
        if let Upstream::Dialling(dial) = &mut self.upstream {
            let Poll::Ready(dialled) = dial.as_mut().poll(context) else { return Step::Idle };
            self.upstream = Upstream::None;
            match dialled {
                Ok(Dialled { stream, target_epoch, provisional }) => {
                    self.upstream = Upstream::Connected(stream);
                    self.session.handle_connected(target_epoch, provisional);
                }
                Err(cause) => self.session.handle_end(cause),
            }
            return Step::Moved;
        }
        if self.session.poll_dial() {
            let setting = Arc::clone(self.session.setting());
            let shared = Arc::clone(&self.shared);
            let endpoint = self.session.endpoint();
            self.upstream =
                Upstream::Dialling(Box::pin(
                    async move { dial(&shared, &setting, endpoint).await },
                ));
            return Step::Moved;
        }
        Step::Idle
    }

    /// From the client to upstream.
    fn step_client(
        &mut self,
        context: &mut Context<'_>,
        now: Duration,
        scratch: &mut Scratch,
    ) -> Step {
        if let Upstream::Connected(upstream) = &mut self.upstream
            && !self.to_upstream.is_empty()
        {
            match self.to_upstream.poll_flush(context, now, upstream) {
                Poll::Pending => return Step::Idle,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return self.end(CloseCause::UpstreamBroken),
            }
        }
        if !self.session.takes_client_bytes() || self.client_backlog_is_full() {
            return Step::Idle;
        }
        let waits_for_bytes = self.session.client_wait() == ClientWait::MoreBytes;
        if !self.left_over.is_empty() && !waits_for_bytes {
            let mut chunk = std::mem::take(&mut self.left_over);
            let taken = self.session.handle_client(now, &mut chunk, &mut scratch.ops);
            self.carry_out(context, now, &chunk, Source::Client, &mut scratch.ops);
            chunk.drain(..taken);
            self.left_over = chunk;
            self.left_over.shrink_to(LEFT_OVER_BYTES_KEPT);
            return Step::Moved;
        }
        let kept = self.left_over.len();
        if kept == scratch.bytes.len() {
            // A head is far smaller than the buffer.
            return self.end(CloseCause::MalformedRequest);
        }
        let mut buffer = ReadBuf::new(&mut scratch.bytes[kept..]);
        match Pin::new(&mut self.client).poll_read(context, &mut buffer) {
            Poll::Pending => return Step::Idle,
            Poll::Ready(Err(_)) => return self.end(CloseCause::ClientBroken),
            Poll::Ready(Ok(())) => {}
        }
        let read = buffer.filled().len();
        if read == 0 {
            return self.end(CloseCause::ClientClosed);
        }
        self.metrics.bytes_from_client(read);
        let Scratch { bytes, ops } = scratch;
        bytes[..kept].copy_from_slice(&self.left_over);
        let chunk = &mut bytes[..kept + read];
        let taken = self.session.handle_client(now, chunk, ops);
        let chunk = &*chunk;
        self.left_over.clear();
        self.left_over.extend_from_slice(&chunk[taken..]);
        self.left_over.shrink_to(LEFT_OVER_BYTES_KEPT);
        self.carry_out(context, now, chunk, Source::Client, ops);
        Step::Moved
    }

    /// From upstream to the client.
    fn step_upstream(
        &mut self,
        context: &mut Context<'_>,
        now: Duration,
        scratch: &mut Scratch,
    ) -> Step {
        if !self.to_client.is_empty() {
            match self.to_client.poll_flush(context, now, &mut self.client) {
                Poll::Pending => return Step::Idle,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return self.end(CloseCause::ClientBroken),
            }
        }
        let Upstream::Connected(upstream) = &mut self.upstream else { return Step::Idle };
        let Scratch { bytes, ops } = scratch;
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(upstream).poll_read(context, &mut buffer) {
            Poll::Pending => return Step::Idle,
            Poll::Ready(Err(_)) => return self.end(CloseCause::UpstreamBroken),
            Poll::Ready(Ok(())) => {}
        }
        let read = buffer.filled().len();
        if read == 0 {
            self.session.handle_upstream_eof();
            return Step::Moved;
        }
        let chunk = &mut bytes[..read];
        self.session.handle_upstream(now, chunk, ops);
        self.carry_out(context, now, chunk, Source::Upstream, ops);
        Step::Moved
    }

    fn end(&mut self, cause: CloseCause) -> Step {
        self.session.handle_end(cause);
        Step::Moved
    }

    /// Does what the session said, in its order. Ranges refer to `chunk`.
    fn carry_out(
        &mut self,
        context: &mut Context<'_>,
        now: Duration,
        chunk: &[u8],
        source: Source,
        ops: &mut Ops,
    ) {
        for op in &ops.ops {
            let (bytes, to_client) = match op {
                Op::Forward(range) => (&chunk[range.clone()], source == Source::Upstream),
                Op::Send(bytes) => (bytes.as_slice(), true),
            };
            if to_client {
                self.metrics.bytes_to_client(bytes.len());
                if self.to_client.send(context, now, &mut self.client, bytes).is_err() {
                    self.session.handle_end(CloseCause::ClientBroken);
                }
            } else if let Upstream::Connected(upstream) = &mut self.upstream
                && self.to_upstream.send(context, now, upstream, bytes).is_err()
            {
                self.session.handle_end(CloseCause::UpstreamBroken);
            }
        }
        for event in ops.events.drain(..) {
            self.shared.note(&self.metrics, &self.session, event);
        }
        ops.clear();
    }

    /// The moment at which a timer has something to decide.
    fn deadline(&self) -> Option<Duration> {
        let stall = self.session.setting().limits.write_stall_timeout;
        let queue = |queue: &Queue| (!queue.is_empty()).then(|| queue.progress_at + stall);
        [
            self.session.deadline(),
            queue(&self.to_client),
            queue(&self.to_upstream),
            self.look_at_client_at,
            self.closing.map(Closing::until),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn handle_time(&mut self, now: Duration) {
        let stall = self.session.setting().limits.write_stall_timeout;
        let stalled = |queue: &Queue| !queue.is_empty() && queue.progress_at + stall <= now;
        if stalled(&self.to_client) {
            self.session.handle_end(CloseCause::ClientNotReading);
        }
        if stalled(&self.to_upstream) {
            self.session.handle_end(CloseCause::UpstreamNotReading);
        }
        if !self.to_upstream.is_empty() || self.client_backlog_is_full() {
            self.session.handle_back_pressure(now);
        }
        self.session.handle_time(now);
        self.look_at_client(now);
    }

    fn client_backlog_is_full(&self) -> bool {
        self.to_client.len() > CLIENT_BACKLOG_BYTES_MAX
    }

    /// A client that has to wait (for a fence, for room, for upstream) is not read from, so its end is looked
    /// for.
    fn look_at_client(&mut self, now: Duration) {
        if self.session.closed().is_some() || self.session.takes_client_bytes() {
            self.look_at_client_at = None;
            return;
        }
        let at = self.look_at_client_at.get_or_insert(now + LOOK_AT_CLIENT_EVERY);
        if *at <= now {
            *at = now + LOOK_AT_CLIENT_EVERY;
            if self.client.peer_closed() {
                self.session.handle_end(CloseCause::ClientClosed);
            }
        }
    }

    /// Sees to it that the task is woken at the deadline. A timer that is set too early stays: it costs
    /// less to be woken once for nothing than to move it with every request.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline() else { return Poll::Pending };
        let at = self.shared.instant(deadline);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.is_elapsed() || timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(context)
    }

    /// Says goodbye, for as long as a client that is still there may take to hear it.
    fn poll_close(&mut self, context: &mut Context<'_>, cause: CloseCause) -> Poll<CloseCause> {
        // What upstream did not take is not owed to it any more, and must not count as its stall.
        self.upstream = Upstream::None;
        self.to_upstream = Queue::default();
        let client_is_gone = matches!(
            cause,
            CloseCause::ClientClosed | CloseCause::ClientBroken | CloseCause::ClientNotReading
        );
        if client_is_gone {
            return Poll::Ready(cause);
        }
        loop {
            let now = self.shared.now();
            if self.poll_goodbye(context, now).is_ready()
                || self.deadline().is_some_and(|deadline| deadline <= now)
            {
                return Poll::Ready(cause);
            }
            // A timer that was set before the session ended may ring too early.
            ready!(self.poll_timer(context));
        }
    }

    /// Delivers what the client is still owed, ends the stream, and takes what the client sends until it has closed its
    /// side as well. The kernel answers requests that nobody reads with a reset, and a reset takes from the client the
    /// answers that have not reached it or that it has not read: it would send again what is already done.
    fn poll_goodbye(&mut self, context: &mut Context<'_>, now: Duration) -> Poll<()> {
        let closing = *self.closing.get_or_insert(Closing::Flushing { until: now + FLUSH_TIMEOUT });
        match closing {
            Closing::Flushing { until } => {
                let flushed = ready!(self.to_client.poll_flush(context, now, &mut self.client));
                if flushed.is_err()
                    || ready!(Pin::new(&mut self.client).poll_shutdown(context)).is_err()
                {
                    return Poll::Ready(());
                }
                let until = until.min(now + LINGER_TIMEOUT);
                self.poll_linger(context, until, LINGER_BYTES_MAX)
            }
            Closing::Lingering { until, bytes_left } => {
                self.poll_linger(context, until, bytes_left)
            }
        }
    }

    /// Reads and throws away until the client's end, or until it has sent too much.
    fn poll_linger(
        &mut self,
        context: &mut Context<'_>,
        until: Duration,
        mut bytes_left: usize,
    ) -> Poll<()> {
        for _ in 0..STEPS_PER_POLL {
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(&mut scratch.bytes);
                let read = Pin::new(&mut self.client).poll_read(context, &mut buffer);
                read.map_ok(|()| buffer.filled().len())
            });
            let read = match read {
                Poll::Pending => {
                    self.closing = Some(Closing::Lingering { until, bytes_left });
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(read)) => read,
            };
            if read > bytes_left {
                return Poll::Ready(());
            }
            bytes_left -= read;
        }
        self.closing = Some(Closing::Lingering { until, bytes_left });
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn record(&self) {
        if let Some(Closing::Lingering { .. }) = self.closing {
            // Its client has everything and upstream is left: a fence or a drain must not wait for a client that is slow to
            // close.
            self.record.update(self.version, 0, None, 0);
            return;
        }
        let parked = if self.session.client_wait().is_fence() { self.left_over.len() } else { 0 };
        self.record.update(
            self.version,
            self.session.in_flight(),
            self.session.upstream_epoch(),
            parked,
        );
    }
}

/// Which side a chunk came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Client,
    Upstream,
}

impl<N: Network> Future for Pump<N> {
    type Output = CloseCause;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CloseCause> {
        let this = self.get_mut();
        this.leave_waker(context);
        for _ in 0..STEPS_PER_POLL {
            let now = this.shared.now();
            this.apply_publication();
            this.handle_time(now);
            if let Some(cause) = this.session.closed() {
                let closed = this.poll_close(context, cause);
                this.record();
                return closed;
            }
            let step = SCRATCH.with_borrow_mut(|scratch| this.step(context, now, scratch));
            this.record();
            if step == Step::Idle && this.poll_timer(context).is_pending() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
