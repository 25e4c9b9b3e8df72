//! A proxy before one node that can cut replies: requests pass, what answers them does not.
//!
//! It knows just enough HTTP/2 to let a connection live while its replies are dropped: frames of
//! headers, data and their like are dropped, those that keep the connection are passed on. When as
//! many replies were cut as were asked for, every connection is closed, and later ones work.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, watch},
    task::JoinHandle,
};

/// Length of the header of an HTTP/2 frame.
const FRAME_HEADER_LEN: usize = 9;
/// Frame types that carry a reply: DATA, HEADERS, RST_STREAM, CONTINUATION.
const REPLY_FRAMES: [u8; 4] = [0, 1, 3, 9];
/// The frame type that opens a reply.
const HEADERS_FRAME: u8 = 1;
/// Closings that a connection may not have seen yet; it needs only the last.
const CLOSINGS_MAX: usize = 16;

/// Proxies before nodes, which cut replies together.
#[derive(Debug)]
pub struct Cutter {
    addresses: Vec<String>,
    shared: Arc<Shared>,
    accepting: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    cutting: AtomicBool,
    /// Replies cut since the cutting began.
    cut: watch::Sender<usize>,
    total: AtomicUsize,
    close: broadcast::Sender<()>,
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.shared.close_all();
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

impl Cutter {
    /// Starts a proxy before each of `addresses`.
    ///
    /// # Panics
    /// When no port can be listened on.
    pub async fn start(addresses: &[String]) -> Self {
        let shared = Arc::new(Shared {
            cutting: AtomicBool::new(false),
            cut: watch::Sender::new(0),
            total: AtomicUsize::new(0),
            close: broadcast::Sender::new(CLOSINGS_MAX),
        });
        let mut cutter = Self {
            addresses: Vec::new(),
            shared: Arc::clone(&shared),
            accepting: Vec::new(),
        };
        for node in addresses {
            let listener = TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("loopback has a free port");
            let own = listener.local_addr().expect("a listener has an address");
            cutter.addresses.push(own.to_string());
            let accepting = accept(listener, node.clone(), Arc::clone(&shared));
            cutter.accepting.push(tokio::spawn(accepting));
        }
        cutter
    }

    /// Where clients are to connect, `host:port`, in the order of the nodes.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Begins to cut replies.
    pub fn cut(&self) {
        self.shared.cut.send_replace(0);
        self.shared.cutting.store(true, Ordering::SeqCst);
    }

    /// Waits until `count` replies were cut, then lets replies through again on new connections.
    pub async fn heal_after(&self, count: usize) {
        let mut cut = self.shared.cut.subscribe();
        let enough = cut.wait_for(|cut| *cut >= count).await;
        enough.expect("the sender lives as long as this");
        self.heal();
    }

    /// Lets replies through again on new connections, and closes the others.
    pub fn heal(&self) {
        self.shared.cutting.store(false, Ordering::SeqCst);
        self.shared.close_all();
    }

    /// Replies cut since the cutting last began.
    #[must_use]
    pub fn cut_now(&self) -> usize {
        *self.shared.cut.borrow()
    }

    /// Replies cut in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.shared.total.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn close_all(&self) {
        // Nobody listens when there is no connection.
        _ = self.close.send(());
    }
}

async fn accept(listener: TcpListener, node: String, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let (node, shared) = (node.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let mut close = shared.close.subscribe();
            // A node that is down is as good as a connection refused: the client's is dropped.
            let Ok(server) = TcpStream::connect(&node).await else {
                return;
            };
            let both = [client.set_nodelay(true), server.set_nodelay(true)];
            both.into_iter().for_each(drop);
            let (mut from_client, to_client) = client.into_split();
            let (from_server, mut to_server) = server.into_split();
            tokio::select! {
                // Whichever ends first ends the connection, so nothing needs to be kept.
                _ = copy(&mut from_client, &mut to_server) => {}
                _ = replies(from_server, to_client, &shared) => {}
                _ = close.recv() => {}
            }
        });
    }
}

/// Passes a server's frames on, without those of replies while they are cut.
async fn replies(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut begun = HashSet::new();
    loop {
        let mut header = [0; FRAME_HEADER_LEN];
        server.read_exact(&mut header).await?;
        let [a, b, c, kind, _, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        server.read_exact(&mut payload).await?;
        if shared.cutting.load(Ordering::SeqCst) && REPLY_FRAMES.contains(&kind) {
            if kind == HEADERS_FRAME && begun.insert(stream) {
                shared.total.fetch_add(1, Ordering::SeqCst);
                shared.cut.send_modify(|cut| *cut += 1);
            }
            continue;
        }
        if kind == HEADERS_FRAME {
            begun.insert(stream);
        }
        client.write_all(&header).await?;
        client.write_all(&payload).await?;
    }
}
