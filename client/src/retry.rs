//! Which failed attempts may be repeated, how often and after how long.
//!
//! No call is made here. The invariant: a write is repeated only when the attempt certainly did not
//! execute, so that repeating can never apply it twice.

use std::time::Duration;

use rand::Rng;

use crate::error::{Error, ErrorKind, Operation};

/// Ceiling of the first pause. About the round trip of a read through a quorum in one data centre.
const PAUSE_FIRST: Duration = Duration::from_millis(25);
/// Ceiling of any pause: long enough to take the load off a server that starts, short enough that
/// its return is noticed within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Doubling stops here; the ceiling has been reached long before.
const DOUBLINGS_MAX: u32 = 10;

/// Whether `error` allows another attempt of `operation` by the client itself.
pub(crate) fn may_repeat(operation: Operation, error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Connect => true,
        ErrorKind::Unavailable => operation == Operation::Read,
        _ => false,
    }
}

/// Exponential pauses with full jitter: each is uniform between nothing and its ceiling, so that
/// clients that failed together do not return together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    pauses: u32,
}

impl Backoff {
    /// The next pause.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let ceiling = ceiling(self.pauses);
        self.pauses = self.pauses.saturating_add(1);
        rand::rng().random_range(Duration::ZERO..=ceiling)
    }

    /// Something succeeded: the next failure starts small again.
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
    use tonic::{Code, Status};

    use super::*;

    fn answered(code: Code, operation: Operation) -> Error {
        Error::from_status(Status::new(code, "etcdserver: whatever"), operation, "here")
    }

    #[test]
    fn reads_are_repeated_on_unavailable_and_writes_are_not() {
        let read = answered(Code::Unavailable, Operation::Read);
        assert!(may_repeat(Operation::Read, &read));
        let write = answered(Code::Unavailable, Operation::Write);
        assert!(!may_repeat(Operation::Write, &write));
    }

    #[test]
    fn answers_that_would_not_change_are_not_asked_for_again() {
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::Unknown,
            Code::DeadlineExceeded,
        ] {
            let error = answered(code, Operation::Read);
            assert!(!may_repeat(Operation::Read, &error), "{code:?}");
        }
    }

    #[test]
    fn writes_are_repeated_when_there_was_no_connection() {
        let error = Error::local(ErrorKind::Connect, "refused");
        assert!(may_repeat(Operation::Write, &error));
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
