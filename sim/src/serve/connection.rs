//! One connection of a client: frames in, answers out, in the order of the requests.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use switchyard::driver::network::Stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use super::{Ending, SharedCluster};
use crate::cluster::ConnectionId;

/// Kafka's `socket.request.max.bytes`.
const FRAME_BYTES_MAX: usize = 100 << 20;
/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
/// What a connection is ready to read at once, at the least.
const READ_BYTES_MIN: usize = 64 << 10;
/// Room that a large frame gets before its bytes are there: a length alone costs no memory.
const READ_AHEAD_BYTES_MAX: usize = 1 << 20;
/// Answers that wait for each other to be written at once.
const WRITE_BYTES: usize = 64 << 10;
/// How long a client may take to fetch the last answers of a connection that is closed.
const LINGER: Duration = Duration::from_secs(5);

const _: () = assert!(READ_BYTES_MIN <= READ_AHEAD_BYTES_MAX);
const _: () = assert!(READ_AHEAD_BYTES_MAX <= FRAME_BYTES_MAX);

/// Tells the cluster that a client has gone, however its task ends.
struct Leave<'a>(&'a SharedCluster, ConnectionId);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

/// Serves a client until either side closes.
pub(super) async fn run<S: Stream>(
    mut stream: S,
    cluster: SharedCluster,
    connection: ConnectionId,
    wake: Arc<Notify>,
) {
    let _leave = Leave(&cluster, connection);
    let mut talk = Conversation {
        cluster: &cluster,
        connection,
        wake: &wake,
        read: BytesMut::new(),
        answers: Vec::new(),
        serving: false,
        ending: None,
    };
    if let Err(error) = talk.run(&mut stream).await {
        tracing::debug!(connection = connection.0, %error, "connection lost");
    }
}

struct Conversation<'a> {
    cluster: &'a SharedCluster,
    connection: ConnectionId,
    wake: &'a Notify,
    read: BytesMut,
    /// To be written.
    answers: Vec<Bytes>,
    serving: bool,
    ending: Option<Ending>,
}

impl Conversation<'_> {
    async fn run<S: Stream>(&mut self, stream: &mut S) -> io::Result<()> {
        loop {
            self.serve()?;
            while !self.answers.is_empty() && self.ending.is_none() {
                self.write(stream).await?;
            }
            match self.ending {
                None => {}
                Some(Ending::Cut) => return Ok(()),
                Some(Ending::AfterAnswers) => return self.part(stream).await,
            }
            if !self.serving && whole_frame(&self.read)?.is_some() {
                continue;
            }
            tokio::select! {
                biased;
                () = self.wake.notified() => self.fetch(),
                bytes = stream.read_buf(&mut self.read), if !self.serving => {
                    if bytes? == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Serves the frames that have arrived, until one must wait for its answer or there is enough to write.
    fn serve(&mut self) -> io::Result<()> {
        let mut bytes = 0;
        while !self.serving && self.ending.is_none() && bytes < WRITE_BYTES {
            let Some(frame) = take_frame(&mut self.read)? else { break };
            let before = self.answers.len();
            let turn = self.cluster.feed(self.connection, frame, &mut self.answers);
            (self.serving, self.ending) = (turn.serving, turn.ending);
            bytes += self.answers[before..].iter().map(Bytes::len).sum::<usize>();
        }
        Ok(())
    }

    /// Looks at what waits for this connection.
    fn fetch(&mut self) {
        let turn = self.cluster.take(self.connection, &mut self.answers);
        (self.serving, self.ending) = (turn.serving, turn.ending);
    }

    /// Writes the answers. A client that does not take them must not keep a broker from being killed.
    async fn write<S: Stream>(&mut self, stream: &mut S) -> io::Result<()> {
        let mut unsent = VecDeque::from(std::mem::take(&mut self.answers));
        while let Some(mut chunk) = next_chunk(&mut unsent) {
            while chunk.has_remaining() {
                tokio::select! {
                    biased;
                    () = self.wake.notified() => self.fetch(),
                    written = stream.write_buf(&mut chunk), if self.ending.is_none() => {
                        if written? == 0 {
                            return Err(io::ErrorKind::WriteZero.into());
                        }
                    }
                }
                if self.ending.is_some() {
                    // What is left goes in front of what came meanwhile.
                    unsent.push_front(chunk);
                    unsent.extend(self.answers.drain(..));
                    self.answers = unsent.into();
                    return Ok(());
                }
            }
        }
        if self.answers.is_empty() {
            // Back to where it was, so that its memory serves again.
            self.answers = unsent.into();
        }
        Ok(())
    }

    /// Sends the last answers and the end.
    async fn part<S: Stream>(&mut self, stream: &mut S) -> io::Result<()> {
        let all = async {
            for mut answer in std::mem::take(&mut self.answers) {
                stream.write_all_buf(&mut answer).await?;
            }
            stream.shutdown().await
        };
        tokio::time::timeout(LINGER, all).await.map_err(io::Error::from)?
    }
}

/// What is to be written next: many small answers as one, a large one as it is.
fn next_chunk(unsent: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let mut bytes = 0;
    let fits = |answer: &&Bytes| {
        bytes += answer.len();
        bytes <= WRITE_BYTES
    };
    let count = unsent.iter().take_while(fits).count();
    if count < 2 {
        return unsent.pop_front();
    }
    let mut chunk = BytesMut::with_capacity(WRITE_BYTES);
    for answer in unsent.drain(..count) {
        chunk.extend_from_slice(&answer);
    }
    Some(chunk.freeze())
}

/// Length of the frame at the start, if its bytes are all there.
fn whole_frame(read: &BytesMut) -> io::Result<Option<usize>> {
    Ok(frame_length(read)?.filter(|length| read.len() >= LENGTH_BYTES + length))
}

fn frame_length(read: &BytesMut) -> io::Result<Option<usize>> {
    let Some(length) = read.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    usize::try_from(i32::from_be_bytes(*length))
        .ok()
        .filter(|length| *length <= FRAME_BYTES_MAX)
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no length of a frame"))
}

/// A whole frame without its length; makes room for the rest of one that has begun.
fn take_frame(read: &mut BytesMut) -> io::Result<Option<Bytes>> {
    if let Some(length) = whole_frame(read)? {
        read.advance(LENGTH_BYTES);
        return Ok(Some(read.split_to(length).freeze()));
    }
    let missing =
        frame_length(read)?.map_or(READ_BYTES_MIN, |length| LENGTH_BYTES + length - read.len());
    // Doubles with the bytes that have come, so that a frame is moved a few times at most.
    let most = READ_AHEAD_BYTES_MAX.max(read.len());
    read.reserve(missing.clamp(READ_BYTES_MIN, most));
    Ok(None)
}
