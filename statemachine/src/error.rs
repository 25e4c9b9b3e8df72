//! Refusals, which are replies, and faults, which stop the node.

use bytes::Bytes;
use thiserror::Error;

use crate::{
    encoding::{self, Malformed},
    feature::FeatureLevel,
    value::{LeaseId, Limit, Revision},
};

/// A deterministic "no": part of the replicated result, equal on every replica, without any effect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// The lease does not exist.
    #[error("lease not found")]
    LeaseNotFound,
    /// The lease already exists.
    #[error("lease exists already")]
    LeaseExists,
    /// The revision is below the floor.
    #[error("revision is compacted; the floor is {floor}")]
    Compacted {
        /// The oldest readable revision.
        floor: Revision,
    },
    /// The revision is in the future.
    #[error("revision is in the future; the latest is {latest}")]
    FutureRevision {
        /// The latest revision.
        latest: Revision,
    },
    /// The space quota is exhausted and the command would need space.
    #[error("space quota exhausted")]
    NoSpace,
    /// The data of a member is known to differ; no requests are served.
    #[error("data is corrupt")]
    Corrupt,
    /// A guard does not hold.
    #[error("guard is stale: {0}")]
    GuardStale(Box<StaleToken>),
    /// A fence policy requires a guard that the command does not carry.
    #[error("guard is missing: keys under {:?} need one of {:?}", .0.prefix, .0.lock)]
    GuardMissing(Box<MissingGuard>),
    /// The token does not hold the claim to be released, changed or handed over.
    #[error("not the holder: {0}")]
    NotHolder(Box<StaleToken>),
    /// The name is reserved for the registry of services.
    #[error("{0:?} is reserved for services")]
    NameReserved(Bytes),
    /// The lease already has a claim on the name.
    #[error("{0:?} is claimed by this lease already")]
    AlreadyClaimed(Bytes),
    /// Other claims name a different number of permits for this lock.
    #[error("{:?} has {} permits", .0.0, .0.1)]
    PermitsDiffer(Box<(Bytes, u32)>),
    /// The queue of the lock has as many claims as allowed.
    #[error("too many claims on {0:?}")]
    QueueFull(Bytes),
    /// Waiting would close a cycle of leases that wait for each other; these are the names in it.
    #[error("deadlock among {0:?}")]
    Deadlock(Vec<Bytes>),
    /// A waiting claim that another program made cannot be passed over.
    #[error("a claim of another program waits for {0:?}")]
    QueueFixed(Bytes),
    /// More claims wait, or larger ones, than one command may move.
    #[error("too many claims wait for {0:?} to be moved")]
    QueueTooLong(Bytes),
    /// The lease has no claim on the name that could be granted.
    #[error("lease {} has no claim on {:?}", .0.1, .0.0)]
    CandidateUnknown(Box<(Bytes, LeaseId)>),
    /// There is no such session: it was never opened, or its lease has ended.
    #[error("session {0} does not exist")]
    SessionNotFound(LeaseId),
    /// The outcome of this request of a session is no longer remembered.
    #[error("request {sequence} is forgotten; those up to {forgotten} are")]
    RequestForgotten {
        /// The number of the request.
        sequence: u64,
        /// All requests up to this number are forgotten.
        forgotten: u64,
    },
    /// The request took effect before, but its reply was too large to be remembered.
    #[error("took effect at revision {revision}; the answer was not kept")]
    AnswerTooLarge {
        /// The revision after it.
        revision: Revision,
    },
    /// The id was used for a different request.
    #[error("request id was used for another request")]
    RequestDiffers,
    /// As many idempotency keys are remembered as allowed.
    #[error("too many idempotency keys")]
    TooManyRequestKeys,
    /// Another incarnation has replaced the instance, or the instance is gone.
    #[error("incarnation {yours} is not the present one, {current}")]
    InstanceReplaced {
        /// The incarnation that was named.
        yours: Revision,
        /// The present one; zero when there is none.
        current: Revision,
    },
    /// There is no such instance.
    #[error("instance not found")]
    InstanceNotFound,
    /// The prefix has no policy.
    #[error("fence policy not found")]
    PolicyNotFound,
    /// There are as many policies as allowed.
    #[error("too many fence policies")]
    TooManyPolicies,
    /// The lease has no claim on the name that the will could be attached to.
    #[error("lease has no claim on {0:?}")]
    NotClaimed(Bytes),
    /// The command would look at or change more rows than allowed.
    #[error("more than {max} keys would be read or changed")]
    TooManyRows {
        /// The greatest number of rows.
        max: u64,
    },
    /// The reply would be larger than replies to writes may be.
    #[error("the answer would be larger than {max} bytes")]
    AnswerOverLimit {
        /// The largest reply, in bytes.
        max: u64,
    },
    /// A limit of the state is reached.
    #[error("{limit:?}: there may be {max}")]
    LimitReached {
        /// The limit.
        limit: Limit,
        /// Its maximum.
        max: u64,
    },
    /// Authentication cannot be enabled without a user `root`.
    #[error("root user does not exist")]
    RootUserMissing,
    /// Authentication cannot be enabled unless the user `root` has the role `root`.
    #[error("root user does not have root role")]
    RootRoleMissing,
    /// A user needs a name; or a client without a user asks for what takes one.
    #[error("user name is empty")]
    UserEmpty,
    /// There is a user of this name already.
    #[error("user name already exists")]
    UserExists,
    /// There is no user of this name.
    #[error("user name not found")]
    UserNotFound,
    /// A role needs a name.
    #[error("role name is empty")]
    RoleEmpty,
    /// There is a role of this name already.
    #[error("role name already exists")]
    RoleExists,
    /// There is no role of this name.
    #[error("role name not found")]
    RoleNotFound,
    /// The user does not have the role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role has no permission for exactly this range.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// The user may not do this.
    #[error("permission denied")]
    PermissionDenied,
    /// The change would make authentication unusable: the administrator would be lost, or a
    /// permission would be for no key.
    #[error("invalid auth management")]
    InvalidAuthManagement,
    /// Users, roles or permissions have changed since the command was checked.
    #[error("revision of auth store is old")]
    AuthOldRevision,
    /// The token is of a password that was replaced, or of a user that is gone. Of reads only: a
    /// command names its user.
    #[error("invalid auth token")]
    InvalidAuthToken,
    /// The rules that the command needs are not in force yet.
    #[error("feature level {needed} is not in force yet")]
    LevelTooLow {
        /// The level that the command needs.
        needed: FeatureLevel,
    },
    /// The commands before it in its entry have used up the reply size of one entry.
    #[error("the log entry is answered with too much")]
    EntryFull,
}

encoding::choice! {
    Refusal {
        1 = KeyNotFound,
        2 = LeaseNotFound,
        3 = LeaseExists,
        4 = Compacted { floor },
        5 = FutureRevision { latest },
        6 = NoSpace,
        7 = Corrupt,
        8 = GuardStale(stale),
        9 = GuardMissing(missing),
        10 = NotHolder(stale),
        11 = AlreadyClaimed(name),
        12 = PermitsDiffer(differ),
        13 = QueueFull(name),
        14 = Deadlock(names),
        15 = QueueFixed(name),
        16 = CandidateUnknown(candidate),
        17 = SessionNotFound(session),
        18 = RequestForgotten { sequence, forgotten },
        19 = AnswerTooLarge { revision },
        20 = RequestDiffers,
        21 = TooManyRequestKeys,
        22 = InstanceReplaced { yours, current },
        23 = InstanceNotFound,
        24 = PolicyNotFound,
        25 = TooManyPolicies,
        26 = NotClaimed(name),
        27 = NameReserved(name),
        28 = QueueTooLong(name),
        29 = TooManyRows { max },
        30 = AnswerOverLimit { max },
        31 = EntryFull,
        40 = LimitReached { limit, max },
        50 = RootUserMissing,
        51 = RootRoleMissing,
        52 = UserEmpty,
        53 = UserExists,
        54 = UserNotFound,
        55 = RoleEmpty,
        56 = RoleExists,
        57 = RoleNotFound,
        58 = RoleNotGranted,
        59 = PermissionNotGranted,
        60 = PermissionDenied,
        61 = InvalidAuthManagement,
        62 = AuthOldRevision,
        63 = LevelTooLow { needed },
        64 = InvalidAuthToken,
    } "unknown refusal"
}

impl Refusal {
    /// Returns the same refusal in a few bytes: without the names in it, which clients chose.
    pub(crate) fn without_names(&self) -> Self {
        let none = Bytes::new;
        match self {
            Self::GuardStale(stale) => Self::GuardStale(Box::new(stale.without_name())),
            Self::NotHolder(stale) => Self::NotHolder(Box::new(stale.without_name())),
            Self::GuardMissing(_) => Self::GuardMissing(Box::new(MissingGuard {
                prefix: none(),
                lock: none(),
            })),
            Self::NameReserved(_) => Self::NameReserved(none()),
            Self::AlreadyClaimed(_) => Self::AlreadyClaimed(none()),
            Self::PermitsDiffer(differ) => Self::PermitsDiffer(Box::new((none(), differ.1))),
            Self::QueueFull(_) => Self::QueueFull(none()),
            Self::Deadlock(_) => Self::Deadlock(Vec::new()),
            Self::QueueFixed(_) => Self::QueueFixed(none()),
            Self::QueueTooLong(_) => Self::QueueTooLong(none()),
            Self::CandidateUnknown(candidate) => {
                Self::CandidateUnknown(Box::new((none(), candidate.1)))
            }
            Self::NotClaimed(_) => Self::NotClaimed(none()),
            Self::KeyNotFound
            | Self::LeaseNotFound
            | Self::LeaseExists
            | Self::Compacted { .. }
            | Self::FutureRevision { .. }
            | Self::NoSpace
            | Self::Corrupt
            | Self::SessionNotFound(_)
            | Self::RequestForgotten { .. }
            | Self::AnswerTooLarge { .. }
            | Self::RequestDiffers
            | Self::TooManyRequestKeys
            | Self::InstanceReplaced { .. }
            | Self::InstanceNotFound
            | Self::PolicyNotFound
            | Self::TooManyPolicies
            | Self::TooManyRows { .. }
            | Self::AnswerOverLimit { .. }
            | Self::LimitReached { .. }
            | Self::RootUserMissing
            | Self::RootRoleMissing
            | Self::UserEmpty
            | Self::UserExists
            | Self::UserNotFound
            | Self::RoleEmpty
            | Self::RoleExists
            | Self::RoleNotFound
            | Self::RoleNotGranted
            | Self::PermissionNotGranted
            | Self::PermissionDenied
            | Self::InvalidAuthManagement
            | Self::AuthOldRevision
            | Self::InvalidAuthToken
            | Self::LevelTooLow { .. }
            | Self::EntryFull => self.clone(),
        }
    }
}

impl Limit {
    /// Refuses more than the limit allows.
    pub(crate) const fn check(self, wanted: u64) -> Result<(), Refusal> {
        let max = self.max();
        if wanted > max {
            Err(Refusal::LimitReached { limit: self, max })
        } else {
            Ok(())
        }
    }
}

/// A token that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name:?}: yours {yours}, current {current}")]
pub struct StaleToken {
    /// The lock, election or key.
    pub name: Bytes,
    /// The token in the request.
    pub yours: Revision,
    /// The token that holds; zero if none does.
    pub current: Revision,
}

encoding::record! { StaleToken { name, yours, current } }

impl StaleToken {
    const fn without_name(&self) -> Self {
        Self {
            name: Bytes::new(),
            yours: self.yours,
            current: self.current,
        }
    }
}

/// A guard that a policy requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingGuard {
    /// The prefix of the policy.
    pub prefix: Bytes,
    /// The lock that it names.
    pub lock: Bytes,
}

encoding::record! { MissingGuard { prefix, lock } }

/// The engine failed, or its data is inconsistent. The node must stop.
#[derive(Debug, Error)]
pub enum Fault {
    /// The engine could not read or write.
    #[error("state engine failed")]
    Engine(#[from] EngineError),
    /// A part of the state does not decode.
    #[error("state is damaged: {0}")]
    Damaged(String),
    /// The replicated feature level is higher than this version knows.
    #[error(
        "this member is too old for feature level {level}: it knows levels up to {newest}; \
         upgrade it"
    )]
    TooOld {
        /// The level in force.
        level: FeatureLevel,
        /// The highest one known here.
        newest: FeatureLevel,
    },
    /// A committed command is of a kind that this version does not know.
    #[error("this member is too old for a command of kind {tag} in its log; upgrade it")]
    UnknownCommand {
        /// The tag of the kind in the encoding.
        tag: u8,
    },
    /// A committed command does not decode.
    #[error("command does not decode: {0}")]
    Command(String),
}

/// The engine could not read or write.
#[derive(Debug, Error)]
#[error("{context}")]
pub struct EngineError {
    /// The operation that failed.
    pub context: String,
    /// The error of the engine.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Why a read has no reply: a refusal, or a fault.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The request cannot be answered; the node is healthy.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node must stop.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<EngineError> for ReadError {
    fn from(error: EngineError) -> Self {
        Self::Fault(Fault::Engine(error))
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Form(what) => Self::Command(what.to_owned()),
            Malformed::UnknownCommand(tag) => Self::UnknownCommand { tag },
        }
    }
}

/// Returns the fault for a row that this code cannot have written.
pub(crate) fn damaged(what: &str) -> Fault {
    Fault::Damaged(what.to_owned())
}
