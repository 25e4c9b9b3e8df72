//! Serves the pages of a member that recovers its state before it starts: alive, but not ready.

use std::{pin::Pin, sync::Arc, time::Duration};

use tenure_proto::API_VERSION;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::serve::{self, Listeners};
use crate::{
    admin::{self, Alarm, Health, ProbeFuture},
    config::Config,
    metrics::Metrics,
    node::{Recovery, StartError, Started},
};

/// Time for the page servers to stop before they are aborted. No page waits for anything.
const END_MAX: Duration = Duration::from_secs(1);
/// Error text of linearizable reads.
const TEXT: &str = "the state was damaged, and this member waits for another one's snapshot";

/// Answers the health checks before the node has started.
#[derive(Debug)]
struct Recovering;

impl Health for Recovering {
    fn has_leader(&self) -> bool {
        false
    }

    fn is_learner(&self) -> bool {
        false
    }

    fn alarms(&self) -> Vec<Alarm> {
        Vec::new()
    }

    fn disk(&self) -> Result<(), String> {
        Ok(())
    }

    fn cluster_version(&self) -> Option<String> {
        Some(API_VERSION.to_owned())
    }

    fn linearizable_read(&self) -> ProbeFuture<'_> {
        Box::pin(async { Err(TEXT.to_owned()) })
    }

    /// Succeeds, so that the member counts as alive: a restart would not help.
    fn serializable_read(&self) -> ProbeFuture<'_> {
        Box::pin(async { Ok(()) })
    }
}

/// Waits for the node to start, and serves the pages meanwhile if it recovers.
pub(super) async fn meanwhile<F>(
    recovery: &Recovery,
    listeners: &mut Listeners,
    config: &Config,
    metrics: &Arc<Metrics>,
    mut starting: Pin<&mut F>,
) -> Result<Started, StartError>
where
    F: Future<Output = Result<Started, StartError>>,
{
    tokio::select! {
        biased;
        started = starting.as_mut() => return started,
        // Cancel-safe: dropping the future loses nothing.
        () = recovery.begins() => {}
    }
    let stopping = CancellationToken::new();
    let pages = admin::router(Arc::new(Recovering), Arc::clone(metrics));
    let servers = serve::spawn_pages(listeners, &pages, config, metrics, &stopping);
    let started = starting.await;
    // Closes the connections, too: clients reconnect to the servers of the node.
    stopping.cancel();
    for mut server in servers {
        if timeout(END_MAX, &mut server).await.is_err() {
            server.abort();
        }
    }
    started
}
