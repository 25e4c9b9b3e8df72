//! Leases, rule by rule, as far as no clock decides.

use prost::Message;
use tenure_proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};

use super::{
    ask::Question,
    pair::Pair,
    requests::{
        all_of, delete, everything, get, grant, op, put, put_on_lease, revoke, time_to_live,
    },
};

const NOT_FOUND: &str = "etcdserver: requested lease not found";
/// How much of a lease may pass while a test asks for it.
const PASSED_MAX_S: i64 = 60;

#[tokio::test]
async fn grants_and_revocations_answer_as_etcd_does() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    // The shortest lease is two seconds, and what asks for less gets that.
    for (id, ttl) in [
        (1, 9000),
        (2, 2000),
        (3, 5000),
        (4, 9_000_000_000),
        (i64::MAX, 3000),
    ] {
        pair.ok(grant(id, ttl)).await;
    }
    pair.refused(grant(1, 10), "etcdserver: lease already exists")
        .await;
    pair.refused(grant(6, 9_000_000_001), "etcdserver: too large lease TTL")
        .await;
    pair.ok(LeaseLeasesRequest {}).await;
    pair.ok(put_on_lease("a", "1", 1)).await;
    pair.ok(put_on_lease("b", "1", 1)).await;
    pair.ok(put_on_lease("c", "1", 2)).await;
    for id in [1, 2, 3, 99] {
        pair.ok(time_to_live(id)).await;
        pair.ok(LeaseTimeToLiveRequest { id, keys: false }).await;
    }
    // A key moves with the lease of its last put, and leaves with a put without one.
    pair.ok(put_on_lease("b", "2", 2)).await;
    pair.ok(put("c", "2")).await;
    pair.ok(time_to_live(1)).await;
    pair.ok(time_to_live(2)).await;
    pair.ok(delete("a", "")).await;
    pair.ok(time_to_live(1)).await;
    pair.ok(put_on_lease("d", "1", 2)).await;
    pair.ok(put_on_lease("e", "1", 2)).await;
    // All keys of a lease go in one revision; a lease without keys makes none.
    pair.ok(revoke(2)).await;
    pair.ok(everything()).await;
    let before = pair.ok(get("c")).await.revision;
    assert_eq!(pair.ok(revoke(3)).await.revision, before);
    pair.refused(revoke(3), NOT_FOUND).await;
    pair.refused(revoke(0), NOT_FOUND).await;
    pair.ok(LeaseLeasesRequest {}).await;
    pair.ok(grant(3, 4000)).await;
    in_transactions(&mut pair).await;
}

async fn in_transactions(pair: &mut Pair) {
    pair.ok(all_of(vec![
        op(put_on_lease("t/1", "1", 3)),
        op(put_on_lease("t/2", "1", 1)),
        op(delete("t/0", "t/1")),
    ]))
    .await;
    pair.ok(time_to_live(3)).await;
    pair.ok(revoke(3)).await;
    pair.ok(everything()).await;
    pair.ok(time_to_live(1)).await;
}

#[tokio::test]
async fn renewals_and_what_is_left_answer_as_in_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    for (id, ttl) in [(1, 600), (2, 7200)] {
        pair.ok(grant(id, ttl)).await;
        pair.ok(LeaseKeepAliveRequest { id }).await;
        pair.ok(time_to_live(id)).await;
        let question = Question::of(&time_to_live(id));
        for wire in [pair.tenure(), pair.etcd()] {
            let answer = wire.call(&question.call).await;
            let left = LeaseTimeToLiveResponse::decode(answer.messages[0].as_ref())
                .expect("a server answers in protobuf")
                .ttl;
            assert!(
                (ttl - PASSED_MAX_S..=ttl).contains(&left),
                "{left} s are left of {ttl} s"
            );
        }
    }
    pair.ok(LeaseKeepAliveRequest { id: 99 }).await;
    pair.ok(LeaseKeepAliveRequest { id: 0 }).await;
    // The one renewed last ends last when they are equally long.
    pair.ok(grant(3, 7200)).await;
    pair.ok(LeaseKeepAliveRequest { id: 2 }).await;
    pair.ok(LeaseLeasesRequest {}).await;
    pair.ok(LeaseKeepAliveRequest { id: 3 }).await;
    pair.ok(LeaseLeasesRequest {}).await;
}
