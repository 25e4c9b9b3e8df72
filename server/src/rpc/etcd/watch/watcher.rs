//! One watcher: what it wants, how it wants it told, and how far it has been told.
//!
//! Plain data; the stream that owns it decides when. Invariant: every event it wants below `next`
//! was sent to the client, and none at or above it was.

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
    /// The id that the client knows it by.
    pub(super) id: i64,
    /// What it wants to be told.
    pub(super) interest: Interest,
    /// The first revision it has not been told of.
    pub(super) next: Revision,
    /// The revision the client asked to start from; zero when it asked for "from now on".
    pub(super) start: Revision,
    /// Whether the client wants to hear how far it has been told when nothing happens.
    pub(super) progress: bool,
    /// Whether nothing was sent since the last time progress was due.
    pub(super) quiet: bool,
    /// What of its events comes in one response, however large it is.
    pub(super) unit: Unit,
}

/// What a watcher wants to be told.
#[derive(Clone, Debug)]
pub(super) struct Interest {
    /// Of which keys.
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

    /// What it wants of a change of this kind to a key of its range.
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

    /// The event as this watcher is told of it, if it is.
    pub(super) fn tell(&self, event: &Event, next: Revision) -> Option<mvccpb::Event> {
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
