//! Progress responses: how far a client's watchers are complete while nothing changes.
//!
//! Invariant: after a progress response, no event at or below its revision follows.

use std::time::Duration;

use tenure_statemachine::Revision;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{NO_WATCHER, WatchStream};
use crate::rpc::answer::outbox::Closed;

impl<I> WatchStream<I> {
    /// Sends everything published so far, and returns the revision up to which live watchers are
    /// complete.
    async fn settle(&mut self) -> Result<Revision, Closed> {
        let published = self.hub.published();
        while let Some(delivery) = self.hub.try_next() {
            self.deliver(delivery).await?;
            if self.delivered > published && !self.hub.has_lost() {
                break;
            }
        }
        self.fall_behind();
        Ok(self.delivered.max(published))
    }

    pub(super) async fn answer_progress(&mut self) -> Result<(), Closed> {
        let complete = self.settle().await?;
        let synced = self.behind.is_empty()
            && self
                .watchers
                .values()
                .all(|watcher| watcher.start <= complete);
        // A watcher that reads history delays it. As in etcd, one that starts in the future does
        // not.
        self.progress_asked = !self.behind.is_empty();
        if self.watchers.is_empty() || !synced {
            return Ok(());
        }
        let response = self.response(NO_WATCHER, complete);
        self.send(response).await
    }

    /// Responds to a deferred progress request, once that is possible.
    pub(super) async fn answer_late_progress(&mut self) -> Result<(), Closed> {
        if self.progress_asked && self.behind.is_empty() {
            self.answer_progress().await?;
        }
        Ok(())
    }

    pub(super) async fn report_progress(&mut self) -> Result<(), Closed> {
        let complete = self.settle().await?;
        let mut due = Vec::new();
        for (key, watcher) in self
            .watchers
            .iter_mut()
            .filter(|(_, watcher)| watcher.progress)
        {
            if watcher.quiet && watcher.start <= complete && !self.behind.contains(key) {
                due.push(watcher.id);
            }
            watcher.quiet = true;
        }
        due.sort_unstable();
        for id in due {
            let response = self.response(id, complete);
            self.send(response).await?;
        }
        Ok(())
    }
}

/// Ticks when progress is due; missed ticks do not accumulate.
pub(super) fn ticker(every: Duration) -> Interval {
    let mut ticker = interval_at(Instant::now() + every, every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
