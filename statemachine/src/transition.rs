//! A command on its way: the state it changes, and what it does beside.
//!
//! Every family of commands is a block of methods here, in its own file. Invariant: what a command
//! did is in the overlay, the counters and the effects together, and claims agree with the keys
//! that stand for them whenever no change is under way.

use crate::{
    claims::EndReason,
    effects::Effects,
    fence::Policies,
    kv::Change,
    meta::Meta,
    overlay::Overlay,
    read::Reader,
    timers::{self, Timer},
    types::{ClusterTime, KeyValue},
    will::WILL_ROWS_MAX,
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
    /// Keys that stand for claims and were created, deleted or taken off their lease since claims
    /// were last reconciled with them.
    touched: Vec<Touched>,
    /// Whether they are being reconciled: what is touched meanwhile is seen to in the same course.
    pub(crate) is_reconciling: bool,
}

/// What happened to a key that stands for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Stored, attached to its lease; it may have existed before.
    Put(KeyValue),
    /// Deleted, or taken off its lease; this was its record.
    Ended(KeyValue, EndReason),
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
            touched: Vec::new(),
            is_reconciling: false,
        }
    }

    /// Reads the state with what was written.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::over(self.overlay, *self.meta)
    }

    /// Begins a revision. Claims whose keys it ends have ended because they were given up.
    pub(crate) const fn change(&mut self) -> Change<'_, 'a> {
        self.change_for(EndReason::RELEASED)
    }

    /// Begins a revision. Claims whose keys it ends have ended for `reason`.
    pub(crate) const fn change_for(&mut self, reason: EndReason) -> Change<'_, 'a> {
        Change::new(self, reason)
    }

    /// Sets a timer. Setting it again for the same time changes nothing.
    pub(crate) fn set_timer(&mut self, at: ClusterTime, timer: &Timer) {
        timers::set(self.overlay, at, timer);
        let earliest = &mut self.effects.facts.timer_set;
        *earliest = Some(earliest.map_or(at, |before| before.min(at)));
    }

    /// Takes note of a key that stands for a claim, or did.
    pub(crate) fn touch(&mut self, touched: Touched) {
        self.touched.push(touched);
    }

    /// The keys touched since this was last asked.
    pub(crate) fn take_touched(&mut self) -> Vec<Touched> {
        std::mem::take(&mut self.touched)
    }

    /// Whether any were.
    pub(crate) const fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Counts an event of so many bytes. Whether it is to be handed on: from the first that makes
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
            touched_len: self.touched.len(),
        }
    }

    /// Keeps what was written since [`Transition::save`].
    pub(crate) fn keep(&mut self) {
        self.overlay.keep();
    }

    /// Takes back what was written since then.
    pub(crate) fn restore(&mut self, savepoint: &Savepoint) {
        self.overlay.undo();
        *self.meta = savepoint.meta;
        self.touched.truncate(savepoint.touched_len);
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
