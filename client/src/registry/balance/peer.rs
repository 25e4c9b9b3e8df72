//! One instance as a caller sees it: how much is under way there, and whether it has failed of
//! late.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::choice::Load;
use crate::id::Token;

/// Failures in a row after which a peer is left alone for a while: more than one bad answer, and
/// few enough that a dead peer costs little.
const FAILURES_MAX: u32 = 5;
/// How long a peer is left alone the first time; each further time in a row adds as much.
const EJECTION: Duration = Duration::from_secs(10);
/// Most that adds up to.
const EJECTIONS_MAX: u32 = 30;

/// Time after which a call that its caller gave up counts as a failure: a caller that loses
/// interest does so at once or has a deadline, and hardly any deadline is shorter.
const UNANSWERED_MIN: Duration = Duration::from_secs(1);

/// An instance and what is known of it.
#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) service: S,
    pub(super) place: Place,
    weight: AtomicU32,
    in_flight: AtomicU32,
    health: Mutex<Health>,
}

/// What makes a peer the same peer after a change of its registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: String,
    /// A new life of an instance starts with a clean record.
    pub(super) incarnation: Token,
    pub(super) address: String,
    pub(super) near: bool,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    ejections: u32,
    until: Option<Instant>,
}

impl<S> Peer<S> {
    pub(super) fn new(place: Place, weight: u32, service: S) -> Self {
        Self {
            service,
            place,
            weight: AtomicU32::new(weight),
            in_flight: AtomicU32::new(0),
            health: Mutex::default(),
        }
    }

    pub(super) fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    pub(super) fn load(&self, now: Instant) -> Load {
        let until = self.health.lock().until;
        Load {
            weight: self.weight.load(Ordering::Relaxed).max(1),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            near: self.place.near,
            ejected: until.is_some_and(|until| now < until),
        }
    }

    /// A call begins; it is under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight<S> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight {
            peer: Arc::clone(self),
            sent: None,
        }
    }

    fn succeeded(&self) {
        let mut health = self.health.lock();
        if health.until.take().is_some() {
            health.ejections = health.ejections.saturating_sub(1);
        }
        health.failures = 0;
    }

    fn failed(&self, now: Instant) {
        let mut health = self.health.lock();
        // What was under way before an ejection does not prolong it.
        if health.until.is_some_and(|until| now < until) {
            return;
        }
        health.failures += 1;
        // Whoever comes back from an ejection has one try.
        if health.failures >= FAILURES_MAX || health.until.is_some() {
            health.ejections = (health.ejections + 1).min(EJECTIONS_MAX);
            health.until = Some(now + EJECTION * health.ejections);
            health.failures = 0;
            tracing::info!(
                peer = self.place.id,
                "an instance fails and is left alone for a while"
            );
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub(super) struct InFlight<S> {
    peer: Arc<Peer<S>>,
    /// Since when it is not answered.
    sent: Option<Instant>,
}

impl<S> InFlight<S> {
    /// It is sent now, to this service.
    pub(super) fn send(&mut self) -> &S {
        self.sent = Some(Instant::now());
        &self.peer.service
    }

    /// The instance has answered.
    pub(super) fn succeeded(&mut self) {
        self.sent = None;
        self.peer.succeeded();
    }

    /// The instance cannot be reached, or cannot serve.
    pub(super) fn failed(&mut self) {
        self.sent = None;
        self.peer.failed(Instant::now());
    }
}

impl<S> Drop for InFlight<S> {
    fn drop(&mut self) {
        // An instance that answers nobody fails although no call ends with an error.
        let waited = self.sent.map(|sent| sent.elapsed());
        if waited.is_some_and(|waited| waited >= UNANSWERED_MIN) {
            self.failed();
        }
        self.peer.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Arc<Peer<()>> {
        let place = Place {
            id: "a".to_owned(),
            incarnation: Token::new(1),
            address: String::new(),
            near: true,
        };
        Arc::new(Peer::new(place, 100, ()))
    }

    #[test]
    fn calls_count_while_they_are_under_way() {
        let (peer, now) = (peer(), Instant::now());
        let calls = (peer.begin(), peer.begin());
        assert_eq!(peer.load(now).in_flight, 2);
        drop(calls);
        assert_eq!(peer.load(now).in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_given_up_without_an_answer_count_as_failures() {
        let peer = peer();
        let ejected = |peer: &Peer<()>| peer.load(Instant::now()).ejected;
        let give_up_after = async |waited: Duration| {
            let mut call = peer.begin();
            call.send();
            tokio::time::advance(waited).await;
        };
        let brief = UNANSWERED_MIN - Duration::from_millis(1);
        for _ in 0..FAILURES_MAX {
            give_up_after(brief).await;
        }
        assert!(!ejected(&peer), "their callers lost interest");
        // One that was answered may take as long as it likes.
        for _ in 0..FAILURES_MAX {
            let mut call = peer.begin();
            call.send();
            call.succeeded();
            tokio::time::advance(UNANSWERED_MIN).await;
        }
        assert!(!ejected(&peer));
        for _ in 0..FAILURES_MAX {
            give_up_after(UNANSWERED_MIN).await;
        }
        assert!(ejected(&peer));
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_does_not_let_them_add_up() {
        let (peer, now) = (peer(), Instant::now());
        for _ in 1..FAILURES_MAX {
            peer.failed(now);
        }
        peer.succeeded();
        for _ in 1..FAILURES_MAX {
            peer.failed(now);
        }
        assert!(!peer.load(now).ejected);
        peer.failed(now);
        assert!(peer.load(now).ejected);
        assert!(!peer.load(now + EJECTION).ejected);
    }

    #[test]
    fn a_peer_that_fails_again_at_once_is_left_alone_for_longer() {
        let (peer, now) = (peer(), Instant::now());
        for _ in 0..FAILURES_MAX + 3 {
            peer.failed(now);
        }
        let later = now + EJECTION;
        assert!(!peer.load(later).ejected);
        peer.failed(later);
        assert!(peer.load(later + EJECTION).ejected);
        assert!(!peer.load(later + EJECTION * 2).ejected);
        // A success gives back one step.
        peer.succeeded();
        for _ in 0..FAILURES_MAX {
            peer.failed(later);
        }
        assert!(!peer.load(later + EJECTION * 2).ejected);
        assert!(peer.load(later + EJECTION).ejected);
    }
}
