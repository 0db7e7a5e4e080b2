//! A broker that behaves as the client id of each request tells it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use super::{API_VERSIONS, METADATA, with_length};

/// Far more than all buffers on the way can hold.
pub(crate) const FLOOD_BYTES: usize = 96 << 20;

pub(crate) struct Broker {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    pub(crate) shared: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Shared {
    /// Lets requests of client `slow` be answered.
    pub(crate) release: Notify,
    /// Bytes of floods that the gateway has taken.
    pub(crate) flooded: AtomicUsize,
    /// Requests that came in, the gateway's own included.
    pub(crate) requests: AtomicUsize,
}

impl Broker {
    pub(crate) async fn start(ip: IpAddr, port: u16) -> Self {
        let listener = TcpListener::bind((ip, port)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Whatever breaks is the gateway's doing, and is seen there.
                let serving = serve(Arc::clone(&own), address, stream);
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { address, accepting, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections go on; new ones are refused.
    pub(crate) async fn stop_listening(&mut self) {
        self.accepting.abort();
        // The socket closes with its task.
        drop((&mut self.accepting).await);
    }
}

async fn serve(shared: Arc<Shared>, own: SocketAddr, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = usize::try_from(stream.read_i32().await?).map_err(io::Error::other)?;
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame).await?;
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let api_key = number(0);
        let correlation_id = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        let client_id = &frame[10..10 + usize::try_from(number(8)).map_err(io::Error::other)?];
        let answer = |correlation_id: i32| {
            let body = match api_key {
                API_VERSIONS => api_versions(),
                METADATA => metadata(own),
                _ => Vec::new(),
            };
            with_length(&[&correlation_id.to_be_bytes(), body.as_slice()].concat())
        };
        match client_id {
            b"silent" => {}
            b"deaf" => return std::future::pending().await,
            b"slow" => {
                shared.release.notified().await;
                stream.write_all(&answer(correlation_id)).await?;
            }
            b"close" => return Ok(()),
            b"truncate" => {
                let whole = answer(correlation_id);
                stream.write_all(&whole[..whole.len() - 3]).await?;
                return Ok(());
            }
            b"confused" => stream.write_all(&answer(correlation_id + 1)).await?,
            b"chatty" => {
                stream.write_all(&answer(correlation_id)).await?;
                stream.write_all(&answer(correlation_id)).await?;
            }
            b"negative" => stream.write_all(&[0xff; 8]).await?,
            b"endless" => {
                let head = [i32::MAX.to_be_bytes(), correlation_id.to_be_bytes()];
                stream.write_all(head.as_flattened()).await?;
            }
            b"garbage" => {
                let frame = [&correlation_id.to_be_bytes()[..], &[0, 0, 0x7f, 0xff, 0xff]].concat();
                stream.write_all(&with_length(&frame)).await?;
            }
            b"flood" => flood(&shared, &mut stream, correlation_id).await?,
            _ => stream.write_all(&answer(correlation_id)).await?,
        }
    }
}

/// A Fetch response of version 4 with one large batch.
async fn flood(shared: &Shared, stream: &mut TcpStream, correlation_id: i32) -> io::Result<()> {
    let records = i32::try_from(FLOOD_BYTES).map_err(io::Error::other)?;
    let mut head = Vec::new();
    head.extend(correlation_id.to_be_bytes());
    head.extend(0_i32.to_be_bytes()); // throttle time
    head.extend(1_i32.to_be_bytes()); // topics
    head.extend([0, 1, b't']);
    head.extend(1_i32.to_be_bytes()); // partitions
    head.extend(0_i32.to_be_bytes()); // index
    head.extend(0_i16.to_be_bytes()); // error
    head.extend(0_i64.to_be_bytes()); // high watermark
    head.extend(0_i64.to_be_bytes()); // last stable offset
    head.extend(0_i32.to_be_bytes()); // aborted transactions
    head.extend(records.to_be_bytes());
    let length = i32::try_from(head.len()).map_err(io::Error::other)? + records;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&head).await?;
    let chunk = vec![0x5a; 64 << 10];
    for _ in 0..FLOOD_BYTES / chunk.len() {
        stream.write_all(&chunk).await?;
        shared.flooded.fetch_add(chunk.len(), Ordering::Relaxed);
    }
    Ok(())
}

/// Version 0: Produce, Fetch, Metadata, SaslHandshake, ApiVersions, SaslAuthenticate.
fn api_versions() -> Vec<u8> {
    let offered = [(0, 3, 8), (1, 4, 11), (3, 0, 8), (17, 0, 1), (18, 0, 3), (36, 0, 1)];
    let mut body = vec![0, 0];
    body.extend(6_i32.to_be_bytes());
    for (key, min, max) in offered {
        for number in [key, min, max] {
            body.extend(i16::to_be_bytes(number));
        }
    }
    body
}

/// Version 2: this broker is node 1, and there is no topic.
fn metadata(own: SocketAddr) -> Vec<u8> {
    let host = own.ip().to_string();
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(i16::try_from(host.len()).expect("short").to_be_bytes());
    body.extend(host.as_bytes());
    body.extend(i32::from(own.port()).to_be_bytes());
    body.extend((-1_i16).to_be_bytes()); // no rack
    body.extend([0, 1, b'c']); // cluster id
    body.extend(1_i32.to_be_bytes()); // controller
    body.extend(0_i32.to_be_bytes()); // topics
    body
}
