//! Tracks when a quorum last confirmed this node's leadership.
//!
//! openraft's own record is not used: it dates answers too late (see `read_round.rs`). The time
//! kept here is the start of a round that a quorum answered.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::consensus::LeaderId;

/// The last confirmation of a leader by a quorum. A leader counts as confirmed when it is first
/// observed, since a quorum has just elected it.
#[derive(Debug, Default)]
pub(super) struct Confirmed(Mutex<Option<(LeaderId, Instant)>>);

impl Confirmed {
    /// Records that a quorum answered a round of `leader` that began at `at`.
    pub(super) fn note(&self, leader: LeaderId, at: Instant) {
        let mut known = self.0.lock();
        let before = known.filter(|(of, _)| *of == leader).map(|(_, at)| at);
        *known = Some((leader, before.map_or(at, |before| before.max(at))));
    }

    /// Time since the start of the latest round of `leader` that a quorum answered.
    pub(super) fn silent_for(&self, leader: LeaderId) -> Duration {
        let mut known = self.0.lock();
        let at = match *known {
            Some((of, at)) if of == leader => at,
            Some(_) | None => Instant::now(),
        };
        *known = Some((leader, at));
        at.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_beginning_of_the_last_round_or_of_the_lead() {
        let confirmed = Confirmed::default();
        let leader = |node_id| LeaderId { term: 3, node_id };
        assert_eq!(confirmed.silent_for(leader(1)), Duration::ZERO);
        advance(2 * SECOND).await;
        assert_eq!(confirmed.silent_for(leader(1)), 2 * SECOND);
        let began = Instant::now();
        advance(SECOND).await;
        confirmed.note(leader(1), began);
        assert_eq!(confirmed.silent_for(leader(1)), SECOND);
        confirmed.note(leader(1), began - SECOND);
        assert_eq!(confirmed.silent_for(leader(1)), SECOND, "never back");
        assert_eq!(confirmed.silent_for(leader(2)), Duration::ZERO, "same term");
    }
}
