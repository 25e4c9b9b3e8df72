//! What each error allows the caller to conclude: a table over every kind, and the cases behind it.

use tenure_proto::metadata::REASON_METADATA;
use tonic::metadata::MetadataValue;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    retryable: bool,
    unknown: bool,
}

const FINAL: Verdict = Verdict {
    retryable: false,
    unknown: false,
};
const AGAIN: Verdict = Verdict {
    retryable: true,
    unknown: false,
};
const OPEN: Verdict = Verdict {
    retryable: false,
    unknown: true,
};

fn verdict(error: &Error) -> Verdict {
    Verdict {
        retryable: error.is_retryable(),
        unknown: error.outcome_unknown(),
    }
}

fn status(code: Code, message: &str) -> Status {
    Status::new(code, message)
}

fn with(mut status: Status, key: &'static str, value: &'static str) -> Status {
    let value = MetadataValue::from_static(value);
    status.metadata_mut().insert(key, value);
    status
}

fn answered(code: Code, message: &str, operation: Operation) -> Error {
    Error::from_status(status(code, message), operation, "here")
}

fn reasoned(code: Code, reason: &'static str, operation: Operation) -> Error {
    let status = with(status(code, "tenure: so"), REASON_METADATA, reason);
    Error::from_status(status, operation, "here")
}

fn unreachable(operation: Operation) -> Error {
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
    Error::from_status(status, operation, "here")
}

fn broken(code: Code, operation: Operation) -> Error {
    let mut status = Status::new(code, "h2");
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    status.set_source(std::sync::Arc::new(reset));
    Error::from_status(status, operation, "here")
}

/// The origin of an error.
enum Origin {
    Local,
    Unreachable,
    Deadline,
    Status(Code, &'static str),
    Reason(Code, &'static str),
}

/// An origin of errors of each kind. Exhaustive: a new kind does not compile without one.
fn origin(kind: ErrorKind) -> Origin {
    use Origin::{Deadline, Local, Reason, Status, Unreachable};
    match kind {
        ErrorKind::Config | ErrorKind::Conflict | ErrorKind::Decode | ErrorKind::LeaseLost => Local,
        ErrorKind::Connect => Unreachable,
        ErrorKind::InvalidArgument => {
            Status(Code::InvalidArgument, "etcdserver: key is not provided")
        }
        ErrorKind::NotFound => Status(Code::NotFound, "etcdserver: requested lease not found"),
        ErrorKind::AlreadyExists => Status(Code::AlreadyExists, "x"),
        ErrorKind::PermissionDenied => {
            Status(Code::PermissionDenied, "etcdserver: permission denied")
        }
        ErrorKind::Unauthenticated => {
            Status(Code::Unauthenticated, "etcdserver: invalid auth token")
        }
        ErrorKind::FailedPrecondition => Status(Code::FailedPrecondition, "etcdserver: not leader"),
        ErrorKind::Compacted => {
            let text = "etcdserver: mvcc: required revision has been compacted";
            Status(Code::OutOfRange, text)
        }
        ErrorKind::FutureRevision => {
            let text = "etcdserver: mvcc: required revision is a future revision";
            Status(Code::OutOfRange, text)
        }
        ErrorKind::OutOfRange => Status(Code::OutOfRange, "etcdserver: too large lease TTL"),
        ErrorKind::NoSpace => {
            let text = "etcdserver: mvcc: database space exceeded";
            Status(Code::ResourceExhausted, text)
        }
        ErrorKind::Overloaded => Status(Code::ResourceExhausted, "etcdserver: too many requests"),
        ErrorKind::Unavailable => Status(Code::Unavailable, "etcdserver: request timed out"),
        ErrorKind::DeadlineExceeded => Deadline,
        ErrorKind::Cancelled => Status(Code::Cancelled, "x"),
        ErrorKind::Unimplemented => Status(Code::Unimplemented, ""),
        ErrorKind::Internal => Status(Code::Internal, "x"),
        ErrorKind::DataLoss => Status(Code::DataLoss, "etcdserver: corrupt cluster"),
        ErrorKind::StaleGuard => Reason(Code::FailedPrecondition, "GuardStale"),
        ErrorKind::GuardMissing => Reason(Code::FailedPrecondition, "GuardMissing"),
        ErrorKind::NotHolder => Reason(Code::FailedPrecondition, "NotHolder"),
        ErrorKind::AlreadyClaimed => Reason(Code::FailedPrecondition, "AlreadyClaimed"),
        ErrorKind::PermitsDiffer => Reason(Code::FailedPrecondition, "PermitsDiffer"),
        ErrorKind::QueueFixed => Reason(Code::FailedPrecondition, "QueueFixed"),
        ErrorKind::Deadlock => Reason(Code::Aborted, "Deadlock"),
        ErrorKind::WaitOver => Reason(Code::DeadlineExceeded, "WaitOver"),
        ErrorKind::ClaimEnded => Reason(Code::FailedPrecondition, "ClaimEnded"),
        ErrorKind::InstanceReplaced => Reason(Code::FailedPrecondition, "InstanceReplaced"),
        ErrorKind::LimitReached => Reason(Code::ResourceExhausted, "QueueFull"),
        ErrorKind::SessionLost => Reason(Code::NotFound, "SessionNotFound"),
        ErrorKind::RequestForgotten => Reason(Code::FailedPrecondition, "RequestForgotten"),
        ErrorKind::AnswerTooLarge => Reason(Code::AlreadyExists, "AnswerTooLarge"),
        ErrorKind::RequestDiffers => Reason(Code::FailedPrecondition, "RequestDiffers"),
        ErrorKind::Unknown => Status(Code::Unknown, "x"),
    }
}

/// An error of a kind after an operation.
fn sample(kind: ErrorKind, operation: Operation) -> Error {
    match origin(kind) {
        Origin::Local => Error::local(kind, "x"),
        Origin::Unreachable => unreachable(operation),
        Origin::Deadline => Error::deadline(operation),
        Origin::Status(code, text) => answered(code, text, operation),
        Origin::Reason(code, reason) => reasoned(code, reason, operation),
    }
}

/// What an error of a kind means after a read and after a write. Exhaustive: a new kind does not
/// compile without its verdicts.
fn verdicts(kind: ErrorKind) -> (Verdict, Verdict) {
    match kind {
        ErrorKind::Conflict | ErrorKind::Connect | ErrorKind::Overloaded => (AGAIN, AGAIN),
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => (AGAIN, OPEN),
        ErrorKind::Cancelled | ErrorKind::Internal | ErrorKind::Unknown => (FINAL, OPEN),
        ErrorKind::Config
        | ErrorKind::Decode
        | ErrorKind::InvalidArgument
        | ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::PermissionDenied
        | ErrorKind::Unauthenticated
        | ErrorKind::FailedPrecondition
        | ErrorKind::Compacted
        | ErrorKind::FutureRevision
        | ErrorKind::OutOfRange
        | ErrorKind::NoSpace
        | ErrorKind::Unimplemented
        | ErrorKind::DataLoss
        | ErrorKind::LeaseLost
        | ErrorKind::StaleGuard
        | ErrorKind::GuardMissing
        | ErrorKind::NotHolder
        | ErrorKind::AlreadyClaimed
        | ErrorKind::PermitsDiffer
        | ErrorKind::QueueFixed
        | ErrorKind::Deadlock
        | ErrorKind::WaitOver
        | ErrorKind::ClaimEnded
        | ErrorKind::InstanceReplaced
        | ErrorKind::LimitReached
        | ErrorKind::SessionLost
        | ErrorKind::RequestForgotten
        | ErrorKind::AnswerTooLarge
        | ErrorKind::RequestDiffers => (FINAL, FINAL),
    }
}

#[test]
fn every_kind_allows_exactly_these_conclusions() {
    for &kind in ErrorKind::ALL {
        let (after_read, after_write) = verdicts(kind);
        for (operation, expected) in [
            (Operation::Read, after_read),
            (Operation::Write, after_write),
        ] {
            let error = sample(kind, operation);
            assert_eq!(error.kind(), kind);
            assert_eq!(verdict(&error), expected, "{kind:?} of a {operation:?}");
        }
    }
}

/// An error after an attempt with an unknown outcome: only an answer from the layer that remembers
/// outcomes settles it.
#[test]
fn an_unresolved_attempt_is_forgotten_only_by_an_answer_that_tells() {
    for &kind in ErrorKind::ALL {
        let error = sample(kind, Operation::Write);
        let settles = error.settles();
        assert_eq!(settles, error.was_sent() && kind.settles(), "{kind:?}");
        let error = error.with_earlier_attempts(true);
        assert_eq!(error.outcome_unknown(), !settles, "{kind:?}");
        assert!(settles || !error.is_retryable(), "{kind:?}");
        let beside = error.with_unknown_outcome(true);
        assert!(
            beside.outcome_unknown() && !beside.is_retryable(),
            "{kind:?}"
        );
        assert!(
            !sample(kind, Operation::Read)
                .with_earlier_attempts(false)
                .outcome_unknown()
        );
    }
    // Errors from layers before the state machine say nothing about earlier attempts.
    for kind in [
        ErrorKind::Connect,
        ErrorKind::InvalidArgument,
        ErrorKind::Unauthenticated,
        ErrorKind::PermissionDenied,
        ErrorKind::Overloaded,
        ErrorKind::NoSpace,
        ErrorKind::SessionLost,
        ErrorKind::RequestForgotten,
    ] {
        assert!(!kind.settles(), "{kind:?}");
    }
    let lost = Error::local(ErrorKind::SessionLost, "x");
    assert!(!lost.outcome_unknown(), "nothing was sent");
    assert!(lost.with_earlier_attempts(true).outcome_unknown());
}

#[test]
fn no_error_says_both_that_a_write_may_have_happened_and_that_it_may_be_sent_again() {
    for &kind in ErrorKind::ALL {
        for operation in [Operation::Read, Operation::Write] {
            for unresolved in [false, true] {
                let error = sample(kind, operation).with_earlier_attempts(unresolved);
                let both = error.is_retryable() && error.outcome_unknown();
                assert!(!both, "{kind:?} of a {operation:?}");
            }
        }
    }
}

#[test]
fn a_connection_that_breaks_is_the_same_whatever_code_the_transport_makes_up() {
    for code in [
        Code::Unavailable,
        Code::ResourceExhausted,
        Code::Unknown,
        Code::Cancelled,
        Code::Internal,
    ] {
        let error = broken(code, Operation::Write);
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{code:?}");
        assert_eq!(verdict(&error), OPEN, "{code:?}");
        assert!(error.allows_resume());
        assert_eq!(verdict(&broken(code, Operation::Read)), AGAIN, "{code:?}");
    }
}

/// The transport also enforces the announced deadline, and may detect it first.
#[test]
fn a_deadline_is_the_same_whoever_keeps_it() {
    for (operation, expected) in [(Operation::Read, AGAIN), (Operation::Write, OPEN)] {
        let status = Status::from_error(Box::new(TimeoutExpired(())));
        let error = Error::from_status(status, operation, "here");
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert_eq!(verdict(&error), expected);
    }
}

#[test]
fn limits_of_the_transport_leave_a_write_open() {
    for code in [Code::ResourceExhausted, Code::OutOfRange] {
        let error = answered(code, "decoded message length too large", Operation::Write);
        assert_eq!(verdict(&error), OPEN, "{code:?}");
    }
}

#[test]
fn a_request_too_large_for_the_servers_transport_is_invalid_and_not_executed() {
    let text = "grpc: received message larger than max (3145741 vs. 2097152)";
    let error = answered(Code::ResourceExhausted, text, Operation::Write);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(!error.outcome_unknown() && !error.is_retryable());
}

#[test]
fn a_server_that_names_a_reason_says_itself_when_the_outcome_is_unknown() {
    let decided = reasoned(Code::Unavailable, "NoLeader", Operation::Write);
    assert_eq!(decided.kind(), ErrorKind::Unavailable);
    assert!(!decided.outcome_unknown() && decided.is_from_tenure());
    let status = with(
        status(Code::InvalidArgument, "x"),
        OUTCOME_METADATA,
        OUTCOME_UNKNOWN,
    );
    let open = Error::from_status(status, Operation::Write, "here");
    assert!(open.outcome_unknown());
}

#[test]
fn reasons_tell_apart_what_codes_do_not() {
    for (code, reason, kind) in [
        (
            Code::ResourceExhausted,
            "QueueFull",
            ErrorKind::LimitReached,
        ),
        (
            Code::ResourceExhausted,
            "TooManyPolicies",
            ErrorKind::LimitReached,
        ),
        (
            Code::ResourceExhausted,
            "TooManyRequestKeys",
            ErrorKind::LimitReached,
        ),
        (
            Code::ResourceExhausted,
            "TooManyLeaseKeys",
            ErrorKind::LimitReached,
        ),
        (Code::FailedPrecondition, "LeaseEnded", ErrorKind::LeaseLost),
        (Code::NotFound, "InstanceNotFound", ErrorKind::NotFound),
        (Code::Unavailable, "TooOld", ErrorKind::Unavailable),
        (
            Code::InvalidArgument,
            "AReasonToCome",
            ErrorKind::InvalidArgument,
        ),
    ] {
        let error = reasoned(code, reason, Operation::Read);
        assert_eq!(error.kind(), kind, "{reason}");
    }
}

#[test]
fn a_stale_guard_names_the_token_that_holds() {
    let stale = |token| {
        let status = with(
            status(Code::FailedPrecondition, "x"),
            REASON_METADATA,
            "GuardStale",
        );
        let status = with(status, CURRENT_TOKEN_METADATA, token);
        Error::from_status(status, Operation::Write, "here")
    };
    assert_eq!(stale("23").current_token(), Some(Token::new(23)));
    assert_eq!(stale("0").current_token(), None, "nobody holds");
}

#[test]
fn a_write_that_found_no_connection_names_the_endpoint() {
    let error = unreachable(Operation::Write);
    assert!(error.message().contains("here"), "{error}");
}

#[test]
fn a_watch_refused_by_permission_keeps_only_the_text_of_the_status() {
    let reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    let error = Error::watch_cancelled(reason);
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(error.message(), "etcdserver: permission denied");
}

#[test]
fn debug_is_one_line_with_the_kind_and_what_is_open() {
    let error = answered(Code::NotFound, "no such\nlease\t7", Operation::Read);
    assert_eq!(format!("{error:?}"), "no such lease 7 [NotFound]");
    let error = broken(Code::Unavailable, Operation::Write);
    let text = format!("{error:#?}");
    assert!(text.ends_with(" [Unavailable, outcome unknown]"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn endpoints_that_could_not_be_reached_are_collected() {
    let refused = |endpoint: &str| {
        let text = format!("cannot connect to {endpoint}: refused");
        Error::local(ErrorKind::Connect, text)
    };
    let mut last = refused("a:1");
    for endpoint in ["b:1", "a:1", "b:1"] {
        last = refused(endpoint).with_previous(Some(&last));
    }
    assert_eq!(
        last.message(),
        "cannot connect to a:1: refused; cannot connect to b:1: refused"
    );
}

#[test]
fn a_call_of_tenure_that_another_server_does_not_know_says_what_it_needs() {
    let unknown = "unknown service tenure.v1.Lock";
    let error = answered(Code::Unimplemented, unknown, Operation::Read);
    let error = error.explain_unimplemented("Inspect", "a:1");
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
    let text = error.message();
    assert!(
        text.starts_with("Inspect needs a tenure server, and a:1"),
        "{text}"
    );
    let other = answered(Code::NotFound, "not there", Operation::Read);
    assert_eq!(
        other.explain_unimplemented("Inspect", "a:1").message(),
        "not there"
    );
}
