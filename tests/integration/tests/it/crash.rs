//! Durability: nodes are killed while clients write, and nothing acknowledged is lost.

use std::time::{Duration, Instant};

use tenure_testkit::{Cluster, Load, assert_kept, assert_same_everywhere};

/// Writers at a time: enough to keep writes in flight at the moment of a kill.
const WRITERS: usize = 6;
/// Puts between two events.
const PUTS: usize = 150;
/// Longest that writing may stop after a node was killed. It is meant to be 3 s; the rest is for
/// machines whose cores are busy with something else.
const GAP_MAX: Duration = Duration::from_secs(10);

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_each_node_in_turn_is_killed() {
    let mut cluster = Cluster::start(3).await;
    let mut load = Load::start("turn/", &cluster.addresses(), WRITERS);
    load.wait_for(PUTS).await;
    for victim in 0..3 {
        let leads = cluster.leader().await == victim;
        kill_and_bring_back(&mut cluster, &mut load, victim, leads).await;
    }
    // Whoever leads by now, its turn included or not, goes too.
    let leader = cluster.leader().await;
    kill_and_bring_back(&mut cluster, &mut load, leader, true).await;
    let acknowledged = load.finish().await;
    assert!(acknowledged.len() > 8 * PUTS);
    assert_kept(&cluster, "turn/", &acknowledged).await;
    assert_same_everywhere(&cluster).await;
}

async fn kill_and_bring_back(cluster: &mut Cluster, load: &mut Load, victim: usize, leads: bool) {
    cluster.node_mut(victim).kill9();
    let killed = Instant::now();
    let gap = load.resumed_after(killed, GAP_MAX).await;
    println!("writing went on {gap:?} after m{victim} was killed (leader: {leads})");
    let leader = cluster.leader_among(&cluster.others(victim)).await;
    assert_ne!(leader, victim);
    load.wait_for(PUTS).await;
    cluster.node_mut(victim).restart().await;
    load.wait_for(PUTS).await;
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_all_nodes_are_killed_at_once() {
    let mut cluster = Cluster::start(3).await;
    let mut all = Vec::new();
    for round in 0..3 {
        let load = Load::start(&format!("all/{round}/"), &cluster.addresses(), WRITERS);
        load.wait_for(2 * PUTS).await;
        for number in 0..3 {
            cluster.node_mut(number).kill9();
        }
        let begin = Instant::now();
        for number in 0..3 {
            cluster.node_mut(number).start();
        }
        for number in 0..3 {
            cluster.node_mut(number).wait_ready().await;
        }
        println!(
            "round {round}: ready {:?} after all were killed",
            begin.elapsed()
        );
        load.wait_for(PUTS).await;
        all.extend(load.finish().await);
        assert_kept(&cluster, "all/", &all).await;
        assert_same_everywhere(&cluster).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_when_a_lone_node_is_killed_again_and_again() {
    let mut cluster = Cluster::start(1).await;
    let load = Load::start("lone/", &cluster.addresses(), WRITERS);
    for _ in 0..8 {
        load.wait_for(PUTS).await;
        cluster.node_mut(0).kill9();
        cluster.node_mut(0).restart().await;
    }
    let acknowledged = load.finish().await;
    assert_kept(&cluster, "lone/", &acknowledged).await;
}

#[tokio::test]
async fn nothing_is_lost_when_nodes_are_killed_while_they_make_snapshots() {
    let mut cluster = Cluster::builder(3)
        .flag("--snapshot-count", "50")
        .flag("--snapshot-catchup-entries", "20")
        .start()
        .await;
    let mut load = Load::start("snap/", &cluster.addresses(), WRITERS);
    for round in 0..6 {
        load.wait_for(2 * PUTS).await;
        let leader = cluster.leader().await;
        kill_and_bring_back(&mut cluster, &mut load, round % 3, leader == round % 3).await;
    }
    let acknowledged = load.finish().await;
    assert_kept(&cluster, "snap/", &acknowledged).await;
    assert_same_everywhere(&cluster).await;
}
