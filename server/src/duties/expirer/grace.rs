//! Time that leases are given to be renewed, after nobody could renew them.
//!
//! Invariant: a grace that was given is not taken back, neither by the next one nor by what is
//! forgotten of many.

use tenure_statemachine::{ClusterTime, Lease, Ttl};

/// Longest grace after a gap: clients try again well within it, and what is held by the dead must
/// come free.
pub(super) const GRACE_MAX: Ttl = Ttl::from_secs(10);
/// Graces that are told apart. One lasts ten seconds at most and a gap before another takes one at
/// least, so more are rare; then the oldest two become one that is over no earlier than either.
const GRACES_MAX: usize = 8;

/// Time given to renew after a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grace {
    from: ClusterTime,
    length: Ttl,
}

impl Grace {
    /// No lease gets more than its own time to live.
    fn end_for(self, lease: &Lease) -> ClusterTime {
        self.from.after(self.length.min(lease.ttl))
    }

    fn end(self) -> ClusterTime {
        self.from.after(self.length)
    }
}

/// Every grace that is not over, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Graces(Vec<Grace>);

impl Graces {
    /// Gives every lease time from `from` on, as much as `length` within bounds.
    pub(super) fn give(&mut self, from: ClusterTime, length: Ttl) {
        self.0.retain(|grace| grace.end() > from);
        if self.0.len() >= GRACES_MAX {
            let first = self.0.remove(0);
            if let Some(second) = self.0.first_mut() {
                second.length = second.length.max(first.length);
            }
        }
        let length = length.min(GRACE_MAX);
        self.0.push(Grace { from, length });
    }

    /// When `lease` may end: not before its deadline, nor before its part of any grace is over.
    pub(super) fn end_of(&self, lease: &Lease) -> ClusterTime {
        let ends = self.0.iter().map(|grace| grace.end_for(lease));
        ends.fold(lease.deadline, ClusterTime::max)
    }
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::{LeaseId, MayHave};

    use super::*;

    fn end(graces: &Graces, deadline: u64, ttl: u64) -> u64 {
        let lease = Lease {
            id: LeaseId(1),
            ttl: Ttl(ttl),
            deadline: ClusterTime(deadline),
            generation: 1,
            keys: None,
            may_have: MayHave::ALL,
        };
        graces.end_of(&lease).0
    }

    #[test]
    fn a_grace_is_bounded_by_the_lease_and_by_the_greatest_there_is() {
        let mut graces = Graces::default();
        assert_eq!(end(&graces, 500, 1000), 500);
        graces.give(ClusterTime(1000), Ttl(60_000));
        assert_eq!(end(&graces, 500, 3000), 4000);
        assert_eq!(end(&graces, 500, 60_000), 11_000);
        assert_eq!(end(&graces, 50_000, 60_000), 50_000);
    }

    #[test]
    fn a_shorter_gap_does_not_cut_the_grace_for_a_longer_one() {
        let mut graces = Graces::default();
        graces.give(ClusterTime(8000), Ttl(8000));
        graces.give(ClusterTime(10_200), Ttl(1200));
        assert_eq!(end(&graces, 0, 60_000), 16_000);
        assert_eq!(end(&graces, 0, 1000), 11_200);
    }

    #[test]
    fn of_many_graces_none_is_taken_back() {
        let mut graces = Graces::default();
        graces.give(ClusterTime(0), GRACE_MAX);
        for from in 1..100 {
            graces.give(ClusterTime(from), Ttl(200));
            assert!(graces.0.len() <= GRACES_MAX);
            assert!(end(&graces, 0, 60_000) >= 10_000);
        }
        graces.give(ClusterTime(60_000), Ttl(1));
        assert_eq!(graces.0.len(), 1, "what is over is forgotten");
    }
}
