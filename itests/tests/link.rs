//! The links of plays carry, delay, swallow and reset as networks do. No Docker is needed.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use switchyard_itests::{
    Result, fake_test, machine,
    play::link::{Backend, Direction, Endurance, Front, Link, Watch},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

const NO_LATENCY: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);

/// Nothing arrives within this time that arrives at all only later.
const A_WHILE: Duration = Duration::from_millis(700);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn address() -> Result<SocketAddr> {
    static PORT: AtomicU16 = AtomicU16::new(18_000);
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{}:{port}", machine::address(29, 1)).parse()?)
}

/// Sends back what it is sent, also behind the end of what it is sent.
async fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind(address()?).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
                drop(to.shutdown().await);
            });
        }
    });
    Ok(address)
}

async fn echo_behind(link: &Link) -> Result<Front> {
    Front::listen(address()?, vec![Backend::new(link, echo().await?)], None)
}

async fn say(stream: &mut TcpStream, text: &str) -> Result<()> {
    Ok(stream.write_all(text.as_bytes()).await?)
}

async fn hear(stream: &mut TcpStream, text: &str) -> Result<()> {
    let mut heard = vec![0; text.len()];
    timeout(Duration::from_secs(5), stream.read_exact(&mut heard)).await??;
    assert_eq!(String::from_utf8_lossy(&heard), text);
    Ok(())
}

async fn hears_nothing(stream: &mut TcpStream) {
    let mut byte = [0];
    let heard = timeout(A_WHILE, stream.read(&mut byte)).await;
    assert!(heard.is_err(), "heard {heard:?} through a hole");
}

/// Bytes come late by the latency of each direction, and in order although each chunk draws its own.
#[test]
fn latency_delays_and_keeps_the_order() {
    fake_test(async {
        let link = Link::new((ms(40), ms(60)));
        link.set_latency(Direction::Back, (ms(5), ms(90)));
        let front = echo_behind(&link).await?;
        let mut stream = TcpStream::connect(front.address()).await?;
        say(&mut stream, "warm").await?;
        hear(&mut stream, "warm").await?;

        let start = Instant::now();
        let mut all = String::new();
        for number in 0..50 {
            let text = format!("{number} ");
            say(&mut stream, &text).await?;
            all += &text;
            sleep(ms(3)).await;
        }
        hear(&mut stream, &all).await?;
        let took = start.elapsed();
        assert!(took >= ms(150 + 45), "{took:?} is less than latency both ways");
        assert!(took < ms(1000), "{took:?}");
        Ok(())
    });
}

#[test]
fn bandwidth_is_shared_by_all_connections() {
    fake_test(async {
        let link = Link::new(NO_LATENCY);
        link.set_bandwidth(Some(200_000));
        let front = echo_behind(&link).await?;
        let start = Instant::now();
        let one = |address| async move {
            let mut stream = TcpStream::connect(address).await?;
            let text = "x".repeat(50_000);
            say(&mut stream, &text).await?;
            hear(&mut stream, &text).await
        };
        tokio::try_join!(one(front.address()), one(front.address()))?;
        let took = start.elapsed();
        // 100 kB forth take half a second; the way back overlaps but for the last chunk.
        assert!(took >= ms(500) && took < ms(3000), "{took:?}");
        Ok(())
    });
}

/// A receiver that does not read must be felt by the sender: a link is no endless buffer.
#[test]
fn back_pressure_reaches_the_sender() {
    fake_test(async {
        let link = Link::new(NO_LATENCY);
        let front = echo_behind(&link).await?;
        let mut stream = TcpStream::connect(front.address()).await?;
        let chunk = vec![b'x'; 1 << 20];
        let mut sent = 0;
        while timeout(A_WHILE, stream.write_all(&chunk)).await.is_ok() {
            sent += 1;
            assert!(sent < 100, "100 MiB are under way");
        }
        Ok(())
    });
}

#[test]
fn half_closed_connections_carry_the_other_way() {
    fake_test(async {
        let front = echo_behind(&Link::new((ms(10), ms(10)))).await?;
        let mut stream = TcpStream::connect(front.address()).await?;
        say(&mut stream, "last words").await?;
        stream.shutdown().await?;
        let mut heard = String::new();
        timeout(Duration::from_secs(5), stream.read_to_string(&mut heard)).await??;
        assert_eq!(heard, "last words");
        Ok(())
    });
}

/// What is sent into a black hole arrives when it is over; whoever connects meanwhile gets no answer, not even a refusal.
#[test]
fn black_hole_keeps_bytes_and_leaves_connects_unanswered() {
    fake_test(async {
        let link = Link::new((ms(1), ms(1)));
        let front = echo_behind(&link).await?;
        let mut stream = TcpStream::connect(front.address()).await?;
        say(&mut stream, "before").await?;
        hear(&mut stream, "before").await?;
        for round in 0..3 {
            link.hold_both();
            say(&mut stream, "inside").await?;
            // The queue is filled within a moment; a connect before that would be one from before the hole.
            sleep(ms(250)).await;
            let connects = TcpStream::connect(front.address());
            let connected = tokio::spawn(connects);
            hears_nothing(&mut stream).await;
            assert!(!connected.is_finished(), "round {round}: connect() was answered");
            link.release();
            hear(&mut stream, "inside").await?;
            // Its SYN is sent again after 1 s, 3 s, …
            let mut second = timeout(Duration::from_secs(5), connected).await???;
            say(&mut second, "again").await?;
            hear(&mut second, "again").await?;
        }
        Ok(())
    });
}

#[test]
fn one_way_hole_swallows_one_direction() {
    fake_test(async {
        let link = Link::new((ms(50), ms(50)));
        let front = echo_behind(&link).await?;
        let mut stream = TcpStream::connect(front.address()).await?;
        say(&mut stream, "before").await?;
        hear(&mut stream, "before").await?;
        say(&mut stream, "on its way").await?;
        sleep(ms(75)).await;
        // It has arrived and the echo is under way.
        link.hold(Direction::Forth);
        hear(&mut stream, "on its way").await?;
        say(&mut stream, "inside").await?;
        hears_nothing(&mut stream).await;
        link.release();
        hear(&mut stream, "inside").await?;
        Ok(())
    });
}

/// An end with a user timeout loses its connection in a long hole, by itself; the other end hears of it afterwards.
#[test]
fn kernel_gives_up_on_what_is_not_acknowledged() {
    fake_test(async {
        let endurance = Endurance { unacknowledged: ms(600), silent: ms(1500) };
        let link = Link::new(NO_LATENCY).with_endurance(Some(endurance), None);
        let listener = TcpListener::bind(address()?).await?;
        let backend = Backend::new(&link, listener.local_addr()?);
        let front = Front::listen(address()?, vec![backend], None)?;
        let mut busy = TcpStream::connect(front.address()).await?;
        let (mut of_busy, _) = listener.accept().await?;
        let mut idle = TcpStream::connect(front.address()).await?;
        let (mut of_idle, _) = listener.accept().await?;

        let start = Instant::now();
        link.hold_both();
        say(&mut busy, "unheard").await?;
        let mut byte = [0];
        let error = timeout(Duration::from_secs(5), busy.read(&mut byte)).await?;
        assert_eq!(error.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        assert!(start.elapsed() >= ms(600) && start.elapsed() < ms(1400), "{:?}", start.elapsed());
        let error = timeout(Duration::from_secs(5), idle.read(&mut byte)).await?;
        assert_eq!(error.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        assert!(start.elapsed() >= ms(1500), "{:?}", start.elapsed());

        hears_nothing(&mut of_busy).await;
        link.release();
        for other in [&mut of_busy, &mut of_idle] {
            let heard = timeout(Duration::from_secs(5), other.read(&mut byte)).await?;
            assert_eq!(heard.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        }
        Ok(())
    });
}

/// What a program has sent into a long hole and left behind is not delivered afterwards: its kernel has given up.
#[test]
fn kernel_gives_up_for_a_program_that_has_closed() {
    fake_test(async {
        let endurance = Endurance { unacknowledged: ms(500), silent: ms(60_000) };
        let link = Link::new(NO_LATENCY).with_endurance(Some(endurance), None);
        let listener = TcpListener::bind(address()?).await?;
        let backend = Backend::new(&link, listener.local_addr()?);
        let front = Front::listen(address()?, vec![backend], None)?;
        let mut stream = TcpStream::connect(front.address()).await?;
        let (mut other, _) = listener.accept().await?;
        link.hold_both();
        say(&mut stream, "too late").await?;
        drop(stream);
        sleep(ms(900)).await;
        link.release();
        let mut byte = [0];
        let heard = timeout(Duration::from_secs(5), other.read(&mut byte)).await?;
        assert_eq!(heard.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        Ok(())
    });
}

#[test]
fn resets_and_refusals_are_heard_at_once() {
    fake_test(async {
        let link = Link::new((ms(1), ms(1)));
        let front = echo_behind(&link).await?;
        let mut stream = TcpStream::connect(front.address()).await?;
        say(&mut stream, "before").await?;
        hear(&mut stream, "before").await?;
        link.reset();
        let mut byte = [0];
        let heard = timeout(Duration::from_secs(5), stream.read(&mut byte)).await?;
        assert_eq!(heard.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        let mut stream = TcpStream::connect(front.address()).await?;
        say(&mut stream, "after a reset").await?;
        hear(&mut stream, "after a reset").await?;

        link.refuse(true);
        let heard = timeout(Duration::from_secs(5), stream.read(&mut byte)).await?;
        assert_eq!(heard.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        sleep(ms(50)).await;
        let refused = TcpStream::connect(front.address()).await.map(drop);
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
        link.refuse(false);
        sleep(ms(200)).await;
        let mut stream = TcpStream::connect(front.address()).await?;
        say(&mut stream, "after refusals").await?;
        hear(&mut stream, "after refusals").await?;
        Ok(())
    });
}

/// A front is there when its backend is, so that clients meet the same refusals as without it.
#[test]
fn front_is_closed_while_its_backend_is_away() {
    fake_test(async {
        let link = Link::new(NO_LATENCY);
        let listener = TcpListener::bind(address()?).await?;
        let backend = listener.local_addr()?;
        let front = Front::listen(address()?, vec![Backend::new(&link, backend)], None)?;
        let mut stream = TcpStream::connect(front.address()).await?;
        drop(listener.accept().await?);
        drop(listener);
        let mut byte = [0];
        drop(timeout(Duration::from_secs(5), stream.read(&mut byte)).await?);
        drop(stream);
        sleep(ms(300)).await;
        let refused = TcpStream::connect(front.address()).await.map(drop);
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
        let listener = TcpListener::bind(backend).await?;
        sleep(ms(500)).await;
        drop(TcpStream::connect(front.address()).await?);
        drop(listener.accept().await?);
        Ok(())
    });
}

#[test]
fn balancer_leaves_out_whoever_is_away() {
    fake_test(async {
        let (one, other) = (Link::new(NO_LATENCY), Link::new(NO_LATENCY));
        let nobody = address()?;
        let backends = vec![Backend::new(&one, nobody), Backend::new(&other, echo().await?)];
        let front = Front::listen(address()?, backends, None)?;
        let answered = || async {
            let mut stream = TcpStream::connect(front.address()).await?;
            say(&mut stream, "hello").await?;
            hear(&mut stream, "hello").await
        };
        let mut before = 0;
        for _ in 0..6 {
            before += usize::from(answered().await.is_ok());
        }
        assert_eq!(
            before, 3,
            "connections go in turns, also to one that the balancer has not missed yet"
        );
        sleep(ms(2100)).await;
        for _ in 0..6 {
            answered().await?;
        }
        Ok(())
    });
}

#[test]
fn watched_text_is_found_across_chunks() {
    fake_test(async {
        let found = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&found);
        let watch = Watch::new(vec!["kafka-1.east".into(), "x".into()], move |needle| {
            own.lock().expect("nobody panicked").push(needle.to_owned());
        });
        let backend = Backend::new(&Link::new(NO_LATENCY), echo().await?);
        let front = Front::listen(address()?, vec![backend], Some(Arc::new(watch)))?;
        let mut stream = TcpStream::connect(front.address()).await?;
        for part in ["at kafka-", "1.ea", "st:9092", " or kafka-2.east"] {
            say(&mut stream, part).await?;
            hear(&mut stream, part).await?;
        }
        assert_eq!(*found.lock().expect("nobody panicked"), ["kafka-1.east"]);
        Ok(())
    });
}
