//! Priority queue of leases by the time of their next check: a lower bound of the deadline.
//!
//! The state is authoritative: a check at that time finds leases that were renewed or revoked.
//! Invariant: no entry is later than the deadline in the state, except by the grace of the lease.

use std::collections::{BTreeSet, HashMap};

use tenure_statemachine::{ClusterTime, LeaseId};

/// Leases, ordered by the time of their next check.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    order: BTreeSet<(ClusterTime, LeaseId)>,
    times: HashMap<LeaseId, ClusterTime>,
}

impl Deadlines {
    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.times.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Schedules the next check of `lease` for `time`, replacing its previous time.
    pub(super) fn set(&mut self, lease: LeaseId, time: ClusterTime) {
        if let Some(before) = self.times.insert(lease, time) {
            self.order.remove(&(before, lease));
        }
        self.order.insert((time, lease));
    }

    /// Removes and returns the leases scheduled up to `now`, at most `max` of them, earliest first.
    pub(super) fn take_due(&mut self, now: ClusterTime, max: usize) -> Vec<LeaseId> {
        let mut due = Vec::new();
        while due.len() < max {
            let Some(&(time, lease)) = self.order.first().filter(|(time, _)| *time <= now) else {
                break;
            };
            self.order.remove(&(time, lease));
            self.times.remove(&lease);
            due.push(lease);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_due_once_in_order_and_never_early() {
        let mut deadlines = Deadlines::default();
        deadlines.set(LeaseId(1), ClusterTime(30));
        deadlines.set(LeaseId(2), ClusterTime(10));
        deadlines.set(LeaseId(3), ClusterTime(20));
        deadlines.set(LeaseId(2), ClusterTime(25));
        assert_eq!(deadlines.len(), 3);
        assert_eq!(deadlines.take_due(ClusterTime(19), 9), []);
        assert_eq!(deadlines.take_due(ClusterTime(25), 1), [LeaseId(3)]);
        assert_eq!(deadlines.take_due(ClusterTime(25), 9), [LeaseId(2)]);
        assert_eq!(deadlines.take_due(ClusterTime(99), 9), [LeaseId(1)]);
        assert_eq!(deadlines.len(), 0);
    }
}
