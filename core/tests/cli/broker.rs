//! A cluster of one broker that knows ApiVersions and Metadata and leaves Fetch without an answer.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

const FETCH: i16 = 1;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

/// Answers until it is dropped or told to be silent.
pub(crate) struct Broker {
    silent: Arc<AtomicBool>,
}

impl Broker {
    pub(crate) fn start(ip: IpAddr, port: u16) -> Self {
        let listener = TcpListener::bind((ip, port)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let silent = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&silent);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if told.load(Ordering::Relaxed) {
                    continue;
                }
                // Whatever breaks is the gateway's doing, and is seen there.
                thread::spawn(move || drop(serve(stream, address)));
            }
        });
        Self { silent }
    }

    /// Closes every new connection from now on, as a cluster that is down behind a load balancer.
    pub(crate) fn refuse(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }
}

fn serve(mut stream: TcpStream, own: SocketAddr) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame)?;
        let body = match i16::from_be_bytes([frame[0], frame[1]]) {
            API_VERSIONS => api_versions(),
            METADATA => metadata(own),
            FETCH => continue,
            _ => Vec::new(),
        };
        stream.write_all(&framed(&[&frame[4..8], &body].concat()))?;
    }
}

/// Version 0, whatever was asked for: Produce, Fetch, Metadata, ApiVersions.
fn api_versions() -> Vec<u8> {
    let offered = [(0, 3, 8), (FETCH, 4, 11), (METADATA, 0, 8), (API_VERSIONS, 0, 3)];
    let mut body = vec![0, 0];
    body.extend(4_i32.to_be_bytes());
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

fn framed(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).expect("small").to_be_bytes()[..], frame].concat()
}

/// A client of a route that writes requests by hand.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(ip: IpAddr, port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((ip, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream })
    }

    fn send(&mut self, api_key: i16, version: i16, body: &[u8]) -> io::Result<()> {
        let mut frame = Vec::new();
        frame.extend(api_key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(7_i32.to_be_bytes());
        frame.extend([0, 4]);
        frame.extend(b"test");
        frame.extend(body);
        self.stream.write_all(&framed(&frame))
    }

    /// Asks for Metadata of version 2 without topics and gives the response's frame.
    pub(crate) fn metadata(&mut self) -> io::Result<Vec<u8>> {
        self.send(METADATA, 2, &0_i32.to_be_bytes())?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// A Fetch that this broker never answers.
    pub(crate) fn fetch(&mut self) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend((-1_i32).to_be_bytes()); // replica
        body.extend(500_i32.to_be_bytes());
        body.extend(1_i32.to_be_bytes());
        body.extend(1024_i32.to_be_bytes());
        body.push(0); // isolation
        body.extend(0_i32.to_be_bytes()); // topics
        self.send(FETCH, 4, &body)
    }

    /// Waits for the gateway to close.
    pub(crate) fn closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }
}
