//! One outcome of every kind.

use bytes::Bytes;
use tenure_statemachine::{
    AcquireReply, AlarmKind, ClaimState, ClusterTime, DeleteReply, FeatureLevel, KeyValue, LeaseId,
    Limit, MemberId, MissingGuard, Mode, RangeReply, Refusal, Reply, Revision, StaleToken, Ttl,
    TxnOpReply, TxnReply,
};

const NAME: Bytes = Bytes::from_static(b"name");
const REVISION: Revision = Revision(300);

fn record() -> KeyValue {
    KeyValue {
        key: Bytes::from_static(b"key"),
        create_revision: Revision(2),
        mod_revision: REVISION,
        version: 3,
        value: Bytes::from_static(b"value"),
        lease: LeaseId(7),
    }
}

fn reached(limit: Limit) -> Refusal {
    Refusal::LimitReached { limit, max: 300 }
}

fn claim(mode: Mode, held: bool) -> ClaimState {
    ClaimState {
        name: NAME,
        key: Bytes::from_static(b"name/7"),
        lease: LeaseId(7),
        token: REVISION,
        mode,
        held,
        since: ClusterTime(1_000),
        principal: "me".to_owned(),
        value: Bytes::from_static(b"value"),
        position: u32::from(!held),
    }
}

fn txn() -> TxnReply {
    let range = RangeReply {
        kvs: vec![record()],
        more: true,
        count: 9,
    };
    let delete = DeleteReply {
        deleted: 1,
        previous: vec![record()],
    };
    let within = TxnReply::default();
    TxnReply {
        succeeded: true,
        replies: vec![
            TxnOpReply::Range(REVISION, range),
            TxnOpReply::Put(REVISION, Some(record())),
            TxnOpReply::DeleteRange(REVISION, delete),
            TxnOpReply::Txn(REVISION, within),
        ],
    }
}

/// A sample of every reply.
pub(crate) fn replies() -> Vec<(&'static str, Reply)> {
    let permits = Mode::Permits { count: 2, limit: 3 };
    let delete = DeleteReply {
        deleted: 2,
        previous: Vec::new(),
    };
    let waits = AcquireReply {
        lease: LeaseId(7),
        ttl: Ttl(60_000),
        claims: vec![claim(permits, false)],
        blocker: Some(claim(Mode::Shared, true)),
    };
    let alarms = vec![
        (MemberId(1), AlarmKind::NoSpace),
        (MemberId(2), AlarmKind::Corrupt),
    ];
    vec![
        ("put", Reply::Put(None)),
        ("delete_range", Reply::DeleteRange(delete)),
        ("txn", Reply::Txn(txn())),
        ("compact", Reply::Compact),
        ("lease_grant", Reply::LeaseGrant(LeaseId(7), Ttl(60_000))),
        ("lease_revoke", Reply::LeaseRevoke),
        (
            "lease_renew",
            Reply::LeaseRenew(vec![Some(Ttl(60_000)), None]),
        ),
        ("lease_expire", Reply::LeaseExpire(vec![LeaseId(7)])),
        ("alarm", Reply::Alarm(alarms)),
        ("member_publish", Reply::MemberPublish),
        ("acquire", Reply::Acquire(waits)),
        ("done", Reply::Done),
        ("withdraw", Reply::Withdraw(true)),
        (
            "claim",
            Reply::Claim(Box::new(claim(Mode::Exclusive, true))),
        ),
        ("force_release", Reply::ForceRelease(Vec::new())),
        (
            "register",
            Reply::Register(REVISION, LeaseId(7), Ttl(60_000)),
        ),
        ("session_open", Reply::SessionOpen(LeaseId(7), Ttl(60_000))),
        ("wake", Reply::Wake(300)),
    ]
}

/// A sample of every refusal.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn refusals() -> Vec<(&'static str, Refusal)> {
    let stale = || {
        Box::new(StaleToken {
            name: NAME,
            yours: Revision(2),
            current: REVISION,
        })
    };
    let missing = Box::new(MissingGuard {
        prefix: Bytes::from_static(b"app/"),
        lock: NAME,
    });
    let revision = REVISION;
    let replaced = Refusal::InstanceReplaced {
        yours: Revision(2),
        current: revision,
    };
    let forgotten = Refusal::RequestForgotten {
        sequence: 300,
        forgotten: 400,
    };
    let candidate = Box::new((NAME, LeaseId(8)));
    vec![
        ("key_not_found", Refusal::KeyNotFound),
        ("lease_not_found", Refusal::LeaseNotFound),
        ("lease_exists", Refusal::LeaseExists),
        ("compacted", Refusal::Compacted { floor: revision }),
        (
            "future_revision",
            Refusal::FutureRevision { latest: revision },
        ),
        ("no_space", Refusal::NoSpace),
        ("corrupt", Refusal::Corrupt),
        ("guard_stale", Refusal::GuardStale(stale())),
        ("guard_missing", Refusal::GuardMissing(missing)),
        ("not_holder", Refusal::NotHolder(stale())),
        ("already_claimed", Refusal::AlreadyClaimed(NAME)),
        (
            "permits_differ",
            Refusal::PermitsDiffer(Box::new((NAME, 300))),
        ),
        ("queue_full", Refusal::QueueFull(NAME)),
        ("deadlock", Refusal::Deadlock(vec![NAME, NAME])),
        ("queue_fixed", Refusal::QueueFixed(NAME)),
        ("candidate_unknown", Refusal::CandidateUnknown(candidate)),
        ("session_not_found", Refusal::SessionNotFound(LeaseId(7))),
        ("request_forgotten", forgotten),
        ("answer_too_large", Refusal::AnswerTooLarge { revision }),
        ("request_differs", Refusal::RequestDiffers),
        ("too_many_request_keys", Refusal::TooManyRequestKeys),
        ("instance_replaced", replaced),
        ("instance_not_found", Refusal::InstanceNotFound),
        ("policy_not_found", Refusal::PolicyNotFound),
        ("too_many_policies", Refusal::TooManyPolicies),
        ("not_claimed", Refusal::NotClaimed(NAME)),
        ("name_reserved", Refusal::NameReserved(NAME)),
        ("queue_too_long", Refusal::QueueTooLong(NAME)),
        ("too_many_rows", Refusal::TooManyRows { max: 300 }),
        ("answer_over_limit", Refusal::AnswerOverLimit { max: 300 }),
        ("entry_full", Refusal::EntryFull),
        ("lease_keys", reached(Limit::LeaseKeys)),
        ("lease_wills", reached(Limit::LeaseWills)),
        ("will_bytes", reached(Limit::WillBytes)),
        ("session_bytes", reached(Limit::SessionBytes)),
        ("leases", reached(Limit::Leases)),
        ("alarms", reached(Limit::Alarms)),
        ("root_user_missing", Refusal::RootUserMissing),
        ("root_role_missing", Refusal::RootRoleMissing),
        ("user_empty", Refusal::UserEmpty),
        ("user_exists", Refusal::UserExists),
        ("user_not_found", Refusal::UserNotFound),
        ("role_empty", Refusal::RoleEmpty),
        ("role_exists", Refusal::RoleExists),
        ("role_not_found", Refusal::RoleNotFound),
        ("role_not_granted", Refusal::RoleNotGranted),
        ("permission_not_granted", Refusal::PermissionNotGranted),
        ("permission_denied", Refusal::PermissionDenied),
        ("invalid_auth_management", Refusal::InvalidAuthManagement),
        ("auth_old_revision", Refusal::AuthOldRevision),
        (
            "level_too_low",
            Refusal::LevelTooLow {
                needed: FeatureLevel(5),
            },
        ),
        ("invalid_auth_token", Refusal::InvalidAuthToken),
        ("auth_name_bytes", reached(Limit::AuthNameBytes)),
        ("password_hash_bytes", reached(Limit::PasswordHashBytes)),
        ("users", reached(Limit::Users)),
        ("roles", reached(Limit::Roles)),
        ("user_roles", reached(Limit::UserRoles)),
        ("role_permissions", reached(Limit::RolePermissions)),
        ("role_bytes", reached(Limit::RoleBytes)),
    ]
}
