//! The live watchers of a stream: telling them of changes as they happen.
//!
//! Invariant: what is told and is not small holds a share of what all streams may hold. Nothing
//! waits for one here: a watcher for which there is none falls behind, and reads history once there
//! is.

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
    /// Tells live watchers of `first` and of what waits behind it, one response per watcher.
    ///
    /// What many watchers are to be told is made for one after the other, as the client takes it;
    /// what few are to be told is gathered first.
    pub(super) async fn deliver(&mut self, first: Delivery) -> Result<(), Closed> {
        let watchers = self.hub.watchers_of(&first);
        if watchers.len().saturating_mul(first.events.len()) > ROUND_EVENTS_MAX {
            let through = self.pass_on(&first);
            for key in watchers {
                let batch = self.told_of(key, &first, through);
                self.tell_live(key, batch).await?;
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
                let told = self.told_of(key, &changes, through);
                events += told.len();
                round.entry(key).or_default().extend(told);
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
            self.tell_live(key, batch).await?;
        }
        Ok(())
    }

    /// Counts a change as passed on, and says the first revision that it leaves to be.
    fn pass_on(&mut self, changes: &Delivery) -> Revision {
        let last = changes.events.last().map(|event| event.kv.mod_revision);
        self.delivered = self.delivered.max(last.unwrap_or_default());
        self.delivered.next()
    }

    /// What a watcher is to be told of a change, after which it has been told of all before `next`.
    fn told_of(
        &mut self,
        key: WatcherKey,
        changes: &Delivery,
        next: Revision,
    ) -> Vec<mvccpb::Event> {
        let Some(watcher) = self.watchers.get_mut(&key) else {
            return Vec::new();
        };
        let told = changes
            .events
            .iter()
            .filter_map(|event| watcher.interest.tell(event, watcher.next));
        let told = told.collect();
        watcher.next = watcher.next.max(next);
        told
    }

    async fn tell_live(
        &mut self,
        key: WatcherKey,
        events: Vec<mvccpb::Event>,
    ) -> Result<(), Closed> {
        let bytes = events.iter().map(fragment::event_bytes).sum();
        if self.outbox.takes_uncharged(bytes) {
            return self.tell(key, events, None, None).await;
        }
        let Some(share) = self.history.account().take_now(bytes) else {
            self.put_behind(key, &events);
            return Ok(());
        };
        self.tell(key, events, None, Some(&Arc::new(share))).await
    }

    /// Makes a watcher read what it was not told.
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
