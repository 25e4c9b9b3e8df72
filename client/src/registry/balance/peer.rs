//! State of one instance in the balancer: its calls under way and recent failures.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::choice::Load;
use crate::{
    breaker::{Breaker, Permit, SILENCE_MIN},
    id::Token,
};

/// Failures in a row that eject a peer: more than a single error, and few enough that a dead peer
/// costs little.
const FAILURES_MAX: u32 = 5;
/// The duration of the first ejection; each further one in a row lasts this much longer.
const EJECTION: Duration = Duration::from_secs(10);
/// The most ejections in a row that add up.
const EJECTIONS_MAX: u32 = 30;

/// An instance and its state.
#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) service: S,
    pub(super) place: Place,
    weight: AtomicU32,
    in_flight: AtomicU32,
    breaker: Arc<Breaker>,
}

/// The identity of a peer across changes of its registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: String,
    /// A new incarnation starts with a clean record.
    pub(super) incarnation: Token,
    pub(super) address: String,
    pub(super) near: bool,
}

impl<S> Peer<S> {
    pub(super) fn new(place: Place, weight: u32, service: S) -> Self {
        let breaker = Breaker::growing(FAILURES_MAX, EJECTION, EJECTIONS_MAX);
        Self {
            service,
            place,
            weight: AtomicU32::new(weight),
            in_flight: AtomicU32::new(0),
            breaker: Arc::new(breaker),
        }
    }

    pub(super) fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    pub(super) fn load(&self, now: Instant) -> Load {
        Load {
            weight: self.weight.load(Ordering::Relaxed).max(1),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            near: self.place.near,
            ejected: !self.breaker.admits(now),
        }
    }

    /// Starts a call, which is under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight<S> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        // The peer may be ejected here: when most peers are, or when another call became the probe
        // first.
        let permit = self.breaker.admit();
        let permit = permit.unwrap_or_else(|_| self.breaker.admit_always());
        InFlight {
            peer: Arc::clone(self),
            permit: Some(permit),
            sent: None,
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub(super) struct InFlight<S> {
    peer: Arc<Peer<S>>,
    /// Until its result is known.
    permit: Option<Permit>,
    sent: Option<Instant>,
}

impl<S> InFlight<S> {
    /// The service to send the call to, at once.
    pub(super) fn send(&mut self) -> &S {
        self.sent = Some(Instant::now());
        &self.peer.service
    }

    /// Reports a response of the instance.
    pub(super) fn succeeded(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.succeeded();
        }
    }

    /// Reports that the instance cannot be reached or cannot serve.
    pub(super) fn failed(&mut self) {
        if self.permit.take().is_some_and(Permit::failed) {
            tracing::info!(peer = self.peer.place.id, "instance ejected after failures");
        }
    }
}

impl<S> Drop for InFlight<S> {
    fn drop(&mut self) {
        // An instance that never responds must count as failed although no call returns an error.
        // Callers that cancel do so at once or by a deadline, which is rarely shorter than this.
        let silent = self.sent.is_some_and(|sent| sent.elapsed() >= SILENCE_MIN);
        if silent {
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
        let brief = SILENCE_MIN - Duration::from_millis(1);
        for _ in 0..FAILURES_MAX {
            give_up_after(brief).await;
        }
        assert!(!ejected(&peer), "their callers lost interest");
        // Once its response has arrived, a call may take any time.
        for _ in 0..FAILURES_MAX {
            let mut call = peer.begin();
            call.send();
            call.succeeded();
            tokio::time::advance(SILENCE_MIN).await;
        }
        assert!(!ejected(&peer));
        for _ in 0..FAILURES_MAX {
            give_up_after(SILENCE_MIN).await;
        }
        assert!(ejected(&peer));
    }

    fn fail(peer: &Arc<Peer<()>>, times: u32) {
        (0..times).for_each(|_| peer.begin().failed());
    }

    fn ejected(peer: &Arc<Peer<()>>, after: Duration) -> bool {
        peer.load(Instant::now() + after).ejected
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_eject_and_a_success_between_does_not_let_them_add_up() {
        let peer = peer();
        fail(&peer, FAILURES_MAX - 1);
        peer.begin().succeeded();
        fail(&peer, FAILURES_MAX - 1);
        assert!(!ejected(&peer, Duration::ZERO));
        fail(&peer, 1);
        assert!(ejected(&peer, Duration::ZERO));
        assert!(!ejected(&peer, EJECTION));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_fails_again_at_once_is_ejected_for_longer() {
        let peer = peer();
        fail(&peer, FAILURES_MAX + 3);
        assert!(
            !ejected(&peer, EJECTION),
            "failures meanwhile prolong nothing"
        );
        tokio::time::advance(EJECTION).await;
        fail(&peer, 1);
        assert!(ejected(&peer, EJECTION));
        assert!(!ejected(&peer, EJECTION * 2));
        // A success takes one step back.
        peer.begin().succeeded();
        fail(&peer, FAILURES_MAX);
        assert!(ejected(&peer, EJECTION));
        assert!(!ejected(&peer, EJECTION * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_probes_a_peer_whose_ejection_is_over() {
        let peer = peer();
        fail(&peer, FAILURES_MAX);
        tokio::time::advance(EJECTION).await;
        assert!(!ejected(&peer, Duration::ZERO));
        let mut probe = peer.begin();
        assert!(ejected(&peer, Duration::ZERO), "others wait for its result");
        probe.succeeded();
        assert!(!ejected(&peer, Duration::ZERO));
    }
}
