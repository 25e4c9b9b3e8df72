//! One connection through a proxy that only delays, and the two ways through it.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::timeout,
};

use crate::frames::{Frames, Seen};

/// Bytes taken from a connection at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks held back per way of a connection; beyond, the sender feels it.
const CHUNKS_MAX: usize = 4096;

/// A connection that one node opened to another.
#[derive(Debug, Default)]
pub struct Connection {
    /// From the node that opened it.
    pub requests: Flow,
    /// Back to that node.
    pub replies: Flow,
}

/// One way of a connection, or of all that one node opened to another.
#[derive(Debug)]
pub struct Flow {
    held: watch::Sender<bool>,
    seen: watch::Sender<Seen>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            held: watch::Sender::new(false),
            seen: watch::Sender::default(),
        }
    }
}

impl Flow {
    /// Holds back what comes from now on.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets everything through again, what was held first.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// What came in all, held or not.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Waits until what came is enough, and says whether it was within `limit`.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn until(&self, limit: Duration, enough: impl Fn(&Seen) -> bool) -> bool {
        let mut seen = self.seen.subscribe();
        let came = timeout(limit, seen.wait_for(|seen| enough(seen))).await;
        matches!(came, Ok(Ok(_)))
    }

    async fn passes(&self) -> io::Result<()> {
        let mut held = self.held.subscribe();
        let passes = held.wait_for(|held| !held).await;
        passes.map(drop).map_err(io::Error::other)
    }
}

impl Connection {
    /// Holds back what comes from now on, both ways.
    pub fn hold(&self) {
        self.requests.hold();
        self.replies.hold();
    }

    /// Lets everything through again, what was held first.
    pub fn release(&self) {
        self.requests.release();
        self.replies.release();
    }

    /// Passes on what comes, as this connection and all of its pair allow; ends when either end
    /// does.
    pub(crate) async fn pass(&self, client: TcpStream, server: TcpStream, pair: &Self) {
        let both = [client.set_nodelay(true), server.set_nodelay(true)];
        both.into_iter().for_each(drop);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            // Whichever ends first ends the connection, so nothing needs to be kept.
            _ = pass(from_client, to_server, &self.requests, &pair.requests) => {}
            _ = pass(from_server, to_client, &self.replies, &pair.replies) => {}
        }
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    own: &Flow,
    pair: &Flow,
) -> io::Result<()> {
    let (queue, mut chunks) = mpsc::channel::<Vec<u8>>(CHUNKS_MAX);
    let reading = async {
        let mut frames = Frames::default();
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = from.read(&mut chunk).await?;
            if length == 0 {
                return Err::<(), _>(io::ErrorKind::UnexpectedEof.into());
            }
            chunk.truncate(length);
            let seen = frames.take(&chunk);
            let more = seen.messages - own.seen.send_replace(seen).messages;
            pair.seen.send_modify(|seen| seen.messages += more);
            queue.send(chunk).await.map_err(io::Error::other)?;
        }
    };
    let writing = async {
        while let Some(chunk) = chunks.recv().await {
            // The pair may be held while this waits for its own release.
            while *pair.held.borrow() || *own.held.borrow() {
                pair.passes().await?;
                own.passes().await?;
            }
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(drop)
}
