//! The error of a call, its cause, and whether the call may be retried.
//!
//! The invariant: [`Error::outcome_unknown`] is true whenever a write may have been executed
//! although the caller got an error; in doubt it is true.

mod kind;
#[cfg(test)]
mod tests;
mod tls;

use std::{error::Error as _, fmt, io, time::Duration};

use tenure_proto::metadata::{
    CURRENT_TOKEN_METADATA, OUTCOME_METADATA, OUTCOME_UNKNOWN, RETRY_METADATA,
};
use tonic::{Code, ConnectError, Status, TimeoutExpired};

pub use kind::ErrorKind;
pub(crate) use tls::TlsError;
pub use tls::TlsFailure;

use crate::id::{Revision, Token};

/// etcd's texts for a rejected authentication token, and for the lack of one, which is what a
/// client sees that logged in before authentication was enabled.
const STALE_TOKEN: [&str; 3] = [
    "invalid auth token",
    "revision of auth store is old",
    "user name is empty",
];
/// Prefixes of error texts of servers; other texts come from proxies and the transport.
const SERVER_TEXTS: [&str; 3] = ["etcdserver: ", "tenure: ", kind::TOO_LARGE];
/// etcd's text for too many requests under way, a transient error.
const TOO_MANY_REQUESTS: &str = "too many requests";

/// Whether a request writes, and so whether an error leaves its outcome unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Does not write, or is idempotent: may be repeated.
    Read,
    /// Writes; must take effect at most once.
    Write,
}

/// Retry pushback: what a server says about another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushback {
    After(Duration),
    Never,
}

/// A failed call.
///
/// `Display` is the server's own text where the server answered. `Debug` is the same on one line,
/// with the kind, so that a `main` which returns the error prints something readable.
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// if let Err(error) = client.put("config/mode", "fast").await {
///     if error.outcome_unknown() {
///         // The write may have been executed: read before writing again.
///     } else if error.is_retryable() {
///         // Not executed, and the cause is transient.
///     } else {
///         return Err(error);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    code: Option<Code>,
    operation: Operation,
    sent: bool,
    /// This attempt may have executed the request.
    open: bool,
    /// An earlier attempt may have executed it, and this answer does not tell.
    unresolved: bool,
    compacted: Option<Revision>,
    current: Option<Token>,
    pushback: Option<Pushback>,
    #[source]
    source: Option<Status>,
}

impl Error {
    /// An error of the client itself: nothing was sent.
    pub(crate) fn local(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: None,
            operation: Operation::Read,
            sent: false,
            open: false,
            unresolved: false,
            compacted: None,
            current: None,
            pushback: None,
            source: None,
        }
    }

    /// The deadline passed while an attempt was under way.
    pub(crate) fn deadline(operation: Operation) -> Self {
        Self {
            code: Some(Code::DeadlineExceeded),
            operation,
            sent: true,
            open: true,
            ..Self::local(
                ErrorKind::DeadlineExceeded,
                "the deadline of the call passed",
            )
        }
    }

    /// The breakers of all endpoints are open after recent connection failures.
    pub(crate) fn unreachable<'a>(endpoints: impl Iterator<Item = &'a str>) -> Self {
        let endpoints: Vec<_> = endpoints.collect();
        let text = format!(
            "cannot connect to {}: the circuit breaker of every endpoint is open",
            endpoints.join(", ")
        );
        Self::local(ErrorKind::Connect, text)
    }

    /// `what` needs a tenure server; `server` offers etcd's API only.
    pub(crate) fn needs_tenure(what: &str, server: &str) -> Self {
        let text = format!(
            "{what} needs a tenure server, and {server} speaks etcd's API only: connect to a \
             tenure server, or do without"
        );
        Self::local(ErrorKind::Unimplemented, text)
    }

    /// Replaces the text of an error for an unknown service of `tenure.v1` by one that says that
    /// the call needs a tenure server.
    pub(crate) fn explain_unimplemented(mut self, method: &str, endpoint: &str) -> Self {
        if self.kind == ErrorKind::Unimplemented && !self.is_from_tenure() {
            self.message = Self::needs_tenure(method, endpoint).message;
        }
        self
    }

    /// The error for a status from the transport or the server at `endpoint`.
    pub(crate) fn from_status(status: Status, operation: Operation, endpoint: &str) -> Self {
        // The transport enforces the announced deadline as well and reports it as a cancellation.
        if caused_by::<TimeoutExpired>(&status) {
            return Self {
                source: Some(status),
                ..Self::deadline(operation)
            };
        }
        // Without a connection nothing was sent.
        if caused_by::<ConnectError>(&status) {
            let text = format!("cannot connect to {endpoint}: {}", root_cause(&status));
            return Self {
                code: Some(status.code()),
                operation,
                source: Some(status),
                ..Self::local(ErrorKind::Connect, text)
            };
        }
        let broken = is_broken(&status);
        let kind = match kind::by_reason(&status) {
            Some(kind) => kind,
            // The codes that the transport chooses for its own failures carry no information.
            None if broken => ErrorKind::Unavailable,
            None => kind::by_code(&status),
        };
        let message = if broken {
            format!("connection to {endpoint} failed: {}", root_cause(&status))
        } else {
            status.message().to_owned()
        };
        Self {
            code: Some(status.code()),
            operation,
            sent: true,
            open: leaves_open(&status),
            current: current_token(&status),
            pushback: pushback(&status),
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
            _ if text.contains(kind::COMPACTED) => ErrorKind::Compacted,
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

    /// Combines this answer with earlier attempts of the write, whose outcome is unknown if
    /// `unresolved`. An answer that settles the outcome clears it.
    pub(crate) fn with_earlier_attempts(self, unresolved: bool) -> Self {
        let settles = self.settles();
        self.with_unknown_outcome(unresolved && !settles)
    }

    /// Marks the outcome as unknown if `unresolved`: for an error that is not an answer to the
    /// write and so does not settle earlier attempts.
    pub(crate) fn with_unknown_outcome(mut self, unresolved: bool) -> Self {
        self.unresolved = unresolved;
        // Nothing was sent, so this was no attempt of the write.
        if unresolved {
            self.operation = Operation::Write;
        }
        self
    }

    /// Adds the error of the previous attempt: its cause to a timeout, and the endpoints tried to a
    /// connection failure.
    pub(crate) fn with_previous(mut self, last: Option<&Self>) -> Self {
        let Some(last) = last else {
            return self;
        };
        if self.kind == ErrorKind::DeadlineExceeded {
            self.message = if last.kind == self.kind {
                last.message.clone()
            } else {
                format!("{}; before that: {}", self.message, last.message)
            };
        }
        if self.kind == ErrorKind::Connect && last.kind == ErrorKind::Connect {
            let mut causes: Vec<_> = last.message.split("; ").collect();
            causes.retain(|cause| *cause != self.message);
            causes.push(&self.message);
            self.message = causes.join("; ");
        }
        self
    }

    /// Whether this answer settles the outcome of every copy of the request sent under the same id.
    pub(crate) fn settles(&self) -> bool {
        self.sent && self.kind.settles()
    }

    /// The cause of the error, for a `match`.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The gRPC code, when the server or the transport gave one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.code
    }

    /// The error text of the server, or the client's own when no server answered.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The compaction floor, when a watch ended with [`ErrorKind::Compacted`]: the oldest revision
    /// that can be read.
    #[must_use]
    pub fn compact_revision(&self) -> Option<Revision> {
        self.compacted
    }

    /// Why a connection could not be secured, with [`ErrorKind::Connect`]: of several endpoints,
    /// the last one that was tried.
    #[must_use]
    pub fn tls_failure(&self) -> Option<TlsFailure> {
        let mut cause = self.source.as_ref()?.source();
        while let Some(error) = cause {
            // An error of the system passes over the error inside when it is asked for its source.
            let inner = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            let found = inner.and_then(|inner| inner.downcast_ref::<TlsError>());
            if let Some(found) = found {
                return Some(found.failure);
            }
            cause = error.source();
        }
        None
    }

    /// The token of the current holder, with [`ErrorKind::StaleGuard`] and
    /// [`ErrorKind::NotHolder`]; nothing when there is no holder.
    #[must_use]
    pub fn current_token(&self) -> Option<Token> {
        self.current
    }

    /// Whether the same request may be sent again: the cause is transient, and the request is a
    /// read or was certainly not executed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        if self.outcome_unknown() || self.pushback == Some(Pushback::Never) {
            return false;
        }
        // Writes reach this only if they were certainly not executed.
        let passing = [
            ErrorKind::Connect,
            ErrorKind::Overloaded,
            ErrorKind::Unavailable,
            ErrorKind::DeadlineExceeded,
            ErrorKind::Conflict,
        ];
        passing.contains(&self.kind)
    }

    /// Whether a write may have been executed in spite of this error.
    ///
    /// Read the keys back, or compare revisions, before writing again. A write that carried an
    /// idempotency key may be sent again with the same key instead.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        let open = self.sent && self.open;
        self.operation == Operation::Write && (self.unresolved || open)
    }

    /// Whether any byte of the request may have reached a server.
    pub(crate) fn was_sent(&self) -> bool {
        self.sent
    }

    /// The retry pushback of the server.
    pub(crate) fn pushback(&self) -> Option<Pushback> {
        self.pushback
    }

    /// Whether the server rejected the request because of overload, before executing anything.
    pub(crate) fn is_passing_overload(&self) -> bool {
        let hinted = matches!(self.pushback, Some(Pushback::After(_)));
        self.kind == ErrorKind::Overloaded
            && self.sent
            && !self.outcome_unknown()
            && (hinted || self.message.contains(TOO_MANY_REQUESTS))
    }

    /// Whether the answer shows that the server offers `tenure.v1`.
    pub(crate) fn is_from_tenure(&self) -> bool {
        let status = self.source.as_ref();
        status.is_some_and(|status| kind::reason(status).is_some())
    }

    /// Whether the server rejected the request only because of an expired or missing authentication
    /// token, before it did anything.
    pub(crate) fn is_stale_token(&self) -> bool {
        STALE_TOKEN.iter().any(|text| self.message.contains(text))
    }

    /// Whether idempotent background work must be retried: the cause is transient, or the outcome
    /// is unknown.
    pub(crate) fn needs_retry(&self) -> bool {
        self.allows_resume() || self.outcome_unknown()
    }

    /// Whether a stream that ended with this error may be reopened: the connection broke, or the
    /// server gave a transient cause.
    pub(crate) fn allows_resume(&self) -> bool {
        self.source.as_ref().is_some_and(is_broken)
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

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in self.message.split_inclusive(char::is_control) {
            match word.char_indices().next_back() {
                Some((end, last)) if last.is_control() => write!(f, "{} ", &word[..end])?,
                _ => f.write_str(word)?,
            }
        }
        write!(f, " [{:?}", self.kind)?;
        if self.outcome_unknown() {
            f.write_str(", outcome unknown")?;
        }
        f.write_str("]")
    }
}

/// Whether the connection failed, as opposed to an answer or a timeout.
pub(crate) fn is_broken(status: &Status) -> bool {
    status.source().is_some() && !caused_by::<TimeoutExpired>(status)
}

/// Whether a write that got this answer may nevertheless have been executed.
fn leaves_open(status: &Status) -> bool {
    let said = status.metadata().get(OUTCOME_METADATA);
    if said.is_some_and(|value| value.as_bytes() == OUTCOME_UNKNOWN.as_bytes()) || is_broken(status)
    {
        return true;
    }
    // A server that gives a reason also says when the outcome is unknown.
    if kind::reason(status).is_some() {
        return false;
    }
    let from_server = || {
        let mut texts = SERVER_TEXTS.iter();
        texts.any(|text| status.message().starts_with(text))
    };
    match status.code() {
        Code::Ok
        | Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Unknown
        | Code::Cancelled
        | Code::Internal => true,
        // Also the code of the transport for an answer that exceeds its size limit.
        Code::ResourceExhausted | Code::OutOfRange => !from_server(),
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unimplemented
        | Code::DataLoss => false,
    }
}

fn current_token(status: &Status) -> Option<Token> {
    let value = status.metadata().get(CURRENT_TOKEN_METADATA)?;
    // Zero is not a token: there is no holder.
    value.to_str().ok()?.parse().ok()
}

fn pushback(status: &Status) -> Option<Pushback> {
    // Milliseconds, or anything else for never.
    let value = status.metadata().get(RETRY_METADATA)?;
    let millis = value.to_str().ok().and_then(|text| text.parse().ok());
    Some(millis.map_or(Pushback::Never, |millis| {
        Pushback::After(Duration::from_millis(millis))
    }))
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

/// The innermost error of the chain, which is that of the operating system.
fn root_cause(status: &Status) -> String {
    let Some(mut cause) = status.source() else {
        return status.message().to_owned();
    };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
