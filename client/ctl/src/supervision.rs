//! Decides when a command that runs under a lock is terminated and killed.
//!
//! A pure decision: reads no clock and signals no process. The invariant: from the deadline of the
//! lock on, the verdict is [`Verdict::Kill`].

use std::time::Duration;

use tokio::time::Instant;

/// How long before the deadline a command is killed: timers wake up to a millisecond late, and a
/// busy machine takes a few more to deliver a signal.
const KILL_LEAD: Duration = Duration::from_millis(10);

/// The action to take on the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Do nothing until this time at the latest.
    Wait(Instant),
    /// Send SIGTERM.
    Terminate,
    /// Send SIGKILL.
    Kill,
}

/// Decides about one command.
#[derive(Debug)]
pub struct Supervisor {
    grace: Duration,
    /// Set once the command was terminated: a later renewal of the lock does not extend it, because
    /// the command is ending.
    kill_at: Option<Instant>,
}

impl Supervisor {
    /// Terminates the command `grace` before the deadline of its lock.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            kill_at: None,
        }
    }

    /// Whether the command was terminated.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.kill_at.is_some()
    }

    /// The action to take at `now`, for a lock that is certainly held until `deadline` or already
    /// `lost`. Every renewal extends the deadline.
    pub fn judge(&mut self, now: Instant, deadline: Instant, lost: bool) -> Verdict {
        let kill_at = deadline.checked_sub(KILL_LEAD).unwrap_or(now);
        let kill_at = self.kill_at.map_or(kill_at, |told| told.min(kill_at));
        if lost || now >= kill_at {
            self.kill_at = Some(kill_at);
            return Verdict::Kill;
        }
        if self.is_ending() {
            return Verdict::Wait(kill_at);
        }
        let terminate_at = deadline.checked_sub(self.grace).unwrap_or(now);
        if now >= terminate_at {
            self.kill_at = Some(kill_at);
            return Verdict::Terminate;
        }
        Verdict::Wait(terminate_at.min(kill_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_millis(250);
    const TTL: Duration = Duration::from_secs(1);

    /// The time this many milliseconds after `start`.
    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_command_runs_for_as_long_as_its_lock_is_renewed() {
        let (start, mut supervision) = (Instant::now(), Supervisor::new(GRACE));
        for renewed in [0, 333, 666, 999, 5_000] {
            let verdict = supervision.judge(at(start, renewed), at(start, renewed) + TTL, false);
            assert_eq!(verdict, Verdict::Wait(at(start, renewed + 750)));
        }
        assert!(!supervision.is_ending());
    }

    #[test]
    fn a_command_is_told_to_end_before_the_deadline_and_killed_at_it() {
        let (start, mut supervision) = (Instant::now(), Supervisor::new(GRACE));
        let deadline = start + TTL;
        let mut judge = |now| supervision.judge(at(start, now), deadline, false);
        assert_eq!(judge(749), Verdict::Wait(at(start, 750)));
        assert_eq!(judge(750), Verdict::Terminate);
        assert_eq!(judge(751), Verdict::Wait(at(start, 990)));
        assert_eq!(judge(989), Verdict::Wait(at(start, 990)));
        assert_eq!(judge(990), Verdict::Kill);
        assert_eq!(judge(991), Verdict::Kill);
    }

    #[test]
    fn a_renewal_does_not_let_off_a_command_that_was_told_to_end() {
        let (start, mut supervision) = (Instant::now(), Supervisor::new(GRACE));
        let verdict = supervision.judge(at(start, 800), start + TTL, false);
        assert_eq!(verdict, Verdict::Terminate);
        let renewed = at(start, 810) + TTL;
        let verdict = supervision.judge(at(start, 811), renewed, false);
        assert_eq!(verdict, Verdict::Wait(at(start, 990)));
        assert_eq!(
            supervision.judge(at(start, 990), renewed, false),
            Verdict::Kill
        );
    }

    #[test]
    fn a_command_whose_supervisor_was_stopped_past_the_deadline_is_killed_at_once() {
        let (start, mut supervision) = (Instant::now(), Supervisor::new(GRACE));
        let verdict = supervision.judge(start, start + TTL, false);
        assert_eq!(verdict, Verdict::Wait(at(start, 750)));
        let resumed = at(start, 60_000);
        assert_eq!(
            supervision.judge(resumed, start + TTL, false),
            Verdict::Kill
        );
    }

    #[test]
    fn a_lock_that_is_lost_before_its_deadline_ends_the_command_at_once() {
        let (start, mut supervision) = (Instant::now(), Supervisor::new(GRACE));
        let verdict = supervision.judge(at(start, 10), start + TTL, true);
        assert_eq!(verdict, Verdict::Kill);
    }

    #[test]
    fn without_grace_the_command_is_killed_and_not_asked() {
        let (start, mut supervision) = (Instant::now(), Supervisor::new(Duration::ZERO));
        let mut judge = |now| supervision.judge(at(start, now), start + TTL, false);
        assert_eq!(judge(989), Verdict::Wait(at(start, 990)));
        assert_eq!(judge(990), Verdict::Kill);
    }
}
