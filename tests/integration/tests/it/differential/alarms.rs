//! What an alarm stops and what goes on: every row of the table, asked of both servers.
//!
//! The alarms name a member that does not exist, so that the reads of tenure go on: what a member
//! does that is named itself is in module `corruption`.

use tenure_proto::{
    etcdserverpb::{
        AlarmRequest, AlarmType, DefragmentRequest, LeaseKeepAliveRequest, LeaseLeasesRequest,
        alarm_request::AlarmAction,
    },
    v3electionpb::CampaignRequest,
    v3lockpb::LockRequest,
};
use tenure_testkit::{STATE_MAX, wait_until};
use tonic::Code;

use super::{
    ask::Question,
    pair::Pair,
    requests::{
        absent, all_of, compact, delete, everything, get, grant, hash, op, put, put_on_lease,
        revoke, time_to_live, txn,
    },
};

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";
const CORRUPT: &str = "etcdserver: corrupt cluster";
/// The member that the alarms name; there is none of this id.
const MEMBER: u64 = 7;

fn alarm(action: AlarmAction, member_id: u64, alarm: AlarmType) -> AlarmRequest {
    AlarmRequest {
        action: action.into(),
        member_id,
        alarm: alarm.into(),
    }
}

/// A pair with some keys, and the leases 1, 2 and 3; one of the keys is on the first.
async fn pair() -> Option<Pair> {
    let mut pair = Pair::start().await?;
    // Alarms are cleared one by one from that level on.
    wait_until("the newest rules are in force", STATE_MAX, async || {
        let (level, newest) = pair.levels().await;
        (level >= newest).then_some(()).ok_or(level)
    })
    .await;
    for id in 1..=3 {
        pair.ok(grant(id, 600)).await;
    }
    for _ in 0..3 {
        pair.ok(put("a", "1")).await;
    }
    pair.ok(put_on_lease("leased", "1", 1)).await;
    pair.ok(put("gone", "1")).await;
    Some(pair)
}

/// Asks for what stores something.
async fn writes_are_refused(pair: &mut Pair, text: &str) {
    pair.refused(put("a", "2"), text).await;
    pair.refused(grant(9, 60), text).await;
    pair.refused(all_of(vec![op(put("a", "2"))]), text).await;
    // A put counts in the branch that is not taken, too, and within another transaction.
    let untaken = txn(
        vec![absent("a")],
        vec![op(put("a", "2"))],
        vec![op(get("a"))],
    );
    pair.refused(untaken.clone(), text).await;
    // etcd 3.4 does not look within another transaction; later versions and tenure do.
    let nested = Question::of(&all_of(vec![op(untaken)]));
    let [tenure, _] = pair.both(&nested).await;
    assert_eq!(tenure.text, text);
    let lock = LockRequest {
        name: "lock".into(),
        lease: 2,
    };
    pair.refused(lock, text).await;
    let campaign = CampaignRequest {
        name: "mayor".into(),
        lease: 2,
        value: "alice".into(),
    };
    pair.refused(campaign, text).await;
}

/// Asks for what reads, renews and maintains.
async fn reads_and_upkeep_go_on(pair: &mut Pair) {
    pair.ok(get("a")).await;
    let mut local = get("a");
    local.serializable = true;
    pair.ok(local).await;
    pair.ok(everything()).await;
    pair.ok(all_of(vec![op(get("a")), op(everything())])).await;
    pair.ok(LeaseKeepAliveRequest { id: 1 }).await;
    pair.ok(time_to_live(1)).await;
    pair.ok(LeaseLeasesRequest {}).await;
    pair.ok(hash(0)).await;
    let defragmented = pair.same(DefragmentRequest {}).await;
    assert_eq!(defragmented.code, Code::Ok);
    let list = alarm(AlarmAction::Get, 0, AlarmType::None);
    pair.ok(list).await;
}

#[tokio::test]
async fn under_no_space_what_stores_is_refused_and_all_else_goes_on_as_in_etcd() {
    let Some(mut pair) = pair().await else {
        return;
    };
    let raise = alarm(AlarmAction::Activate, MEMBER, AlarmType::Nospace);
    pair.ok(raise).await;
    pair.ok(raise).await;
    writes_are_refused(&mut pair, NO_SPACE).await;
    reads_and_upkeep_go_on(&mut pair).await;
    pair.ok(delete("gone", "")).await;
    pair.ok(all_of(vec![op(delete("gone", "")), op(get("a"))]))
        .await;
    pair.ok(revoke(3)).await;
    pair.ok(revoke(1)).await;
    pair.ok(compact(4)).await;
    // Only the very alarm is cleared.
    for (member, kind) in [
        (MEMBER, AlarmType::None),
        (MEMBER, AlarmType::Corrupt),
        (MEMBER + 1, AlarmType::Nospace),
        (0, AlarmType::Nospace),
        (0, AlarmType::None),
    ] {
        pair.ok(alarm(AlarmAction::Deactivate, member, kind)).await;
    }
    pair.refused(put("a", "2"), NO_SPACE).await;
    let clear = alarm(AlarmAction::Deactivate, MEMBER, AlarmType::Nospace);
    pair.ok(clear).await;
    pair.ok(clear).await;
    pair.ok(put("a", "2")).await;
    pair.ok(everything()).await;
}

#[tokio::test]
async fn under_corrupt_no_write_is_executed_and_others_than_the_named_member_read_as_in_etcd() {
    let Some(mut pair) = pair().await else {
        return;
    };
    let raise = alarm(AlarmAction::Activate, MEMBER, AlarmType::Corrupt);
    pair.ok(raise).await;
    pair.ok(raise).await;
    writes_are_refused(&mut pair, CORRUPT).await;
    reads_and_upkeep_go_on(&mut pair).await;
    pair.refused(delete("gone", ""), CORRUPT).await;
    pair.refused(all_of(vec![op(delete("gone", ""))]), CORRUPT)
        .await;
    pair.refused(revoke(3), CORRUPT).await;
    pair.refused(compact(4), CORRUPT).await;
    pair.ok(alarm(AlarmAction::Deactivate, MEMBER, AlarmType::Corrupt))
        .await;
    pair.ok(put("a", "2")).await;
    pair.ok(everything()).await;
}

#[tokio::test]
async fn alarms_are_raised_listed_and_cleared_in_the_same_words() {
    let Some(mut pair) = pair().await else {
        return;
    };
    pair.ok(alarm(AlarmAction::Get, 0, AlarmType::None)).await;
    pair.ok(alarm(AlarmAction::Activate, MEMBER, AlarmType::Nospace))
        .await;
    pair.ok(alarm(AlarmAction::Activate, MEMBER, AlarmType::Corrupt))
        .await;
    for kind in [AlarmType::Nospace, AlarmType::Corrupt] {
        // Of any member: etcd looks at the kind alone.
        pair.ok(alarm(AlarmAction::Get, 0, kind)).await;
        pair.ok(alarm(AlarmAction::Get, MEMBER, kind)).await;
        pair.ok(alarm(AlarmAction::Deactivate, MEMBER, kind)).await;
        pair.ok(alarm(AlarmAction::Get, 0, kind)).await;
    }
    pair.ok(put("a", "2")).await;
}
