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
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
    Error::from_status(status, operation, "here")
}

fn broken(code: Code, operation: Operation) -> Error {
    let mut status = Status::new(code, "h2");
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    status.set_source(std::sync::Arc::new(reset));
    Error::from_status(status, operation, "here")
}

/// The way in which an error of a kind comes about, and what it means after a read and after a
/// write. Exhaustive: a new kind does not compile until its verdict is written down.
fn row(kind: ErrorKind) -> (fn(Operation) -> Error, Verdict, Verdict) {
    match kind {
        ErrorKind::Config => (|_| Error::local(ErrorKind::Config, "x"), FINAL, FINAL),
        ErrorKind::Conflict => (|_| Error::local(ErrorKind::Conflict, "x"), AGAIN, AGAIN),
        ErrorKind::Decode => (|_| Error::local(ErrorKind::Decode, "x"), FINAL, FINAL),
        ErrorKind::Connect => (unreachable, AGAIN, AGAIN),
        ErrorKind::InvalidArgument => (
            |op| answered(Code::InvalidArgument, "etcdserver: key is not provided", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::NotFound => (
            |op| answered(Code::NotFound, "etcdserver: requested lease not found", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::AlreadyExists => (|op| answered(Code::AlreadyExists, "x", op), FINAL, FINAL),
        ErrorKind::PermissionDenied => (
            |op| answered(Code::PermissionDenied, "etcdserver: permission denied", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::Unauthenticated => (
            |op| answered(Code::Unauthenticated, "etcdserver: invalid auth token", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::FailedPrecondition => (
            |op| answered(Code::FailedPrecondition, "etcdserver: not leader", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::Compacted => (
            |op| {
                let text = "etcdserver: mvcc: required revision has been compacted";
                answered(Code::OutOfRange, text, op)
            },
            FINAL,
            FINAL,
        ),
        ErrorKind::FutureRevision => (
            |op| {
                let text = "etcdserver: mvcc: required revision is a future revision";
                answered(Code::OutOfRange, text, op)
            },
            FINAL,
            FINAL,
        ),
        ErrorKind::OutOfRange => (
            |op| answered(Code::OutOfRange, "etcdserver: too large lease TTL", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::NoSpace => (
            |op| {
                let text = "etcdserver: mvcc: database space exceeded";
                answered(Code::ResourceExhausted, text, op)
            },
            FINAL,
            FINAL,
        ),
        ErrorKind::Overloaded => (
            |op| answered(Code::ResourceExhausted, "etcdserver: too many requests", op),
            AGAIN,
            AGAIN,
        ),
        ErrorKind::Unavailable => (
            |op| answered(Code::Unavailable, "etcdserver: request timed out", op),
            AGAIN,
            OPEN,
        ),
        ErrorKind::DeadlineExceeded => (Error::deadline, AGAIN, OPEN),
        ErrorKind::Cancelled => (|op| answered(Code::Cancelled, "x", op), FINAL, OPEN),
        ErrorKind::Unimplemented => (|op| answered(Code::Unimplemented, "", op), FINAL, FINAL),
        ErrorKind::Internal => (|op| answered(Code::Internal, "x", op), FINAL, OPEN),
        ErrorKind::DataLoss => (
            |op| answered(Code::DataLoss, "etcdserver: corrupt cluster", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::LeaseLost => (|_| Error::local(ErrorKind::LeaseLost, "x"), FINAL, FINAL),
        ErrorKind::StaleGuard => (
            |op| reasoned(Code::FailedPrecondition, "GuardStale", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::GuardMissing => (
            |op| reasoned(Code::FailedPrecondition, "GuardMissing", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::NotHolder => (
            |op| reasoned(Code::FailedPrecondition, "NotHolder", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::AlreadyClaimed => (
            |op| reasoned(Code::FailedPrecondition, "AlreadyClaimed", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::PermitsDiffer => (
            |op| reasoned(Code::FailedPrecondition, "PermitsDiffer", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::QueueFixed => (
            |op| reasoned(Code::FailedPrecondition, "QueueFixed", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::Deadlock => (|op| reasoned(Code::Aborted, "Deadlock", op), FINAL, FINAL),
        ErrorKind::WaitOver => (
            |op| reasoned(Code::DeadlineExceeded, "WaitOver", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::ClaimEnded => (
            |op| reasoned(Code::FailedPrecondition, "ClaimEnded", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::InstanceReplaced => (
            |op| reasoned(Code::FailedPrecondition, "InstanceReplaced", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::LimitReached => (
            |op| reasoned(Code::ResourceExhausted, "QueueFull", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::SessionLost => (
            |op| reasoned(Code::NotFound, "SessionNotFound", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::RequestForgotten => (
            |op| reasoned(Code::FailedPrecondition, "RequestForgotten", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::AnswerTooLarge => (
            |op| reasoned(Code::AlreadyExists, "AnswerTooLarge", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::RequestDiffers => (
            |op| reasoned(Code::FailedPrecondition, "RequestDiffers", op),
            FINAL,
            FINAL,
        ),
        ErrorKind::Unknown => (|op| answered(Code::Unknown, "x", op), FINAL, OPEN),
    }
}

#[test]
fn every_kind_allows_exactly_these_conclusions() {
    for &kind in ErrorKind::ALL {
        let (make, after_read, after_write) = row(kind);
        for (operation, expected) in [
            (Operation::Read, after_read),
            (Operation::Write, after_write),
        ] {
            let error = make(operation);
            assert_eq!(error.kind(), kind);
            assert_eq!(verdict(&error), expected, "{kind:?} of a {operation:?}");
        }
    }
}

/// An error after an attempt of which nothing was learned: only an answer from where outcomes are
/// remembered settles it.
#[test]
fn an_unresolved_attempt_is_forgotten_only_by_an_answer_that_tells() {
    for &kind in ErrorKind::ALL {
        let error = row(kind).0(Operation::Write);
        let settles = error.settles();
        assert_eq!(settles, error.was_sent() && kind.settles(), "{kind:?}");
        let error = error.after(true);
        assert_eq!(error.outcome_unknown(), !settles, "{kind:?}");
        assert!(settles || !error.is_retryable(), "{kind:?}");
        let beside = error.leaving_open(true);
        assert!(
            beside.outcome_unknown() && !beside.is_retryable(),
            "{kind:?}"
        );
        assert!(!row(kind).0(Operation::Read).after(false).outcome_unknown());
    }
    // What is decided in front of the state machine says nothing about attempts before.
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
    assert!(lost.after(true).outcome_unknown());
}

#[test]
fn no_error_says_both_that_a_write_may_have_happened_and_that_it_may_be_sent_again() {
    for &kind in ErrorKind::ALL {
        for operation in [Operation::Read, Operation::Write] {
            for unresolved in [false, true] {
                let error = row(kind).0(operation).after(unresolved);
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
        assert!(error.ends_stream_for_now());
        assert_eq!(verdict(&broken(code, Operation::Read)), AGAIN, "{code:?}");
    }
}

/// The transport keeps the announced deadline too, and may be the first to notice.
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
    assert!(!decided.outcome_unknown() && decided.is_of_tenure());
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
        last = refused(endpoint).preceded_by(Some(&last));
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
    let error = error.of_other_server("Inspect", "a:1");
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
    let text = error.message();
    assert!(
        text.starts_with("Inspect needs a tenure server, and a:1"),
        "{text}"
    );
    let other = answered(Code::NotFound, "not there", Operation::Read);
    assert_eq!(
        other.of_other_server("Inspect", "a:1").message(),
        "not there"
    );
}
