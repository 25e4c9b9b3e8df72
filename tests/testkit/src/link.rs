//! A proxy on the way to the peer port of one node: what the other members send to it can be broken
//! off, while what it sends to them goes another way.

use std::{
    net,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Breaks that a connection may not have seen yet; it needs only the last.
const BREAKS_MAX: usize = 16;
/// Bytes taken from a connection at once: what another one waits for on a narrow link.
const PIECE_BYTES: usize = 4 << 10;

/// The way to one node's peer port.
#[derive(Debug)]
pub struct Link {
    port: u16,
    refusing: Arc<AtomicBool>,
    held: watch::Sender<bool>,
    broken: broadcast::Sender<()>,
    width: Arc<Width>,
    accepting: JoinHandle<()>,
}

/// What the way to the node takes.
#[derive(Debug, Default)]
struct Width {
    /// 0 for as many as there are.
    bytes_per_second: AtomicU64,
    /// After which a connection breaks; 0 for never.
    bytes_per_connection: AtomicU64,
    passed: AtomicU64,
    /// When the bytes that were let in will have passed.
    free_at: Mutex<Option<Instant>>,
}

impl Width {
    /// Waits until so many bytes have passed, together with those of other connections.
    async fn pass(&self, bytes: usize) {
        self.passed.fetch_add(bytes as u64, Ordering::SeqCst);
        let rate = self.bytes_per_second.load(Ordering::SeqCst);
        if rate == 0 {
            return;
        }
        let passed_at = {
            let free_at = self.free_at.lock();
            let mut free_at = free_at.unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let begin = free_at.map_or(now, |at| at.max(now));
            let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
            *free_at.insert(begin + takes)
        };
        sleep_until(passed_at).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.break_off();
    }
}

impl Link {
    /// Starts a proxy before `target` on a free port. Must be called on a runtime.
    ///
    /// # Panics
    /// When no port can be listened on.
    #[must_use]
    pub fn to(target: u16) -> Self {
        let listener = net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let listener = TcpListener::from_std(listener).expect("a runtime drives the proxy");
        let port = listener
            .local_addr()
            .expect("a listener has an address")
            .port();
        let refusing = Arc::new(AtomicBool::new(false));
        let broken = broadcast::Sender::new(BREAKS_MAX);
        let width = Arc::<Width>::default();
        let held = watch::Sender::new(false);
        let connections = Connections {
            target,
            refusing: Arc::clone(&refusing),
            held: held.subscribe(),
            broken: broken.clone(),
            width: Arc::clone(&width),
        };
        let accept = accept(listener, connections);
        Self {
            port,
            refusing,
            held,
            broken,
            width,
            accepting: tokio::spawn(accept),
        }
    }

    /// Where the proxy listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection; new ones are let through.
    pub fn break_off(&self) {
        // There may be no connection that listens.
        _ = self.broken.send(());
    }

    /// Lets so many bytes a second through to the node from now on, over all connections, and
    /// breaks each connection off after so many bytes.
    pub fn narrow(&self, bytes_per_second: u64, bytes_per_connection: u64) {
        let width = &self.width;
        width
            .bytes_per_second
            .store(bytes_per_second, Ordering::SeqCst);
        width
            .bytes_per_connection
            .store(bytes_per_connection, Ordering::SeqCst);
    }

    /// Bytes that went through to the node.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.width.passed.load(Ordering::SeqCst)
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Whether what new connections carry waits, until it is let go.
    pub fn hold(&self, hold: bool) {
        self.held.send_replace(hold);
    }
}

/// What becomes of connections.
struct Connections {
    target: u16,
    refusing: Arc<AtomicBool>,
    held: watch::Receiver<bool>,
    broken: broadcast::Sender<()>,
    width: Arc<Width>,
}

async fn accept(listener: TcpListener, connections: Connections) {
    let Connections {
        target,
        refusing,
        held,
        broken,
        width,
    } = connections;
    while let Ok((inner, _)) = listener.accept().await {
        if refusing.load(Ordering::SeqCst) {
            continue;
        }
        let mut broken = broken.subscribe();
        let (width, mut held) = (Arc::clone(&width), held.clone());
        tokio::spawn(async move {
            if held.wait_for(|held| !held).await.is_err() {
                return;
            }
            let Ok(outer) = TcpStream::connect(("127.0.0.1", target)).await else {
                return;
            };
            let (from, to) = inner.into_split();
            let (mut from_node, to_node) = outer.into_split();
            let back = async move {
                let mut to = to;
                copy(&mut from_node, &mut to).await.and(to.shutdown().await)
            };
            // Dropping the halves closes both ends, which is what breaking off means.
            tokio::select! {
                _ = forth(from, to_node, &width) => {}
                _ = back => {}
                _ = broken.recv() => {}
            }
        });
    }
}

/// Passes bytes on to the node.
async fn forth(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    width: &Width,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut passed = 0;
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        width.pass(length).await;
        to.write_all(&piece[..length]).await?;
        passed += length as u64;
        let most = width.bytes_per_connection.load(Ordering::SeqCst);
        if most > 0 && passed >= most {
            return Ok(());
        }
    }
}
