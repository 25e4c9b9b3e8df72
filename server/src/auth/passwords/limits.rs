//! A limit on wrong passwords, for each pair of user and peer.
//!
//! After [`BURST`] wrong ones, one attempt every [`INTERVAL`] is allowed. By pair, so that wrong
//! passwords from one address do not lock a user out everywhere, or all users of one address.
//! Right passwords are never limited, except behind wrong ones.
//!
//! Invariant: the table is bounded. The limit of a pair that falls out of it starts again, and
//! pushing it out costs its peer more hashing than the limit would have allowed.

use std::{net::IpAddr, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::LoginFault;
use crate::clock::Clock;

/// Wrong passwords in a row before the limit: more than people need, and too few to guess one.
const BURST: u32 = 10;

/// Time between two attempts at the limit: 86 400 passwords a day.
const INTERVAL: Duration = Duration::from_secs(1);

/// Pairs that are remembered, at a hundred bytes each. At fifty log-ins a second it takes five
/// minutes to push one out.
const PAIRS_MAX: usize = 16_384;

/// Wrong passwords by user and peer.
#[derive(Debug)]
pub(super) struct Limits {
    clock: Arc<dyn Clock>,
    /// For each pair, the time at which its wrong passwords are all forgiven, at one an interval.
    forgiven: Cache<Pair, Duration>,
}

/// A hash of a user's name, so that long names take no space, and an address.
type Pair = ([u8; 16], Option<IpAddr>);

/// An attempt that was admitted.
#[derive(Debug)]
pub(super) struct Attempt(Pair);

impl Limits {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            forgiven: Cache::new(PAIRS_MAX),
        }
    }

    /// Admits an attempt, or says when to come again.
    pub(super) fn admit(&self, user: &str, peer: Option<IpAddr>) -> Result<Attempt, LoginFault> {
        let digest = Sha256::digest(user.as_bytes());
        let mut name = [0; 16];
        name.copy_from_slice(&digest[..16]);
        let pair = (name, peer);
        let debt = self.debt(&pair);
        let allowed = INTERVAL * (BURST - 1);
        if debt > allowed {
            return Err(LoginFault::TooManyWrong {
                retry_after: debt - allowed,
            });
        }
        Ok(Attempt(pair))
    }

    /// Counts a wrong password.
    pub(super) fn failed(&self, attempt: Attempt) {
        let Attempt(pair) = attempt;
        let debt = self.debt(&pair) + INTERVAL;
        self.forgiven.insert(pair, self.clock.now() + debt);
    }

    /// Forgives wrong passwords before a right one.
    pub(super) fn succeeded(&self, attempt: &Attempt) {
        self.forgiven.remove(&attempt.0);
    }

    /// How long it takes until all wrong passwords of the pair are forgiven.
    fn debt(&self, pair: &Pair) -> Duration {
        let forgiven = self.forgiven.get(pair).unwrap_or_default();
        forgiven.saturating_sub(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fake::FakeClock;

    fn peer(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn after_ten_wrong_passwords_one_attempt_a_second_is_allowed() {
        let clock = FakeClock::default();
        let limits = Limits::new(Arc::new(clock.clone()));
        for _ in 0..BURST {
            limits.failed(limits.admit("alice", peer(1)).unwrap());
        }
        let refused = limits.admit("alice", peer(1)).unwrap_err();
        let retry_after = INTERVAL;
        assert_eq!(refused, LoginFault::TooManyWrong { retry_after });
        assert!(limits.admit("bob", peer(1)).is_ok(), "another user");
        assert!(limits.admit("alice", peer(2)).is_ok(), "another peer");
        assert!(limits.admit("alice", None).is_ok(), "a local socket");
        clock.advance(INTERVAL);
        limits.failed(limits.admit("alice", peer(1)).unwrap());
        assert!(limits.admit("alice", peer(1)).is_err());
        clock.advance(INTERVAL * BURST);
        for _ in 0..BURST {
            limits.failed(limits.admit("alice", peer(1)).unwrap());
        }
    }

    #[test]
    fn a_right_password_forgives_the_wrong_ones() {
        let limits = Limits::new(Arc::new(FakeClock::default()));
        for _ in 0..BURST - 1 {
            limits.failed(limits.admit("alice", peer(1)).unwrap());
        }
        limits.succeeded(&limits.admit("alice", peer(1)).unwrap());
        for _ in 0..BURST {
            limits.failed(limits.admit("alice", peer(1)).unwrap());
        }
        assert!(limits.admit("alice", peer(1)).is_err());
    }

    #[test]
    fn the_table_of_pairs_is_bounded() {
        let limits = Limits::new(Arc::new(FakeClock::default()));
        for number in 0..PAIRS_MAX * 3 {
            let attempt = limits.admit(&number.to_string(), None).unwrap();
            limits.failed(attempt);
        }
        assert!(limits.forgiven.len() <= PAIRS_MAX + PAIRS_MAX / 4);
    }
}
