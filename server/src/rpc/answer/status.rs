//! The one map from causes to a gRPC code and etcd's exact text.
//!
//! No other file names gRPC codes. etcd's clients compare the *text*, so it is contract;
//! `docs/errors.md` tells callers what to do about each. The maps are exhaustive: a new cause does
//! not compile until it is mapped here, or in `refusal.rs`, for refusals of the state machine.

use http::HeaderMap;
use tenure_proto::metadata::{
    CURRENT_TOKEN_METADATA, OUTCOME_METADATA, OUTCOME_UNKNOWN, REASON_METADATA, RETRY_METADATA,
};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

use super::failure::Failure;
use crate::node::{ChangeError, ProposeError, ReadIndexError, Refusal, TransferError};

/// Retry delay after a refusal for overload: by then a few of the batches before it are done.
/// Clients add their own jitter.
const RETRY_AFTER_MS: &str = "100";
/// Retry delay after a refusal for a full queue: a node can handle ten thousand such retries a
/// second beside its other load.
const QUEUE_FULL_RETRY_AFTER_MS: &str = "1000";
/// Retry delay after a refusal for the number of idempotency keys: each is remembered for ten
/// minutes, so a part of them is free within some seconds.
const KEYS_RETRY_AFTER_MS: &str = "5000";
/// The prefix of the texts of tenure's own reasons.
const OWN_PREFIX: &str = "tenure: ";

/// Declares [`Reason`] with the code and text of each, so that none can be left out.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident => $code:ident, $text:literal;)+) => {
        /// Why a call failed, as clients see it.
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

            /// The text without the detail of the case; etcd's where etcd has the reason.
            pub(crate) const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// The name of the reason, which is contract for tenure's own reasons.
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
    /// A value together with `ignore_value`.
    ValueProvided => InvalidArgument, "etcdserver: value is provided";
    /// A lease together with `ignore_lease`.
    LeaseProvided => InvalidArgument, "etcdserver: lease is provided";
    /// More operations than a transaction may have.
    TooManyOperations => InvalidArgument, "etcdserver: too many operations in txn request";
    /// One transaction would write a key twice.
    DuplicateKey => InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// The `client-api-version` metadata is not text.
    InvalidApiVersion => InvalidArgument, "etcdserver: invalid client api version";
    /// A sort order or target that does not exist.
    InvalidSortOption => InvalidArgument, "etcdserver: invalid sort option";
    /// The request is larger than the request limit, or than a log entry may be.
    RequestTooLarge => InvalidArgument, "etcdserver: request is too large";
    /// A comparison whose result or target does not exist.
    InvalidCompare => InvalidArgument, "etcdserver: invalid compare option";
    /// The revision is below the compaction floor.
    Compacted => OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The revision is above the latest.
    FutureRevision => OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// The requested TTL of a lease is too long.
    LeaseTtlTooLarge => OutOfRange, "etcdserver: too large lease TTL";
    /// The space quota is exhausted.
    NoSpace => ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// Too many requests are in progress.
    TooManyRequests => ResourceExhausted, "etcdserver: too many requests";
    /// The answer would take more memory than all answers may.
    RangeTooLarge => ResourceExhausted,
        "tenure: the answer is larger than all answers together may be";
    /// The client read nothing of an answer for too long.
    AnswerUnread => ResourceExhausted, "tenure: the answer was not read for too long";
    /// There was no memory for a response, which was dropped; its write may have taken effect.
    AnswerDropped => ResourceExhausted,
        "tenure: there is no memory for the answer; a write may have been executed";
    /// The client read nothing of a watch stream for long, while others waited for memory.
    WatchUnread => Unavailable,
        "tenure: the watch stream was not read for too long while memory was short";
    /// There was no memory for a message of a stream, whose connection has much that is not read.
    StreamUnread => Unavailable,
        "tenure: messages to this connection are not read while memory is short";
    /// The rest of a request did not arrive.
    RequestUnfinished => DeadlineExceeded, "tenure: the request was not sent whole in time";
    /// The body of a request to the JSON gateway is not what it must be.
    JsonInvalid => InvalidArgument, "tenure: the body is not the JSON of the request";
    /// The body of a request to the JSON gateway has an encoding that is not supported.
    EncodingUnsupported => InvalidArgument, "tenure: the content encoding is not supported";
    /// The lease does not exist.
    LeaseNotFound => NotFound, "etcdserver: requested lease not found";
    /// The lease to campaign or lock with does not exist. etcd's servers lose the code of this
    /// failure in these two calls.
    LeaseNotFoundToClaim => Unknown, "etcdserver: requested lease not found";
    /// [`Reason::NoSpace`] in etcd's own calls for locks and elections.
    NoSpaceToClaim => Unknown, "etcdserver: mvcc: database space exceeded";
    /// [`Reason::Corrupt`] in these calls.
    CorruptToClaim => Unknown, "etcdserver: corrupt cluster";
    /// The lease exists already.
    LeaseExists => FailedPrecondition, "etcdserver: lease already exists";
    /// There are no users to authenticate.
    AuthNotEnabled => FailedPrecondition, "etcdserver: authentication is not enabled";
    /// Authentication cannot be enabled without the user `root`.
    RootUserMissing => FailedPrecondition, "etcdserver: root user does not exist";
    /// Authentication cannot be enabled unless the user `root` has the role `root`.
    RootRoleMissing => FailedPrecondition, "etcdserver: root user does not have root role";
    /// A user without a name; or a call without a user.
    UserEmpty => InvalidArgument, "etcdserver: user name is empty";
    /// The user exists already.
    UserExists => FailedPrecondition, "etcdserver: user name already exists";
    /// The user does not exist.
    UserNotFound => FailedPrecondition, "etcdserver: user name not found";
    /// A role without a name.
    RoleEmpty => InvalidArgument, "etcdserver: role name is empty";
    /// The role exists already.
    RoleExists => FailedPrecondition, "etcdserver: role name already exists";
    /// The role does not exist.
    RoleNotFound => FailedPrecondition, "etcdserver: role name not found";
    /// The user does not have the role.
    RoleNotGranted => FailedPrecondition, "etcdserver: role is not granted to the user";
    /// The role has no permission for exactly this range.
    PermissionNotGranted => FailedPrecondition,
        "etcdserver: permission is not granted to the role";
    /// A permission to grant is missing.
    PermissionNotGiven => InvalidArgument, "etcdserver: permission not given";
    /// The user may not do it.
    PermissionDenied => PermissionDenied, "etcdserver: permission denied";
    /// The user does not exist, or the password is not the user's.
    AuthFailed => InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password";
    /// The token is malformed, expired, or of a password that was replaced.
    InvalidAuthToken => Unauthenticated, "etcdserver: invalid auth token";
    /// Through the gateway a certificate names no user.
    CertificateIgnored => InvalidArgument,
        "CommonName of client sending a request against gateway will be ignored and not used as \
         expected";
    /// The administrator would be lost, or a permission would be for no key.
    InvalidAuthManagement => InvalidArgument, "etcdserver: invalid auth management";
    /// Users, roles or permissions changed after the token was issued, or all the time.
    AuthOldRevision => InvalidArgument, "etcdserver: revision of auth store is old";
    /// This member verifies tokens, and has no key to sign them with.
    TokensVerifiedOnly => Unknown, "auth: token signing attempted with verify-only key";
    /// This member issues no tokens.
    TokensOff => FailedPrecondition, "tenure: this member issues no tokens";
    /// A password is too long.
    PasswordTooLong => InvalidArgument, "tenure: password is longer than 72 bytes";
    /// The hash of a password is not the base64 of one of bcrypt's.
    PasswordHashInvalid => InvalidArgument, "tenure: hashed password is invalid";
    /// The name of a user or a role is too long.
    AuthNameTooLong => InvalidArgument, "tenure: name of a user or a role is too long";
    /// The limit of users is reached.
    TooManyUsers => ResourceExhausted, "tenure: too many users";
    /// The limit of roles, or of those of one user, is reached.
    TooManyRoles => ResourceExhausted, "tenure: too many roles";
    /// The limit of permissions of one role is reached.
    TooManyPermissions => ResourceExhausted, "tenure: too many permissions of one role";
    /// Only the leader can do it.
    NotLeader => FailedPrecondition, "etcdserver: not leader";
    /// Leadership cannot be transferred to this member.
    BadTransferee => FailedPrecondition, "etcdserver: bad leader transferee";
    /// Leadership is not transferred to a member that does not respond.
    TransfereeSilent => FailedPrecondition, "tenure: leader transferee does not answer";
    /// No leader is known.
    NoLeader => Unavailable, "etcdserver: no leader";
    /// The leader changed during the read.
    LeaderChanged => Unavailable, "etcdserver: leader changed";
    /// The node is stopping.
    Stopped => Unavailable, "etcdserver: server stopped";
    /// A read was not confirmed in time, or a call that changes nothing took too long.
    TimedOut => Unavailable, "etcdserver: request timed out";
    /// A write was proposed, and its outcome did not arrive in time.
    WriteTimedOut => Unavailable, "etcdserver: request timed out";
    /// A write was proposed, and the leader was lost before its outcome arrived.
    WriteLostLeader => Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure";
    /// The caller's own deadline passed.
    DeadlineExceeded => DeadlineExceeded, "context deadline exceeded";
    /// The caller's own deadline passed after its write was proposed.
    WriteDeadlineExceeded => DeadlineExceeded, "context deadline exceeded";
    /// The data of a member is known to differ from the others'.
    Corrupt => DataLoss, "etcdserver: corrupt cluster";
    /// An alarm says that the state of this member is not that of the majority.
    StateDiffers => Unavailable,
        "tenure: the state of this member differs from that of the majority";
    /// A range stream cannot be sorted.
    StreamSorted => Unimplemented, "RangeStream does not support custom sort orders";
    /// A range stream cannot be filtered.
    StreamFiltered => Unimplemented, "RangeStream does not support revision filters";
    /// The peer URLs of a member are malformed, or there are none.
    MemberUrlsInvalid => InvalidArgument, "etcdserver: given member URLs are invalid";
    /// There is no such member, or it was removed.
    MemberNotFound => NotFound, "etcdserver: member not found";
    /// A member has the id.
    MemberIdExists => FailedPrecondition, "etcdserver: member ID already exist";
    /// A member has one of the peer URLs.
    PeerUrlsExist => FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// There are as many learners as there may be.
    TooManyLearners => FailedPrecondition, "etcdserver: too many learner members in cluster";
    /// The member to promote has a vote.
    NotALearner => FailedPrecondition, "etcdserver: can only promote a learner member";
    /// The learner lacks too much of the log.
    LearnerNotReady => FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    /// Too few members would have started after the change.
    NotEnoughStarted => FailedPrecondition,
        "etcdserver: re-configuration failed due to not enough started members";
    /// Too few members answer for a change of the membership.
    UnhealthyCluster => Unavailable, "etcdserver: unhealthy cluster";
    /// A learner serves local reads and its status only.
    NotForLearner => FailedPrecondition, "etcdserver: rpc not supported for learner";
    /// A member runs a version without changes of the membership.
    MembersTooOld => FailedPrecondition,
        "tenure: a member runs a version that knows no changes of the membership";
    /// A snapshot ended before its end. What was received is of no use.
    SnapshotBroken => Unavailable, "tenure: the snapshot was not made to its end";
    /// The version to downgrade to is none.
    DowngradeMalformed => InvalidArgument, "etcdserver: wrong downgrade target version format";
    /// The version to downgrade to is not the one before.
    DowngradeInvalid => InvalidArgument, "etcdserver: invalid downgrade target version";
    /// A call of gRPC came to an address that serves HTTP alone.
    GrpcElsewhere => Unimplemented,
        "tenure: this address serves HTTP alone; gRPC is at those of --listen-client-urls";
    /// There is no version to downgrade to.
    DowngradeUnsupported => Unimplemented, "etcdserver: downgrade is not supported";
    /// The lease of a waiting lock request ended.
    MutexExpired => Unknown, "mutex: session is expired";
    /// The given key is not the leader's.
    ElectionNotLeader => Unknown, "election: not leader";
    /// There is no leader of the election.
    ElectionNoLeader => Unknown, "election: no leader";
    /// A leader's call without the leader's key.
    LeaderKeyMissing => Unknown, "\"leader\" field must be provided";
    /// A guard's token does not hold.
    GuardStale => FailedPrecondition, "tenure: guard is stale";
    /// A fence policy requires a guard that the write does not carry.
    GuardMissing => FailedPrecondition, "tenure: guard is missing";
    /// A guard is malformed.
    GuardMalformed => InvalidArgument, "tenure: guard is malformed";
    /// More guards than a write may carry.
    TooManyGuards => InvalidArgument, "tenure: too many guards";
    /// A guard on a read.
    GuardOnRead => InvalidArgument, "tenure: a read takes no guards";
    /// A request id is malformed.
    RequestMalformed => InvalidArgument, "tenure: request id is malformed";
    /// A session's request id and an idempotency key, or two of either.
    RequestNamedTwice => InvalidArgument, "tenure: request has two ids";
    /// The outcome of the request is no longer remembered.
    RequestForgotten => FailedPrecondition, "tenure: request is forgotten";
    /// The request id was used for another request.
    RequestDiffers => FailedPrecondition, "tenure: request id was used for another request";
    /// The request took effect before, and its response is no longer known.
    AnswerTooLarge => AlreadyExists, "tenure: request was executed before";
    /// The limit of remembered idempotency keys is reached.
    TooManyRequestKeys => ResourceExhausted, "tenure: too many idempotency keys";
    /// The session does not exist.
    SessionNotFound => NotFound, "tenure: session not found";
    /// The limit of what all sessions remember together is reached.
    SessionsTooLarge => ResourceExhausted, "tenure: sessions remember too much";
    /// The limit of leases is reached.
    TooManyLeases => ResourceExhausted, "tenure: too many leases";
    /// The limit of keys of one lease is reached.
    TooManyLeaseKeys => ResourceExhausted, "tenure: too many keys of one lease";
    /// The limit of wills of one lease is reached.
    TooManyWills => ResourceExhausted, "tenure: too many wills of one lease";
    /// The limit of all wills' size is reached.
    WillsTooLarge => ResourceExhausted, "tenure: wills take too much";
    /// The limit of alarms of one kind is reached.
    TooManyAlarms => ResourceExhausted, "tenure: too many alarms";
    /// The action of an alarm request is none that is known.
    AlarmActionUnknown => InvalidArgument, "tenure: action of the alarm request is unknown";
    /// A name is empty.
    NameMissing => InvalidArgument, "tenure: name is not provided";
    /// A name is too long.
    NameTooLong => InvalidArgument, "tenure: name is too long";
    /// A name is repeated in one request.
    NameRepeated => InvalidArgument, "tenure: name is given twice";
    /// A request has too many names.
    TooManyNames => InvalidArgument, "tenure: too many names";
    /// A lock or election whose name would make its claims instances of services.
    NameReserved => InvalidArgument, "tenure: name is reserved for services";
    /// The permits are zero, or more than their limit.
    PermitsInvalid => InvalidArgument, "tenure: permits are not countable";
    /// A required lease is missing.
    LeaseMissing => InvalidArgument, "tenure: lease is not provided";
    /// A required session is missing.
    SessionMissing => InvalidArgument, "tenure: session is not provided";
    /// Neither a lease nor a TTL for a new one.
    TtlMissing => InvalidArgument, "tenure: neither lease nor ttl is provided";
    /// The TTL of a lease is too short.
    TtlTooShort => InvalidArgument, "tenure: ttl is too short";
    /// The TTL of a lease is too long.
    TtlTooLong => InvalidArgument, "tenure: ttl is too long";
    /// A lock delay is too long.
    LockDelayTooLong => InvalidArgument, "tenure: lock delay is too long";
    /// The principal of a claim is too long.
    PrincipalTooLong => InvalidArgument, "tenure: principal is too long";
    /// A required token is missing.
    TokenMissing => InvalidArgument, "tenure: token is not provided";
    /// A forced release without its justification.
    JustificationMissing => InvalidArgument, "tenure: reason is not provided";
    /// The justification of a forced release is too long.
    JustificationTooLong => InvalidArgument, "tenure: reason is too long";
    /// A fence policy without a prefix.
    PrefixMissing => InvalidArgument, "tenure: prefix is not provided";
    /// A prefix is too long.
    PrefixTooLong => InvalidArgument, "tenure: prefix is too long";
    /// A change of the fence policies without a policy.
    PolicyMissing => InvalidArgument, "tenure: policy is not provided";
    /// The token does not hold the lock.
    NotHolder => FailedPrecondition, "tenure: not the holder";
    /// The lease has a claim on the name already.
    AlreadyClaimed => FailedPrecondition, "tenure: lease has a claim already";
    /// The lease has no claim on the name.
    NotClaimed => FailedPrecondition, "tenure: lease has no claim";
    /// Other claims on the name have another limit of permits.
    PermitsDiffer => FailedPrecondition, "tenure: permits are counted differently";
    /// The limit of waiting claims is reached.
    QueueFull => ResourceExhausted, "tenure: too many claims";
    /// The claim would wait for itself.
    Deadlock => Aborted, "tenure: deadlock";
    /// The order of the queue cannot be changed.
    QueueFixed => FailedPrecondition, "tenure: queue cannot be reordered";
    /// The waiting claims are too many, or too large, for one write to change their order.
    QueueTooLong => FailedPrecondition, "tenure: queue is too long to be reordered";
    /// The candidate has no claim that could be granted.
    CandidateUnknown => NotFound, "tenure: candidate not found";
    /// The claim's wait is over.
    WaitOver => DeadlineExceeded, "tenure: wait is over";
    /// The lease of a claim ended before the claim was granted.
    LeaseEnded => FailedPrecondition, "tenure: lease ended while its claim waited";
    /// Another call ended the claim before it was granted.
    ClaimEnded => FailedPrecondition, "tenure: claim was ended while it waited";
    /// The fence policy does not exist.
    PolicyNotFound => NotFound, "tenure: fence policy not found";
    /// The limit of fence policies is reached.
    TooManyPolicies => ResourceExhausted, "tenure: too many fence policies";
    /// The freshness of a read is malformed.
    FreshnessMalformed => InvalidArgument, "tenure: freshness is malformed";
    /// This node cannot confirm that its state is as fresh as requested.
    TooOld => Unavailable, "tenure: state is older than asked";
    /// This node did not reach the revision in time.
    RevisionNotReached => Unavailable, "tenure: revision is not reached";
    /// Another incarnation has replaced the instance, or the instance is gone.
    InstanceReplaced => FailedPrecondition, "tenure: instance is replaced";
    /// The instance does not exist.
    InstanceNotFound => NotFound, "tenure: instance not found";
    /// A registration without an instance.
    InstanceMissing => InvalidArgument, "tenure: instance is not provided";
    /// The name of a service is invalid.
    ServiceNameInvalid => InvalidArgument, "tenure: service name is invalid";
    /// The id of an instance is invalid.
    InstanceNameInvalid => InvalidArgument, "tenure: instance id is invalid";
    /// An incarnation is invalid or missing.
    IncarnationInvalid => InvalidArgument, "tenure: incarnation is invalid";
    /// An instance without endpoints.
    EndpointsMissing => InvalidArgument, "tenure: endpoints are not provided";
    /// An instance has too many endpoints.
    TooManyEndpoints => InvalidArgument, "tenure: too many endpoints";
    /// An endpoint without protocol, host or port.
    EndpointInvalid => InvalidArgument, "tenure: endpoint is invalid";
    /// An instance or a selector has too many tags.
    TooManyTags => InvalidArgument, "tenure: too many tags";
    /// A tag, a zone or a version is invalid.
    LabelInvalid => InvalidArgument, "tenure: label is invalid";
    /// An instance or a selector has too many pairs of metadata.
    TooMuchMetadata => InvalidArgument, "tenure: too much metadata";
    /// A key of metadata is invalid.
    MetadataInvalid => InvalidArgument, "tenure: metadata is invalid";
    /// A weight is out of range.
    WeightInvalid => InvalidArgument, "tenure: weight is out of range";
    /// A readiness does not exist.
    ReadinessUnknown => InvalidArgument, "tenure: readiness is unknown";
    /// An encoded instance is too large.
    InstanceTooLarge => InvalidArgument, "tenure: instance is too large";
    /// The grace of a drain is too long.
    GraceTooLong => InvalidArgument, "tenure: grace is too long";
    /// Transactions are nested too deep.
    TxnTooDeep => InvalidArgument, "tenure: transactions are nested too deep";
    /// One write would read or change too many keys.
    TooManyRows => FailedPrecondition, "tenure: too many keys for one write";
    /// The response to a write would be too large.
    AnswerOverLimit => FailedPrecondition, "tenure: answer is too large";
    /// A member's version does not support the request.
    LevelNotReached => FailedPrecondition, "tenure: a member is too old for this request";
}

impl Reason {
    /// Whether the failed write may still take effect, or may have taken effect.
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

    /// The retry delay, where a retry alone helps.
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

/// The name of a reason's code as Go's gRPC library prints it: the reason of a cancelled watcher is
/// a status as text.
pub(in crate::rpc) fn code_name(reason: Reason) -> String {
    format!("{:?}", reason.code())
}

/// The trailers of a response with `status`.
pub(in crate::rpc) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    // Fails for texts that no header can hold, and there are none; clients treat a response without
    // a status as a failure.
    _ = status.add_header(&mut trailers);
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

impl From<ChangeError> for Reason {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(refusal) => match refusal {
                Refusal::NotFound => Self::MemberNotFound,
                Refusal::IdExists => Self::MemberIdExists,
                Refusal::UrlsExist => Self::PeerUrlsExist,
                Refusal::TooManyLearners => Self::TooManyLearners,
                Refusal::NotALearner => Self::NotALearner,
                Refusal::NotInSync => Self::LearnerNotReady,
                Refusal::NotEnoughStarted => Self::NotEnoughStarted,
                Refusal::Unhealthy => Self::UnhealthyCluster,
                Refusal::OldMembers => Self::MembersTooOld,
            },
            ChangeError::NotLeader => Self::NoLeader,
            ChangeError::Lost => Self::WriteLostLeader,
            ChangeError::TimedOut => Self::WriteTimedOut,
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

/// The gRPC library's texts for a message above its limit begin with one of these.
const LIBRARY_TOO_LARGE: [&str; 2] = [
    "Error, decoded message length too large",
    "Error decompressing: size limit",
];
/// etcd's text for it.
const TRANSPORT_TOO_LARGE: &str = "grpc: received message larger than max";

/// Replaces the library's status for an oversized message by etcd's, in the headers of a response
/// that has nothing else.
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
    _ = Status::new(Code::ResourceExhausted, text).add_header(headers);
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use self::tests::reason_of;
