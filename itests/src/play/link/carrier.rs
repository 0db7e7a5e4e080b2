//! One connection over a link.

use std::{collections::VecDeque, future::Future, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::{Instant, sleep_until},
};

use super::{Direction, Link, draw, front::Watch};

/// Bytes that one direction of a connection has under way; more are not read, so that a slow receiver is felt.
const UNDER_WAY_BYTES_MAX: usize = 1 << 20;

/// Read at once at most.
const CHUNK_BYTES: usize = 64 << 10;

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Both ends have closed in order.
    Closed,
    /// One end has reset it, or the link did.
    Reset,
    /// The kernel of the end that sends in this direction has given up.
    GivenUp(Direction),
}

/// Carries between both streams until the connection ends. Gives which direction has ended first; `None`: the link has reset
/// both.
pub(super) async fn carry(
    link: &Link,
    mut dialler: TcpStream,
    mut listener: TcpStream,
    watch: Option<Arc<Watch>>,
) -> Option<Direction> {
    for stream in [&dialler, &listener] {
        // An error means that the connection is over, which reading will tell.
        drop(stream.set_nodelay(true));
    }
    let state = link.state();
    let handshake =
        draw(state.way(Direction::Forth).latency) + draw(state.way(Direction::Back).latency);
    tokio::time::sleep(handshake).await;
    let (end, first) = {
        let (from_dialler, to_dialler) = dialler.split();
        let (from_listener, to_listener) = listener.split();
        let forth = Pump::new(link, Direction::Forth, from_dialler, to_listener, None).run();
        let back = Pump::new(link, Direction::Back, from_listener, to_dialler, watch).run();
        both(forth, back, link.was_reset(state.resets)).await
    };
    match end {
        End::Closed => {}
        End::Reset => {
            reset(dialler);
            reset(listener);
        }
        End::GivenUp(direction) => {
            let (gone, left) = match direction {
                Direction::Forth => (dialler, listener),
                Direction::Back => (listener, dialler),
            };
            reset(gone);
            link.carries_again(state.resets).await;
            reset(left);
        }
    }
    first
}

/// Ends a connection so that its other end hears of a reset.
pub(super) fn reset(stream: TcpStream) {
    // An error means that it is over already.
    drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
}

/// Waits for both directions to close, or for the first other end.
async fn both(
    forth: impl Future<Output = End>,
    back: impl Future<Output = End>,
    reset: impl Future<Output = ()>,
) -> (End, Option<Direction>) {
    let (mut forth, mut back, mut reset) = (pin!(forth), pin!(back), pin!(reset));
    let (mut forth_open, mut back_open) = (true, true);
    let mut first = None;
    while forth_open || back_open {
        let (end, direction) = tokio::select! {
            end = &mut forth, if forth_open => { forth_open = false; (end, Direction::Forth) }
            end = &mut back, if back_open => { back_open = false; (end, Direction::Back) }
            () = &mut reset => return (End::Reset, first),
        };
        let direction = *first.get_or_insert(direction);
        if end != End::Closed {
            return (end, Some(direction));
        }
    }
    (End::Closed, first)
}

impl Link {
    /// Resolves when the link has reset its connections more often.
    async fn was_reset(&self, resets: u64) {
        // An error means that nobody can change it any more; the handle that is waited with prevents that.
        drop(self.0.state.subscribe().wait_for(|state| state.resets > resets).await);
    }

    async fn carries_again(&self, resets: u64) {
        let over = |state: &super::State| !state.is_held() || state.resets > resets;
        drop(self.0.state.subscribe().wait_for(over).await);
    }
}

/// One direction of a connection.
struct Pump<'a> {
    link: &'a Link,
    direction: Direction,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    watch: Option<Arc<Watch>>,
    /// Chunks under way and when they arrive.
    queue: VecDeque<(Instant, Bytes)>,
    queued_bytes: usize,
    /// How the sender has ended, and when that arrives.
    ended: Option<(Instant, End)>,
    last_due: Option<Instant>,
    /// Since when the sender has waited for an acknowledgement that cannot come.
    unacknowledged_since: Option<Instant>,
    /// The newest bytes, for what is looked for over the border of two chunks.
    tail: Vec<u8>,
}

impl<'a> Pump<'a> {
    fn new(
        link: &'a Link,
        direction: Direction,
        from: ReadHalf<'a>,
        to: WriteHalf<'a>,
        watch: Option<Arc<Watch>>,
    ) -> Self {
        Self {
            link,
            direction,
            from,
            to,
            watch,
            queue: VecDeque::new(),
            queued_bytes: 0,
            ended: None,
            last_due: None,
            unacknowledged_since: None,
            tail: Vec::new(),
        }
    }

    async fn run(mut self) -> End {
        let mut changes = self.link.0.state.subscribe();
        let mut buffer = BytesMut::new();
        loop {
            let state = *changes.borrow_and_update();
            self.note_holding(state.is_held());
            let gives_up = self.gives_up_at(&state);
            let next = self.next_due().filter(|_| state.way(self.direction).held_since.is_none());
            buffer.reserve(CHUNK_BYTES);
            let reads = self.ended.is_none() && self.queued_bytes < UNDER_WAY_BYTES_MAX;
            tokio::select! {
                () = at(gives_up) => return End::GivenUp(self.direction),
                () = at(next) => {
                    if let Some(end) = self.deliver().await {
                        return end;
                    }
                }
                read = self.from.read_buf(&mut buffer), if reads => match read {
                    Ok(1..) => self.queue(buffer.split().freeze()),
                    Ok(0) => self.end(End::Closed),
                    Err(_) => self.end(End::Reset),
                },
                heard = changes.changed() => if heard.is_err() { return End::Reset },
            }
        }
    }

    fn note_holding(&mut self, held: bool) {
        if !held {
            self.unacknowledged_since = None;
        } else if !self.queue.is_empty() {
            self.unacknowledged_since.get_or_insert_with(Instant::now);
        }
    }

    fn gives_up_at(&self, state: &super::State) -> Option<Instant> {
        let endurance = state.endurance[self.direction as usize]?;
        // A kernel goes on sending for a program that has closed, and gives up as soon.
        let unacknowledged =
            self.unacknowledged_since.map(|since| since + endurance.unacknowledged);
        let silent = state.held_since().map(|since| since + endurance.silent);
        let silent = silent.filter(|_| self.ended.is_none());
        unacknowledged.into_iter().chain(silent).min()
    }

    fn queue(&mut self, bytes: Bytes) {
        let due = self.link.due(self.direction, bytes.len(), self.last_due);
        self.last_due = Some(due);
        self.queued_bytes += bytes.len();
        self.queue.push_back((due, bytes));
    }

    fn end(&mut self, end: End) {
        self.ended = Some((self.link.due(self.direction, 0, self.last_due), end));
    }

    fn next_due(&self) -> Option<Instant> {
        let ended = self.ended.map(|(due, _)| due);
        self.queue.front().map(|(due, _)| *due).or(ended)
    }

    /// Hands the next chunk over, or the end.
    async fn deliver(&mut self) -> Option<End> {
        let Some((_, bytes)) = self.queue.pop_front() else {
            let (_, end) = self.ended?;
            if end == End::Closed {
                // The other direction goes on; an error there is heard of when it is used.
                drop(self.to.shutdown().await);
            }
            return Some(end);
        };
        self.queued_bytes -= bytes.len();
        if let Some(watch) = &self.watch {
            watch.look(&mut self.tail, &bytes);
        }
        match self.to.write_all(&bytes).await {
            Ok(()) => None,
            Err(_) => Some(End::Reset),
        }
    }
}

/// Sleeps until then; for ever without a time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
