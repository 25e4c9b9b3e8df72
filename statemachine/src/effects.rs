//! What a command changes beside its reply: events for watchers, signals for whoever waits.

use crate::outcome::{Event, Signal};

/// Collected while a command is applied, in the order things happened.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Changes to the key space.
    pub(crate) events: Vec<Event>,
    /// What became of claims.
    pub(crate) signals: Vec<Signal>,
}
