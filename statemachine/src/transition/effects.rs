//! The effects of a command beside its reply: events for watchers, signals for callers that wait
//! for claims, facts for other subsystems of the node.

use crate::outcome::{Event, Facts, Signal};

/// Collected in order while a command is applied.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Changes to the key space.
    pub(crate) events: Vec<Event>,
    /// Changes of claims.
    pub(crate) signals: Vec<Signal>,
    /// Further effects.
    pub(crate) facts: Facts,
}
