//! When each lease is worth looking at: a lower bound of its deadline, earliest first.
//!
//! Not the truth, which is in the state: a lease that was renewed or has gone is found out when its
//! time here comes. Invariant: no lease is here later than its deadline in the state, unless that
//! is by the grace it was given.

use std::collections::{BTreeSet, HashMap};

use tenure_statemachine::{ClusterTime, LeaseId};

/// Leases by when to look at them.
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

    /// Looks at `lease` at `time`, and not at another time it had.
    pub(super) fn set(&mut self, lease: LeaseId, time: ClusterTime) {
        if let Some(before) = self.times.insert(lease, time) {
            self.order.remove(&(before, lease));
        }
        self.order.insert((time, lease));
    }

    /// Takes the leases to look at by `now`, the earliest `max` of them.
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
