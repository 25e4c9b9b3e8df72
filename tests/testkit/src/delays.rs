//! Proxies between nodes that only delay: no byte is lost, and none overtakes another of its
//! connection.
//!
//! Nodes advertise the proxies to their peers. A connection belongs to the pair of the node that
//! opened it and the one it leads to; each way of each pair, and of each connection, is held back
//! or let through by itself. What is held goes on in order once it is released.

use std::{
    net::TcpListener as StdListener,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{delayed_connection::Connection, opener::opener};

/// The proxies before all nodes of a cluster.
#[derive(Debug)]
pub struct Delays {
    addresses: Vec<String>,
    pairs: Arc<Pairs>,
    accepting: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Pairs {
    nodes: usize,
    pairs: Vec<Pair>,
}

/// The connections that one node opened to another.
#[derive(Debug, Default)]
struct Pair {
    /// What is held of each of them, and what came of all.
    all: Connection,
    /// In the order of opening.
    open: Mutex<Vec<Arc<Connection>>>,
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
        let nodes = ports.len();
        let pairs = (0..nodes * nodes).map(|_| Pair::default()).collect();
        let mut delays = Self {
            addresses: Vec::new(),
            pairs: Arc::new(Pairs { nodes, pairs }),
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
            let accepting = accept(listener, own.port(), port, to, Arc::clone(&delays.pairs));
            delays.accepting.push(tokio::spawn(accepting));
        }
        delays
    }

    /// Where peers are to connect, `host:port`, in the order of the nodes.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// All connections that `from` opened, or will open, to `to`.
    #[must_use]
    pub fn all(&self, from: usize, to: usize) -> &Connection {
        &self.pairs.at(from, to).all
    }

    /// Each of those that are open, in the order of opening.
    #[must_use]
    pub fn connections(&self, from: usize, to: usize) -> Vec<Arc<Connection>> {
        self.pairs.at(from, to).open().clone()
    }

    /// Lets everything through.
    pub fn release_all(&self) {
        for pair in &self.pairs.pairs {
            for connection in pair.open().iter().map(Arc::as_ref).chain([&pair.all]) {
                connection.release();
            }
        }
    }
}

impl Pairs {
    fn at(&self, from: usize, to: usize) -> &Pair {
        &self.pairs[from * self.nodes + to]
    }
}

impl Pair {
    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, own: u16, port: u16, to: usize, pairs: Arc<Pairs>) {
    while let Ok((client, peer)) = listener.accept().await {
        let pairs = Arc::clone(&pairs);
        tokio::spawn(async move {
            // Nobody's connection, or one that is over already, is dropped.
            let Ok(Some(from)) = opener(peer.port(), own) else {
                return;
            };
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            let pair = pairs.at(from, to);
            let connection = Arc::<Connection>::default();
            pair.open().push(Arc::clone(&connection));
            connection.pass(client, server, &pair.all).await;
            pair.open().retain(|open| !Arc::ptr_eq(open, &connection));
        });
    }
}
