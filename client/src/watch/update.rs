//! Updates of watches.

use std::{slice, vec};

use crate::{
    id::Revision,
    response::{Event, Header},
};

/// All changes of one or several revisions, or a progress notification. Made by
/// [`Watcher::next`](crate::Watcher::next).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    header: Header,
    events: Vec<Event>,
}

impl Update {
    pub(super) fn new(header: Header, events: Vec<Event>) -> Self {
        Self { header, events }
    }

    /// The header of the update.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// The latest revision of the store when the update was sent. It may be greater than that of
    /// the last event. After a progress notification, all changes up to this revision have been
    /// delivered.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.header.revision()
    }

    /// Changes in the order of their revisions; empty for a progress notification.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The changes, by value.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// Iterates over the changes.
    pub fn iter(&self) -> slice::Iter<'_, Event> {
        self.events.iter()
    }

    /// Whether this is a progress notification.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        self.events.is_empty()
    }
}

impl IntoIterator for Update {
    type Item = Event;
    type IntoIter = vec::IntoIter<Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.events.into_iter()
    }
}

impl<'a> IntoIterator for &'a Update {
    type Item = &'a Event;
    type IntoIter = slice::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
