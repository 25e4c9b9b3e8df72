//! The one map from causes to what a client sees: a gRPC code and etcd's exact text.
//!
//! gRPC codes are named in this file and nowhere else. etcd's clients look the *text* up, so it is
//! contract; `docs/errors.md` tells callers what to do about each. The maps are exhaustive and have
//! no catch-all arm: a new cause does not compile until it has a place here.

use tenure_statemachine::{ReadError, Refusal};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

use crate::{
    fatal,
    node::{ProposeError, ReadIndexError, TransferError},
};

/// Metadata that accompanies a failed write which may nevertheless take effect.
pub(crate) const OUTCOME_METADATA: &str = "tenure-outcome";
/// Its value.
pub(crate) const OUTCOME_UNKNOWN: &str = "unknown";

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
                match self { $(Self::$name => Code::$code,)+ }
            }

            /// The text; etcd's where etcd has the reason.
            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
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
    /// There is no such lease.
    LeaseNotFound => NotFound, "etcdserver: requested lease not found";
    /// There is such a lease already.
    LeaseExists => FailedPrecondition, "etcdserver: lease already exists";
    /// There are no users to authenticate.
    AuthNotEnabled => FailedPrecondition, "etcdserver: authentication is not enabled";
    /// Only the leader can do it.
    NotLeader => FailedPrecondition, "etcdserver: not leader";
    /// Leadership cannot go to this member.
    BadTransferee => FailedPrecondition, "etcdserver: bad leader transferee";
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
}

impl Reason {
    /// Whether the write that failed for this reason may nevertheless take effect.
    pub(crate) fn outcome_unknown(self) -> bool {
        matches!(
            self,
            Self::WriteTimedOut | Self::WriteLostLeader | Self::WriteDeadlineExceeded
        )
    }
}

impl From<Reason> for Status {
    fn from(reason: Reason) -> Self {
        if !reason.outcome_unknown() {
            return Self::new(reason.code(), reason.text());
        }
        let mut metadata = MetadataMap::with_capacity(1);
        metadata.insert(
            OUTCOME_METADATA,
            MetadataValue::from_static(OUTCOME_UNKNOWN),
        );
        Self::with_metadata(reason.code(), reason.text(), metadata)
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::KeyNotFound => Self::KeyNotFound,
            Refusal::LeaseNotFound => Self::LeaseNotFound,
            Refusal::LeaseExists => Self::LeaseExists,
            Refusal::Compacted { floor: _ } => Self::Compacted,
            Refusal::FutureRevision { latest: _ } => Self::FutureRevision,
            Refusal::NoSpace => Self::NoSpace,
            Refusal::Corrupt => Self::Corrupt,
        }
    }
}

impl From<ProposeError> for Reason {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NoLeader => Self::NoLeader,
            ProposeError::Overloaded => Self::TooManyRequests,
            ProposeError::TooLarge => Self::RequestTooLarge,
            ProposeError::Stopping => Self::Stopped,
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
            TransferError::TimedOut => Self::TimedOut,
            TransferError::Stopping => Self::Stopped,
        }
    }
}

impl From<ReadError> for Reason {
    /// A fault does not become an answer: what this node holds cannot be trusted, so it stops.
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(refusal) => refusal.into(),
            ReadError::Fault(fault) => fatal::stop(&fault),
        }
    }
}

/// The reason that a status was made from.
#[cfg(test)]
pub(crate) fn reason_of(status: &Status) -> Option<Reason> {
    let unknown = status.metadata().get(OUTCOME_METADATA).is_some();
    Reason::ALL.iter().copied().find(|reason| {
        reason.code() == status.code()
            && reason.text() == status.message()
            && reason.outcome_unknown() == unknown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/errors.md");

    /// The rows of the table, as name, code and text.
    fn rows() -> Vec<(String, String, String)> {
        let rows = DOCUMENT.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`').to_owned();
            let code = cells.next()?.to_owned();
            let text = cells.next()?.trim_matches('`').to_owned();
            let advice = cells.next()?.trim_end_matches(" |");
            assert!(
                advice.ends_with('.'),
                "{name} says what to do in a sentence"
            );
            Some((name, code, text))
        });
        rows.collect()
    }

    #[test]
    fn the_document_lists_every_reason_with_its_code_and_text_and_no_other() {
        let expected: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| {
                (
                    format!("{reason:?}"),
                    format!("{:?}", reason.code()),
                    reason.text().to_owned(),
                )
            })
            .collect();
        assert_eq!(rows(), expected);
    }

    #[test]
    fn a_status_carries_code_text_and_whether_the_outcome_is_unknown() {
        for &reason in Reason::ALL {
            let status = Status::from(reason);
            assert_eq!(status.code(), reason.code());
            assert_eq!(status.message(), reason.text());
            let unknown = status.metadata().get(OUTCOME_METADATA);
            assert_eq!(
                unknown.is_some_and(|it| it == OUTCOME_UNKNOWN),
                reason.outcome_unknown()
            );
            assert_eq!(reason_of(&status), Some(reason));
        }
    }

    #[test]
    fn only_proposals_that_left_have_an_unknown_outcome() {
        for (error, reason, unknown) in [
            (ProposeError::NoLeader, Reason::NoLeader, false),
            (ProposeError::Overloaded, Reason::TooManyRequests, false),
            (ProposeError::TooLarge, Reason::RequestTooLarge, false),
            (ProposeError::Stopping, Reason::Stopped, false),
            (ProposeError::TimedOut, Reason::WriteTimedOut, true),
            (ProposeError::LeaderLost, Reason::WriteLostLeader, true),
        ] {
            assert_eq!(Reason::from(error), reason);
            assert_eq!(reason.outcome_unknown(), unknown);
        }
    }
}
