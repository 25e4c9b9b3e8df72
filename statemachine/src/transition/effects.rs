//! What a command does beside its reply: events for watchers, signals for those who wait for
//! claims, facts for those who follow it up.

use crate::outcome::{Event, Facts, Signal};

/// Collected while a command is applied, in the order things happened.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Changes to the key space.
    pub(crate) events: Vec<Event>,
    /// What became of claims.
    pub(crate) signals: Vec<Signal>,
    /// What else was done.
    pub(crate) facts: Facts,
}
