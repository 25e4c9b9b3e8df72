//! Refusals of the state machine as failures: the reason, and the detail of the case.
//!
//! The map is exhaustive: a new refusal of the state machine does not compile until it is mapped
//! here. Names come from clients and may be any bytes, so they are shown escaped and truncated.

use std::fmt::Write;

use bytes::Bytes;
use tenure_statemachine::{
    CLAIMS_PER_NAME_MAX, LeaseId, Limit, MOVED_BYTES_MAX, MOVES_MAX, MissingGuard, POLICIES_MAX,
    Refusal, SHARED_KEYS_MAX, StaleToken,
};

use super::{failure::Failure, status::Reason};

/// Bytes of a name that are shown. The text travels in a header, whose limit is far below the total
/// size of a request's names.
const NAME_SHOWN_BYTES_MAX: usize = 200;
/// Names of a list that are shown.
const NAMES_SHOWN_MAX: usize = 5;

impl From<Refusal> for Failure {
    #[expect(clippy::too_many_lines, reason = "a line for each refusal")]
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::KeyNotFound => Reason::KeyNotFound.into(),
            Refusal::LeaseNotFound => Reason::LeaseNotFound.into(),
            Refusal::LeaseExists => Reason::LeaseExists.into(),
            Refusal::Compacted { floor: _ } => Reason::Compacted.into(),
            Refusal::FutureRevision { latest: _ } => Reason::FutureRevision.into(),
            Refusal::NoSpace => Reason::NoSpace.into(),
            Refusal::Corrupt => Reason::Corrupt.into(),
            Refusal::GuardStale(token) => stale(Reason::GuardStale, &token),
            Refusal::GuardMissing(missing) => guard_missing(&missing),
            Refusal::NotHolder(token) => stale(Reason::NotHolder, &token),
            Refusal::NameReserved(name) => Reason::NameReserved.with(quoted(&name)),
            Refusal::AlreadyClaimed(name) => Reason::AlreadyClaimed.with(of_lock(&name)),
            Refusal::PermitsDiffer(differ) => {
                let (name, limit) = *differ;
                Reason::PermitsDiffer.with(format!("{} has {limit} permits", of_lock(&name)))
            }
            Refusal::QueueFull(name) => {
                let lock = of_lock(&name);
                Reason::QueueFull.with(format!("{lock} may have {CLAIMS_PER_NAME_MAX}"))
            }
            Refusal::Deadlock(names) => deadlock(&names),
            Refusal::QueueFixed(name) => {
                let lock = of_lock(&name);
                Reason::QueueFixed.with(format!("{lock}: a claim of another program waits"))
            }
            Refusal::QueueTooLong(name) => {
                let lock = of_lock(&name);
                Reason::QueueTooLong.with(format!(
                    "{lock}: one write may move {MOVES_MAX} claims, of {MOVED_BYTES_MAX} bytes"
                ))
            }
            Refusal::CandidateUnknown(candidate) => {
                let (name, lease) = *candidate;
                candidate_unknown(&name, lease)
            }
            Refusal::SessionNotFound(session) => Reason::SessionNotFound.with(session.to_string()),
            Refusal::RequestForgotten {
                sequence,
                forgotten,
            } => Reason::RequestForgotten.with(format!(
                "your request {sequence}, those up to {forgotten} are"
            )),
            Refusal::AnswerTooLarge { revision } => Reason::AnswerTooLarge.with(format!(
                "took effect at revision {revision}, its answer was too large to be kept"
            )),
            Refusal::RequestDiffers => Reason::RequestDiffers.into(),
            Refusal::TooManyRequestKeys => Reason::TooManyRequestKeys.with(format!(
                "{SHARED_KEYS_MAX} may be remembered, at most half of them for one client"
            )),
            Refusal::InstanceReplaced { yours, current } => {
                let detail = format!("your incarnation {yours}, current {current}");
                Reason::InstanceReplaced.stale(detail, current)
            }
            Refusal::InstanceNotFound => Reason::InstanceNotFound.into(),
            Refusal::PolicyNotFound => Reason::PolicyNotFound.into(),
            Refusal::TooManyPolicies => {
                Reason::TooManyPolicies.with(format!("there may be {POLICIES_MAX}"))
            }
            Refusal::NotClaimed(name) => Reason::NotClaimed.with(of_lock(&name)),
            Refusal::TooManyRows { max } => {
                Reason::TooManyRows.with(format!("one write may read or change {max}"))
            }
            Refusal::AnswerOverLimit { max } => {
                Reason::AnswerOverLimit.with(format!("a write may be answered with {max} bytes"))
            }
            Refusal::LimitReached { limit, max } => reached(limit, max),
            Refusal::EntryFull => Reason::TooManyRequests.into(),
            Refusal::RootUserMissing => Reason::RootUserMissing.into(),
            Refusal::RootRoleMissing => Reason::RootRoleMissing.into(),
            Refusal::UserEmpty => Reason::UserEmpty.into(),
            Refusal::UserExists => Reason::UserExists.into(),
            Refusal::UserNotFound => Reason::UserNotFound.into(),
            Refusal::RoleEmpty => Reason::RoleEmpty.into(),
            Refusal::RoleExists => Reason::RoleExists.into(),
            Refusal::RoleNotFound => Reason::RoleNotFound.into(),
            Refusal::RoleNotGranted => Reason::RoleNotGranted.into(),
            Refusal::PermissionNotGranted => Reason::PermissionNotGranted.into(),
            Refusal::PermissionDenied => Reason::PermissionDenied.into(),
            Refusal::InvalidAuthManagement => Reason::InvalidAuthManagement.into(),
            Refusal::AuthOldRevision => Reason::AuthOldRevision.into(),
            Refusal::InvalidAuthToken => Reason::InvalidAuthToken.into(),
            Refusal::LevelTooLow { needed: _ } => Reason::LevelNotReached.into(),
        }
    }
}

/// The exhausted resource, and how to free some of it.
fn reached(limit: Limit, max: u64) -> Failure {
    let (reason, detail) = match limit {
        Limit::LeaseKeys => (
            Reason::TooManyLeaseKeys,
            format!("it may have {max}, attach others to another lease"),
        ),
        Limit::LeaseWills => (
            Reason::TooManyWills,
            format!("it may have {max}, remove one or use another lease"),
        ),
        Limit::WillBytes => (
            Reason::WillsTooLarge,
            format!("{max} bytes in all, remove some or set smaller ones"),
        ),
        Limit::SessionBytes => (
            Reason::SessionsTooLarge,
            format!("{max} bytes in all, say which requests were answered or close sessions"),
        ),
        Limit::Leases => (
            Reason::TooManyLeases,
            format!("there may be {max}, revoke some or let them expire"),
        ),
        Limit::Alarms => (
            Reason::TooManyAlarms,
            format!("of a kind there may be {max}, disarm some"),
        ),
        Limit::AuthNameBytes => (Reason::AuthNameTooLong, format!("it may have {max} bytes")),
        Limit::PasswordHashBytes => (
            Reason::PasswordHashInvalid,
            format!("it may have {max} bytes"),
        ),
        Limit::Users => (Reason::TooManyUsers, format!("there may be {max}")),
        Limit::Roles => (Reason::TooManyRoles, format!("there may be {max}")),
        Limit::UserRoles => (
            Reason::TooManyRoles,
            format!("a user may have {max}, put permissions into fewer roles"),
        ),
        Limit::RolePermissions => (
            Reason::TooManyPermissions,
            format!("it may have {max}, use another role or longer ranges"),
        ),
        Limit::RoleBytes => (
            Reason::TooManyPermissions,
            format!("their keys may take {max} bytes, use another role"),
        ),
    };
    reason.with(detail)
}

fn stale(reason: Reason, token: &StaleToken) -> Failure {
    let StaleToken {
        name,
        yours,
        current,
    } = token;
    let lock = of_lock(name);
    reason.stale(
        format!("{lock}: your token {yours}, current {current}"),
        *current,
    )
}

fn guard_missing(missing: &MissingGuard) -> Failure {
    let (prefix, lock) = (quoted(&missing.prefix), quoted(&missing.lock));
    Reason::GuardMissing.with(format!("keys under {prefix} need one of lock {lock}"))
}

fn deadlock(names: &[Bytes]) -> Failure {
    if names.is_empty() {
        // The remembered refusal of a repeated request may lack its names.
        return Reason::Deadlock.into();
    }
    let names: Vec<&[u8]> = names.iter().map(AsRef::as_ref).collect();
    Reason::Deadlock.with(format!("among locks {}", listed(&names)))
}

fn candidate_unknown(name: &[u8], lease: LeaseId) -> Failure {
    let name = quoted(name);
    let detail = format!("lease {lease} has no claim on {name} that can be granted");
    Reason::CandidateUnknown.with(detail)
}

fn of_lock(name: &[u8]) -> String {
    format!("lock {}", quoted(name))
}

/// A name in quotes, escaped, and truncated when it is long.
pub(in crate::rpc) fn quoted(name: &[u8]) -> String {
    let shown = name.get(..NAME_SHOWN_BYTES_MAX).unwrap_or(name);
    let rest = if shown.len() < name.len() { "..." } else { "" };
    format!("\"{}{rest}\"", shown.escape_ascii())
}

/// The first few of the names, in quotes.
fn listed(names: &[&[u8]]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|name| quoted(name))
        .collect();
    let mut text = shown.join(", ");
    let rest = names.len().saturating_sub(NAMES_SHOWN_MAX);
    if rest > 0 {
        // Writing to a string cannot fail.
        _ = write!(text, " and {rest} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::Revision;

    use super::*;

    fn stale_token() -> Box<StaleToken> {
        Box::new(StaleToken {
            name: Bytes::from_static(b"jobs/42"),
            yours: Revision(17),
            current: Revision(23),
        })
    }

    fn check(expected: impl IntoIterator<Item = (Refusal, &'static str)>) {
        for (refusal, text) in expected {
            assert_eq!(Failure::from(refusal).message(), text);
        }
    }

    #[test]
    fn refusals_of_guards_and_claims_name_the_lock() {
        let name = Bytes::from_static(b"jobs/42");
        let missing = MissingGuard {
            prefix: Bytes::from_static(b"data/\xff"),
            lock: name.clone(),
        };
        check([
            (
                Refusal::GuardStale(stale_token()),
                "tenure: guard is stale: lock \"jobs/42\": your token 17, current 23",
            ),
            (
                Refusal::NotHolder(stale_token()),
                "tenure: not the holder: lock \"jobs/42\": your token 17, current 23",
            ),
            (
                Refusal::GuardMissing(Box::new(missing)),
                "tenure: guard is missing: keys under \"data/\\xff\" need one of lock \"jobs/42\"",
            ),
            (
                Refusal::PermitsDiffer(Box::new((name.clone(), 3))),
                "tenure: permits are counted differently: lock \"jobs/42\" has 3 permits",
            ),
            (
                Refusal::Deadlock(vec![name.clone(), Bytes::from_static(b"b")]),
                "tenure: deadlock: among locks \"jobs/42\", \"b\"",
            ),
            (
                Refusal::CandidateUnknown(Box::new((name.clone(), LeaseId(0x2a)))),
                "tenure: candidate not found: lease 000000000000002a has no claim on \"jobs/42\" \
                 that can be granted",
            ),
            (
                Refusal::QueueFull(name),
                "tenure: too many claims: lock \"jobs/42\" may have 10000",
            ),
            (
                Refusal::QueueTooLong(Bytes::from_static(b"a")),
                "tenure: queue is too long to be reordered: lock \"a\": one write may move 1000 \
                 claims, of 1048576 bytes",
            ),
        ]);
    }

    #[test]
    fn refusals_of_requests_and_limits_give_their_numbers() {
        check([
            (
                Refusal::SessionNotFound(LeaseId(0x2a)),
                "tenure: session not found: 000000000000002a",
            ),
            (
                Refusal::RequestForgotten {
                    sequence: 3,
                    forgotten: 9,
                },
                "tenure: request is forgotten: your request 3, those up to 9 are",
            ),
            (
                Refusal::AnswerTooLarge {
                    revision: Revision(8),
                },
                "tenure: request was executed before: took effect at revision 8, its answer \
                 was too large to be kept",
            ),
            (
                Refusal::LimitReached {
                    limit: Limit::LeaseKeys,
                    max: 300,
                },
                "tenure: too many keys of one lease: it may have 300, attach others to another \
                 lease",
            ),
            (
                Refusal::TooManyRequestKeys,
                "tenure: too many idempotency keys: 200000 may be remembered, at most half of them \
                 for one client",
            ),
            (
                Refusal::TooManyPolicies,
                "tenure: too many fence policies: there may be 1000",
            ),
        ]);
    }

    #[test]
    fn long_names_and_lists_are_cut() {
        let name = vec![0; 5000];
        assert!(quoted(&name).len() < 4 * NAME_SHOWN_BYTES_MAX + 8);
        assert!(quoted(&name).ends_with("\\x00...\""));
        let names: Vec<&[u8]> = vec![b"n"; 7];
        assert!(listed(&names).ends_with("\"n\" and 2 more"));
    }
}
