//! The watchers of a stream that are behind: how they fall behind, and how they catch up.
//!
//! Invariant: a watcher becomes live only when everything published was sent to it.

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
    /// The hub dropped changes of this stream: every live watcher reads history from there on.
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

    /// Starts a step through history when a watcher is behind and no step is running. The step
    /// starts at a different watcher each time, so that a long history does not delay the others.
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

    /// Sends the result of a step, and makes the watchers live that have caught up.
    pub(super) async fn advance(&mut self, step: Step) -> Result<(), Closed> {
        let next = step.through.next();
        for (key, batch) in step.advanced {
            let Some(watcher) = self.watchers.get_mut(&key) else {
                continue;
            };
            watcher.next = watcher.next.max(next);
            self.send_events(key, batch, Some(step.latest), step.share.as_ref())
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
            // As in etcd the header has no revision: no events up to it were sent.
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

/// The result of the running step; pending without one.
///
/// # Cancel safety
/// The step stays in its field.
pub(super) async fn resolved(step: &mut Option<JoinHandle<Step>>) -> Step {
    match step {
        Some(step) => step.await.expect("a step neither panics nor is aborted"),
        None => pending().await,
    }
}
