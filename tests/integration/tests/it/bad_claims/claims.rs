//! Bad input to locks and elections.

use tenure_proto::v1::{
    AcquireRequest, CampaignRequest, ForceReleaseRequest, HandOverRequest, Mode, Permits,
    ProclaimRequest, ReleaseRequest, ResignRequest, TransferRequest, WithdrawRequest, mode::Kind,
};

use super::{
    HOLDER, HUGE, IDLE, LOCK, NO_NAME, NO_TTL, SHORT_TTL, UNKNOWN, WAITER, acquire,
    ask::TRY_ACQUIRE, stale,
};
use crate::{
    bad_input::case::{Case, cases},
    differential::known::LEASE_NOT_FOUND,
};

const NO_TOKEN: &str = "tenure: token is not provided";
const CLAIMED: &str = "tenure: lease has a claim already: lock \"lock\"";

pub(super) fn cases(token: i64) -> Vec<Case> {
    let waiting = acquisitions();
    let mut cases: Vec<_> = waiting.iter().cloned().map(tried).collect();
    cases.extend(waiting);
    cases.extend(leases());
    cases.extend(releases(token));
    cases.extend(transfers(token));
    cases.extend(elections(token));
    cases
}

/// The same request, to the call that does not wait.
fn tried(mut case: Case) -> Case {
    case.name = format!("try: {}", case.name);
    case.call.path = TRY_ACQUIRE.to_owned();
    case
}

/// What both calls that acquire refuse.
fn acquisitions() -> Vec<Case> {
    let huge = "x".repeat(HUGE);
    let of = |names: &[String]| AcquireRequest {
        names: names.iter().map(|name| name.clone().into()).collect(),
        ..acquire("", IDLE)
    };
    let twice = ["a", "a"].map(str::to_owned);
    let many: Vec<_> = (0..1000).map(|n| format!("n{n}")).collect();
    let on_new_lease = |ttl_ms| AcquireRequest {
        ttl_ms,
        ..acquire("a", 0)
    };
    let delayed = AcquireRequest {
        lock_delay_ms: u64::MAX,
        ..acquire("a", IDLE)
    };
    let principal = AcquireRequest {
        principal: huge.clone(),
        ..acquire("a", IDLE)
    };
    cases! {
        "no name": of(&[]) => InvalidArgument, NO_NAME;
        "empty name": acquire("", IDLE) => InvalidArgument, NO_NAME;
        "huge name": acquire(&huge, IDLE) => InvalidArgument,
            "tenure: name is too long: 65536 bytes, at most 4096";
        "name of a service": acquire("tenure.services/web", IDLE) => InvalidArgument,
            "tenure: name is reserved for services: \"tenure.services/web\"";
        "name twice": of(&twice) => InvalidArgument, "tenure: name is given twice: \"a\"";
        "too many names": of(&many) => InvalidArgument,
            "tenure: too many names: 1000, at most 64";
        "neither lease nor ttl": on_new_lease(0) => InvalidArgument, NO_TTL;
        "tiny ttl": on_new_lease(1) => InvalidArgument, SHORT_TTL;
        "endless ttl": on_new_lease(u64::MAX) => InvalidArgument,
            "tenure: ttl is too long: 18446744073709551615 ms, at most 9000000000000 ms";
        "no permits": permits(0, 3) => InvalidArgument, not_countable(0, 3);
        "more permits than there are": permits(4, 3) => InvalidArgument, not_countable(4, 3);
        "permits of none": permits(0, 0) => InvalidArgument, not_countable(0, 0);
        "endless lock delay": delayed => InvalidArgument,
            "tenure: lock delay is too long: 18446744073709551615 ms, at most 60000 ms";
        "huge principal": principal => InvalidArgument,
            "tenure: principal is too long: 65536 bytes, at most 1024";
    }
}

fn permits(count: u32, limit: u32) -> AcquireRequest {
    AcquireRequest {
        mode: Some(Mode {
            kind: Some(Kind::Permits(Permits { count, limit })),
        }),
        ..acquire("permits", IDLE)
    }
}

fn not_countable(count: u32, limit: u32) -> String {
    let bounds = "at least 1 and at most all";
    format!("tenure: permits are not countable: {count} of {limit}, {bounds}")
}

/// Leases that are none, and leases that have a claim.
fn leases() -> Vec<Case> {
    let mut cases: Vec<_> = cases! {
        "unknown lease": acquire("a", UNKNOWN) => NotFound, LEASE_NOT_FOUND;
        "negative lease": acquire("a", -5) => NotFound, LEASE_NOT_FOUND;
        "double acquire": acquire(LOCK, HOLDER) => FailedPrecondition, CLAIMED;
    }
    .into_iter()
    .map(tried)
    .collect();
    cases.extend(cases! {
        "double wait": acquire(LOCK, WAITER) => FailedPrecondition, CLAIMED;
    });
    cases
}

fn releases(token: i64) -> Vec<Case> {
    let release = |name: &'static str, token| ReleaseRequest {
        name: name.into(),
        token,
        options: None,
    };
    let withdraw = WithdrawRequest {
        lease: IDLE,
        ..WithdrawRequest::default()
    };
    let force = |name: &'static str, reason: &str| ForceReleaseRequest {
        name: name.into(),
        reason: reason.to_owned(),
        ..ForceReleaseRequest::default()
    };
    cases! {
        "release of a lock that nobody holds": release("free", token) => FailedPrecondition,
            not_holder("free", token, 0);
        "release by a stranger": release(LOCK, token - 1) => FailedPrecondition,
            not_holder(LOCK, token - 1, token);
        "release with a token from the future": release(LOCK, i64::MAX) => FailedPrecondition,
            not_holder(LOCK, i64::MAX, token);
        "release by who waits": release(LOCK, token + 1) => FailedPrecondition,
            not_holder(LOCK, token + 1, token);
        "release without name": release("", token) => InvalidArgument, NO_NAME;
        "release without token": release(LOCK, 0) => InvalidArgument, NO_TOKEN;
        "release with a negative token": release(LOCK, -1) => InvalidArgument, NO_TOKEN;
        "withdraw without name": withdraw => InvalidArgument, NO_NAME;
        "force release without reason": force(LOCK, "") => InvalidArgument,
            "tenure: reason is not provided";
        "force release of nothing": force("free", "test") => FailedPrecondition,
            not_holder("free", 0, 0);
    }
}

fn transfers(token: i64) -> Vec<Case> {
    let transfer = |token, to_lease| TransferRequest {
        name: LOCK.into(),
        token,
        to_lease,
        ..TransferRequest::default()
    };
    cases! {
        "transfer by a stranger": transfer(token - 1, IDLE) => FailedPrecondition,
            not_holder(LOCK, token - 1, token);
        "transfer to nobody": transfer(token, 0) => InvalidArgument,
            "tenure: lease is not provided";
        "transfer to an unknown lease": transfer(token, UNKNOWN) => NotFound, LEASE_NOT_FOUND;
        "transfer to who waits": transfer(token, WAITER) => FailedPrecondition, CLAIMED;
    }
}

fn elections(token: i64) -> Vec<Case> {
    let campaign = |name: &'static str, lease| CampaignRequest {
        name: name.into(),
        lease,
        ..CampaignRequest::default()
    };
    let stranger = token - 1;
    let not_leader = not_holder(LOCK, stranger, token);
    let proclaim = ProclaimRequest {
        name: LOCK.into(),
        epoch: stranger,
        value: "x".into(),
        options: None,
    };
    let resign = ResignRequest {
        name: LOCK.into(),
        epoch: stranger,
        options: None,
    };
    let hand_over = HandOverRequest {
        name: LOCK.into(),
        epoch: token,
        to_lease: IDLE,
        options: None,
    };
    cases! {
        "campaign on an unknown lease": campaign("e", UNKNOWN) => NotFound, LEASE_NOT_FOUND;
        "campaign without name": campaign("", IDLE) => InvalidArgument, NO_NAME;
        "proclaim by who does not lead": proclaim => FailedPrecondition, not_leader;
        "resign by who does not lead": resign => FailedPrecondition, not_leader;
        "hand over to no candidate": hand_over => NotFound,
            "tenure: candidate not found: lease 000000000000000d has no claim on \"lock\" that can \
             be granted";
    }
}

fn not_holder(lock: &str, yours: i64, current: i64) -> String {
    stale("not the holder", lock, yours, current)
}
