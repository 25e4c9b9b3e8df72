//! Proposes compactions by age or by number of revisions, as configured, while this node leads.
//!
//! Decides when and at which revision; the state machine moves the floor. Every member samples
//! revisions, so that a new leader knows their age without waiting.
//!
//! Invariant: by age, the revision that was the latest at any moment of the retention stays
//! readable; by number, the configured number of revisions does.

mod rule;
#[cfg(test)]
mod tests;

use std::{fmt::Display, sync::Arc, time::Duration};

use tenure_statemachine::{Command, Reader, Refusal, Revision, by_system};
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tracing::{info, warn};

use self::rule::Rule;
use crate::{
    clock::Clock,
    config::AutoCompaction,
    fatal,
    node::{Leadership, Replica},
    tasks,
};

/// Starts the compactor; returns `None` when `setting` turns it off.
pub(crate) fn spawn(
    replica: Arc<dyn Replica>,
    clock: Arc<dyn Clock>,
    setting: AutoCompaction,
) -> Option<JoinHandle<()>> {
    let rule = Rule::of(setting)?;
    let compactor = Compactor {
        replica,
        clock,
        rule,
    };
    Some(tasks::spawn("auto-compaction", compactor.run()))
}

/// Compacts by the rule until the node stops.
struct Compactor {
    replica: Arc<dyn Replica>,
    clock: Arc<dyn Clock>,
    rule: Rule,
}

impl Compactor {
    async fn run(mut self) {
        let mut leadership = self.replica.leadership();
        loop {
            let latest = self.latest();
            self.rule.sample(latest, self.clock.now());
            if !pause(&mut leadership, self.rule.interval()).await {
                return;
            }
            if !leadership.borrow().is_leader {
                continue;
            }
            if let Some(revision) = self.rule.due(self.clock.now(), self.latest()) {
                self.compact(revision).await;
            }
        }
    }

    async fn compact(&mut self, revision: Revision) {
        let began = self.clock.now();
        let failure: Box<dyn Display + Send> = match self
            .replica
            .propose(by_system(Command::Compact(revision)))
            .await
        {
            Ok(outcome) => match outcome.reply {
                // An earlier compaction that reached this revision has the same effect.
                Ok(_) | Err(Refusal::Compacted { .. }) => {
                    let now = self.clock.now();
                    self.rule.compacted(revision, now);
                    self.tell(revision, now.saturating_sub(began));
                    return;
                }
                Err(refusal) => Box::new(refusal),
            },
            Err(error) => Box::new(error),
        };
        let (mode, retry_interval) = (self.rule.mode(), self.rule.interval());
        warn!(%revision, ?retry_interval, error = %failure, "failed auto {mode} compaction");
    }

    fn tell(&self, revision: Revision, took: Duration) {
        let (mode, retention) = (self.rule.mode(), self.rule.retention());
        info!(%revision, retention, ?took, "completed auto {mode} compaction");
    }

    /// The latest revision here: one row, so read on the runtime thread.
    fn latest(&self) -> Revision {
        let engine = self.replica.engine();
        match Reader::new(engine.as_ref()) {
            Ok(reader) => reader.meta().revision,
            Err(fault) => fatal::stop(&fault),
        }
    }
}

/// Waits for `length`. Returns false when the node stops first.
async fn pause(leadership: &mut watch::Receiver<Leadership>, length: Duration) -> bool {
    tokio::select! {
        // Cancel-safe: the caller reads the leadership afterwards, whether the change was seen or
        // not.
        () = gone(leadership) => false,
        // Cancel-safe: an unfinished sleep has no effect.
        () = sleep(length) => true,
    }
}

async fn gone(leadership: &mut watch::Receiver<Leadership>) {
    while leadership.changed().await.is_ok() {}
}
