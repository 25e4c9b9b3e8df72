//! A circuit breaker per endpoint: where nothing gets through, nothing is sent for a while.
//!
//! Only the transport counts: connections that are refused or break. Any answer, be it an error,
//! shows that the endpoint is there, and running out of a caller's own time shows nothing. The
//! invariant: while the breaker is half open, at most one attempt is under way.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::Rng;
use tokio::{
    sync::Notify,
    time::{Instant, error::Elapsed},
};
use tonic::Status;

use crate::error::is_broken;

/// Failures in a row that open a breaker: one restart of a server breaks one connection per lane,
/// and costs a few attempts beside.
pub(crate) const FAILURES_MAX: u32 = 5;
/// Pause before an endpoint is tried again, on average: a server takes about a second to start.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// Shortest silence that says something about an endpoint: about a start, a change of leaders or a
/// write on a busy disk. A caller with less time than that finds out nothing.
const SILENCE_MIN: Duration = Duration::from_secs(1);

/// Whether requests are sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Requests are sent.
    Closed,
    /// Nothing is sent for now, because one connection after the other failed.
    Open,
    /// One attempt finds out whether the endpoint is back.
    HalfOpen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { probe_at: Instant },
    HalfOpen,
}

/// The breaker of one endpoint.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures_max: u32,
    pause: Duration,
    phase: Mutex<Phase>,
    /// Told when attempts are admitted that were not before.
    relief: Arc<Notify>,
}

/// Why an attempt is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nothing is sent before this point in time.
    Until(Instant),
    /// Another attempt is finding out.
    Probing,
}

impl Breaker {
    /// A breaker that opens after so many failures in a row; zero: never.
    pub(crate) fn new(failures_max: u32, pause: Duration, relief: Arc<Notify>) -> Self {
        Self {
            failures_max,
            pause,
            phase: Mutex::new(Phase::Closed { failures: 0 }),
            relief,
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match *self.phase.lock() {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen => BreakerState::HalfOpen,
        }
    }

    /// Asks to make an attempt; tell the permit how it went.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Permit, Refused> {
        let mut phase = self.phase.lock();
        let probe = match *phase {
            Phase::Closed { .. } => false,
            Phase::Open { probe_at } if Instant::now() < probe_at => {
                return Err(Refused::Until(probe_at));
            }
            Phase::Open { .. } => {
                *phase = Phase::HalfOpen;
                true
            }
            Phase::HalfOpen => return Err(Refused::Probing),
        };
        Ok(self.permit(probe))
    }

    /// An attempt that is made whatever the state, and counts all the same.
    pub(crate) fn insist(self: &Arc<Self>) -> Permit {
        self.permit(false)
    }

    fn permit(self: &Arc<Self>, probe: bool) -> Permit {
        Permit {
            breaker: Arc::clone(self),
            probe,
            since: Instant::now(),
        }
    }

    fn succeeded(&self) {
        let before = std::mem::replace(&mut *self.phase.lock(), Phase::Closed { failures: 0 });
        if !matches!(before, Phase::Closed { .. }) {
            self.relief.notify_waiters();
        }
    }

    fn failed(&self, probe: bool) {
        let mut phase = self.phase.lock();
        match *phase {
            Phase::Closed { failures } if failures + 1 != self.failures_max => {
                let failures = failures.saturating_add(1);
                *phase = Phase::Closed { failures };
            }
            Phase::HalfOpen if !probe => {}
            Phase::Open { .. } => {}
            Phase::Closed { .. } | Phase::HalfOpen => {
                let pause = self.pause.mul_f64(rand::rng().random_range(0.5..1.5));
                *phase = Phase::Open {
                    probe_at: Instant::now() + pause,
                };
                drop(phase);
                // Who waited for the probe has to wait for a point in time instead.
                self.relief.notify_waiters();
            }
        }
    }

    /// A probe ended without saying how it went: the next attempt is one.
    fn abandoned(&self) {
        let mut phase = self.phase.lock();
        if *phase == Phase::HalfOpen {
            *phase = Phase::Open {
                probe_at: Instant::now(),
            };
            drop(phase);
            self.relief.notify_waiters();
        }
    }
}

/// Leave for one attempt.
#[derive(Debug)]
#[must_use = "the breaker has to learn how the attempt went"]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    probe: bool,
    since: Instant,
}

impl Permit {
    /// Judges by what came of the attempt.
    pub(crate) fn observe<T>(self, answer: &Result<Result<T, Status>, Elapsed>) {
        match answer {
            Ok(Err(status)) if is_broken(status) => self.failed(),
            Ok(_) => self.succeeded(),
            // A probe that stays unanswered does not find the endpoint back, if its caller gave it
            // the time. One that is dropped makes room for another.
            Err(_) if self.probe && self.since.elapsed() >= SILENCE_MIN => self.failed(),
            Err(_) => {}
        }
    }

    /// The endpoint answered.
    pub(crate) fn succeeded(mut self) {
        self.probe = false;
        self.breaker.succeeded();
    }

    /// The endpoint could not be reached, or the connection broke.
    pub(crate) fn failed(mut self) {
        self.breaker.failed(self.probe);
        self.probe = false;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.abandoned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Arc<Breaker> {
        Arc::new(Breaker::new(FAILURES_MAX, PAUSE, Arc::default()))
    }

    fn open(breaker: &Arc<Breaker>) -> Instant {
        for _ in 0..FAILURES_MAX {
            breaker.admit().unwrap().failed();
        }
        match breaker.admit() {
            Err(Refused::Until(probe_at)) => probe_at,
            other => panic!("the breaker is open, got {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_failures_in_a_row_open_it() {
        let breaker = breaker();
        for _ in 0..3 {
            for _ in 1..FAILURES_MAX {
                breaker.admit().unwrap().failed();
            }
            breaker.admit().unwrap().succeeded();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        open(&breaker);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_after_a_jittered_pause_decides() {
        let breaker = breaker();
        let probe_at = open(&breaker);
        let pause = probe_at - Instant::now();
        assert!(pause >= PAUSE / 2 && pause <= PAUSE * 3 / 2, "{pause:?}");
        tokio::time::sleep_until(probe_at).await;
        let probe = breaker.admit().unwrap();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.admit().unwrap_err(), Refused::Probing);
        probe.failed();
        assert_eq!(breaker.state(), BreakerState::Open);

        tokio::time::advance(PAUSE * 2).await;
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.admit().unwrap().failed();
        assert_eq!(breaker.state(), BreakerState::Closed, "it counts from zero");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_dropped_leaves_room_for_another() {
        let breaker = breaker();
        tokio::time::sleep_until(open(&breaker)).await;
        drop(breaker.admit().unwrap());
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    async fn unanswered(time: Duration) -> Result<Result<(), Status>, Elapsed> {
        tokio::time::timeout(time, std::future::pending()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_was_given_little_time_shows_nothing() {
        let breaker = breaker();
        tokio::time::sleep_until(open(&breaker)).await;
        let probe = breaker.admit().unwrap();
        probe.observe(&unanswered(SILENCE_MIN / 2).await);
        // The next attempt is a probe, and need not wait.
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);

        tokio::time::sleep_until(open(&breaker)).await;
        let probe = breaker.admit().unwrap();
        probe.observe(&unanswered(SILENCE_MIN).await);
        assert!(matches!(breaker.admit(), Err(Refused::Until(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_from_before_do_not_decide_for_the_probe() {
        let breaker = breaker();
        let before = [breaker.admit().unwrap(), breaker.admit().unwrap()];
        tokio::time::sleep_until(open(&breaker)).await;
        let probe = breaker.admit().unwrap();
        let [failing, answered] = before;
        failing.failed();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        answered.succeeded();
        assert_eq!(
            breaker.state(),
            BreakerState::Closed,
            "an answer is an answer"
        );
        probe.failed();
        assert_eq!(breaker.state(), BreakerState::Closed, "it was one failure");
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_that_is_switched_off_never_opens() {
        let breaker = Arc::new(Breaker::new(0, PAUSE, Arc::default()));
        for _ in 0..100 {
            breaker.admit().unwrap().failed();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
