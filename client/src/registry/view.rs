//! The instances of a service, assembled from the messages of an endpoint stream.
//!
//! Invariant: returned revisions never decrease, even when the stream resumes at a member that is
//! behind.

use std::collections::BTreeMap;

use tenure_proto::v1::{WatchEndpointsResponse, watch_endpoints_response::Change as WireChange};

use crate::{id::Revision, response::RegisteredInstance};

/// A change of the instances that are selected.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EndpointChange {
    /// All selected instances; replaces everything known before. The first change is a snapshot,
    /// and the first one after a break may be.
    Snapshot {
        /// The instances, by id.
        registrations: Vec<RegisteredInstance>,
        /// Whether all instances are selected because too few are ready.
        all: bool,
    },
    /// Changes since the previous message.
    Delta {
        /// New instances, and those that changed.
        updated: Vec<RegisteredInstance>,
        /// Ids of instances that are deregistered or no longer selected.
        removed: Vec<String>,
    },
    /// No change: the view is current as of a later revision.
    Progress,
}

/// The instances of a service as of the last message of the stream.
#[derive(Debug, Default)]
pub(super) struct View {
    known: BTreeMap<String, RegisteredInstance>,
    all: bool,
    /// Revision of the last message of the current stream.
    revision: i64,
    /// The greatest revision that was returned.
    delivered: i64,
    /// Changes since the stream was reopened have not been returned.
    pending: bool,
    /// The present stream has sent its snapshot.
    based: bool,
}

impl View {
    /// Prepares for a reopened stream, which starts with a snapshot.
    pub(super) fn restart(&mut self) {
        self.based = false;
    }

    /// The greatest revision that was returned.
    pub(super) fn delivered(&self) -> Revision {
        Revision::new(self.delivered)
    }

    /// The change to return for a message, if any.
    pub(super) fn take(&mut self, message: WatchEndpointsResponse) -> Option<EndpointChange> {
        self.revision = message
            .header
            .map_or(self.revision, |header| header.revision);
        let change = match message.change? {
            WireChange::Snapshot(snapshot) => {
                self.based = true;
                self.pending = true;
                self.all = snapshot.all;
                let present = RegisteredInstance::list_of(snapshot.registrations);
                self.known = present.into_iter().map(named).collect();
                EndpointChange::Progress
            }
            // A delta before the snapshot of the stream cannot be applied.
            _ if !self.based => return None,
            WireChange::Delta(delta) => {
                for id in &delta.removed {
                    self.known.remove(id);
                }
                let updated = RegisteredInstance::list_of(delta.updated);
                self.known.extend(updated.iter().cloned().map(named));
                EndpointChange::Delta {
                    updated,
                    removed: delta.removed,
                }
            }
            WireChange::Progress(_) => EndpointChange::Progress,
        };
        // A member that is behind catches up first.
        if self.revision < self.delivered {
            self.pending = true;
            return None;
        }
        self.delivered = self.revision;
        if std::mem::take(&mut self.pending) {
            return Some(EndpointChange::Snapshot {
                registrations: self.known.values().cloned().collect(),
                all: self.all,
            });
        }
        Some(change)
    }
}

fn named(instance: RegisteredInstance) -> (String, RegisteredInstance) {
    (instance.id().to_owned(), instance)
}

#[cfg(test)]
mod tests {
    use tenure_proto::v1::{Delta, Header, Instance, Registration, Snapshot};

    use super::*;

    fn registration(id: &str, weight: u32) -> Registration {
        Registration {
            instance: Some(Instance {
                id: id.to_owned(),
                weight,
                ..Instance::default()
            }),
            ..Registration::default()
        }
    }

    fn message(revision: i64, change: WireChange) -> WatchEndpointsResponse {
        WatchEndpointsResponse {
            header: Some(Header {
                revision,
                ..Header::default()
            }),
            change: Some(change),
        }
    }

    fn snapshot(revision: i64, ids: &[&str]) -> WatchEndpointsResponse {
        let registrations = ids.iter().map(|id| registration(id, 1)).collect();
        let snapshot = Snapshot {
            registrations,
            all: false,
        };
        message(revision, WireChange::Snapshot(snapshot))
    }

    fn delta(revision: i64, updated: &[&str], removed: &[&str]) -> WatchEndpointsResponse {
        let delta = Delta {
            updated: updated.iter().map(|id| registration(id, 2)).collect(),
            removed: removed.iter().map(ToString::to_string).collect(),
        };
        message(revision, WireChange::Delta(delta))
    }

    fn ids(change: Option<EndpointChange>) -> Vec<String> {
        let Some(EndpointChange::Snapshot { registrations, .. }) = change else {
            panic!("expected a snapshot: {change:?}");
        };
        let ids = registrations.into_iter().map(named);
        ids.map(|(id, _)| id).collect()
    }

    #[test]
    fn a_snapshot_comes_first_and_deltas_follow() {
        let mut view = View::default();
        assert_eq!(view.take(delta(4, &["a"], &[])), None);
        assert_eq!(ids(view.take(snapshot(5, &["b", "a"]))), ["a", "b"]);
        let change = view.take(delta(6, &["c"], &["a"]));
        let Some(EndpointChange::Delta { updated, removed }) = change else {
            panic!("expected a delta: {change:?}");
        };
        assert_eq!(
            (updated.len(), removed.as_slice()),
            (1, &["a".to_owned()][..])
        );
        let progress = view.take(message(7, WireChange::Progress(true)));
        assert_eq!(progress, Some(EndpointChange::Progress));
        assert_eq!(view.delivered(), Revision::new(7));
    }

    #[test]
    fn a_member_that_is_behind_is_not_believed_until_it_has_caught_up() {
        let mut view = View::default();
        assert_eq!(ids(view.take(snapshot(10, &["a", "b"]))), ["a", "b"]);
        view.restart();
        assert_eq!(view.take(snapshot(7, &["a"])), None);
        assert_eq!(view.take(delta(9, &["b"], &[])), None);
        assert_eq!(ids(view.take(delta(11, &["c"], &["a"]))), ["b", "c"]);
        assert!(matches!(
            view.take(delta(12, &[], &["b"])),
            Some(EndpointChange::Delta { .. })
        ));
    }

    #[test]
    fn a_progress_mark_is_enough_to_have_caught_up() {
        let mut view = View::default();
        view.take(snapshot(10, &["a"]));
        view.restart();
        assert_eq!(view.take(snapshot(9, &["a"])), None);
        assert_eq!(
            ids(view.take(message(10, WireChange::Progress(true)))),
            ["a"]
        );
    }

    #[test]
    fn what_a_new_stream_sends_before_its_snapshot_is_nothing() {
        let mut view = View::default();
        view.take(snapshot(10, &["a"]));
        view.restart();
        assert_eq!(view.take(delta(11, &["b"], &[])), None);
        assert_eq!(ids(view.take(snapshot(11, &["a", "b"]))), ["a", "b"]);
    }
}
