//! Creates and cancels the watchers of a stream.
//!
//! Invariant: the key range of every watcher is counted.

use bytes::Bytes;
use tenure_proto::etcdserverpb::WatchCreateRequest;
use tenure_statemachine::{KeyRange, Revision};

use super::{NO_WATCHER, WatchStream};
use crate::{
    events::{Refused, WatcherKey},
    rpc::{
        answer::{outbox::Closed, status::Reason},
        etcd::watch::{
            fragment::Unit,
            watcher::{Interest, Watcher},
        },
    },
};

/// Watchers on one stream. Far above what clients create; a client that leaks watchers is refused
/// before it fills memory.
const WATCHERS_MAX: usize = 100_000;

impl<I> WatchStream<I> {
    pub(super) async fn create(&mut self, mut request: WatchCreateRequest) -> Result<(), Closed> {
        let revision = self.revision();
        if request.key.is_empty() {
            request.key = Bytes::from_static(&[0]);
        }
        // Copies: slices of the request would keep all of it.
        let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        let range = KeyRange::from_wire(copy(&request.key), copy(&request.range_end));
        let id = match self.admit(&request, &range) {
            Ok(id) => id,
            Err(reason) => {
                let mut response = self.response(NO_WATCHER, revision);
                response.created = true;
                response.canceled = true;
                response.cancel_reason = reason.to_owned();
                return self.send(response).await;
            }
        };
        self.keys_used += 1;
        let key = self.keys_used;
        let start = Revision(request.start_revision);
        let next = if start.0 == 0 { revision.next() } else { start };
        if !self.hub.attach(key, &range, next) {
            self.behind.insert(key);
        }
        let watcher = Watcher {
            id,
            interest: Interest::new(range, &request),
            next,
            start,
            progress: request.progress_notify,
            quiet: true,
            unit: if request.fragment {
                Unit::Event
            } else {
                Unit::Revision
            },
        };
        self.watchers.insert(key, watcher);
        self.keys.insert(id, key);
        self.hub.set_behind(self.behind.len());
        let mut response = self.response(id, revision);
        response.created = true;
        self.send(response).await
    }

    /// The id of the new watcher, whose range is counted then; or its refusal, in etcd's words
    /// where etcd has the reason.
    fn admit(
        &mut self,
        request: &WatchCreateRequest,
        range: &KeyRange,
    ) -> Result<i64, &'static str> {
        if request.start_revision < 0 {
            return Err(Reason::Compacted.text());
        }
        if range.is_empty() {
            return Err("mvcc: watcher range is empty");
        }
        if self.watchers.len() >= WATCHERS_MAX {
            return Err(Reason::TooManyRequests.text());
        }
        if self.keys.contains_key(&request.watch_id) && request.watch_id != 0 {
            return Err("mvcc: duplicate watch ID provided on the WatchStream");
        }
        self.ranges.add(range).map_err(Refused::text)?;
        if request.watch_id != 0 {
            return Ok(request.watch_id);
        }
        while self.keys.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    pub(super) async fn cancel(&mut self, id: i64) -> Result<(), Closed> {
        let Some(&key) = self.keys.get(&id) else {
            return Ok(());
        };
        self.forget(key);
        let mut response = self.response(id, self.revision());
        response.canceled = true;
        self.send(response).await
    }

    pub(super) fn forget(&mut self, key: WatcherKey) {
        self.hub.detach(key);
        if let Some(watcher) = self.watchers.remove(&key) {
            self.keys.remove(&watcher.id);
            self.ranges.remove(&watcher.interest.range);
        }
        self.behind.remove(&key);
        self.hub.set_behind(self.behind.len());
    }
}
