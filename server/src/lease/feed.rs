//! Tells the expirer of new leases, from the apply path.
//!
//! Only grants need telling: a renewal moves a deadline later, and the expirer looks a lease up
//! before it ends it. Invariant: a grant is either in the list or the feed says that it lost some.

use std::{mem, sync::Arc};

use parking_lot::Mutex;
use tenure_statemachine::{LeaseId, Outcome, Reply};

/// Grants that wait for the expirer, which takes them several times a second. When more come it
/// is told to look at all leases instead, which is cheap beside so many grants.
const GRANTS_WAITING_MAX: usize = 65_536;

/// New leases on their way to the expirer.
#[derive(Debug, Default)]
pub struct LeaseFeed {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    leases: Vec<LeaseId>,
    overflowed: bool,
}

impl LeaseFeed {
    /// An empty feed.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Looks at what a command came to. For the apply path, after the state that holds it can be
    /// read; costs nothing but for grants.
    pub fn observe(&self, outcome: &Outcome) {
        let Ok(Reply::LeaseGrant(lease, _)) = &outcome.reply else {
            return;
        };
        let mut waiting = self.waiting.lock();
        if waiting.leases.len() < GRANTS_WAITING_MAX {
            waiting.leases.push(*lease);
        } else {
            waiting.overflowed = true;
        }
    }

    /// The leases granted since the last time, or `None` when there were too many to tell.
    pub(super) fn take(&self) -> Option<Vec<LeaseId>> {
        let Waiting { leases, overflowed } = mem::take(&mut *self.waiting.lock());
        (!overflowed).then_some(leases)
    }
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::{Revision, Ttl};

    use super::*;

    #[test]
    fn too_many_grants_are_told_as_too_many() {
        let feed = LeaseFeed::new();
        let granted = |id| Outcome {
            reply: Ok(Reply::LeaseGrant(LeaseId(id), Ttl(1))),
            revision: Revision::EMPTY,
            events: Vec::new(),
        };
        feed.observe(&Outcome {
            reply: Ok(Reply::LeaseRevoke),
            ..granted(1)
        });
        feed.observe(&granted(2));
        assert_eq!(feed.take(), Some(vec![LeaseId(2)]));
        for id in 0..=GRANTS_WAITING_MAX {
            feed.observe(&granted(id as i64));
        }
        assert_eq!(feed.take(), None);
        assert_eq!(feed.take(), Some(Vec::new()));
    }
}
