//! Grace periods: time to renew leases after a gap in which no renewal was possible.
//!
//! Invariant: a granted grace never becomes shorter, neither by a later grace nor when old ones are
//! merged.

use tenure_statemachine::{ClusterTime, Lease, Ttl};

/// Longest grace after a gap: clients retry well within it, and locks of failed clients must be
/// released.
pub(super) const GRACE_MAX: Ttl = Ttl::from_secs(10);
/// Graces kept apart. A grace lasts ten seconds at most and the gap before the next at least one,
/// so more are rare; then the two oldest are merged into one that ends no earlier than either.
const GRACES_MAX: usize = 8;

/// Time to renew after a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grace {
    from: ClusterTime,
    length: Ttl,
}

impl Grace {
    /// When the grace ends for `lease`: after its TTL at most.
    fn end_for(self, lease: &Lease) -> ClusterTime {
        self.from.after(self.length.min(lease.ttl))
    }

    fn end(self) -> ClusterTime {
        self.from.after(self.length)
    }
}

/// The graces that have not ended, oldest first.
#[derive(Debug, Default)]
pub(super) struct Graces(Vec<Grace>);

impl Graces {
    /// Grants every lease a grace from `from` on, of `length` but at most [`GRACE_MAX`].
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

    /// The earliest end of `lease`: its deadline, or the latest end of its graces.
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
