//! Any node serves any call: three nodes, every call through each of them.

use std::time::Duration;

use tenure_proto::etcdserverpb::{
    CompactionRequest, MemberListRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    request_op,
};
use tenure_testkit::{Cluster, STATE_MAX, Watching, assert_same_everywhere, wait_until};
use tonic::Code;

#[tokio::test]
async fn a_put_through_any_node_is_seen_at_once_through_every_node() {
    let cluster = Cluster::start(3).await;
    for round in 0..20 {
        for writer in cluster.nodes() {
            let value = format!("{} {round}", writer.name());
            let revision = writer.calls().put("shared", &value).await.unwrap();
            for reader in cluster.nodes() {
                let kv = reader.calls().get("shared").await.unwrap().unwrap();
                assert_eq!(kv.value, value, "read through {}", reader.name());
                assert_eq!(kv.mod_revision, revision);
            }
        }
    }
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn every_node_takes_transactions_deletes_and_compactions() {
    let cluster = Cluster::start(3).await;
    for node in cluster.nodes() {
        let calls = node.calls();
        let key = node.name().to_owned();
        let put = |value: &str| RequestOp {
            request: Some(request_op::Request::RequestPut(PutRequest {
                key: key.clone().into(),
                value: value.to_owned().into(),
                ..PutRequest::default()
            })),
        };
        let txn = TxnRequest {
            success: vec![put("by a transaction")],
            ..TxnRequest::default()
        };
        let txn = calls.kv().txn(txn).await.unwrap().into_inner();
        let revision = txn.header.unwrap().revision;
        let kv = calls.get(&key).await.unwrap().unwrap();
        assert_eq!(kv.value, "by a transaction");
        assert_eq!(calls.delete(&key).await.unwrap(), 1);
        assert_eq!(calls.get(&key).await.unwrap(), None);
        let compaction = CompactionRequest {
            revision,
            physical: false,
        };
        calls.kv().compact(compaction).await.unwrap();
        // The floor holds at every node once it has applied what this one has.
        for reader in cluster.nodes() {
            reader.calls().get(&key).await.unwrap();
            let past = RangeRequest {
                key: key.clone().into(),
                revision: revision - 1,
                ..RangeRequest::default()
            };
            let refused = reader.calls().kv().range(past).await.unwrap_err();
            assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
        }
    }
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn a_serializable_read_is_answered_without_a_quorum_and_a_linearizable_one_is_not() {
    let mut cluster = Cluster::start(3).await;
    let revision = cluster.node(0).calls().put("k", "v").await.unwrap();
    let alone = cluster.node(2).calls();
    wait_until("the node has the key", STATE_MAX, async || {
        let kv = alone
            .get_serializable("k")
            .await
            .map_err(|e| e.to_string())?;
        kv.ok_or_else(|| "not yet".to_owned())
    })
    .await;
    cluster.node_mut(0).kill9();
    cluster.node_mut(1).kill9();

    let kv = alone.get_serializable("k").await.unwrap().unwrap();
    assert_eq!((kv.value.as_ref(), kv.mod_revision), (&b"v"[..], revision));
    let refused = tokio::time::timeout(Duration::from_secs(14), alone.get("k")).await;
    let refused = refused.expect("a read that cannot be served is refused, not held");
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused.code(), Code::Unavailable | Code::DeadlineExceeded),
        "{refused}"
    );
    let refused = alone.put("k", "lost").await.unwrap_err();
    assert!(
        matches!(refused.code(), Code::Unavailable | Code::DeadlineExceeded),
        "{refused}"
    );

    cluster.node_mut(0).start();
    cluster.node_mut(1).restart().await;
    cluster.node_mut(0).wait_ready().await;
    cluster.node_mut(2).wait_ready().await;
    cluster.node(1).calls().put("k", "again").await.unwrap();
    assert_eq!(alone.get("k").await.unwrap().unwrap().value, "again");
}

#[tokio::test]
async fn every_node_lists_the_same_members_with_their_addresses() {
    let cluster = Cluster::start(3).await;
    for node in cluster.nodes() {
        // A member's name and client address are published once it serves.
        let members = wait_until("all members are published", STATE_MAX, async || {
            let request = MemberListRequest { linearizable: true };
            let list = node.calls().cluster().member_list(request).await;
            let members = list.map_err(|e| e.to_string())?.into_inner().members;
            let published = members
                .iter()
                .filter(|m| !m.client_ur_ls.is_empty())
                .count();
            (published == 3)
                .then_some(members)
                .ok_or_else(|| format!("{published} are"))
        })
        .await;
        assert_eq!(members.len(), 3);
        for other in cluster.nodes() {
            let id = other.member_id().await;
            let member = members.iter().find(|member| member.id == id).unwrap();
            assert_eq!(member.name, other.name());
            assert_eq!(member.client_ur_ls, [format!("http://{}", other.address())]);
        }
    }
}

#[tokio::test]
async fn a_quorum_of_five_serves_with_two_nodes_gone_and_not_with_three() {
    let mut cluster = Cluster::start(5).await;
    cluster.node(4).calls().put("k", "five").await.unwrap();
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.node_mut(leader).kill9();
    cluster.node_mut(follower).kill9();
    let left: Vec<_> = (0..5).filter(|n| *n != leader && *n != follower).collect();
    cluster.leader_among(&left).await;
    for &number in &left {
        let calls = cluster.node(number).calls();
        calls
            .put("k", &format!("three, by {number}"))
            .await
            .unwrap();
    }
    cluster.node_mut(left[0]).kill9();
    let refused = cluster
        .node(left[1])
        .calls()
        .put("k", "two")
        .await
        .unwrap_err();
    assert!(
        matches!(refused.code(), Code::Unavailable | Code::DeadlineExceeded),
        "{refused}"
    );
    for number in [leader, follower, left[0]] {
        cluster.node_mut(number).start();
    }
    for number in 0..5 {
        cluster.node_mut(number).wait_ready().await;
    }
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn a_leader_whose_follower_is_gone_stays_calm() {
    /// Seconds of idling, told by the end of a lease.
    const IDLE_S: i64 = 3;
    /// CPU seconds that the leader may use meanwhile; trying a lost peer without pause uses all.
    const CPU_MAX_S: f64 = 1.0;
    /// Log lines that it may write meanwhile.
    const LINES_MAX: usize = 1000;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let gone = cluster.others(leader)[0];
    cluster.node_mut(gone).kill9();
    let node = cluster.node(leader);
    let calls = node.calls();
    let cpu = async || {
        let page = node.page("/metrics").await;
        page.metric("process_cpu_seconds_total").unwrap()
    };
    let mut watch = Watching::prefix(&calls, "idle", 0).await.unwrap();
    let lease = calls.grant(IDLE_S).await.unwrap();
    calls.put_on_lease("idle", "v", lease).await.unwrap();
    let (cpu_before, lines_before) = (cpu().await, node.log().lines().count());
    watch.events(2, STATE_MAX).await.unwrap();
    let used = cpu().await - cpu_before;
    let lines = node.log().lines().count() - lines_before;
    println!("{used} s of CPU and {lines} log lines in {IDLE_S} s");
    assert!(
        used < CPU_MAX_S,
        "{used} s of CPU in {IDLE_S} s of nothing to do"
    );
    assert!(lines < LINES_MAX, "{lines} log lines in {IDLE_S} s");
}
