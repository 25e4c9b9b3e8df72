//! The one map from causes to what a client sees: a gRPC code and etcd's exact text.
//!
//! gRPC codes are named in this file and nowhere else. etcd's clients look the *text* up, so it is
//! contract; `docs/errors.md` tells callers what to do about each. The maps are exhaustive and have
//! no catch-all arm: a new cause does not compile until it has a place here, or in `refusal.rs`,
//! which says what is particular to each refusal of the state machine.

use http::HeaderMap;
use tenure_proto::metadata::{
    CURRENT_TOKEN_METADATA, OUTCOME_METADATA, OUTCOME_UNKNOWN, REASON_METADATA, RETRY_METADATA,
};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

use super::failure::Failure;
use crate::node::{ProposeError, ReadIndexError, TransferError};

/// When to try again after a refusal for overload: a few of the batches that were in the way are
/// done by then. Clients add their own jitter.
const RETRY_AFTER_MS: &str = "100";
/// After a refusal for a full queue: claims end as their holders work, and ten thousand that come
/// again each second are what a node takes beside everything else.
const QUEUE_FULL_RETRY_AFTER_MS: &str = "1000";
/// After a refusal for the number of idempotency keys: each is remembered for ten minutes, so
/// within some seconds a part of them is free again.
const KEYS_RETRY_AFTER_MS: &str = "5000";
/// What the text of a reason of tenure's own begins with.
const OWN_PREFIX: &str = "tenure: ";

/// Declares [`Reason`] together with its code and text, so that none can be left out.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident => $code:ident, $text:literal;)+) => {
        /// Why a call was not answered, as clients see it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the table in `docs/errors.md`.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// The gRPC code.
            pub(crate) const fn code(self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)+
                }
            }

            /// The text without what is particular to one case; etcd's where etcd has the reason.
            pub(crate) const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// The name of the reason, which is contract for reasons of tenure's own.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// A key is empty.
    EmptyKey => InvalidArgument, "etcdserver: key is not provided";
    /// `ignore_value` or `ignore_lease` on an absent key; also an empty operation in a transaction.
    KeyNotFound => InvalidArgument, "etcdserver: key not found";
    /// A value beside `ignore_value`.
    ValueProvided => InvalidArgument, "etcdserver: value is provided";
    /// A lease beside `ignore_lease`.
    LeaseProvided => InvalidArgument, "etcdserver: lease is provided";
    /// More operations than a transaction may have.
    TooManyOperations => InvalidArgument, "etcdserver: too many operations in txn request";
    /// A key would be written twice by one transaction.
    DuplicateKey => InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// The `client-api-version` metadata is not text.
    InvalidApiVersion => InvalidArgument, "etcdserver: invalid client api version";
    /// A sort order or target that does not exist.
    InvalidSortOption => InvalidArgument, "etcdserver: invalid sort option";
    /// Larger than the request limit, or than the log takes.
    RequestTooLarge => InvalidArgument, "etcdserver: request is too large";
    /// A comparison whose result or target does not exist.
    InvalidCompare => InvalidArgument, "etcdserver: invalid compare option";
    /// Below the compaction floor.
    Compacted => OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// Above the latest revision.
    FutureRevision => OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// A lease was asked to live longer than leases may.
    LeaseTtlTooLarge => OutOfRange, "etcdserver: too large lease TTL";
    /// The space quota is exhausted.
    NoSpace => ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// Too much is in flight already.
    TooManyRequests => ResourceExhausted, "etcdserver: too many requests";
    /// An answer that would take more memory than all answers may.
    RangeTooLarge => ResourceExhausted,
        "tenure: the answer is larger than all answers together may be";
    /// An answer of which the client read nothing for too long.
    AnswerUnread => ResourceExhausted, "tenure: the answer was not read for too long";
    /// There is no memory for an answer. What was asked may have been a write, which was done.
    AnswerDropped => ResourceExhausted,
        "tenure: there is no memory for the answer; a write may have been executed";
    /// A watch stream of which the client read nothing for long, while others waited for memory.
    WatchUnread => Unavailable,
        "tenure: the watch stream was not read for too long while memory was short";
    /// A request of which the rest did not come.
    RequestUnfinished => DeadlineExceeded, "tenure: the request was not sent whole in time";
    /// There is no such lease.
    LeaseNotFound => NotFound, "etcdserver: requested lease not found";
    /// There is no such lease to campaign or lock with. etcd's servers for these two calls lose the
    /// code on the way.
    LeaseNotFoundToClaim => Unknown, "etcdserver: requested lease not found";
    /// There is such a lease already.
    LeaseExists => FailedPrecondition, "etcdserver: lease already exists";
    /// There are no users to authenticate.
    AuthNotEnabled => FailedPrecondition, "etcdserver: authentication is not enabled";
    /// Only the leader can do it.
    NotLeader => FailedPrecondition, "etcdserver: not leader";
    /// Leadership cannot go to this member.
    BadTransferee => FailedPrecondition, "etcdserver: bad leader transferee";
    /// Leadership is not handed to a member that does not answer.
    TransfereeSilent => FailedPrecondition, "tenure: leader transferee does not answer";
    /// No leader is known.
    NoLeader => Unavailable, "etcdserver: no leader";
    /// The leader changed while it was asked.
    LeaderChanged => Unavailable, "etcdserver: leader changed";
    /// The node is stopping.
    Stopped => Unavailable, "etcdserver: server stopped";
    /// A read was not confirmed in time, or a call that changes nothing took too long.
    TimedOut => Unavailable, "etcdserver: request timed out";
    /// A write left, and its outcome did not arrive in time.
    WriteTimedOut => Unavailable, "etcdserver: request timed out";
    /// A write left, and the leader was lost before its outcome arrived.
    WriteLostLeader => Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure";
    /// The caller's own deadline passed first.
    DeadlineExceeded => DeadlineExceeded, "context deadline exceeded";
    /// The caller's own deadline passed while its write was out.
    WriteDeadlineExceeded => DeadlineExceeded, "context deadline exceeded";
    /// The data of a member is known to differ.
    Corrupt => DataLoss, "etcdserver: corrupt cluster";
    /// Sorted streams do not exist.
    StreamSorted => Unimplemented, "RangeStream does not support custom sort orders";
    /// Filtered streams do not exist.
    StreamFiltered => Unimplemented, "RangeStream does not support revision filters";
    /// Membership is what the first start made it.
    MembershipFixed => Unimplemented, "etcdserver: membership changes are not supported";
    /// There are no snapshots over gRPC.
    SnapshotUnsupported => Unimplemented, "etcdserver: snapshot is not supported";
    /// There is no version to go down to.
    DowngradeUnsupported => Unimplemented, "etcdserver: downgrade is not supported";
    /// There are no users and roles.
    AuthUnsupported => Unimplemented, "etcdserver: authentication is not supported";
    /// The lease of a lock's waiter has ended.
    MutexExpired => Unknown, "mutex: session is expired";
    /// The key that was shown does not lead.
    ElectionNotLeader => Unknown, "election: not leader";
    /// Nobody leads.
    ElectionNoLeader => Unknown, "election: no leader";
    /// A leader's call without the proof that it leads.
    LeaderKeyMissing => Unknown, "\"leader\" field must be provided";
    /// A guard does not hold.
    GuardStale => FailedPrecondition, "tenure: guard is stale";
    /// A fence policy asks for a guard that the write does not carry.
    GuardMissing => FailedPrecondition, "tenure: guard is missing";
    /// A guard that cannot be one.
    GuardMalformed => InvalidArgument, "tenure: guard is malformed";
    /// More guards than a write may carry.
    TooManyGuards => InvalidArgument, "tenure: too many guards";
    /// A guard beside something that only reads.
    GuardOnRead => InvalidArgument, "tenure: a read takes no guards";
    /// A request id that cannot be one.
    RequestMalformed => InvalidArgument, "tenure: request id is malformed";
    /// A session's request id and an idempotency key, or two of either.
    RequestNamedTwice => InvalidArgument, "tenure: request has two ids";
    /// The outcome of the request is not remembered any more.
    RequestForgotten => FailedPrecondition, "tenure: request is forgotten";
    /// The id was used for another request.
    RequestDiffers => FailedPrecondition, "tenure: request id was used for another request";
    /// The request took effect before, and what it was answered is not known any more.
    AnswerTooLarge => AlreadyExists, "tenure: request was executed before";
    /// As many idempotency keys are remembered as may.
    TooManyRequestKeys => ResourceExhausted, "tenure: too many idempotency keys";
    /// There is no such session.
    SessionNotFound => NotFound, "tenure: session not found";
    /// Sessions remember as much as they may together.
    SessionsTooLarge => ResourceExhausted, "tenure: sessions remember too much";
    /// There are as many leases as may be.
    TooManyLeases => ResourceExhausted, "tenure: too many leases";
    /// The lease has as many keys as it may.
    TooManyLeaseKeys => ResourceExhausted, "tenure: too many keys of one lease";
    /// The lease has as many wills as it may.
    TooManyWills => ResourceExhausted, "tenure: too many wills of one lease";
    /// Wills take as much as they may together.
    WillsTooLarge => ResourceExhausted, "tenure: wills take too much";
    /// There are as many alarms of a kind as may be.
    TooManyAlarms => ResourceExhausted, "tenure: too many alarms";
    /// A name is empty.
    NameMissing => InvalidArgument, "tenure: name is not provided";
    /// A name is longer than names may be.
    NameTooLong => InvalidArgument, "tenure: name is too long";
    /// The same name twice in one request.
    NameRepeated => InvalidArgument, "tenure: name is given twice";
    /// More names than one request may have.
    TooManyNames => InvalidArgument, "tenure: too many names";
    /// A lock or an election with a name that would make its claims instances of services.
    NameReserved => InvalidArgument, "tenure: name is reserved for services";
    /// Permits that cannot be counted.
    PermitsInvalid => InvalidArgument, "tenure: permits are not countable";
    /// No lease is named where one must be.
    LeaseMissing => InvalidArgument, "tenure: lease is not provided";
    /// No session is named where one must be.
    SessionMissing => InvalidArgument, "tenure: session is not provided";
    /// Neither a lease nor a time to live for a new one.
    TtlMissing => InvalidArgument, "tenure: neither lease nor ttl is provided";
    /// A lease was asked to live shorter than leases may.
    TtlTooShort => InvalidArgument, "tenure: ttl is too short";
    /// A lease was asked to live longer than leases may.
    TtlTooLong => InvalidArgument, "tenure: ttl is too long";
    /// A lock is to be kept from everybody for longer than it may.
    LockDelayTooLong => InvalidArgument, "tenure: lock delay is too long";
    /// What a claim says of itself is longer than it may be.
    PrincipalTooLong => InvalidArgument, "tenure: principal is too long";
    /// No token where one must be.
    TokenMissing => InvalidArgument, "tenure: token is not provided";
    /// A claim is to be ended by force without saying why.
    JustificationMissing => InvalidArgument, "tenure: reason is not provided";
    /// Why a claim is to be ended by force is said at too great a length.
    JustificationTooLong => InvalidArgument, "tenure: reason is too long";
    /// A fence policy without a prefix.
    PrefixMissing => InvalidArgument, "tenure: prefix is not provided";
    /// A prefix is longer than prefixes may be.
    PrefixTooLong => InvalidArgument, "tenure: prefix is too long";
    /// A change of the fence policies without a policy.
    PolicyMissing => InvalidArgument, "tenure: policy is not provided";
    /// The token does not hold the lock.
    NotHolder => FailedPrecondition, "tenure: not the holder";
    /// The lease has a claim on the name.
    AlreadyClaimed => FailedPrecondition, "tenure: lease has a claim already";
    /// The lease has no claim on the name.
    NotClaimed => FailedPrecondition, "tenure: lease has no claim";
    /// Others count the permits differently.
    PermitsDiffer => FailedPrecondition, "tenure: permits are counted differently";
    /// As many claims wait as may.
    QueueFull => ResourceExhausted, "tenure: too many claims";
    /// The claim would wait for itself.
    Deadlock => Aborted, "tenure: deadlock";
    /// The order of the queue cannot be changed.
    QueueFixed => FailedPrecondition, "tenure: queue cannot be reordered";
    /// Too many claims wait, or too large ones, for one write to change their order.
    QueueTooLong => FailedPrecondition, "tenure: queue is too long to be reordered";
    /// There is no claim that could be granted.
    CandidateUnknown => NotFound, "tenure: candidate not found";
    /// The claim waited as long as it was to.
    WaitOver => DeadlineExceeded, "tenure: wait is over";
    /// The lease of a claim ended before it was granted.
    LeaseEnded => FailedPrecondition, "tenure: lease ended while its claim waited";
    /// The claim was ended by somebody before it was granted.
    ClaimEnded => FailedPrecondition, "tenure: claim was ended while it waited";
    /// There is no policy for the prefix.
    PolicyNotFound => NotFound, "tenure: fence policy not found";
    /// There are as many policies as may be.
    TooManyPolicies => ResourceExhausted, "tenure: too many fence policies";
    /// How fresh a read is to be cannot be understood.
    FreshnessMalformed => InvalidArgument, "tenure: freshness is malformed";
    /// This node cannot tell that its state is as fresh as was asked.
    TooOld => Unavailable, "tenure: state is older than asked";
    /// This node did not reach the revision in time.
    RevisionNotReached => Unavailable, "tenure: revision is not reached";
    /// Another incarnation has taken the instance's place, or it is gone.
    InstanceReplaced => FailedPrecondition, "tenure: instance is replaced";
    /// There is no such instance.
    InstanceNotFound => NotFound, "tenure: instance not found";
    /// A registration without an instance.
    InstanceMissing => InvalidArgument, "tenure: instance is not provided";
    /// The name of a service that cannot be one.
    ServiceNameInvalid => InvalidArgument, "tenure: service name is invalid";
    /// The id of an instance that cannot be one.
    InstanceNameInvalid => InvalidArgument, "tenure: instance id is invalid";
    /// An incarnation that cannot be one, or none where one must be.
    IncarnationInvalid => InvalidArgument, "tenure: incarnation is invalid";
    /// An instance that cannot be reached.
    EndpointsMissing => InvalidArgument, "tenure: endpoints are not provided";
    /// More endpoints than an instance may have.
    TooManyEndpoints => InvalidArgument, "tenure: too many endpoints";
    /// An endpoint without protocol, host or port.
    EndpointInvalid => InvalidArgument, "tenure: endpoint is invalid";
    /// More tags than an instance or a selector may have.
    TooManyTags => InvalidArgument, "tenure: too many tags";
    /// A tag, a zone or a version that cannot be one.
    LabelInvalid => InvalidArgument, "tenure: label is invalid";
    /// More pairs of metadata than an instance or a selector may have.
    TooMuchMetadata => InvalidArgument, "tenure: too much metadata";
    /// Metadata whose key cannot be one.
    MetadataInvalid => InvalidArgument, "tenure: metadata is invalid";
    /// A greater share of traffic than there is.
    WeightInvalid => InvalidArgument, "tenure: weight is out of range";
    /// A readiness that does not exist.
    ReadinessUnknown => InvalidArgument, "tenure: readiness is unknown";
    /// All that an instance says of itself is too much.
    InstanceTooLarge => InvalidArgument, "tenure: instance is too large";
    /// A drain that is not about to end.
    GraceTooLong => InvalidArgument, "tenure: grace is too long";
    /// Transactions lie within each other deeper than they may.
    TxnTooDeep => InvalidArgument, "tenure: transactions are nested too deep";
    /// More keys would be read or changed than by one write may.
    TooManyRows => FailedPrecondition, "tenure: too many keys for one write";
    /// The answer would be larger than answers to writes may be.
    AnswerOverLimit => FailedPrecondition, "tenure: answer is too large";
    /// Some member is of a version that does not know what is asked for.
    LevelNotReached => FailedPrecondition, "tenure: a member is too old for this request";
}

impl Reason {
    /// Whether the write that failed for this reason may nevertheless take effect, or may have done
    /// so.
    pub(crate) const fn outcome_unknown(self) -> bool {
        matches!(
            self,
            Self::WriteTimedOut
                | Self::WriteLostLeader
                | Self::WriteDeadlineExceeded
                | Self::AnswerUnread
                | Self::AnswerDropped
        )
    }

    /// When to try again, where that alone helps.
    const fn retry_after_ms(self) -> Option<&'static str> {
        match self {
            Self::TooManyRequests => Some(RETRY_AFTER_MS),
            Self::QueueFull => Some(QUEUE_FULL_RETRY_AFTER_MS),
            Self::TooManyRequestKeys => Some(KEYS_RETRY_AFTER_MS),
            _ => None,
        }
    }

    /// Whether etcd has no such reason.
    fn is_own(self) -> bool {
        self.text().starts_with(OWN_PREFIX)
    }
}

/// What ends a response with `status`.
pub(in crate::rpc) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    // Fails for texts that no header can hold, of which there are none here; a response without
    // a status is a failure to every client.
    drop(status.add_header(&mut trailers));
    trailers
}

impl From<Reason> for Status {
    fn from(reason: Reason) -> Self {
        Failure::from(reason).into()
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let reason = failure.reason();
        let message = failure.message().into_owned();
        let retry_after_ms = reason.retry_after_ms();
        if !reason.outcome_unknown() && !reason.is_own() && retry_after_ms.is_none() {
            return Self::new(reason.code(), message);
        }
        let mut metadata = MetadataMap::with_capacity(2);
        if let Some(after_ms) = retry_after_ms {
            metadata.insert(RETRY_METADATA, MetadataValue::from_static(after_ms));
        }
        if reason.outcome_unknown() {
            metadata.insert(
                OUTCOME_METADATA,
                MetadataValue::from_static(OUTCOME_UNKNOWN),
            );
        }
        if reason.is_own() {
            metadata.insert(REASON_METADATA, MetadataValue::from_static(reason.name()));
        }
        if let Some(current) = failure.current_token() {
            metadata.insert(CURRENT_TOKEN_METADATA, MetadataValue::from(current.0));
        }
        Self::with_metadata(reason.code(), message, metadata)
    }
}

impl From<ProposeError> for Reason {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NoLeader => Self::NoLeader,
            ProposeError::Overloaded => Self::TooManyRequests,
            ProposeError::TooLarge => Self::RequestTooLarge,
            ProposeError::Stopping => Self::Stopped,
            ProposeError::LevelNotReached => Self::LevelNotReached,
            ProposeError::TimedOut => Self::WriteTimedOut,
            ProposeError::LeaderLost => Self::WriteLostLeader,
        }
    }
}

impl From<ReadIndexError> for Reason {
    fn from(error: ReadIndexError) -> Self {
        match error {
            ReadIndexError::NoLeader => Self::NoLeader,
            ReadIndexError::LeaderChanged => Self::LeaderChanged,
            ReadIndexError::TimedOut => Self::TimedOut,
            ReadIndexError::Stopping => Self::Stopped,
        }
    }
}

impl From<TransferError> for Reason {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::NotLeader => Self::NotLeader,
            TransferError::BadTarget => Self::BadTransferee,
            TransferError::SilentTarget => Self::TransfereeSilent,
            TransferError::TimedOut => Self::TimedOut,
            TransferError::Stopping => Self::Stopped,
        }
    }
}

/// What the gRPC library says of a message above its limit begins with one of these.
const LIBRARY_TOO_LARGE: [&str; 2] = [
    "Error, decoded message length too large",
    "Error decompressing: size limit",
];
/// What etcd's says.
const TRANSPORT_TOO_LARGE: &str = "grpc: received message larger than max";

/// Says in etcd's words that a message was too large for the transport; for the headers of an
/// answer that has nothing else.
pub(in crate::rpc) fn translate(headers: &mut HeaderMap) {
    if !headers.contains_key(Status::GRPC_STATUS) {
        return;
    }
    let Some(found) = Status::from_header_map(headers) else {
        return;
    };
    let text = found.message();
    if !LIBRARY_TOO_LARGE
        .iter()
        .any(|start| text.starts_with(start))
    {
        return;
    }
    let numbers: Vec<_> = text
        .split(|letter: char| !letter.is_ascii_digit())
        .filter(|number| !number.is_empty())
        .collect();
    let text = match numbers[..] {
        [found, limit] => format!("{TRANSPORT_TOO_LARGE} ({found} vs. {limit})"),
        _ => TRANSPORT_TOO_LARGE.to_owned(),
    };
    // The headers of a status are well-formed.
    drop(Status::new(Code::ResourceExhausted, text).add_header(headers));
}

/// The reason that a status was made from, without what is particular to the case.
#[cfg(test)]
pub(crate) fn reason_of(status: &Status) -> Option<Reason> {
    let unknown = status.metadata().get(OUTCOME_METADATA).is_some();
    let own = status.metadata().get(REASON_METADATA);
    let found = Reason::ALL.iter().find(|reason| {
        let told = status.message().strip_prefix(reason.text());
        reason.code() == status.code()
            && told.is_some_and(|detail| detail.is_empty() || detail.starts_with(": "))
            && reason.outcome_unknown() == unknown
            && own.is_none_or(|own| own == reason.name())
    });
    found.copied()
}

#[cfg(test)]
mod tests;
