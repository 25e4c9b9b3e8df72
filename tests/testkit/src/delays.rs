//! Proxies between nodes that only delay: no byte is lost, and none overtakes another of its
//! connection.
//!
//! Nodes advertise the proxies to their peers. A connection belongs to the pair of the node that
//! opened it and the one it leads to; each way of each pair is held back or let through by itself.
//! What is held goes on in order once it is released.

use std::{
    fs, io,
    net::TcpListener as StdListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Bytes taken from a connection at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks held back per way of a connection; beyond, the sender feels it.
const CHUNKS_MAX: usize = 4096;
/// The field of `/proc/net/tcp` that has a socket's inode.
const INODE_FIELD: usize = 9;

/// A way through a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the node that opened it.
    Requests,
    /// Back to that node.
    Replies,
}

/// The proxies before all nodes of a cluster.
#[derive(Debug)]
pub struct Delays {
    addresses: Vec<String>,
    gates: Arc<Gates>,
    accepting: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Gates {
    nodes: usize,
    gates: Vec<Gate>,
}

/// One way of the connections between two nodes.
#[derive(Debug)]
struct Gate {
    open: watch::Sender<bool>,
    /// Bytes that came, let through or not.
    came: AtomicU64,
}

impl Drop for Delays {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

impl Delays {
    /// Starts a proxy before each of the nodes that will listen on these ports of loopback.
    ///
    /// # Panics
    /// When no port can be listened on, or outside a runtime.
    #[must_use]
    pub fn start(ports: &[u16]) -> Self {
        let gate = || Gate {
            open: watch::Sender::new(true),
            came: AtomicU64::new(0),
        };
        let nodes = ports.len();
        let gates = (0..nodes * nodes * 2).map(|_| gate()).collect();
        let mut delays = Self {
            addresses: Vec::new(),
            gates: Arc::new(Gates { nodes, gates }),
            accepting: Vec::new(),
        };
        for (to, &port) in ports.iter().enumerate() {
            let listener = StdListener::bind("127.0.0.1:0").expect("loopback has a free port");
            let own = listener.local_addr().expect("a listener has an address");
            listener
                .set_nonblocking(true)
                .expect("a socket's mode can be set");
            let listener = TcpListener::from_std(listener).expect("there is a runtime");
            delays.addresses.push(own.to_string());
            let accepting = accept(listener, own.port(), port, to, Arc::clone(&delays.gates));
            delays.accepting.push(tokio::spawn(accepting));
        }
        delays
    }

    /// Where peers are to connect, `host:port`, in the order of the nodes.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Holds back one way of the connections that `from` opened, or opens, to `to`.
    pub fn hold(&self, from: usize, to: usize, way: Way) {
        self.gates.at(from, to, way).open.send_replace(false);
    }

    /// Lets that way through again, what was held first.
    pub fn release(&self, from: usize, to: usize, way: Way) {
        self.gates.at(from, to, way).open.send_replace(true);
    }

    /// Lets everything through.
    pub fn release_all(&self) {
        for gate in &self.gates.gates {
            gate.open.send_replace(true);
        }
    }

    /// Bytes that came that way in all, held or not.
    #[must_use]
    pub fn came(&self, from: usize, to: usize, way: Way) -> u64 {
        self.gates.at(from, to, way).came.load(Ordering::SeqCst)
    }
}

impl Gates {
    fn at(&self, from: usize, to: usize, way: Way) -> &Gate {
        &self.gates[(from * self.nodes + to) * 2 + usize::from(way == Way::Replies)]
    }
}

async fn accept(listener: TcpListener, own: u16, port: u16, to: usize, gates: Arc<Gates>) {
    while let Ok((client, peer)) = listener.accept().await {
        let gates = Arc::clone(&gates);
        tokio::spawn(async move {
            // Nobody's connection, or one that is over already, is dropped.
            let Ok(Some(from)) = opener(peer.port(), own) else {
                return;
            };
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            let both = [client.set_nodelay(true), server.set_nodelay(true)];
            both.into_iter().for_each(drop);
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                // Whichever ends first ends the connection, so nothing needs to be kept.
                _ = pass(from_client, to_server, gates.at(from, to, Way::Requests)) => {}
                _ = pass(from_server, to_client, gates.at(from, to, Way::Replies)) => {}
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: &Gate) -> io::Result<()> {
    let (queue, mut chunks) = mpsc::channel::<Vec<u8>>(CHUNKS_MAX);
    let reading = async {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = from.read(&mut chunk).await?;
            if length == 0 {
                return Err::<(), _>(io::ErrorKind::UnexpectedEof.into());
            }
            gate.came.fetch_add(length as u64, Ordering::SeqCst);
            chunk.truncate(length);
            queue.send(chunk).await.map_err(io::Error::other)?;
        }
    };
    let writing = async {
        let mut open = gate.open.subscribe();
        while let Some(chunk) = chunks.recv().await {
            open.wait_for(|open| *open)
                .await
                .map_err(io::Error::other)?;
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(drop)
}

/// The number of the node, `m0` and so on, whose socket on `port` is connected to `to`.
fn opener(port: u16, to: u16) -> io::Result<Option<usize>> {
    let sockets = fs::read_to_string("/proc/net/tcp")?;
    let ends_with = |field: Option<&str>, port: u16| {
        field.is_some_and(|address| address.ends_with(&format!(":{port:04X}")))
    };
    let inode = sockets.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ours = ends_with(fields.next(), port) && ends_with(fields.next(), to);
        ours.then(|| line.split_whitespace().nth(INODE_FIELD))?
    });
    let Some(inode) = inode else {
        return Ok(None);
    };
    let socket = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc")?.flatten() {
        if holds(&process.path(), &socket) {
            return Ok(number(&process.path()));
        }
    }
    Ok(None)
}

/// Whether a process has the socket open.
fn holds(process: &Path, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|target| target.as_os_str() == socket)
}

/// Which node a process is, by its `--name`.
fn number(process: &Path) -> Option<usize> {
    let line = fs::read_to_string(process.join("cmdline")).ok()?;
    let mut words = line.split('\0');
    words.find(|word| *word == "--name")?;
    words.next()?.strip_prefix('m')?.parse().ok()
}
