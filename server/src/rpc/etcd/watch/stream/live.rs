//! The live watchers of a stream: sends them changes as they are published.
//!
//! Invariant: a response that is not small holds a share of the memory of all streams. No response
//! waits for a share here: a watcher without one falls behind, and reads history once there is a
//! share.

use std::{collections::BTreeMap, sync::Arc};

use tenure_proto::mvccpb;
use tenure_statemachine::Revision;

use super::WatchStream;
use crate::{
    events::{Delivery, WatcherKey},
    rpc::{answer::outbox::Closed, etcd::watch::fragment},
};

/// Events that are gathered from the queue into one round of responses.
const ROUND_EVENTS_MAX: usize = 1000;
/// As above, in bytes: about what may wait for the client.
const ROUND_BYTES_MAX: usize = 256 * 1024;
impl<I> WatchStream<I> {
    /// Sends `first` and the changes queued behind it to the live watchers, one response per
    /// watcher.
    ///
    /// Responses to many watchers are made one after the other, as the client takes them; those to
    /// few are gathered first.
    pub(super) async fn deliver(&mut self, first: Delivery) -> Result<(), Closed> {
        let watchers = self.hub.watchers_of(&first);
        if watchers.len().saturating_mul(first.events.len()) > ROUND_EVENTS_MAX {
            let through = self.pass_on(&first);
            for key in watchers {
                let batch = self.events_for(key, &first, through);
                self.send_live(key, batch).await?;
            }
            return Ok(());
        }
        let mut round: BTreeMap<WatcherKey, Vec<mvccpb::Event>> = BTreeMap::new();
        let (mut events, mut bytes) = (0, 0);
        let mut delivery = Some((first, watchers));
        while let Some((changes, watchers)) = delivery {
            let through = self.pass_on(&changes);
            bytes += changes.bytes();
            for key in watchers {
                let batch = self.events_for(key, &changes, through);
                events += batch.len();
                round.entry(key).or_default().extend(batch);
            }
            let next = if events < ROUND_EVENTS_MAX && bytes < ROUND_BYTES_MAX {
                self.hub.try_next()
            } else {
                None
            };
            delivery = next.map(|next| {
                let watchers = self.hub.watchers_of(&next);
                (next, watchers)
            });
        }
        for (key, batch) in round {
            self.send_live(key, batch).await?;
        }
        Ok(())
    }

    /// Counts a change as sent, and returns the first revision after it.
    fn pass_on(&mut self, changes: &Delivery) -> Revision {
        let last = changes.events.last().map(|event| event.kv.mod_revision);
        self.delivered = self.delivered.max(last.unwrap_or_default());
        self.delivered.next()
    }

    /// Sends a watcher its part of a change, after which it is complete below `next`.
    fn events_for(
        &mut self,
        key: WatcherKey,
        changes: &Delivery,
        next: Revision,
    ) -> Vec<mvccpb::Event> {
        let Some(watcher) = self.watchers.get_mut(&key) else {
            return Vec::new();
        };
        let batch = changes
            .events
            .iter()
            .filter_map(|event| watcher.interest.matching(event, watcher.next));
        let batch = batch.collect();
        watcher.next = watcher.next.max(next);
        batch
    }

    async fn send_live(
        &mut self,
        key: WatcherKey,
        events: Vec<mvccpb::Event>,
    ) -> Result<(), Closed> {
        let bytes = events.iter().map(fragment::event_bytes).sum();
        if self.outbox.takes_uncharged(bytes) {
            return self.send_events(key, events, None, None).await;
        }
        let Some(share) = self.history.account().take_now(bytes) else {
            self.put_behind(key, &events);
            return Ok(());
        };
        self.send_events(key, events, None, Some(&Arc::new(share)))
            .await
    }

    /// Makes a watcher read from history what it was not sent.
    fn put_behind(&mut self, key: WatcherKey, untold: &[mvccpb::Event]) {
        let first = untold.first().and_then(|event| event.kv.as_ref());
        let (Some(first), Some(watcher)) = (first, self.watchers.get_mut(&key)) else {
            return;
        };
        watcher.next = Revision(first.mod_revision);
        self.hub.detach(key);
        self.behind.insert(key);
        self.hub.set_behind(self.behind.len());
    }
}
