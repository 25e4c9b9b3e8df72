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
        admission::catch_up,
        answer::{
            failure::Failure,
            outbox::Closed,
            status::{self, Reason},
        },
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
        let admitted = self.permits_now(&range).await;
        let admitted = admitted.and_then(|()| self.admit(&request, &range));
        let id = match admitted {
            Ok(id) => id,
            Err(reason) => {
                let mut response = self.response(NO_WATCHER, revision);
                response.created = true;
                response.canceled = true;
                response.cancel_reason = reason;
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

    /// Whether the caller may watch `range`; or why not, in the form of etcd's text: that of its
    /// status.
    fn permits(&self, range: &KeyRange) -> Result<(), String> {
        let checked = self.read(|reader| self.caller.check_read(reader, range));
        let failure = match checked {
            Ok(()) => return Ok(()),
            Err(error) => Failure::from(error),
        };
        let code = status::code_name(failure.reason());
        let text = failure.message();
        Err(format!("rpc error: code = {code} desc = {text}"))
    }

    /// As [`WatchStream::permits`]; a refusal counts only once this member has caught up.
    async fn permits_now(&self, range: &KeyRange) -> Result<(), String> {
        let checked = self.read(|reader| self.caller.check_read(reader, range));
        let Err(error) = checked else {
            return Ok(());
        };
        // Whether it caught up or not, the answer is that of the check after it.
        _ = catch_up(self.replica.as_ref(), error.into()).await;
        self.permits(range)
    }

    /// Cancels the watchers that the caller may not have any more, if users or permissions changed.
    pub(super) async fn recheck(&mut self) -> Result<(), Closed> {
        if !self.caller.has_changed() {
            return Ok(());
        }
        let refused: Vec<_> = self
            .watchers
            .iter()
            .filter_map(|(key, watcher)| {
                let reason = self.permits(&watcher.interest.range).err()?;
                Some((*key, watcher.id, reason))
            })
            .collect();
        for (key, id, reason) in refused {
            self.forget(key);
            let mut response = self.response(id, self.revision());
            response.canceled = true;
            response.cancel_reason = reason;
            self.send(response).await?;
        }
        Ok(())
    }

    /// The id of the new watcher, whose range is counted then; or its refusal, in etcd's words
    /// where etcd has the reason.
    fn admit(&mut self, request: &WatchCreateRequest, range: &KeyRange) -> Result<i64, String> {
        if request.start_revision < 0 {
            return Err(Reason::Compacted.text().to_owned());
        }
        if range.is_empty() {
            return Err("mvcc: watcher range is empty".to_owned());
        }
        if self.watchers.len() >= WATCHERS_MAX {
            return Err(Reason::TooManyRequests.text().to_owned());
        }
        if self.keys.contains_key(&request.watch_id) && request.watch_id != 0 {
            return Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
        }
        let added = self.ranges.add(range);
        added.map_err(|refused| Refused::text(refused).to_owned())?;
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
