//! The watchers of a stream that are behind: how they get there, and how they meet the present.
//!
//! Invariant: a watcher becomes live only when it has been told of everything that was published.

use std::{future::pending, sync::Arc};

use tenure_statemachine::Revision;
use tokio::task::JoinHandle;

use super::WatchStream;
use crate::{
    rpc::{
        answer::outbox::Closed,
        etcd::watch::history::{Seeker, Step},
    },
    tasks,
};

/// Watchers that one step through history serves.
const SEEKERS_MAX: usize = 4096;

impl<I> WatchStream<I> {
    /// The hub lost changes for this stream: every live watcher reads history from there on.
    pub(super) fn fall_behind(&mut self) {
        let Some(lost) = self.hub.surrender() else {
            return;
        };
        for (&key, watcher) in &mut self.watchers {
            if self.behind.insert(key) {
                watcher.next = watcher.next.max(lost);
            }
        }
        self.hub.set_behind(self.behind.len());
    }

    /// Begins a step through history when a watcher is behind and none is under way. Watchers take
    /// turns to be the one a step begins at, so that a long history does not keep the others
    /// waiting.
    pub(super) fn begin_step(&mut self) {
        if self.step.is_some() {
            return;
        }
        let after_turn = self.behind.range(self.turn + 1..).next();
        let Some(&turn) = after_turn.or_else(|| self.behind.first()) else {
            return;
        };
        let in_turn = self.behind.range(turn..).chain(self.behind.range(..turn));
        let seekers = in_turn
            .take(SEEKERS_MAX)
            .filter_map(|&key| {
                let watcher = self.watchers.get(&key)?;
                let interest = watcher.interest.clone();
                Some(Seeker {
                    watcher: key,
                    interest,
                    next: watcher.next,
                })
            })
            .collect();
        self.turn = turn;
        let step = Arc::clone(&self.history).step(seekers);
        self.step = Some(tasks::spawn("watch-history", step));
    }

    /// Takes what a step found: tells it, and makes those live that have met the present.
    pub(super) async fn advance(&mut self, step: Step) -> Result<(), Closed> {
        let next = step.through.next();
        for (key, batch) in step.advanced {
            let Some(watcher) = self.watchers.get_mut(&key) else {
                continue;
            };
            watcher.next = watcher.next.max(next);
            self.tell(key, batch, Some(step.latest), step.share.as_ref())
                .await?;
            let Some(watcher) = self.watchers.get(&key) else {
                continue;
            };
            if self.hub.attach(key, &watcher.interest.range, watcher.next) {
                self.behind.remove(&key);
            }
        }
        for key in step.compacted {
            let Some(watcher) = self.watchers.get(&key) else {
                continue;
            };
            // As in etcd its header has no revision: nothing up to there was told.
            let mut response = self.response(watcher.id, Revision::default());
            response.canceled = true;
            response.compact_revision = step.floor.0;
            self.forget(key);
            self.send(response).await?;
        }
        self.hub.set_behind(self.behind.len());
        Ok(())
    }
}

/// The result of the step under way; never resolves without one.
///
/// # Cancel safety
/// The step stays in its place.
pub(super) async fn resolved(step: &mut Option<JoinHandle<Step>>) -> Step {
    match step {
        Some(step) => step.await.expect("a step neither panics nor is aborted"),
        None => pending().await,
    }
}
