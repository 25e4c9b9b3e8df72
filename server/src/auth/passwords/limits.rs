//! Limits on wrong passwords: for each pair of user and peer, and for each peer.
//!
//! After [`BURST`] wrong ones of a pair, one attempt every [`INTERVAL`] is allowed. By pair, so
//! that wrong passwords from one address lock a user out neither everywhere, nor with all others
//! of the address.
//! The allowance of a peer is ten times that of a pair, for many clients may share an address. Once
//! it is used up, only users who have logged in from there before are let in: names that are made
//! up are not among them. Right passwords are never limited, except behind wrong ones.
//!
//! Invariant: the tables are bounded. The limit of a pair that falls out of one starts again, and
//! pushing it out costs its peer more hashing than the limit would have allowed.

use std::{net::IpAddr, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::{LoginFault, queue::Claimant};
use crate::clock::Clock;

/// Wrong passwords in a row before the limit: more than people need, and too few to guess one.
const BURST: u32 = 10;

/// Time between two attempts at the limit: 86 400 passwords a day.
const INTERVAL: Duration = Duration::from_secs(1);

/// Wrong passwords of one peer, for any users, before its limit: one user's of ten clients.
const PEER_BURST: u32 = 100;

/// Time between two attempts of a peer at the limit: half of what one thread hashes.
const PEER_INTERVAL: Duration = Duration::from_millis(100);

/// Peers that are remembered, at fifty bytes each: as many as pairs, each of which has one.
const PEERS_MAX: usize = PAIRS_MAX;

/// Pairs that are remembered, at a hundred bytes each. At fifty log-ins a second it takes five
/// minutes to push one out.
const PAIRS_MAX: usize = 16_384;

/// Wrong passwords by user and peer.
#[derive(Debug)]
pub(super) struct Limits {
    clock: Arc<dyn Clock>,
    /// For each pair, the time at which its wrong passwords are all forgiven, at one an interval.
    forgiven: Cache<Pair, Duration>,
    /// The same for each peer.
    forgiven_peers: Cache<Option<IpAddr>, Duration>,
    /// The pairs that have logged in.
    known: Cache<Pair, ()>,
}

/// A hash of a user's name, so that long names take no space, and an address.
type Pair = ([u8; 16], Option<IpAddr>);

/// An attempt that was admitted.
#[derive(Debug)]
pub(super) struct Attempt {
    pair: Pair,
    is_known: bool,
}

impl Attempt {
    /// Whose place in the queue it takes.
    pub(super) const fn claimant(&self) -> Claimant {
        let (user, peer) = self.pair;
        Claimant {
            peer,
            user,
            is_known: self.is_known,
        }
    }
}

impl Limits {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            forgiven: Cache::new(PAIRS_MAX),
            forgiven_peers: Cache::new(PEERS_MAX),
            known: Cache::new(PAIRS_MAX),
        }
    }

    /// Admits an attempt, or says when to come again.
    pub(super) fn admit(&self, user: &str, peer: Option<IpAddr>) -> Result<Attempt, LoginFault> {
        let digest = Sha256::digest(user.as_bytes());
        let mut name = [0; 16];
        name.copy_from_slice(&digest[..16]);
        let pair = (name, peer);
        let debt = self.debt(self.forgiven.get(&pair));
        let allowed = INTERVAL * (BURST - 1);
        if debt > allowed {
            return Err(LoginFault::TooManyWrong {
                retry_after: debt - allowed,
            });
        }
        let is_known = self.known.get(&pair).is_some();
        let debt = self.debt(self.forgiven_peers.get(&peer));
        let allowed = PEER_INTERVAL * (PEER_BURST - 1);
        if debt > allowed && !is_known {
            return Err(LoginFault::TooManyWrongThere {
                retry_after: debt - allowed,
            });
        }
        Ok(Attempt { pair, is_known })
    }

    /// Counts a wrong password.
    pub(super) fn failed(&self, attempt: Attempt) {
        let Attempt { pair, .. } = attempt;
        let (_, peer) = pair;
        let now = self.clock.now();
        let debt = self.debt(self.forgiven.get(&pair)) + INTERVAL;
        self.forgiven.insert(pair, now + debt);
        let debt = self.debt(self.forgiven_peers.get(&peer)) + PEER_INTERVAL;
        self.forgiven_peers.insert(peer, now + debt);
    }

    /// Forgets the wrong passwords of a pair before a right one.
    pub(super) fn succeeded(&self, attempt: &Attempt) {
        self.forgiven.remove(&attempt.pair);
        self.is_there(attempt);
    }

    /// Remembers that the user has logged in from there.
    pub(super) fn is_there(&self, attempt: &Attempt) {
        if !attempt.is_known {
            self.known.insert(attempt.pair, ());
        }
    }

    /// How long it takes until wrong passwords are forgiven that are at this time.
    fn debt(&self, forgiven: Option<Duration>) -> Duration {
        let forgiven = forgiven.unwrap_or_default();
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
            let peer = u32::try_from(number).unwrap().to_be_bytes();
            let peer = Some(IpAddr::from(peer));
            let attempt = limits.admit("alice", peer).unwrap();
            limits.succeeded(&attempt);
            limits.failed(attempt);
        }
        let len_max = PAIRS_MAX + PAIRS_MAX / 4;
        let (known, peers) = (limits.known.len(), limits.forgiven_peers.len());
        for len in [limits.forgiven.len(), known, peers] {
            assert!(len <= len_max, "{len}");
        }
    }

    #[test]
    fn many_wrong_names_from_an_address_leave_those_who_logged_in_there_alone() {
        let clock = FakeClock::default();
        let limits = Limits::new(Arc::new(clock.clone()));
        limits.succeeded(&limits.admit("bob", peer(1)).unwrap());
        for number in 0..PEER_BURST {
            let attempt = limits.admit(&number.to_string(), peer(1)).unwrap();
            limits.failed(attempt);
        }
        let retry_after = PEER_INTERVAL;
        let refused = limits.admit("carl", peer(1)).unwrap_err();
        assert_eq!(refused, LoginFault::TooManyWrongThere { retry_after });
        assert!(limits.admit("bob", peer(1)).is_ok(), "he is known there");
        assert!(limits.admit("bob", peer(2)).is_ok(), "another address");
        clock.advance(retry_after);
        limits.succeeded(&limits.admit("carl", peer(1)).unwrap());
        // Those who are known have the limit of their pair still.
        for _ in 0..BURST {
            limits.failed(limits.admit("bob", peer(1)).unwrap());
        }
        assert!(limits.admit("bob", peer(1)).is_err());
    }
}
