//! The causes of errors, and their mapping from statuses.
//!
//! Servers give a cause as a code, a text or, for tenure's own errors, a reason in the metadata.
//! Whether a cause allows a retry is decided in the parent module.

use tenure_proto::metadata::REASON_METADATA;
use tonic::{Code, Status};

/// etcd's text for a revision below the compaction floor, on reads and on watches.
pub(super) const COMPACTED: &str = "required revision has been compacted";
/// etcd's text for a revision that does not exist yet.
const FUTURE_REVISION: &str = "required revision is a future revision";
/// etcd's text for a store at its quota.
const NO_SPACE: &str = "database space exceeded";
/// Text for a request above the size limit of the server's transport.
pub(super) const TOO_LARGE: &str = "grpc: received message larger than max";

/// Declares [`ErrorKind`] together with the list of all kinds for the tests.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The cause of an [`Error`](crate::Error). The errors common to all calls are `Connect`,
        /// `Unavailable`, `Overloaded`, `DeadlineExceeded`, `Cancelled`, `Unauthenticated`,
        /// `PermissionDenied`, `InvalidArgument`, `Unimplemented`, `Internal`, `DataLoss` and
        /// `Unknown`; writes with conditions or in a session add those of guards and sessions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])+ $name,)+
        }

        impl ErrorKind {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

kinds! {
    /// The configuration of the client is invalid, such as an endpoint that is not an address.
    Config,
    /// No endpoint could be reached; the request was not sent.
    Connect,
    /// The request is malformed.
    InvalidArgument,
    /// The object that the request names does not exist.
    NotFound,
    /// The object that the request would create exists.
    AlreadyExists,
    /// The caller is authenticated but not allowed.
    PermissionDenied,
    /// The caller is not authenticated, or its token has expired.
    Unauthenticated,
    /// The state of the cluster or of the object forbids the request.
    FailedPrecondition,
    /// The requested revision is below the compaction floor.
    Compacted,
    /// The requested revision does not exist yet.
    FutureRevision,
    /// A value other than a revision is out of its range.
    OutOfRange,
    /// The store reached its quota and takes no more data until space is freed and the alarm
    /// disarmed.
    NoSpace,
    /// The server rejected the request for lack of capacity, before executing it.
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
    /// A guard does not hold: the lock or the election has another holder or none, or the key was
    /// recreated. [`Error::current_token`](crate::Error::current_token) says which token holds.
    /// Nothing was changed.
    StaleGuard,
    /// A fence policy requires a guard that the write does not carry. Nothing was changed.
    GuardMissing,
    /// The token given does not hold the lock or the election to be released, changed or handed
    /// over. [`Error::current_token`](crate::Error::current_token) is the one that does.
    NotHolder,
    /// The lease has a claim on the name already.
    AlreadyClaimed,
    /// The claim names another number of permits than existing claims on the lock.
    PermitsDiffer,
    /// The order of the queue cannot be changed: it contains a claim of another program, or too
    /// many claims.
    QueueFixed,
    /// Waiting would complete a cycle of leases that wait for each other.
    Deadlock,
    /// The time to wait for a lock or an election is over; the claim is withdrawn.
    WaitOver,
    /// Another client removed the waiting claim from the queue, by a forced release or by deleting
    /// its key. Retry only if the claim is still wanted: the removal was deliberate.
    ClaimEnded,
    /// Another incarnation of the instance has taken its place.
    InstanceReplaced,
    /// A limit of the server is reached: claims on a name, fence policies, idempotency keys,
    /// leases, keys or wills of a lease.
    LimitReached,
    /// The session has ended, or may have: open another. A write of it that was under way may have
    /// been executed, see [`Error::outcome_unknown`](crate::Error::outcome_unknown).
    SessionLost,
    /// The server has forgotten the outcome of this write of the session, and did not execute it
    /// again.
    RequestForgotten,
    /// An earlier attempt under the same id executed the write; its answer was too large to be
    /// remembered.
    AnswerTooLarge,
    /// The id was used for another request before; this one was not executed.
    RequestDiffers,
    /// What a transaction of [`Client::stm`](crate::Client::stm) read was changed by others during
    /// each of its attempts. Nothing was changed.
    Conflict,
    /// A stored value is not of the expected format.
    Decode,
    /// The server gave no classified cause.
    Unknown,
}

/// The cause given by tenure's reason in the metadata. An unknown reason falls back to the code.
pub(super) fn by_reason(status: &Status) -> Option<ErrorKind> {
    let kind = match reason(status)? {
        "GuardStale" => ErrorKind::StaleGuard,
        "GuardMissing" => ErrorKind::GuardMissing,
        "NotHolder" => ErrorKind::NotHolder,
        "AlreadyClaimed" => ErrorKind::AlreadyClaimed,
        "PermitsDiffer" => ErrorKind::PermitsDiffer,
        "QueueFixed" | "QueueTooLong" => ErrorKind::QueueFixed,
        "Deadlock" => ErrorKind::Deadlock,
        "WaitOver" => ErrorKind::WaitOver,
        "ClaimEnded" => ErrorKind::ClaimEnded,
        "InstanceReplaced" => ErrorKind::InstanceReplaced,
        "QueueFull" | "TooManyPolicies" | "TooManyRequestKeys" | "SessionsTooLarge"
        | "TooManyLeases" | "TooManyLeaseKeys" | "TooManyWills" | "WillsTooLarge"
        | "TooManyAlarms" => ErrorKind::LimitReached,
        "LeaseEnded" => ErrorKind::LeaseLost,
        "SessionNotFound" => ErrorKind::SessionLost,
        "RequestForgotten" => ErrorKind::RequestForgotten,
        "AnswerTooLarge" => ErrorKind::AnswerTooLarge,
        "RequestDiffers" => ErrorKind::RequestDiffers,
        _ => return None,
    };
    Some(kind)
}

/// Tenure's reason in the metadata, which other servers do not send.
pub(super) fn reason(status: &Status) -> Option<&str> {
    status.metadata().get(REASON_METADATA)?.to_str().ok()
}

pub(super) fn by_code(status: &Status) -> ErrorKind {
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
        Code::ResourceExhausted if message.contains(TOO_LARGE) => ErrorKind::InvalidArgument,
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

impl ErrorKind {
    /// Whether this answer to a repeat under the same id settles whether an earlier attempt
    /// executed the request. Only answers of the state machine, which remembers outcomes, do: an
    /// answer given before it, as for an unauthenticated caller or an overloaded server, says
    /// nothing about earlier attempts. Neither does the rejection of an invalid request: nodes may
    /// have different limits and versions, and an earlier attempt may have reached another node.
    pub(super) const fn settles(self) -> bool {
        match self {
            Self::NotFound
            | Self::AlreadyExists
            | Self::FailedPrecondition
            | Self::Compacted
            | Self::FutureRevision
            | Self::OutOfRange
            | Self::StaleGuard
            | Self::GuardMissing
            | Self::NotHolder
            | Self::AlreadyClaimed
            | Self::PermitsDiffer
            | Self::QueueFixed
            | Self::Deadlock
            | Self::WaitOver
            | Self::ClaimEnded
            | Self::InstanceReplaced
            | Self::LimitReached
            | Self::AnswerTooLarge
            | Self::RequestDiffers => true,
            Self::Config
            | Self::Connect
            | Self::InvalidArgument
            | Self::PermissionDenied
            | Self::Unauthenticated
            | Self::NoSpace
            | Self::Overloaded
            | Self::Unavailable
            | Self::DeadlineExceeded
            | Self::Cancelled
            | Self::Unimplemented
            | Self::Internal
            | Self::DataLoss
            | Self::LeaseLost
            | Self::SessionLost
            | Self::RequestForgotten
            | Self::Conflict
            | Self::Decode
            | Self::Unknown => false,
        }
    }
}
