//! Outcomes at random, every reply and every refusal among them.

use proptest::{collection::vec, option, prelude::*, sample::select};
use tenure_statemachine::{
    AcquireReply, AlarmKind, ClaimState, ClusterTime, DeleteReply, Facts, KeyValue, Limit,
    MemberId, MissingGuard, Outcome, RangeReply, Refusal, Reply, StaleToken, TxnOpReply, TxnReply,
};

use super::coordination::{bytes, lease, mode, revision, text, ttl};

const LIMITS: [Limit; 6] = [
    Limit::LeaseKeys,
    Limit::LeaseWills,
    Limit::WillBytes,
    Limit::SessionBytes,
    Limit::Leases,
    Limit::Alarms,
];

fn key_value() -> impl Strategy<Value = KeyValue> {
    (
        bytes(),
        revision(),
        revision(),
        any::<i64>(),
        bytes(),
        lease(),
    )
        .prop_map(
            |(key, create_revision, mod_revision, version, value, lease)| KeyValue {
                key,
                create_revision,
                mod_revision,
                version,
                value,
                lease,
            },
        )
}

fn deleted() -> impl Strategy<Value = DeleteReply> {
    (any::<i64>(), vec(key_value(), 0..3))
        .prop_map(|(deleted, previous)| DeleteReply { deleted, previous })
}

fn txn() -> impl Strategy<Value = TxnReply> {
    let range = (vec(key_value(), 0..3), any::<bool>(), any::<i64>())
        .prop_map(|(kvs, more, count)| RangeReply { kvs, more, count });
    let leaf = prop_oneof![
        (revision(), range).prop_map(|(revision, reply)| TxnOpReply::Range(revision, reply)),
        (revision(), option::of(key_value()))
            .prop_map(|(revision, previous)| TxnOpReply::Put(revision, previous)),
        (revision(), deleted())
            .prop_map(|(revision, reply)| TxnOpReply::DeleteRange(revision, reply)),
    ];
    let list = |op| {
        (any::<bool>(), vec(op, 0..3))
            .prop_map(|(succeeded, replies)| TxnReply { succeeded, replies })
    };
    let op = leaf.prop_recursive(3, 8, 3, move |op| {
        (revision(), list(op)).prop_map(|(revision, reply)| TxnOpReply::Txn(revision, reply))
    });
    (any::<bool>(), vec(op, 0..3)).prop_map(|(succeeded, replies)| TxnReply { succeeded, replies })
}

fn claim() -> impl Strategy<Value = ClaimState> {
    let of = (bytes(), bytes(), lease(), revision());
    let is = (mode(), any::<bool>(), any::<u64>(), any::<u32>());
    (of, is, text(), bytes()).prop_map(
        |((name, key, lease, token), (mode, held, since, position), principal, value)| ClaimState {
            name,
            key,
            lease,
            token,
            mode,
            held,
            since: ClusterTime(since),
            principal,
            value,
            position,
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let kind = select(&[AlarmKind::NoSpace, AlarmKind::Corrupt]);
    let alarm = (any::<u64>(), kind).prop_map(|(member, kind)| (MemberId(member), kind));
    let acquire = (lease(), ttl(), vec(claim(), 0..3), option::of(claim()));
    let acquire = acquire.prop_map(|(lease, ttl, claims, blocker)| AcquireReply {
        lease,
        ttl,
        claims,
        blocker,
    });
    let keys = prop_oneof![
        option::of(key_value()).prop_map(Reply::Put),
        deleted().prop_map(Reply::DeleteRange),
        txn().prop_map(Reply::Txn),
        Just(Reply::Compact),
        (lease(), ttl()).prop_map(|(id, ttl)| Reply::LeaseGrant(id, ttl)),
        Just(Reply::LeaseRevoke),
        vec(option::of(ttl()), 0..3).prop_map(Reply::LeaseRenew),
        vec(lease(), 0..3).prop_map(Reply::LeaseExpire),
        vec(alarm, 0..3).prop_map(Reply::Alarm),
        Just(Reply::MemberPublish),
    ];
    let others = prop_oneof![
        acquire.prop_map(Reply::Acquire),
        Just(Reply::Done),
        any::<bool>().prop_map(Reply::Withdraw),
        claim().prop_map(|claim| Reply::Claim(Box::new(claim))),
        vec(claim(), 0..3).prop_map(Reply::ForceRelease),
        (revision(), lease(), ttl()).prop_map(|(born, id, ttl)| Reply::Register(born, id, ttl)),
        (lease(), ttl()).prop_map(|(id, ttl)| Reply::SessionOpen(id, ttl)),
        any::<u64>().prop_map(Reply::Wake),
    ];
    prop_oneof![keys, others]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let stale = || {
        (bytes(), revision(), revision()).prop_map(|(name, yours, current)| {
            Box::new(StaleToken {
                name,
                yours,
                current,
            })
        })
    };
    let missing =
        (bytes(), bytes()).prop_map(|(prefix, lock)| Box::new(MissingGuard { prefix, lock }));
    let plain = select(vec![
        Refusal::KeyNotFound,
        Refusal::LeaseNotFound,
        Refusal::LeaseExists,
        Refusal::NoSpace,
        Refusal::Corrupt,
        Refusal::RequestDiffers,
        Refusal::TooManyRequestKeys,
        Refusal::InstanceNotFound,
        Refusal::PolicyNotFound,
        Refusal::TooManyPolicies,
        Refusal::EntryFull,
    ]);
    let of_claims = prop_oneof![
        stale().prop_map(Refusal::NotHolder),
        bytes().prop_map(Refusal::AlreadyClaimed),
        (bytes(), any::<u32>()).prop_map(|differ| Refusal::PermitsDiffer(Box::new(differ))),
        bytes().prop_map(Refusal::QueueFull),
        vec(bytes(), 0..3).prop_map(Refusal::Deadlock),
        bytes().prop_map(Refusal::QueueFixed),
        bytes().prop_map(Refusal::QueueTooLong),
        (bytes(), lease()).prop_map(|claim| Refusal::CandidateUnknown(Box::new(claim))),
        bytes().prop_map(Refusal::NotClaimed),
        bytes().prop_map(Refusal::NameReserved),
    ];
    let others = prop_oneof![
        revision().prop_map(|floor| Refusal::Compacted { floor }),
        revision().prop_map(|latest| Refusal::FutureRevision { latest }),
        stale().prop_map(Refusal::GuardStale),
        missing.prop_map(Refusal::GuardMissing),
        lease().prop_map(Refusal::SessionNotFound),
        (any::<u64>(), any::<u64>()).prop_map(|(sequence, forgotten)| {
            Refusal::RequestForgotten {
                sequence,
                forgotten,
            }
        }),
        revision().prop_map(|revision| Refusal::AnswerTooLarge { revision }),
        any::<u64>().prop_map(|max| Refusal::TooManyRows { max }),
        any::<u64>().prop_map(|max| Refusal::AnswerOverLimit { max }),
        (select(LIMITS.to_vec()), any::<u64>())
            .prop_map(|(limit, max)| Refusal::LimitReached { limit, max }),
        (revision(), revision())
            .prop_map(|(yours, current)| Refusal::InstanceReplaced { yours, current }),
    ];
    prop_oneof![plain, of_claims, others]
}

/// An outcome as it is remembered: without events and signals.
pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    let reply = prop_oneof![2 => reply().prop_map(Ok), 1 => refusal().prop_map(Err)];
    (reply, revision()).prop_map(|(reply, revision)| Outcome {
        reply,
        revision,
        events: Vec::new(),
        signals: Vec::new(),
        facts: Facts::default(),
    })
}
