//! The retry policy: which failed attempts may be repeated, how often and after how long.
//!
//! Invariant: a write is repeated only when the attempt certainly did not execute it, or the server
//! recognizes the repeat, so that it is never applied twice.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Pushback};

/// Ceiling of the first pause. About the round trip of a read through a quorum in one data centre.
const PAUSE_FIRST: Duration = Duration::from_millis(25);
/// Ceiling of any pause: long enough to relieve a starting server, short enough to notice its
/// return within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Doubling stops here; the ceiling has been reached long before.
const DOUBLINGS_MAX: u32 = 10;

/// An attempt of a write with an id, or of a read before it is hedged, may take one of this many
/// parts of the remaining time, which leaves time for an attempt at another endpoint.
const ATTEMPTS_PER_REST: u32 = 2;
/// Remaining time that is not divided further: about the duration of a write on a busy server.
const REST_MIN: Duration = Duration::from_millis(200);

/// Whether `error` allows another attempt by the client itself. An `identified` request is executed
/// once even if it is sent several times.
pub(crate) fn may_repeat(identified: bool, error: &Error) -> bool {
    if error.pushback() == Some(Pushback::Never) {
        return false;
    }
    match error.kind() {
        ErrorKind::Connect => true,
        ErrorKind::Unavailable => identified || !error.outcome_unknown(),
        ErrorKind::Overloaded => {
            error.is_passing_overload() || (identified && error.outcome_unknown())
        }
        // Errors about the request itself do not change with a repeat.
        ErrorKind::DeadlineExceeded
        | ErrorKind::Cancelled
        | ErrorKind::Internal
        | ErrorKind::Unknown => identified && error.outcome_unknown(),
        _ => false,
    }
}

/// Time limit of one attempt of a write with an id, or of a read before it is hedged.
pub(crate) fn attempt_limit(now: Instant, deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    if left < REST_MIN {
        deadline
    } else {
        now + left / ATTEMPTS_PER_REST
    }
}

/// Exponential backoff with full jitter: each pause is uniform between zero and its ceiling, so
/// that clients that failed together do not retry together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    pauses: u32,
}

impl Backoff {
    pub(crate) fn next_pause(&mut self) -> Duration {
        let ceiling = ceiling(self.pauses);
        self.pauses = self.pauses.saturating_add(1);
        rand::rng().random_range(Duration::ZERO..=ceiling)
    }

    /// Resets the backoff after a success.
    pub(crate) fn reset(&mut self) {
        self.pauses = 0;
    }
}

fn ceiling(pauses: u32) -> Duration {
    PAUSE_FIRST
        .saturating_mul(1 << pauses.min(DOUBLINGS_MAX))
        .min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use tenure_proto::metadata::{REASON_METADATA, RETRY_METADATA};
    use tonic::{Code, Status};

    use super::*;
    use crate::error::Operation;

    fn answered(code: Code, operation: Operation) -> Error {
        Error::from_status(Status::new(code, "etcdserver: whatever"), operation, "here")
    }

    #[test]
    fn reads_are_repeated_on_unavailable_and_writes_only_under_an_id() {
        let read = answered(Code::Unavailable, Operation::Read);
        assert!(may_repeat(false, &read));
        let write = answered(Code::Unavailable, Operation::Write);
        assert!(!may_repeat(false, &write));
        assert!(may_repeat(true, &write));
        // A server that gives a reason also says when the outcome is unknown.
        let mut status = Status::unavailable("tenure: so");
        let reason = tonic::metadata::MetadataValue::from_static("NoLeader");
        status.metadata_mut().insert(REASON_METADATA, reason);
        let decided = Error::from_status(status, Operation::Write, "here");
        assert!(may_repeat(false, &decided) && decided.is_retryable());
    }

    #[test]
    fn answers_that_would_not_change_are_not_asked_for_again() {
        for code in [Code::InvalidArgument, Code::NotFound, Code::Unimplemented] {
            for (operation, identified) in [
                (Operation::Read, false),
                (Operation::Write, false),
                (Operation::Write, true),
            ] {
                let error = answered(code, operation);
                assert!(!may_repeat(identified, &error), "{code:?}");
            }
        }
        for code in [Code::Unknown, Code::DeadlineExceeded, Code::Internal] {
            let error = answered(code, Operation::Read);
            assert!(!may_repeat(false, &error), "{code:?}");
        }
    }

    #[test]
    fn whatever_leaves_a_write_open_is_repeated_under_its_id_only() {
        for code in [
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Cancelled,
            Code::Unavailable,
        ] {
            let error = answered(code, Operation::Write);
            assert!(may_repeat(true, &error), "{code:?}");
            assert!(!may_repeat(false, &error), "{code:?}");
        }
    }

    #[test]
    fn a_busy_server_is_asked_again_and_a_full_one_is_not() {
        let answered = |text: &str| {
            let status = Status::new(Code::ResourceExhausted, text);
            Error::from_status(status, Operation::Write, "here")
        };
        let busy = answered("etcdserver: too many requests");
        assert!(may_repeat(false, &busy));
        let full = answered("etcdserver: mvcc: database space exceeded");
        assert!(!may_repeat(true, &full));
    }

    #[test]
    fn a_server_has_the_last_word_on_another_attempt() {
        let answered = |value: &'static str| {
            let mut status = Status::new(Code::Unavailable, "etcdserver: no leader");
            let value = tonic::metadata::MetadataValue::from_static(value);
            status.metadata_mut().insert(RETRY_METADATA, value);
            Error::from_status(status, Operation::Read, "here")
        };
        let later = answered("40");
        assert_eq!(
            later.pushback(),
            Some(Pushback::After(Duration::from_millis(40)))
        );
        assert!(may_repeat(false, &later));
        for never in ["-1", "soon"] {
            let error = answered(never);
            assert!(!may_repeat(false, &error) && !error.is_retryable());
        }
    }

    #[test]
    fn writes_are_repeated_when_there_was_no_connection() {
        let error = Error::local(ErrorKind::Connect, "refused");
        assert!(may_repeat(false, &error));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_leaves_time_for_another_until_little_is_left() {
        let now = Instant::now();
        let limit = |left: Duration| attempt_limit(now, now + left) - now;
        assert_eq!(limit(Duration::from_secs(5)), Duration::from_millis(2_500));
        assert_eq!(limit(REST_MIN), REST_MIN / 2);
        assert_eq!(limit(REST_MIN / 2), REST_MIN / 2);
        assert_eq!(limit(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn ceilings_double_up_to_the_largest() {
        assert_eq!(ceiling(0), PAUSE_FIRST);
        assert_eq!(ceiling(3), PAUSE_FIRST * 8);
        assert_eq!(ceiling(30), PAUSE_MAX);
    }

    #[test]
    fn pauses_stay_below_their_ceiling_and_differ() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.next_pause()).collect();
        for (index, pause) in (0..).zip(&pauses) {
            assert!(*pause <= ceiling(index), "pause {index} is {pause:?}");
        }
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
