//! Updates of a watch, revision by revision.

use tenure::{Event, Revision, Update};

/// All changes of one revision, in their order.
#[derive(Debug, Clone)]
pub(crate) struct RevisionChanges {
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Event>,
}

/// Splits an update. An update never ends within a revision.
pub(crate) fn by_revision(update: Update) -> Vec<RevisionChanges> {
    let mut all: Vec<RevisionChanges> = Vec::new();
    for event in update {
        let revision = event.revision();
        match all.last_mut() {
            Some(last) if last.revision == revision => last.events.push(event),
            _ => all.push(RevisionChanges {
                revision,
                events: vec![event],
            }),
        }
    }
    all
}
