//! What can go wrong with a call, by cause, and what the caller may conclude from it.
//!
//! The invariant: [`Error::outcome_unknown`] is true whenever a write may have been executed
//! although the caller got an error. When in doubt it is true.

use std::error::Error as _;

use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::id::Revision;

/// etcd's text for a revision below the compaction floor, on reads and on watches.
const COMPACTED: &str = "required revision has been compacted";
/// etcd's text for a revision that does not exist yet.
const FUTURE_REVISION: &str = "required revision is a future revision";
/// etcd's text for a store that reached its quota.
const NO_SPACE: &str = "database space exceeded";
/// etcd's texts for a token that the server no longer takes.
const STALE_TOKEN: [&str; 2] = ["invalid auth token", "revision of auth store is old"];

/// The cause of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client was configured with something unusable, such as an endpoint that is no address.
    Config,
    /// No endpoint could be reached; the request was not sent.
    Connect,
    /// The request is malformed.
    InvalidArgument,
    /// What the request names does not exist.
    NotFound,
    /// What the request would create exists.
    AlreadyExists,
    /// The caller is known but not allowed.
    PermissionDenied,
    /// The caller is not known, or its token is not taken any more.
    Unauthenticated,
    /// The state of the cluster or of the object forbids the request.
    FailedPrecondition,
    /// The revision asked for is below the compaction floor.
    Compacted,
    /// The revision asked for does not exist yet.
    FutureRevision,
    /// Another value is out of its range.
    OutOfRange,
    /// The store reached its quota and takes no more data until space is freed and the alarm
    /// disarmed.
    NoSpace,
    /// The server refused for lack of capacity, before doing anything.
    Overloaded,
    /// The server could not serve the request at this time.
    Unavailable,
    /// The deadline of the call passed.
    DeadlineExceeded,
    /// The call or the watch was cancelled.
    Cancelled,
    /// The server does not offer the call.
    Unimplemented,
    /// The server broke its protocol, or failed inside.
    Internal,
    /// The server found its data damaged.
    DataLoss,
    /// The lease is no longer held.
    LeaseLost,
    /// Anything the server did not classify.
    Unknown,
}

/// Whether a request changes the store, which decides what an error leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Changes nothing; may be repeated at will.
    Read,
    /// Changes something; is sent at most once.
    Write,
}

/// A failed call.
///
/// `Display` is the server's own text where the server answered.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    code: Option<Code>,
    operation: Operation,
    sent: bool,
    compacted: Option<Revision>,
    #[source]
    source: Option<Status>,
}

impl Error {
    /// An error of the client itself; nothing was sent.
    pub(crate) fn local(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: None,
            operation: Operation::Read,
            sent: false,
            compacted: None,
            source: None,
        }
    }

    /// The deadline passed while an attempt was under way.
    pub(crate) fn deadline(operation: Operation) -> Self {
        Self {
            code: Some(Code::DeadlineExceeded),
            operation,
            sent: true,
            ..Self::local(
                ErrorKind::DeadlineExceeded,
                "the deadline of the call passed",
            )
        }
    }

    /// What the transport or the server answered to an attempt at `endpoint`.
    pub(crate) fn from_status(status: Status, operation: Operation, endpoint: &str) -> Self {
        // The transport keeps the announced deadline too, and reports it as a cancellation.
        if caused_by::<TimeoutExpired>(&status) {
            return Self {
                source: Some(status),
                ..Self::deadline(operation)
            };
        }
        // Without a connection no byte of the request has left.
        let sent = !caused_by::<ConnectError>(&status);
        let kind = if sent {
            kind_of(&status)
        } else {
            ErrorKind::Connect
        };
        let message = match kind {
            ErrorKind::Connect => format!("cannot connect to {endpoint}: {}", root_cause(&status)),
            _ if status.source().is_some() => {
                format!("connection to {endpoint} failed: {}", root_cause(&status))
            }
            _ => status.message().to_owned(),
        };
        Self {
            code: Some(status.code()),
            operation,
            sent,
            source: Some(status),
            ..Self::local(kind, message)
        }
    }

    /// A watch ended because history below `floor` is gone.
    pub(crate) fn compacted(floor: Revision, message: impl Into<String>) -> Self {
        Self {
            code: Some(Code::OutOfRange),
            sent: true,
            compacted: Some(floor),
            ..Self::local(ErrorKind::Compacted, message)
        }
    }

    /// A watch that the server cancelled for the reason it gave.
    pub(crate) fn watch_cancelled(reason: &str) -> Self {
        // Refusals by permission arrive as the text of a whole status.
        let text = reason
            .split_once("desc = ")
            .map_or(reason, |(_, text)| text);
        let kind = match reason {
            _ if reason.contains("code = PermissionDenied") => ErrorKind::PermissionDenied,
            _ if reason.contains("code = Unauthenticated") => ErrorKind::Unauthenticated,
            _ if text.contains(COMPACTED) => ErrorKind::Compacted,
            _ => ErrorKind::Cancelled,
        };
        let text = if text.is_empty() {
            "watch cancelled by the server"
        } else {
            text
        };
        Self {
            sent: true,
            ..Self::local(kind, text)
        }
    }

    /// The cause.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The gRPC code, when the server or the transport gave one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.code
    }

    /// The text the server sent, or the client's own when no server answered.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The compaction floor, when a watch ended with [`ErrorKind::Compacted`]: history from this
    /// revision on can be read.
    #[must_use]
    pub fn compact_revision(&self) -> Option<Revision> {
        self.compacted
    }

    /// Whether the same request may simply be sent again: a read that failed for a passing reason,
    /// or any request that was certainly not executed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Connect | ErrorKind::Overloaded => true,
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => {
                self.operation == Operation::Read
            }
            _ => false,
        }
    }

    /// Whether a write may have been executed in spite of this error.
    ///
    /// Read the keys back, or compare revisions, before writing again.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        let broken = self
            .source
            .as_ref()
            .is_some_and(|status| status.source().is_some());
        let open = matches!(
            self.code,
            Some(
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::Unknown
                    | Code::Cancelled
                    | Code::Internal
            )
        );
        self.operation == Operation::Write && self.sent && (open || broken)
    }

    /// Whether the server turned the request away only because of a token it no longer takes.
    pub(crate) fn is_stale_token(&self) -> bool {
        STALE_TOKEN.iter().any(|text| self.message.contains(text))
    }

    /// Whether a stream that ended with this error is worth opening again: the connection broke, or
    /// the server gave a reason that passes.
    pub(crate) fn ends_stream_for_now(&self) -> bool {
        let broken = self
            .source
            .as_ref()
            .is_some_and(|status| status.source().is_some());
        broken
            || matches!(
                self.kind,
                ErrorKind::Connect
                    | ErrorKind::Unavailable
                    | ErrorKind::Internal
                    | ErrorKind::Overloaded
                    | ErrorKind::DeadlineExceeded
            )
    }
}

/// Whether an error of this type is among the causes.
fn caused_by<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The innermost text of the chain, which names what the operating system said.
fn root_cause(status: &Status) -> String {
    let Some(mut cause) = status.source() else {
        return status.message().to_owned();
    };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn kind_of(status: &Status) -> ErrorKind {
    let message = status.message();
    match status.code() {
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::FailedPrecondition | Code::Aborted => ErrorKind::FailedPrecondition,
        Code::OutOfRange if message.contains(COMPACTED) => ErrorKind::Compacted,
        Code::OutOfRange if message.contains(FUTURE_REVISION) => ErrorKind::FutureRevision,
        Code::OutOfRange => ErrorKind::OutOfRange,
        Code::ResourceExhausted if message.contains(NO_SPACE) => ErrorKind::NoSpace,
        Code::ResourceExhausted => ErrorKind::Overloaded,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::Unimplemented => ErrorKind::Unimplemented,
        Code::Internal => ErrorKind::Internal,
        Code::DataLoss => ErrorKind::DataLoss,
        Code::Ok | Code::Unknown => ErrorKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: Code, message: &str, operation: Operation) -> Error {
        Error::from_status(Status::new(code, message), operation, "here")
    }

    fn unreachable(operation: Operation) -> Error {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
        Error::from_status(status, operation, "here")
    }

    #[test]
    fn a_write_that_was_sent_and_lost_its_answer_has_an_unknown_outcome() {
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Unknown,
            Code::Cancelled,
        ] {
            let error = answered(code, "etcdserver: request timed out", Operation::Write);
            assert!(error.outcome_unknown(), "{code:?}");
            assert!(!error.is_retryable(), "{code:?}");
        }
        assert!(Error::deadline(Operation::Write).outcome_unknown());
    }

    #[test]
    fn a_read_never_has_an_unknown_outcome() {
        let error = answered(
            Code::Unavailable,
            "etcdserver: leader changed",
            Operation::Read,
        );
        assert!(error.is_retryable() && !error.outcome_unknown());
    }

    #[test]
    fn a_write_that_found_no_connection_may_be_sent_again() {
        let error = unreachable(Operation::Write);
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert!(error.is_retryable() && !error.outcome_unknown());
        assert!(error.message().contains("here"), "{error}");
    }

    #[test]
    fn a_write_refused_by_the_server_is_certainly_not_executed() {
        for (code, message) in [
            (Code::InvalidArgument, "etcdserver: key is not provided"),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
            ),
            (Code::FailedPrecondition, "etcdserver: not leader"),
        ] {
            let error = answered(code, message, Operation::Write);
            assert!(
                !error.outcome_unknown() && !error.is_retryable(),
                "{message}"
            );
        }
    }

    #[test]
    fn revisions_out_of_reach_are_told_apart_by_text() {
        let kind = |text| answered(Code::OutOfRange, text, Operation::Read).kind();
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(kind(compacted), ErrorKind::Compacted);
        let future = "etcdserver: mvcc: required revision is a future revision";
        assert_eq!(kind(future), ErrorKind::FutureRevision);
        assert_eq!(
            kind("etcdserver: too large lease TTL"),
            ErrorKind::OutOfRange
        );
    }

    #[test]
    fn a_watch_refused_by_permission_keeps_only_the_text_of_the_status() {
        let reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
        let error = Error::watch_cancelled(reason);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(error.message(), "etcdserver: permission denied");
    }
}
