//! Handshakes of accepted connections, each in a task of its own, bounded in time and number.
//!
//! A connection that does not finish its handshake in time is closed. When as many as may be are
//! in progress, the oldest is closed for the newest: an honest client finishes within milliseconds,
//! and connections that say nothing keep out each other.
//!
//! # Invariants
//! A connection is served only after its [`Entrance`] admitted it. Its place is held throughout.

use std::{
    collections::BTreeMap, future::poll_fn, io, net::SocketAddr, sync::Arc, task::Poll,
    time::Duration,
};

use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tenure_tls::{Admitted, Entrance, Refused};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Connection, Incoming, Io};
use crate::{metrics::TlsMetrics, tasks};

/// Time for a connection to finish its handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes in progress at a time: each takes tens of kilobytes, and a millisecond of the
/// processor when it is finished.
const HANDSHAKES_MAX: usize = 256;
/// Connections that finished their handshake and wait to be served; the server takes them at once.
const READY_MAX: usize = 16;

/// Reasons that no [`Refused`] has.
const LATE: &str = "timeout";
const SHED: &str = "shed";

/// The handshakes in progress on some ports. Clones share the bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshakes(Arc<Mutex<InProgress>>);

#[derive(Debug, Default)]
struct InProgress {
    next: u64,
    /// In the order in which they began.
    begun: BTreeMap<u64, CancellationToken>,
}

/// One handshake in progress; ended when dropped.
struct Begun {
    among: Handshakes,
    number: u64,
    shed: CancellationToken,
    metrics: TlsMetrics,
}

impl Handshakes {
    /// Begins a handshake, and ends the oldest one if there are too many.
    fn begin(&self, metrics: &TlsMetrics) -> Begun {
        let mut handshakes = self.0.lock();
        if handshakes.begun.len() >= HANDSHAKES_MAX
            && let Some((_, oldest)) = handshakes.begun.pop_first()
        {
            oldest.cancel();
        }
        let (number, shed) = (handshakes.next, CancellationToken::new());
        handshakes.next += 1;
        handshakes.begun.insert(number, shed.clone());
        metrics.handshakes.inc();
        Begun {
            among: self.clone(),
            number,
            shed,
            metrics: metrics.clone(),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.among.0.lock().begun.remove(&self.number);
        self.metrics.handshakes.dec();
    }
}

/// What connections of a port go through before they are served.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    /// What is asked of them.
    pub(crate) entrance: Entrance,
    /// Bounds how many go through at a time.
    pub(crate) handshakes: Handshakes,
    /// Counts those that fail.
    pub(crate) metrics: TlsMetrics,
    /// The kind of the port in logs and metrics: `client` or `peer`.
    pub(crate) port: &'static str,
}

/// Returns the connections of `incoming` that went through the gate.
pub(crate) fn secured(incoming: Incoming, gate: Gate) -> Incoming {
    let (ready, done) = mpsc::channel(READY_MAX);
    let passage = Passage {
        incoming,
        gate: Arc::new(gate),
        ready,
        done,
    };
    Box::pin(stream::unfold(passage, |mut passage| async move {
        let connection = passage.next().await?;
        Some((connection, passage))
    }))
}

struct Passage {
    incoming: Incoming,
    gate: Arc<Gate>,
    ready: mpsc::Sender<Connection>,
    done: mpsc::Receiver<Connection>,
}

impl Passage {
    async fn next(&mut self) -> Option<io::Result<Connection>> {
        loop {
            tokio::select! {
                // Cancel-safe: both keep the connections that they did not return.
                Some(connection) = self.done.recv() => return Some(Ok(connection)),
                accepted = self.incoming.next() => match accepted? {
                    Ok(connection) => self.begin(connection),
                    Err(error) => return Some(Err(error)),
                },
            }
        }
    }

    fn begin(&self, connection: Connection) {
        let (gate, ready) = (Arc::clone(&self.gate), self.ready.clone());
        let begun = gate.handshakes.begin(&gate.metrics);
        tasks::spawn("handshake", async move {
            let through = gate.pass(connection, begun.shed.clone()).await;
            drop(begun);
            if let Some(connection) = through {
                // Fails when the server ended.
                _ = ready.send(connection).await;
            }
        });
    }
}

impl Gate {
    async fn pass(&self, connection: Connection, shed: CancellationToken) -> Option<Connection> {
        let Connection {
            io,
            peer,
            mut place,
            reading,
            ..
        } = connection;
        let evicted = poll_fn(|context| {
            if place.is_lost(context) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let admitted = tokio::select! {
            // Cancel-safe: whichever ends first decides, and closes the connection or serves it.
            admitted = timeout(HANDSHAKE_MAX, self.entrance.admit(io, peer)) => admitted,
            () = shed.cancelled() => {
                self.close(peer, SHED);
                return None;
            }
            () = evicted => return None,
        };
        let (io, identity): (Box<dyn Io>, _) = match admitted {
            Ok(Ok(Admitted::Plain(stream))) => (Box::new(stream), None),
            Ok(Ok(Admitted::Tls(stream, identity))) => (Box::new(*stream), identity),
            Ok(Err(refused)) => {
                self.refuse(peer, &refused);
                return None;
            }
            Err(_) => {
                self.close(peer, LATE);
                return None;
            }
        };
        let through = Connection {
            peer,
            identity: identity.map(Arc::new),
            ..Connection::boxed(io)
        };
        Some(through.opening(place, reading))
    }

    fn close(&self, peer: Option<SocketAddr>, reason: &'static str) {
        self.metrics.refused(self.port, reason);
        debug!(
            ?peer,
            reason, "closed a connection before its handshake was finished"
        );
    }

    fn refuse(&self, peer: Option<SocketAddr>, refused: &Refused) {
        self.metrics.refused(self.port, refused.reason());
        let remote = peer.map(|peer| peer.to_string()).unwrap_or_default();
        if refused.is_quiet() {
            debug!(remote, error = %refused, "a connection ended before it was served");
        } else {
            // The words are etcd's, for those who search for them.
            warn!(
                "remote-addr" = remote,
                error = %refused,
                reason = refused.reason(),
                "rejected connection on {} endpoint", self.port
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::{config::MetricsLevel, metrics::Metrics};

    fn gate() -> Gate {
        Gate {
            entrance: Entrance {
                allows_plain: true,
                is_of_members: true,
                ..Entrance::default()
            },
            handshakes: Handshakes::default(),
            metrics: Metrics::new(MetricsLevel::Basic).tls.clone(),
            port: "peer",
        }
    }

    async fn connect(sender: &mpsc::Sender<io::Result<Connection>>) -> DuplexStream {
        let (near, far) = duplex(64);
        sender.send(Ok(Connection::new(far))).await.expect("open");
        near
    }

    async fn is_closed(connection: &mut DuplexStream) -> bool {
        let mut nothing = [0];
        futures::poll!(Box::pin(connection.read(&mut nothing))).is_ready()
    }

    /// CVE-2026-73500: etcd waited without an end.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed_after_a_time_and_others_are_served() {
        let (sender, incoming) = mpsc::channel(8);
        let mut secured = secured(Box::pin(ReceiverStream::new(incoming)), gate());
        let begin = Instant::now();
        let mut silent = connect(&sender).await;
        let mut honest = connect(&sender).await;
        honest.write_all(b"PRI * HT").await.expect("open");
        secured.next().await.expect("one").expect("it is served");
        assert!(begin.elapsed() < HANDSHAKE_MAX);
        let closing = async {
            let mut nothing = [0];
            silent.read(&mut nothing).await
        };
        tokio::select! {
            ended = closing => assert!(matches!(ended, Ok(0)), "{ended:?}"),
            _ = secured.next() => panic!("it said nothing"),
        }
        assert!(begin.elapsed() >= HANDSHAKE_MAX);
    }

    #[tokio::test]
    async fn connections_that_say_nothing_keep_out_each_other_and_no_honest_one() {
        let (sender, incoming) = mpsc::channel(8);
        let gate = gate();
        let handshakes = gate.handshakes.clone();
        let mut secured = secured(Box::pin(ReceiverStream::new(incoming)), gate);
        let mut silent = Vec::new();
        for _ in 0..HANDSHAKES_MAX + 8 {
            let connecting = connect(&sender);
            tokio::select! {
                connection = connecting => silent.push(connection),
                _ = secured.next() => panic!("it said nothing"),
            }
        }
        let mut honest = connect(&sender).await;
        honest.write_all(b"PRI * HT").await.expect("open");
        secured.next().await.expect("one").expect("it is served");
        assert!(handshakes.0.lock().begun.len() <= HANDSHAKES_MAX);
        assert!(is_closed(&mut silent[0]).await, "the oldest is closed");
        let newest = silent.last_mut().expect("one");
        assert!(!is_closed(newest).await, "the newest goes on");
    }
}
