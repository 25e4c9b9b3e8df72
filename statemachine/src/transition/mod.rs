//! A command on its way: the state it changes, and what it does beside.
//!
//! Every family of commands is a block of methods on it, in the family's file. Families lie in
//! layers, and a family calls down only: what one has to leave for those above it is data here
//! (`Unreconciled`), and `execute/` takes it up.
//! Invariant: what a command did is in the overlay, the counters and the effects together.

mod effects;
mod policies;
mod touched;

#[cfg(test)]
pub(crate) use self::policies::tests as policies_for_tests;
pub(crate) use self::{
    effects::Effects,
    policies::Policies,
    touched::{EndReason, EndedClaim, Touched, Unreconciled},
};
use crate::{
    meta::Meta,
    price::WILL_ROWS_MAX,
    read::Reader,
    rows::Overlay,
    timers::{self, Timer},
    value::ClusterTime,
};

/// One command on its way.
#[derive(Debug)]
pub(crate) struct Transition<'a> {
    /// What is written.
    pub(crate) overlay: &'a mut Overlay,
    /// The counters, with what is written.
    pub(crate) meta: &'a mut Meta,
    /// The fence policies, with what is written.
    pub(crate) policies: &'a mut Policies,
    /// What the command does beside its reply.
    pub(crate) effects: Effects,
    /// Bytes of the events of the entry so far.
    event_bytes: &'a mut usize,
    /// Whether events of this command were left out, for there were too many.
    events_left_out: bool,
    /// Rows that wills may still look at.
    pub(crate) will_rows: u64,
    /// What is to be reconciled before the command is done.
    pub(crate) unreconciled: Unreconciled,
}

/// How a transition was, to go back to.
#[derive(Debug)]
pub(crate) struct Savepoint {
    meta: Meta,
    touched_len: usize,
}

impl<'a> Transition<'a> {
    /// A command that has done nothing yet. `event_bytes` counts the events of its entry.
    pub(crate) fn new(
        overlay: &'a mut Overlay,
        meta: &'a mut Meta,
        policies: &'a mut Policies,
        event_bytes: &'a mut usize,
    ) -> Self {
        Self {
            overlay,
            meta,
            policies,
            effects: Effects::default(),
            event_bytes,
            events_left_out: false,
            will_rows: WILL_ROWS_MAX,
            unreconciled: Unreconciled::default(),
        }
    }

    /// Reads the state with what was written.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::over(self.overlay, *self.meta)
    }

    /// Sets a timer. Setting it again for the same time changes nothing.
    pub(crate) fn set_timer(&mut self, at: ClusterTime, timer: &Timer) {
        timers::set(self.overlay, at, timer);
        let earliest = &mut self.effects.facts.timer_set;
        *earliest = Some(earliest.map_or(at, |before| before.min(at)));
    }

    /// Counts an event of `bytes` bytes. Whether it is to be handed on: from the first that makes
    /// too many on, the command hands on none.
    pub(crate) fn hands_on(&mut self, bytes: usize, bytes_max: usize) -> bool {
        if !self.events_left_out {
            *self.event_bytes = self.event_bytes.saturating_add(bytes);
            self.events_left_out = *self.event_bytes > bytes_max;
        }
        !self.events_left_out
    }

    /// From here on, what is written can be taken back.
    pub(crate) fn save(&mut self) -> Savepoint {
        self.overlay.begin_undo();
        Savepoint {
            meta: *self.meta,
            touched_len: self.unreconciled.touched.len(),
        }
    }

    /// Keeps what was written since [`Transition::save`].
    pub(crate) fn keep(&mut self) {
        self.overlay.keep();
    }

    /// Takes back what was written since then.
    pub(crate) fn restore(&mut self, savepoint: &Savepoint) {
        debug_assert!(
            self.unreconciled.touched.len() >= savepoint.touched_len,
            "claims are not reconciled within an undoable change"
        );
        self.overlay.undo();
        *self.meta = savepoint.meta;
        self.unreconciled.touched.truncate(savepoint.touched_len);
    }

    /// What was done. Some events are worse than none, which says that there is something to read.
    pub(crate) fn into_effects(self) -> Effects {
        if self.events_left_out {
            Effects {
                events: Vec::new(),
                ..self.effects
            }
        } else {
            self.effects
        }
    }
}
