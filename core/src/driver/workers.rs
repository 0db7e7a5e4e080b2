//! The threads that carry bytes. Each has a runtime of its own, and a connection stays where it was put: nothing is handed
//! from thread to thread on the way of a byte, and both sockets of a session wake the thread that has its buffers.
//!
//! Connections are spread by listener first: every client opens one connection to the bootstrap port and one to the port of
//! each broker, and by mere turns all those that carry records could meet on one thread.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::runtime::{Builder, Handle};

/// The thread that accepts, and any others.
#[derive(Debug)]
pub struct Workers {
    /// Runtimes of the other threads.
    others: Vec<Handle>,
    /// Connections by worker, the one that accepts first.
    connections: Box<[AtomicUsize]>,
}

impl Workers {
    /// The runtime that accepts carries everything.
    pub fn here() -> Self {
        Self::over(Vec::new())
    }

    /// `count` threads in all, of which the one that accepts is the first. The others run until the process ends.
    pub fn start(count: usize) -> io::Result<Self> {
        let others = (1..count).map(start_thread).collect::<io::Result<_>>()?;
        Ok(Self::over(others))
    }

    fn over(others: Vec<Handle>) -> Self {
        let connections = zeros(others.len() + 1);
        Self { others, connections }
    }

    /// The count of one listener's connections by worker, to choose by.
    pub(super) fn listener(&self) -> Arc<[AtomicUsize]> {
        zeros(self.connections.len()).into()
    }

    /// The worker with the fewest connections of this listener, and of these the one with the fewest in all. To be called
    /// on the runtime that accepts.
    pub(super) fn seat(self: &Arc<Self>, listener: &Arc<[AtomicUsize]>) -> Seat {
        let load = |worker: &usize| {
            let of = |counts: &[AtomicUsize]| counts[*worker].load(Ordering::Relaxed);
            (of(listener), of(&self.connections))
        };
        let worker = (0..self.connections.len()).min_by_key(load).unwrap_or(0);
        self.connections[worker].fetch_add(1, Ordering::Relaxed);
        listener[worker].fetch_add(1, Ordering::Relaxed);
        Seat { workers: Arc::clone(self), listener: Arc::clone(listener), worker }
    }
}

fn zeros(count: usize) -> Box<[AtomicUsize]> {
    (0..count).map(|_| AtomicUsize::new(0)).collect()
}

fn start_thread(number: usize) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// A connection's place on a worker, given back when it is dropped.
pub(super) struct Seat {
    workers: Arc<Workers>,
    listener: Arc<[AtomicUsize]>,
    worker: usize,
}

impl Seat {
    /// Whether it is on another thread than the one that accepts.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.worker > 0
    }

    /// Runs the task there, with the seat as its own.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        self,
        task: impl FnOnce(Self) -> F,
    ) {
        match self.worker.checked_sub(1).map(|other| self.workers.others[other].clone()) {
            None => drop(tokio::spawn(task(self))),
            Some(handle) => drop(handle.spawn(task(self))),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.workers.connections[self.worker].fetch_sub(1, Ordering::Relaxed);
        self.listener[self.worker].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's connections come in turns, to the bootstrap port and to a broker's: both kinds must be spread.
    #[test]
    fn connections_of_each_listener_are_spread_over_the_workers() {
        let workers = Arc::new(Workers::start(2).expect("a thread"));
        let (bootstrap, broker) = (workers.listener(), workers.listener());
        let seats: Vec<_> =
            (0..4).flat_map(|_| [workers.seat(&bootstrap), workers.seat(&broker)]).collect();
        for counts in [&bootstrap, &broker] {
            let counts: Vec<_> = counts.iter().map(|n| n.load(Ordering::Relaxed)).collect();
            assert_eq!(counts, [2, 2]);
        }
        drop(seats);
        assert!(workers.connections.iter().all(|count| count.load(Ordering::Relaxed) == 0));
    }

    /// A single connection that carries everything must not share its thread while another one rests.
    #[test]
    fn first_connections_of_two_listeners_go_to_two_workers() {
        let workers = Arc::new(Workers::start(2).expect("a thread"));
        let (one, two) = (workers.seat(&workers.listener()), workers.seat(&workers.listener()));
        assert_ne!(one.worker, two.worker);
    }
}
