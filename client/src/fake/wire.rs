//! A TCP proxy between a client and a node: forwards bytes until it is cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

#[derive(Debug, Clone)]
pub(crate) struct Wire(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outside: SocketAddr,
    /// The address of the service, hidden from the client.
    inside: SocketAddr,
    inside_listener: Mutex<Option<TcpListener>>,
    connections: Mutex<JoinSet<()>>,
    accepted: AtomicUsize,
    down: AtomicBool,
}

impl Wire {
    pub(super) async fn lay() -> Self {
        let address = |listener: &TcpListener| {
            let address = listener.local_addr();
            address.expect("a bound listener has an address")
        };
        let outside = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let inside = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let wire = Self(Arc::new(Inner {
            outside: address(&outside),
            inside: address(&inside),
            inside_listener: Mutex::new(Some(inside)),
            connections: Mutex::default(),
            accepted: AtomicUsize::new(0),
            down: AtomicBool::new(false),
        }));
        tokio::spawn(wire.clone().accept(outside));
        wire
    }

    /// The listener for the service at the far end.
    pub(super) fn far_end(&self) -> TcpListener {
        let listener = self.0.inside_listener.lock().take();
        listener.expect("a wire has one service")
    }

    async fn accept(self, outside: TcpListener) {
        while let Ok((mut near, _)) = outside.accept().await {
            self.0.accepted.fetch_add(1, Ordering::SeqCst);
            if self.0.down.load(Ordering::SeqCst) {
                continue;
            }
            let inside = self.0.inside;
            self.0.connections.lock().spawn(async move {
                if let Ok(mut far) = TcpStream::connect(inside).await {
                    // Either end may close the connection; that needs no handling.
                    _ = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    }

    pub(crate) fn address(&self) -> String {
        self.0.outside.to_string()
    }

    /// Breaks every connection; new ones are accepted.
    pub(crate) fn cut(&self) {
        self.0.connections.lock().abort_all();
    }

    /// Breaks every connection, and every new one at once.
    pub(crate) fn take_down(&self) {
        self.0.down.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub(crate) fn restore(&self) {
        self.0.down.store(false, Ordering::SeqCst);
    }

    /// Connections that clients have opened.
    pub(crate) fn accepted(&self) -> usize {
        self.0.accepted.load(Ordering::SeqCst)
    }
}
