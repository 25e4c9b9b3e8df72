//! A proxy on the way to the peer port of one node: what the other members send to it can be broken
//! off, while what it sends to them goes another way.

use std::{
    net,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinHandle,
};

/// Breaks that a connection may not have seen yet; it needs only the last.
const BREAKS_MAX: usize = 16;

/// The way to one node's peer port.
#[derive(Debug)]
pub struct Link {
    port: u16,
    refusing: Arc<AtomicBool>,
    broken: broadcast::Sender<()>,
    accepting: JoinHandle<()>,
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
        let accept = accept(listener, target, Arc::clone(&refusing), broken.clone());
        Self {
            port,
            refusing,
            broken,
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
        drop(self.broken.send(()));
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::SeqCst);
    }
}

async fn accept(
    listener: TcpListener,
    target: u16,
    refusing: Arc<AtomicBool>,
    broken: broadcast::Sender<()>,
) {
    while let Ok((mut inner, _)) = listener.accept().await {
        if refusing.load(Ordering::SeqCst) {
            continue;
        }
        let mut broken = broken.subscribe();
        tokio::spawn(async move {
            let Ok(mut outer) = TcpStream::connect(("127.0.0.1", target)).await else {
                return;
            };
            // Dropping the copy closes both ends, which is what breaking off means.
            tokio::select! {
                _ = copy_bidirectional(&mut inner, &mut outer) => {}
                _ = broken.recv() => {}
            }
        });
    }
}
