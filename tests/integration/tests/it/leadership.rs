//! Who leads, and how the lead is handed over.

use std::time::{Duration, Instant};

use tenure_proto::etcdserverpb::MoveLeaderRequest;
use tenure_testkit::{Cluster, Load, STATE_MAX, assert_kept, assert_same_everywhere, wait_until};
use tonic::Code;

/// Longest that writing may stop when the leader leaves in an orderly way: well below the time of
/// an election that nobody prepared, and with room for a busy machine.
const HANDOVER_MAX: Duration = Duration::from_secs(3);

/// Longest that an orderly stop may take under load: less than the time after which calls that do
/// not end are cut off.
const EXIT_MAX: Duration = Duration::from_secs(4);

async fn move_leader(cluster: &Cluster, through: usize, to: u64) -> Result<(), tonic::Status> {
    let request = MoveLeaderRequest { target_id: to };
    let moved = cluster
        .node(through)
        .calls()
        .maintenance()
        .move_leader(request)
        .await;
    moved.map(|_| ())
}

#[tokio::test]
async fn the_leader_hands_over_to_the_member_that_it_is_told() {
    let cluster = Cluster::start(3).await;
    for _ in 0..4 {
        let leader = cluster.leader().await;
        let target = cluster.others(leader)[0];
        let id = cluster.node(target).member_id().await;
        move_leader(&cluster, leader, id).await.unwrap();
        wait_until("the target leads", STATE_MAX, async || {
            let now = cluster.leader().await;
            (now == target)
                .then_some(())
                .ok_or_else(|| format!("m{now} does"))
        })
        .await;
        for node in cluster.nodes() {
            node.calls().put("k", node.name()).await.unwrap();
        }
    }
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn only_the_leader_hands_over_and_only_to_a_member() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let id = cluster.node(follower).member_id().await;
    let refused = move_leader(&cluster, follower, id).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "etcdserver: not leader");
    let refused = move_leader(&cluster, leader, 0xdead).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "etcdserver: bad leader transferee");
    assert_eq!(cluster.leader().await, leader);
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over_and_ends_well() {
    let mut cluster = Cluster::start(3).await;
    let mut load = Load::start("stop/", &cluster.addresses(), 6);
    load.wait_for(100).await;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        let told = Instant::now();
        cluster.node(leader).ask_to_stop();
        let gap = load.resumed_after(told, HANDOVER_MAX).await;
        let status = cluster.node_mut(leader).wait_exit(EXIT_MAX).await;
        println!(
            "writing went on {gap:?} after the order, m{leader} ended after {:?}",
            told.elapsed()
        );
        assert_eq!(status.code(), Some(0), "{}", cluster.node(leader).log_end());
        cluster.leader_among(&cluster.others(leader)).await;
        load.wait_for(100).await;
        cluster.node_mut(leader).restart().await;
    }
    let acknowledged = load.finish().await;
    assert_kept(&cluster, "stop/", &acknowledged).await;
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn writing_goes_on_while_the_lead_is_moved() {
    let cluster = Cluster::start(3).await;
    let mut load = Load::start("move/", &cluster.addresses(), 6);
    for _ in 0..5 {
        load.wait_for(100).await;
        let leader = cluster.leader().await;
        let target = cluster.others(leader)[0];
        let id = cluster.node(target).member_id().await;
        let told = Instant::now();
        move_leader(&cluster, leader, id).await.unwrap();
        let gap = load.resumed_after(told, HANDOVER_MAX).await;
        println!("writing went on {gap:?} after the order");
    }
    let acknowledged = load.finish().await;
    assert_kept(&cluster, "move/", &acknowledged).await;
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn a_lone_node_that_is_told_to_stop_ends_well_and_comes_back() {
    let mut cluster = Cluster::start(1).await;
    cluster.node(0).calls().put("k", "v").await.unwrap();
    let status = cluster.node_mut(0).terminate().await;
    assert_eq!(status.code(), Some(0), "{}", cluster.node(0).log_end());
    cluster.node_mut(0).restart().await;
    assert_eq!(
        cluster
            .node(0)
            .calls()
            .get("k")
            .await
            .unwrap()
            .unwrap()
            .value,
        "v"
    );
}

#[tokio::test]
async fn a_paused_leader_is_replaced_and_follows_when_it_goes_on() {
    let cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    cluster.node(old).pause();
    let new = cluster.leader_among(&cluster.others(old)).await;
    cluster
        .node(new)
        .calls()
        .put("k", "by the new leader")
        .await
        .unwrap();
    cluster.node(old).resume();
    // It must not answer from the time when it led.
    let kv = wait_until("the old leader reads", STATE_MAX, async || {
        cluster.node(old).calls().get("k").await
    })
    .await;
    assert_eq!(kv.unwrap().value, "by the new leader");
    cluster.leader().await;
    assert_same_everywhere(&cluster).await;
}
