//! Proposes `Wake` when a timer of the state is due, while this node leads.
//!
//! The state machine decides by the stamp of the command what is due. Invariant: the waker proposes
//! nothing before the earliest timer of the state.

use std::{fmt, sync::Arc, time::Duration};

use tenure_statemachine::{ClusterTime, Command, Reader, Reply};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tracing::debug;

use crate::{events::ClaimHub, fatal, node::Replica, tasks};

/// Shortest time between two reads of the earliest timer: due work is up to this much late, and
/// reads cost fifty seeks a second at most, however many commands set timers.
const PACE: Duration = Duration::from_millis(20);
/// Longest time between two reads. Finds timers without a notification: those of idempotency keys,
/// which are remembered for minutes.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pause before a retry, after a proposal that failed or had no effect.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Proposes `Wake` when a timer is due; runs as a task until the node stops.
pub struct Waker {
    replica: Arc<dyn Replica>,
    hub: Arc<ClaimHub>,
}

impl Waker {
    /// Starts the waker of a node. The apply path passes outcomes to `hub`.
    pub fn spawn(replica: Arc<dyn Replica>, hub: Arc<ClaimHub>) -> JoinHandle<()> {
        tasks::spawn("waker", Self { replica, hub }.run())
    }

    /// Returns when the leadership channel closes: the node has stopped.
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
                // Cancel-safe: the next call sees an unseen change.
                changed = leadership.changed() => if changed.is_err() {
                    return;
                },
                // Cancel-safe: a notification that was not consumed stays.
                () = self.hub.timer_set() => sleep_until(looked + PACE).await,
                // Cancel-safe: the timer restarts with the loop.
                () = sleep(pause) => {}
            }
        }
    }

    /// Proposes `Wake` until nothing is due, and returns the time until the next check.
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

    /// The time of the earliest timer: one seek, so read on the runtime thread.
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
