//! Proposes `Wake` when something falls due by time, while this node leads.
//!
//! It decides nothing: the state machine does what is due by the stamp of the command. Invariant:
//! nothing is proposed unless the earliest timer of the state has come.

use std::{fmt, sync::Arc, time::Duration};

use tenure_statemachine::{ClusterTime, Command, Reader, Reply};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tracing::debug;

use crate::{events::ClaimHub, fatal, node::Replica, tasks};

/// Shortest time between two looks at the earliest timer: what is due is done up to so much late,
/// and however many commands set timers, looking costs fifty seeks a second.
const PACE: Duration = Duration::from_millis(20);
/// Longest time between two looks. Finds timers that nobody told of: those of idempotency keys,
/// which are remembered for minutes.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Time before another try after one that failed or did nothing.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Proposes what falls due; runs as a task until the node stops.
pub struct Waker {
    replica: Arc<dyn Replica>,
    hub: Arc<ClaimHub>,
}

impl Waker {
    /// Starts the waker of a node. `hub` is told of outcomes by the apply path.
    pub fn spawn(replica: Arc<dyn Replica>, hub: Arc<ClaimHub>) -> JoinHandle<()> {
        tasks::spawn("waker", Self { replica, hub }.run())
    }

    /// Ends when nobody tells any more who leads: the node is gone.
    async fn run(self) {
        let mut leadership = self.replica.leadership();
        loop {
            if !leadership.borrow_and_update().is_leader {
                if leadership.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let looked = Instant::now();
            let pause = self.look().await;
            tokio::select! {
                // Cancel-safe: a change that was not seen is seen by the next call.
                changed = leadership.changed() => if changed.is_err() {
                    return;
                },
                // Cancel-safe: a hint that was not taken stays.
                () = self.hub.timer_set() => sleep_until(looked + PACE).await,
                // Cancel-safe: begins anew.
                () = sleep(pause) => {}
            }
        }
    }

    /// Does what is due, and says when to look again.
    async fn look(&self) -> Duration {
        loop {
            let Some(due) = self.earliest() else {
                return LOOK_EVERY;
            };
            let left = self.replica.cluster_time().until(due);
            if left.0 > 0 {
                return Duration::from_millis(left.0).min(LOOK_EVERY);
            }
            match self.replica.propose(Command::Wake).await {
                Ok(outcome) if matches!(outcome.reply, Ok(Reply::Wake(1..))) => {}
                Ok(outcome) => {
                    debug!(reply = ?outcome.reply, "nothing was due yet");
                    return RETRY_PAUSE;
                }
                Err(error) => {
                    debug!(%error, "what is due was not replicated, trying again");
                    return RETRY_PAUSE;
                }
            }
        }
    }

    /// When the earliest timer is due: one seek, so read on the spot.
    fn earliest(&self) -> Option<ClusterTime> {
        let engine = self.replica.engine();
        let earliest = Reader::new(engine.as_ref()).and_then(|reader| reader.next_timer());
        match earliest {
            Ok(earliest) => earliest,
            Err(fault) => fatal::stop(&fault),
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
