//! Failure detection by circuit breaker: after several failures in a row nothing is sent to a
//! target for a while, then one probe decides.
//!
//! There is one per endpoint of a client, and one per instance of a balancer. The caller decides
//! what counts as a failure, for endpoints by [`Permit::observe`]. Invariant: while the breaker is
//! half open, at most one admitted attempt is under way.

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
/// and a few attempts beside.
pub(crate) const FAILURES_MAX: u32 = 5;
/// Pause before an endpoint is probed again, on average: a server takes about a second to start.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// Shortest silence that counts as a failure: about a start, a leader election or a write on a busy
/// disk. An attempt that was abandoned earlier is not counted.
pub(crate) const SILENCE_MIN: Duration = Duration::from_secs(1);

/// How long an open breaker waits before a probe: as many steps as it opened in a row, up to a
/// limit.
#[derive(Debug, Clone, Copy)]
struct Pause {
    step: Duration,
    steps_max: u32,
    /// Varies the pause randomly by half, so that clients do not probe at the same time.
    jitter: bool,
}

/// Whether requests are sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Requests are sent.
    Closed,
    /// Nothing is sent for now, because several attempts in a row failed.
    Open,
    /// One attempt probes whether the endpoint works again.
    HalfOpen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { probe_at: Instant },
    HalfOpen,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// How often the breaker opened, less how often a success closed it again.
    openings: u32,
}

/// The breaker of one target.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures_max: u32,
    pause: Pause,
    state: Mutex<State>,
    /// Notified when an attempt that was refused may be admitted.
    relief: Arc<Notify>,
}

/// Why an attempt is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nothing is sent before this point in time.
    Until(Instant),
    /// A probe is under way.
    Probing,
}

impl Breaker {
    /// A breaker that opens after `failures_max` failures in a row (never if that is zero) for
    /// `pause`, varied randomly by half.
    pub(crate) fn new(failures_max: u32, pause: Duration, relief: Arc<Notify>) -> Self {
        let pause = Pause {
            step: pause,
            steps_max: 1,
            jitter: true,
        };
        Self::with(failures_max, pause, relief)
    }

    /// A breaker whose pauses grow by `step` each time it opens, up to `steps_max` steps, and
    /// shrink by one with each success that closes it.
    #[cfg(feature = "discovery")]
    pub(crate) fn growing(failures_max: u32, step: Duration, steps_max: u32) -> Self {
        let pause = Pause {
            step,
            steps_max,
            jitter: false,
        };
        Self::with(failures_max, pause, Arc::default())
    }

    fn with(failures_max: u32, pause: Pause, relief: Arc<Notify>) -> Self {
        Self {
            failures_max,
            pause,
            state: Mutex::new(State {
                phase: Phase::Closed { failures: 0 },
                openings: 0,
            }),
            relief,
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.state.lock().phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen => BreakerState::HalfOpen,
        }
    }

    /// Whether an attempt would be admitted at `now`.
    #[cfg(feature = "discovery")]
    pub(crate) fn admits(&self, now: Instant) -> bool {
        match self.state.lock().phase {
            Phase::Closed { .. } => true,
            Phase::Open { probe_at } => now >= probe_at,
            Phase::HalfOpen => false,
        }
    }

    /// Admits an attempt, whose result must be reported to the permit.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Permit, Refused> {
        let phase = &mut self.state.lock().phase;
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

    /// Admits an attempt in any state. Its result counts.
    pub(crate) fn admit_always(self: &Arc<Self>) -> Permit {
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
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.phase, Phase::Closed { failures: 0 });
        if !matches!(before, Phase::Closed { .. }) {
            state.openings = state.openings.saturating_sub(1);
            drop(state);
            self.relief.notify_waiters();
        }
    }

    /// Counts a failure. Returns whether it opened the breaker.
    fn failed(&self, probe: bool) -> bool {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Closed { failures } if failures + 1 != self.failures_max => {
                let failures = failures.saturating_add(1);
                state.phase = Phase::Closed { failures };
                false
            }
            Phase::HalfOpen if !probe => false,
            Phase::Open { .. } => false,
            Phase::Closed { .. } | Phase::HalfOpen => {
                state.openings = (state.openings + 1).min(self.pause.steps_max);
                state.phase = Phase::Open {
                    probe_at: Instant::now() + self.pause.after(state.openings),
                };
                drop(state);
                // Callers that waited for the probe have to wait for a point in time instead.
                self.relief.notify_waiters();
                true
            }
        }
    }

    /// A probe ended without a result: the next attempt is the probe.
    fn abandoned(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::HalfOpen {
            state.phase = Phase::Open {
                probe_at: Instant::now(),
            };
            drop(state);
            self.relief.notify_waiters();
        }
    }
}

impl Pause {
    /// The pause after `openings` in a row.
    fn after(self, openings: u32) -> Duration {
        let pause = self.step * openings;
        if self.jitter {
            pause.mul_f64(rand::rng().random_range(0.5..1.5))
        } else {
            pause
        }
    }
}

/// Permission for one attempt.
#[derive(Debug)]
#[must_use = "the breaker has to learn the result of the attempt"]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    probe: bool,
    since: Instant,
}

impl Permit {
    /// Reports the answer of an endpoint. Only the transport counts: connections that are refused
    /// or break. Any answer, even an error, shows that the endpoint works.
    pub(crate) fn observe<T>(self, answer: &Result<Result<T, Status>, Elapsed>) {
        match answer {
            Ok(Err(status)) if is_broken(status) => {
                self.failed();
            }
            Ok(_) => self.succeeded(),
            // Silence shows that a probe failed, if its caller waited long enough. A probe that is
            // dropped makes room for another.
            Err(_) if self.probe && self.since.elapsed() >= SILENCE_MIN => {
                self.failed();
            }
            Err(_) => {}
        }
    }

    /// Reports a success.
    pub(crate) fn succeeded(mut self) {
        self.probe = false;
        self.breaker.succeeded();
    }

    /// Reports that the target could not be reached or cannot serve. Returns whether this opened
    /// the breaker.
    pub(crate) fn failed(mut self) -> bool {
        let opened = self.breaker.failed(self.probe);
        self.probe = false;
        opened
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
