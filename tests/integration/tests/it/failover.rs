//! How soon writing goes on when something on the way to the leader fails.

use std::{
    env,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tenure_proto::{etcdserverpb::MoveLeaderRequest, metadata::OUTCOME_METADATA};
use tenure_testkit::{
    Cluster, Load, STATE_MAX, assert_kept, assert_same_everywhere, find_program, wait_until,
};

/// Longest that a write may be held up by a connection that is reset while its leader stays: a new
/// connection and a new offer, on a busy machine. Below any election.
const RESET_MAX: Duration = Duration::from_millis(900);
/// Longest that writing may stop when the leader is killed.
const KILL_MAX: Duration = Duration::from_secs(10);
/// Leaders killed per system, unless `TENURE_FAILOVER_KILLS` says otherwise.
const KILLS: usize = 5;

#[tokio::test]
async fn followers_write_on_when_their_connections_to_the_leader_are_reset() {
    let cluster = Cluster::builder(3).linked().start().await;
    let leader = cluster.leader().await;
    let followers: Vec<_> = cluster
        .others(leader)
        .into_iter()
        .map(|number| cluster.node(number).address().to_owned())
        .collect();
    let mut load = Load::start("reset/", &followers, 6);
    let mut gaps = Vec::new();
    for _ in 0..10 {
        load.wait_for(100).await;
        let reset = Instant::now();
        cluster.link(leader).break_off();
        gaps.push(load.resumed_after(reset, RESET_MAX).await);
    }
    println!("writing went on after {gaps:?}");
    assert_eq!(cluster.leader().await, leader, "the leader stays");
    let acknowledged = load.finish().await;
    assert_kept(&cluster, "reset/", &acknowledged).await;
    assert_same_everywhere(&cluster).await;
}

/// Its packets to the leader are dropped without a word, on connections that it opens; those that
/// the leader opens work.
#[tokio::test]
async fn a_follower_that_cannot_reach_its_leader_is_of_use_while_the_leader_reaches_it() {
    let cluster = Cluster::builder(3).delayed().start().await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let calls = cluster.node(follower).calls();
    calls.put("before", "v").await.unwrap();
    let delays = cluster.delays();
    delays.all(follower, leader).hold();
    let mut longest = Duration::ZERO;
    for number in 0..50 {
        let (key, begun) = (format!("one-way/{number}"), Instant::now());
        calls.put(&key, "v").await.unwrap();
        assert!(calls.get(&key).await.unwrap().is_some(), "{key}");
        longest = longest.max(begun.elapsed());
    }
    println!("a put and a read took at most {longest:?}");
    assert_eq!(cluster.leader().await, leader, "the leader stays");
}

/// The leader's packets are dropped without a word: nothing is refused, nothing is reset.
#[tokio::test]
async fn followers_write_as_soon_as_they_have_another_leader_when_theirs_falls_silent() {
    let cluster = Cluster::builder(3).delayed().start().await;
    let silent = cluster.leader().await;
    let others = cluster.others(silent);
    for &other in &others {
        cluster
            .node(other)
            .calls()
            .put("before", "v")
            .await
            .unwrap();
    }
    let (delays, begun) = (cluster.delays(), Instant::now());
    for &other in &others {
        delays.all(silent, other).hold();
        delays.all(other, silent).hold();
    }
    let writes = others.iter().map(|&other| {
        let calls = cluster.node(other).calls();
        async move {
            calls.put(&format!("silent/{other}"), "v").await.unwrap();
            begun.elapsed()
        }
    });
    let led = async {
        cluster.leader_among(&others).await;
        begun.elapsed()
    };
    let (written, led) = tokio::join!(join_all(writes), led);
    println!("another led after {led:?}, and writes were acknowledged after {written:?}");
    let last = written.iter().max().unwrap();
    assert!(*last < led + RESET_MAX, "{written:?}, led after {led:?}");
    delays.release_all();
    assert_same_everywhere(&cluster).await;
}

/// The others are gone, so the write waits in the log of its node until that is told to stop. When
/// this node leads again the write takes effect: a client that was told that nothing was proposed
/// would have made it a second time by then.
#[tokio::test]
async fn a_write_that_waits_in_the_log_when_its_node_stops_is_not_said_to_have_failed() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let calls = cluster.node(leader).calls();
    calls.put("before", "v").await.unwrap();
    for other in cluster.others(leader) {
        cluster.node_mut(other).kill9();
    }
    let written = tokio::spawn(async move { calls.put("waits", "v").await });
    wait_until("the write is proposed", STATE_MAX, async || {
        let page = cluster.node(leader).page("/metrics").await;
        let pending = page.metric("etcd_server_proposals_pending");
        pending
            .filter(|&pending| pending > 0.0)
            .ok_or("nothing is pending")
    })
    .await;
    cluster.node(leader).ask_to_stop();
    let status = written.await.unwrap().unwrap_err();
    let outcome = status.metadata().get(OUTCOME_METADATA);
    let outcome = outcome.map(|outcome| outcome.to_str().unwrap());
    assert_eq!(outcome, Some("unknown"), "{status:?}");
}

#[tokio::test]
async fn the_lead_is_not_handed_to_a_member_that_does_not_answer() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let stopped = cluster.others(leader)[0];
    let target_id = cluster.node(stopped).member_id().await;
    let killed = Instant::now();
    cluster.node_mut(stopped).kill9();
    wait_until("the member was silent for a while", STATE_MAX, async || {
        let silent = killed.elapsed();
        let enough = silent > Duration::from_millis(1500);
        enough
            .then_some(())
            .ok_or_else(|| format!("for {silent:?}"))
    })
    .await;
    let calls = cluster.node(leader).calls();
    let asked = Instant::now();
    let request = MoveLeaderRequest { target_id };
    let error = calls.maintenance().move_leader(request).await.unwrap_err();
    let refused = asked.elapsed();
    assert_eq!(error.message(), "tenure: leader transferee does not answer");
    println!("refused after {refused:?}");
    assert!(refused < Duration::from_secs(1), "{refused:?}");
    let written = Instant::now();
    calls.put("k", "v").await.unwrap();
    assert!(written.elapsed() < Duration::from_secs(1));
}

/// Writing goes on no later than with etcd, in the median, on the same machine at the same time.
#[tokio::test]
async fn a_killed_leader_is_replaced_as_soon_as_one_of_etcd() {
    let kills = env::var("TENURE_FAILOVER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let own = gaps(Cluster::builder(3).spawn(), kills).await;
    println!("tenure: p50 {:?} of {own:?}", own[own.len() / 2]);
    let Some(etcd) = find_program("etcd") else {
        println!("etcd is not installed: nothing to compare with");
        return;
    };
    let etcd = gaps(Cluster::builder(3).program(etcd).spawn(), kills).await;
    println!("etcd: p50 {:?} of {etcd:?}", etcd[etcd.len() / 2]);
    assert!(own[own.len() / 2] <= etcd[etcd.len() / 2]);
}

/// Times until a survivor acknowledged a write, after the leader was killed, in order.
async fn gaps(mut cluster: Cluster, kills: usize) -> Vec<Duration> {
    let mut gaps = Vec::new();
    for round in 0..kills {
        let leader = cluster.leader().await;
        let survivors = cluster.others(leader);
        let addresses: Vec<_> = survivors
            .iter()
            .map(|number| cluster.node(*number).address().to_owned())
            .collect();
        let mut load = Load::start(&format!("kill{round}/"), &addresses, 4);
        load.wait_for(50).await;
        let killed = Instant::now();
        cluster.node_mut(leader).kill9();
        gaps.push(load.resumed_after(killed, KILL_MAX).await);
        load.finish().await;
        cluster.node_mut(leader).start();
    }
    gaps.sort_unstable();
    gaps
}
