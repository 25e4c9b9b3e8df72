//! Passes new leases from the apply path to the expirer.
//!
//! Renewals are not passed on: a renewal moves a deadline later, and the expirer looks a lease up
//! before it ends it. Invariant: a granted lease is in the list, or the feed reports an overflow.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
};

use parking_lot::Mutex;
use tenure_statemachine::{LeaseId, Outcome};

/// Bound on the leases waiting for the expirer, which takes them several times a second. On
/// overflow the expirer scans all leases instead, which is cheap beside that many grants.
const LEASES_WAITING_MAX: usize = 65_536;

/// Bound on the leases whose order of granting is remembered, for lists: leases that end in the
/// same millisecond are listed oldest first, or by id where the order is not remembered.
const ORDERED_MAX: usize = 65_536;

/// Queue of new leases for the expirer.
#[derive(Debug, Default)]
pub struct LeaseFeed {
    waiting: Mutex<Waiting>,
    order: Mutex<Order>,
}

/// The latest leases granted, oldest first.
type Order = VecDeque<LeaseId>;

/// New leases for the expirer. An id that it knows already is a new lease under the same id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NewLeases(pub(crate) Vec<LeaseId>);

#[derive(Debug, Default)]
struct Waiting {
    told: NewLeases,
    overflowed: bool,
}

impl LeaseFeed {
    /// Creates an empty feed.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Records the leases that a command granted. Called by the apply path once the new state is
    /// readable; costs nothing for commands that grant no lease.
    pub fn observe(&self, outcome: &Outcome) {
        let granted = &outcome.facts.leases_granted;
        if granted.is_empty() {
            return;
        }
        {
            let mut order = self.order.lock();
            order.extend(granted);
            let surplus = order.len().saturating_sub(ORDERED_MAX);
            order.drain(..surplus);
        }
        let mut waiting = self.waiting.lock();
        let Waiting { told, overflowed } = &mut *waiting;
        if told.0.len().saturating_add(granted.len()) > LEASES_WAITING_MAX {
            *overflowed = true;
        } else {
            told.0.extend(granted);
        }
    }

    /// Positions of the latest leases in the order of granting, from 1 on. Of two grants under one
    /// id the later counts. Works on a copy, so that the apply path does not wait for it; the apply
    /// path itself makes no lookups.
    pub(crate) fn places(&self) -> HashMap<LeaseId, u64> {
        let order = self.order.lock().clone();
        order.into_iter().zip(1..).collect()
    }

    /// Takes the leases granted since the last call, or returns `None` after an overflow.
    pub(crate) fn take(&self) -> Option<NewLeases> {
        let Waiting { told, overflowed } = mem::take(&mut *self.waiting.lock());
        (!overflowed).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::{Facts, Reply, Revision};

    use super::*;

    fn granted(leases: &[i64]) -> Outcome {
        Outcome {
            reply: Ok(Reply::Done),
            revision: Revision::EMPTY,
            events: Vec::new(),
            signals: Vec::new(),
            facts: Facts {
                leases_granted: leases.iter().copied().map(LeaseId).collect(),
                ..Facts::default()
            },
        }
    }

    #[test]
    fn too_many_grants_are_told_as_too_many() {
        let feed = LeaseFeed::new();
        feed.observe(&granted(&[]));
        feed.observe(&granted(&[2]));
        let told = feed.take().expect("few were granted");
        assert_eq!(told.0, [LeaseId(2)]);
        for id in 0..=LEASES_WAITING_MAX {
            feed.observe(&granted(&[id as i64]));
        }
        assert_eq!(feed.take(), None);
        assert_eq!(feed.take(), Some(NewLeases::default()));
    }

    #[test]
    fn the_places_of_the_latest_leases_are_remembered() {
        let feed = LeaseFeed::new();
        feed.observe(&granted(&[7, 3]));
        let places = feed.places();
        assert!(places[&LeaseId(7)] < places[&LeaseId(3)]);
        feed.observe(&granted(&[7]));
        let again = feed.places();
        assert!(again[&LeaseId(3)] < again[&LeaseId(7)], "the later counts");
        for id in 100..100 + ORDERED_MAX as i64 {
            feed.observe(&granted(&[id]));
        }
        assert!(!feed.places().contains_key(&LeaseId(7)));
        assert_eq!(feed.order.lock().len(), ORDERED_MAX);
    }
}
