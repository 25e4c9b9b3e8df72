//! Admits connections within their [`Places`], which leave the node the descriptors that it needs.
//!
//! A node without free descriptors cannot open its next log segment, and stops. So clients get only
//! a part; a connection beyond it is closed at once, and the client may use another node. When the
//! system runs out of descriptors, accepting pauses instead of retrying in a loop.
//!
//! Invariant: a listener has at most as many connections as its [`Places`].

use std::{io, time::Duration};

use futures::stream;
use rustix::io::Errno;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{Connection, Incoming, Places};
use crate::metrics::AcceptMetrics;

/// Pauses after a connection could not be accepted because of exhausted resources: the first,
/// doubled for each failure, up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Returns the connections of `incoming` that are admitted.
pub(crate) fn admitted(incoming: Incoming, places: Places, metrics: AcceptMetrics) -> Incoming {
    let door = Door {
        incoming,
        places,
        metrics,
        pause: None,
        is_full: false,
    };
    Box::pin(stream::unfold(door, |mut door| async move {
        let connection = door.next().await?;
        Some((Ok(connection), door))
    }))
}

struct Door {
    incoming: Incoming,
    places: Places,
    metrics: AcceptMetrics,
    /// The last pause, until a connection is accepted again.
    pause: Option<Duration>,
    /// Whether the last connection was refused.
    is_full: bool,
}

impl Door {
    async fn next(&mut self) -> Option<Connection> {
        loop {
            match futures::StreamExt::next(&mut self.incoming).await? {
                Ok(connection) => {
                    self.pause = None;
                    if let Some(connection) = self.admit(connection).await {
                        return Some(connection);
                    }
                }
                Err(error) if is_exhaustion(&error) => self.rest(&error).await,
                // Affects one connection, which is already closed.
                Err(error) => debug!(%error, "a connection was lost while it was accepted"),
            }
        }
    }

    async fn admit(&mut self, connection: Connection) -> Option<Connection> {
        if let Some(place) = self.places.take().await {
            self.is_full = false;
            let peer = connection.peer.map(|address| address.ip());
            return Some(connection.opening(place, self.places.reading(peer)));
        }
        self.metrics.refused.inc();
        if !self.is_full {
            self.is_full = true;
            warn!(
                "clients have all the connections they may have, more are turned away; \
                 raise the limit on open files, or find who holds them"
            );
        }
        None
    }

    async fn rest(&mut self, error: &io::Error) {
        self.metrics.failed.inc();
        let pause = match self.pause {
            None => {
                warn!(%error, "no connection can be accepted for now; raise the limit on open \
                     files, or find what uses them up");
                PAUSE_FIRST
            }
            Some(pause) => pause.saturating_mul(2).min(PAUSE_MAX),
        };
        self.pause = Some(pause);
        sleep(pause).await;
    }
}

/// Whether the error is a temporary lack of descriptors or memory.
fn is_exhaustion(error: &io::Error) -> bool {
    let lacking = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    let number = error.raw_os_error();
    lacking
        .iter()
        .any(|errno| number == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::{io::duplex, time::Instant};

    use super::*;
    use crate::{config::MetricsLevel, metrics::Metrics};

    fn metrics() -> AcceptMetrics {
        Metrics::new(MetricsLevel::Basic).network.accepting()
    }

    fn connection() -> io::Result<Connection> {
        Ok(Connection::new(duplex(64).0))
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_without_descriptors_pauses_ever_longer_and_goes_on() {
        let failure = || Err(io::Error::from_raw_os_error(Errno::MFILE.raw_os_error()));
        let incoming = stream::iter((0..20).map(move |_| failure()).chain([connection()]));
        let metrics = metrics();
        let begin = Instant::now();
        let mut admitted = admitted(Box::pin(incoming), Places::of(1), metrics.clone());
        assert!(admitted.next().await.expect("it goes on").is_ok());
        let took = begin.elapsed();
        let pauses = Duration::from_millis(10 + 20 + 40 + 80 + 160 + 320 + 640) + PAUSE_MAX * 13;
        assert!(took >= pauses, "20 failures in {took:?}");
        assert_eq!(metrics.failed.get(), 20);
    }

    #[tokio::test]
    async fn what_clients_may_have_is_not_exceeded_and_comes_back() {
        let (sender, incoming) = tokio::sync::mpsc::channel(8);
        let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
        let metrics = metrics();
        let places = Places::of(2);
        let mut admitted = admitted(Box::pin(incoming), places, metrics.clone());
        for _ in 0..4 {
            sender.send(connection()).await.expect("open");
        }
        let first = admitted.next().await.expect("one").expect("let in");
        let _second = admitted.next().await.expect("two").expect("let in");
        assert!(futures::poll!(admitted.next()).is_pending());
        assert_eq!(metrics.refused.get(), 2);
        drop(first);
        sender.send(connection()).await.expect("open");
        assert!(admitted.next().await.expect("three").is_ok());
    }
}
