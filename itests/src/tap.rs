//! A listener in front of a gateway, at the addresses that clients are told, which reads every byte that the gateway
//! sends to them and looks for addresses of brokers.
//!
//! A host is looked for as its text, in every frame whatever it is. A port is looked for as the 32-bit number that
//! messages hold, and only in answers of APIs that carry addresses: anywhere else such a number may be an offset.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use crate::Result;

/// APIs whose answers hold addresses and, behind the correlation id, otherwise small numbers only: Metadata,
/// FindCoordinator, DescribeQuorum, DescribeCluster.
const ADDRESS_APIS: [i16; 4] = [3, 10, 55, 60];

/// Largest frame that is taken; a length beyond it means that the tap has lost its place.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Number of answers by API key.
    pub answers: BTreeMap<i16, usize>,
    /// Bytes sent to clients.
    pub bytes: usize,
    /// Where an address of a broker was found: API key, version, and what.
    pub leaks: Vec<(i16, i16, String)>,
    /// Streams that could not be followed, which must not happen.
    pub broken: Vec<String>,
}

impl Seen {
    /// Fails when an address was found, a stream could not be followed, or one of `apis` was never answered.
    pub fn check(&self, apis: &[i16]) -> Result<()> {
        if let Some((key, version, what)) = self.leaks.first() {
            let count = self.leaks.len();
            return Err(format!("{count} leaks, such as {what} in API {key} v{version}").into());
        }
        if let Some(broken) = self.broken.first() {
            return Err(format!("stream not followed: {broken}").into());
        }
        match apis.iter().find(|&api| !self.answers.contains_key(api)) {
            None => Ok(()),
            Some(api) => Err(format!("API {api} was never answered: {:?}", self.answers).into()),
        }
    }
}

/// What must not be seen.
#[derive(Clone, Debug)]
pub struct Forbidden {
    /// Parts of host names or addresses.
    pub hosts: Vec<String>,
    /// Ports of brokers.
    pub ports: Vec<u16>,
}

/// Requests of one connection that are not answered yet: API key and version, by correlation id in order.
type Pending = Arc<Mutex<VecDeque<(i32, i16, i16)>>>;

/// A running tap. Dropping it closes its connections.
pub struct Tap {
    seen: Arc<Mutex<Seen>>,
    listeners: Vec<JoinHandle<()>>,
}

struct Shared {
    seen: Arc<Mutex<Seen>>,
    forbidden: Forbidden,
}

impl Tap {
    /// Listens on `host` at every port and forwards to the same port on `gateway`.
    pub async fn start(
        host: &str,
        gateway: &str,
        ports: impl IntoIterator<Item = u16>,
        forbidden: Forbidden,
    ) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::new(Shared { seen: Arc::clone(&seen), forbidden });
        let mut listeners = Vec::new();
        for port in ports {
            let listener = TcpListener::bind((host, port)).await?;
            let (target, shared) = (format!("{gateway}:{port}"), Arc::clone(&shared));
            listeners.push(tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (target, shared) = (target.clone(), Arc::clone(&shared));
                    tokio::spawn(async move { shared.connection(client, &target).await });
                }
            }));
        }
        Ok(Self { seen, listeners })
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

impl Shared {
    fn with_seen(&self, use_it: impl FnOnce(&mut Seen)) {
        use_it(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn connection(&self, client: TcpStream, target: &str) {
        let Ok(gateway) = TcpStream::connect(target).await else { return };
        // Both ends close with the first that does; an error means no more than that.
        drop(client.set_nodelay(true));
        drop(gateway.set_nodelay(true));
        let (client_read, client_write) = client.into_split();
        let (gateway_read, gateway_write) = gateway.into_split();
        let pending = Pending::default();
        tokio::select! {
            () = self.requests(client_read, gateway_write, &pending) => {}
            () = self.answers(gateway_read, client_write, &pending) => {}
        }
    }

    async fn requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, pending: &Pending) {
        while let Some(frame) = read_frame(&mut from).await {
            if let Some(&[k0, k1, v0, v1, c0, c1, c2, c3]) = frame.get(4..12) {
                let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
                let api = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
                let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
                pending.push_back((correlation_id, api.0, api.1));
            }
            if to.write_all(&frame).await.is_err() {
                return;
            }
        }
    }

    async fn answers(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, pending: &Pending) {
        while let Some(frame) = read_frame(&mut from).await {
            let next = pending.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let answered =
                frame.get(4..8).and_then(|id| id.try_into().ok()).map(i32::from_be_bytes);
            match next {
                Some((id, key, version)) if answered == Some(id) => {
                    self.inspect(key, version, &frame);
                }
                _ => self
                    .with_seen(|seen| seen.broken.push(format!("{answered:?} answers {next:?}"))),
            }
            if to.write_all(&frame).await.is_err() {
                return;
            }
        }
    }

    fn inspect(&self, key: i16, version: i16, frame: &[u8]) {
        let mut leaks: Vec<String> = self
            .forbidden
            .hosts
            .iter()
            .filter(|host| contains(frame, host.as_bytes()))
            .cloned()
            .collect();
        if ADDRESS_APIS.contains(&key) {
            let frame = frame.get(8..).unwrap_or_default();
            let ports = self.forbidden.ports.iter();
            let found = ports.filter(|&&port| contains(frame, &u32::from(port).to_be_bytes()));
            leaks.extend(found.map(|port| format!("port {port}")));
        }
        self.with_seen(|seen| {
            *seen.answers.entry(key).or_default() += 1;
            seen.bytes += frame.len();
            seen.leaks.extend(leaks.into_iter().map(|what| (key, version, what)));
        });
    }
}

/// A whole frame with its length in front; `None` at the end of the stream or where there is no frame.
async fn read_frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = usize::try_from(from.read_u32().await.ok()?).ok()?;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let mut frame = vec![0; 4 + length];
    let (head, body) = frame.split_at_mut(4);
    head.copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    from.read_exact(body).await.ok()?;
    Some(frame)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
