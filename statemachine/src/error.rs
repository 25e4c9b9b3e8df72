//! Refusals, which are answers, and faults, which stop the node.

use bytes::Bytes;
use thiserror::Error;

use crate::{
    encoding::{self, Malformed},
    feature::FeatureLevel,
    value::{LeaseId, Limit, Revision},
};

/// A deterministic "no": part of the replicated result, equal on every replica, changing nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// The lease does not exist.
    #[error("lease not found")]
    LeaseNotFound,
    /// The lease exists already.
    #[error("lease exists already")]
    LeaseExists,
    /// The revision lies below the floor.
    #[error("revision is compacted; the floor is {floor}")]
    Compacted {
        /// The oldest readable revision.
        floor: Revision,
    },
    /// The revision lies in the future.
    #[error("revision is in the future; the latest is {latest}")]
    FutureRevision {
        /// The latest revision.
        latest: Revision,
    },
    /// The space quota is exhausted and the command would need space.
    #[error("space quota exhausted")]
    NoSpace,
    /// The data of a member is known to differ; nothing is served.
    #[error("data is corrupt")]
    Corrupt,
    /// A guard does not hold.
    #[error("guard is stale: {0}")]
    GuardStale(Box<StaleToken>),
    /// A fence policy asks for a guard that the command does not carry.
    #[error("guard is missing: keys under {:?} need one of {:?}", .0.prefix, .0.lock)]
    GuardMissing(Box<MissingGuard>),
    /// A claim was to be given back, changed or handed on by somebody whose token does not hold it.
    #[error("not the holder: {0}")]
    NotHolder(Box<StaleToken>),
    /// Names like this belong to services.
    #[error("{0:?} is reserved for services")]
    NameReserved(Bytes),
    /// The lease has a claim on the name already.
    #[error("{0:?} is claimed by this lease already")]
    AlreadyClaimed(Bytes),
    /// Others count the permits of this lock differently.
    #[error("{:?} has {} permits", .0.0, .0.1)]
    PermitsDiffer(Box<(Bytes, u32)>),
    /// As many claims wait for the lock as may.
    #[error("too many claims on {0:?}")]
    QueueFull(Bytes),
    /// Waiting would close a circle of leases that wait for each other; these are the names.
    #[error("deadlock among {0:?}")]
    Deadlock(Vec<Bytes>),
    /// A claim that another program made waits, and it cannot be passed over.
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
    /// The outcome of this request of a session is not remembered any more.
    #[error("request {sequence} is forgotten; those up to {forgotten} are")]
    RequestForgotten {
        /// Which request.
        sequence: u64,
        /// Everything up to here is forgotten.
        forgotten: u64,
    },
    /// The request took effect before; its answer was too large to be remembered.
    #[error("took effect at revision {revision}; the answer was not kept")]
    AnswerTooLarge {
        /// The revision after it.
        revision: Revision,
    },
    /// The id was used for another request.
    #[error("request id was used for another request")]
    RequestDiffers,
    /// As many idempotency keys are remembered as may.
    #[error("too many idempotency keys")]
    TooManyRequestKeys,
    /// Another incarnation of the instance has taken its place, or it is gone.
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
    /// There is no policy for the prefix.
    #[error("fence policy not found")]
    PolicyNotFound,
    /// There are as many policies as may be.
    #[error("too many fence policies")]
    TooManyPolicies,
    /// The lease has no claim on the name that a will could go with.
    #[error("lease has no claim on {0:?}")]
    NotClaimed(Bytes),
    /// More rows would be looked at or changed than one command may.
    #[error("more than {max} keys would be read or changed")]
    TooManyRows {
        /// How many may.
        max: u64,
    },
    /// The answer would be larger than answers to writes may be.
    #[error("the answer would be larger than {max} bytes")]
    AnswerOverLimit {
        /// How large it may be.
        max: u64,
    },
    /// There is as much of something as there may be.
    #[error("{limit:?}: there may be {max}")]
    LimitReached {
        /// Of what.
        limit: Limit,
        /// How much there may be.
        max: u64,
    },
    /// The commands before it in its entry are answered with as much as an entry may be.
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
    } "unknown refusal"
}

impl Refusal {
    /// The same refusal in a few bytes: without the names in it, which clients chose.
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
            | Self::EntryFull => self.clone(),
        }
    }
}

impl Limit {
    /// Refuses more than there may be.
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
    /// The token that was shown.
    pub yours: Revision,
    /// The one that holds; zero when none does.
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

/// A guard that a policy asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingGuard {
    /// The prefix of the policy.
    pub prefix: Bytes,
    /// The lock that it names.
    pub lock: Bytes,
}

encoding::record! { MissingGuard { prefix, lock } }

/// The engine failed, or what it holds cannot be true. The node must stop.
#[derive(Debug, Error)]
pub enum Fault {
    /// The engine could not read or write.
    #[error("state engine failed")]
    Engine(#[from] EngineError),
    /// Bytes of the state do not decode.
    #[error("state is damaged: {0}")]
    Damaged(String),
    /// The replicated feature level is beyond what this version knows.
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
        /// The kind, as the encoding numbers it.
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
    /// What was being done.
    pub context: String,
    /// What the engine said.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Why a read has no answer: a refusal, or a fault.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The request cannot be answered; the node is fine.
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

/// A row of the state that cannot be what this code wrote.
pub(crate) fn damaged(what: &str) -> Fault {
    Fault::Damaged(what.to_owned())
}
