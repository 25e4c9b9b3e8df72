//! The causes of errors, and which answer has which.
//!
//! Servers name a cause by a code, a text or, for what etcd does not have, a reason in the
//! metadata. What a cause allows the caller to conclude is not decided here.

use tenure_proto::metadata::REASON_METADATA;
use tonic::{Code, Status};

/// etcd's text for a revision below the compaction floor, on reads and on watches.
pub(super) const COMPACTED: &str = "required revision has been compacted";
/// etcd's text for a revision that does not exist yet.
const FUTURE_REVISION: &str = "required revision is a future revision";
/// etcd's text for a store that reached its quota.
const NO_SPACE: &str = "database space exceeded";
/// What a server says of a request that is larger than its transport takes.
pub(super) const TOO_LARGE: &str = "grpc: received message larger than max";

/// Declares [`ErrorKind`] once, so that the tests know every kind there is.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The cause of an [`Error`](crate::Error).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])+ $name,)+
        }

        impl ErrorKind {
            /// Every kind.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

kinds! {
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
    /// A guard does not hold: somebody else holds the lock or leads, nobody does, or the key was
    /// created anew. [`Error::current_token`](crate::Error::current_token) says which token holds.
    /// Nothing was changed.
    StaleGuard,
    /// A fence policy asks for a guard that the write does not carry. Nothing was changed.
    GuardMissing,
    /// The token shown does not hold the lock or the election that was to be given back, changed or
    /// handed on. [`Error::current_token`](crate::Error::current_token) says which one does.
    NotHolder,
    /// The lease has a claim on the name already.
    AlreadyClaimed,
    /// Others count the permits of the lock differently.
    PermitsDiffer,
    /// The order of the queue cannot be changed: a claim that another program made waits, or too
    /// many do.
    QueueFixed,
    /// Waiting would close a circle of leases that wait for each other.
    Deadlock,
    /// The time to wait for a lock or an election is over; the claim is withdrawn.
    WaitOver,
    /// Somebody else took the claim out of the queue while it waited, by force or by deleting its
    /// key. Ask again only if it is still wanted: this was no accident.
    ClaimEnded,
    /// Another incarnation of the instance has taken its place.
    InstanceReplaced,
    /// As much of something as the server keeps is there already: claims on a name, fence
    /// policies, idempotency keys, leases, keys or wills of a lease.
    LimitReached,
    /// The session has ended, or may have: open another. A write of it that was under way may have
    /// been executed, see [`Error::outcome_unknown`](crate::Error::outcome_unknown).
    SessionLost,
    /// The server does not remember the outcome of this write of the session any more, and did not
    /// execute it again.
    RequestForgotten,
    /// The write took effect when it was sent before under the same id; its answer was too large
    /// to be kept.
    AnswerTooLarge,
    /// The id was used for another request before; this one was not executed.
    RequestDiffers,
    /// What a transaction of [`Client::stm`](crate::Client::stm) read was changed by others during
    /// each of its attempts. Nothing was changed.
    Conflict,
    /// A stored value is not what it was read as.
    Decode,
    /// Anything the server did not classify.
    Unknown,
}

/// The cause that tenure names in the metadata. A name that is not known here leaves the code.
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

/// The name of tenure's own reason, which other servers do not send.
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
    /// Whether this answer to a repeat under the same id tells that no attempt before executed the
    /// request, or that one did. Only what is decided where outcomes are remembered tells that: an
    /// answer given in front of it, as when the caller is not known or the server is busy, says
    /// nothing about attempts before. Nor does a request that is not valid: every node has limits
    /// and a version of its own, and an attempt before may have gone to another one.
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
