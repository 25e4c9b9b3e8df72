//! The position of a watch: the first revision that has not been delivered.
//!
//! The invariant: it never decreases, and nothing below it is delivered again.

use tenure_proto::mvccpb::Event;

/// The first revision to be delivered; zero until the server has confirmed the watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position(i64);

impl Position {
    /// The position of a watch from `revision` on; zero for new changes only.
    pub(super) fn starting_at(revision: i64) -> Self {
        Self(revision)
    }

    /// The `start_revision` of a request that resumes here.
    pub(super) fn start_revision(self) -> i64 {
        self.0
    }

    /// Records that the server created the watch at revision `current`.
    pub(super) fn created(&mut self, current: i64) {
        if self.0 == 0 {
            self.0 = current.saturating_add(1);
        }
    }

    /// Records the progress of the server: all changes up to `revision` were sent.
    pub(super) fn progressed(&mut self, revision: i64) {
        self.0 = self.0.max(revision.saturating_add(1));
    }

    /// Removes events that were delivered before, and counts the rest as delivered.
    pub(super) fn deliver(&mut self, events: &mut Vec<Event>) {
        let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        events.retain(|event| revision(event) >= self.0);
        if let Some(last) = events.iter().map(revision).max() {
            self.progressed(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use tenure_proto::mvccpb::KeyValue;

    use super::*;

    fn events(revisions: &[i64]) -> Vec<Event> {
        let event = |&mod_revision: &i64| Event {
            kv: Some(KeyValue {
                mod_revision,
                ..KeyValue::default()
            }),
            ..Event::default()
        };
        revisions.iter().map(event).collect()
    }

    #[test]
    fn a_watch_from_now_on_goes_on_from_the_revision_it_was_created_at() {
        let mut position = Position::starting_at(0);
        position.created(41);
        assert_eq!(position.start_revision(), 42);
        // A second creation, after a break, must not skip what happened in between.
        position.created(90);
        assert_eq!(position.start_revision(), 42);
    }

    #[test]
    fn a_watch_from_the_past_starts_there_whatever_the_store_is_at() {
        let mut position = Position::starting_at(7);
        position.created(41);
        assert_eq!(position.start_revision(), 7);
    }

    #[test]
    fn after_events_a_watch_goes_on_behind_the_last_of_them() {
        let mut position = Position::starting_at(5);
        let mut delivered = events(&[5, 5, 8]);
        position.deliver(&mut delivered);
        assert_eq!((delivered.len(), position.start_revision()), (3, 9));
    }

    #[test]
    fn events_delivered_before_are_dropped() {
        let mut position = Position::starting_at(6);
        let mut delivered = events(&[4, 5, 6, 7]);
        position.deliver(&mut delivered);
        assert_eq!(delivered, events(&[6, 7]));
        let mut again = events(&[6, 7]);
        position.deliver(&mut again);
        assert!(again.is_empty());
    }

    #[test]
    fn a_revision_beyond_all_bounds_ends_no_process() {
        let mut position = Position::starting_at(0);
        position.created(i64::MAX);
        assert_eq!(position.start_revision(), i64::MAX);
        position.progressed(i64::MAX);
        assert_eq!(position.start_revision(), i64::MAX);
    }

    #[test]
    fn progress_moves_a_watch_forward_and_never_back() {
        let mut position = Position::starting_at(10);
        position.progressed(20);
        position.progressed(15);
        assert_eq!(position.start_revision(), 21);
    }
}
