//! One watcher: its range and filters, and its position.
//!
//! Plain data; the stream that owns it decides when to send. Invariant: every matching event below
//! `next` was sent to the client, and none at or above it was.

use tenure_proto::{
    etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType},
    mvccpb,
};
use tenure_statemachine::{Event, EventKind, KeyRange, Revision, Wanted};

use super::fragment::Unit;
use crate::rpc::answer::reply;

/// One watcher of a stream.
#[derive(Debug)]
pub(super) struct Watcher {
    /// The client's id of the watcher.
    pub(super) id: i64,
    /// The events that it matches.
    pub(super) interest: Interest,
    /// The first revision that was not sent.
    pub(super) next: Revision,
    /// The revision that the client asked to start from; zero is "from now on".
    pub(super) start: Revision,
    /// Whether the client wants progress responses.
    pub(super) progress: bool,
    /// Whether nothing was sent since progress was last due.
    pub(super) quiet: bool,
    /// The unit of its events that is never split.
    pub(super) unit: Unit,
}

/// The events that a watcher matches, and their form.
#[derive(Clone, Debug)]
pub(super) struct Interest {
    /// The keys it watches.
    pub(super) range: KeyRange,
    puts: bool,
    deletes: bool,
    previous: bool,
}

impl Interest {
    pub(super) fn new(range: KeyRange, request: &WatchCreateRequest) -> Self {
        let refuses = |filter: FilterType| request.filters.contains(&(filter as i32));
        Self {
            range,
            puts: !refuses(FilterType::Noput),
            deletes: !refuses(FilterType::Nodelete),
            previous: request.prev_kv,
        }
    }

    /// Which changes of this kind to a key of its range it matches.
    pub(super) const fn wants(&self, kind: EventKind) -> Wanted {
        let is_wanted = match kind {
            EventKind::Put => self.puts,
            EventKind::Delete => self.deletes,
        };
        match (is_wanted, self.previous) {
            (false, _) => Wanted::Nothing,
            (true, false) => Wanted::Change,
            (true, true) => Wanted::WithPrevious,
        }
    }

    /// The event in the form that this watcher receives, if it matches.
    pub(super) fn matching(&self, event: &Event, next: Revision) -> Option<mvccpb::Event> {
        if self.wants(event.kind) == Wanted::Nothing {
            return None;
        }
        let kind = match event.kind {
            EventKind::Put => mvccpb::event::EventType::Put,
            EventKind::Delete => mvccpb::event::EventType::Delete,
        };
        if event.kv.mod_revision < next || !self.range.contains(&event.kv.key) {
            return None;
        }
        let previous = event.previous.as_ref().filter(|_| self.previous);
        Some(mvccpb::Event {
            r#type: kind as i32,
            kv: Some(reply::key_value(event.kv.clone())),
            prev_kv: previous.cloned().map(reply::key_value),
        })
    }
}
