//! A command being applied: the state it changes, and its effects.
//!
//! Every family of commands is a block of methods on [`Transition`], in the family's file. Families
//! are in layers, and call lower ones only: work for a higher layer is left as data in
//! `Unreconciled`, which `execute/` processes. Invariant: the overlay, the counters and the effects
//! are updated together.

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
    access::Gate,
    meta::Meta,
    price::WILL_ROWS_MAX,
    read::Reader,
    rows::Overlay,
    timers::{self, Timer},
    value::ClusterTime,
};

/// One command being applied.
#[derive(Debug)]
pub(crate) struct Transition<'a> {
    /// The pending writes.
    pub(crate) overlay: &'a mut Overlay,
    /// The counters, with the pending writes.
    pub(crate) meta: &'a mut Meta,
    /// The fence policies, with the pending writes.
    pub(crate) policies: &'a mut Policies,
    /// Who makes the command, and what decides what it may do.
    pub(crate) gate: Gate<'a>,
    /// The effects beside the reply.
    pub(crate) effects: Effects,
    /// Bytes of the entry's events so far.
    event_bytes: &'a mut usize,
    /// Whether events of this command were omitted, because there were too many.
    events_left_out: bool,
    /// Rows left in the budget of wills.
    pub(crate) will_rows: u64,
    /// Work to reconcile before the command is done.
    pub(crate) unreconciled: Unreconciled,
}

/// The state of a transition to return to.
#[derive(Debug)]
pub(crate) struct Savepoint {
    meta: Meta,
    touched_len: usize,
}

impl<'a> Transition<'a> {
    /// Starts a command. `event_bytes` counts the events of its entry.
    pub(crate) fn new(
        overlay: &'a mut Overlay,
        meta: &'a mut Meta,
        policies: &'a mut Policies,
        gate: Gate<'a>,
        event_bytes: &'a mut usize,
    ) -> Self {
        Self {
            overlay,
            meta,
            policies,
            gate,
            effects: Effects::default(),
            event_bytes,
            events_left_out: false,
            will_rows: WILL_ROWS_MAX,
            unreconciled: Unreconciled::default(),
        }
    }

    /// Returns a reader of the state with the pending writes.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::over(self.overlay, *self.meta)
    }

    /// Sets a timer. No effect if it is already set for the same time.
    pub(crate) fn set_timer(&mut self, at: ClusterTime, timer: &Timer) {
        timers::set(self.overlay, at, timer);
        let earliest = &mut self.effects.facts.timer_set;
        *earliest = Some(earliest.map_or(at, |before| before.min(at)));
    }

    /// Counts an event of `bytes` bytes. Returns whether to emit it: once there are too many, the
    /// command emits no events.
    pub(crate) fn hands_on(&mut self, bytes: usize, bytes_max: usize) -> bool {
        if !self.events_left_out {
            *self.event_bytes = self.event_bytes.saturating_add(bytes);
            self.events_left_out = *self.event_bytes > bytes_max;
        }
        !self.events_left_out
    }

    /// Makes the following writes undoable.
    pub(crate) fn save(&mut self) -> Savepoint {
        self.overlay.begin_undo();
        Savepoint {
            meta: *self.meta,
            touched_len: self.unreconciled.touched.len(),
        }
    }

    /// Keeps the writes since [`Transition::save`].
    pub(crate) fn keep(&mut self) {
        self.overlay.keep();
    }

    /// Undoes the writes since [`Transition::save`].
    pub(crate) fn restore(&mut self, savepoint: &Savepoint) {
        debug_assert!(
            self.unreconciled.touched.len() >= savepoint.touched_len,
            "claims are not reconciled within an undoable change"
        );
        self.overlay.undo();
        *self.meta = savepoint.meta;
        self.unreconciled.touched.truncate(savepoint.touched_len);
    }

    /// Returns the effects. Emits no events rather than only some: without events, watchers read
    /// history.
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
