//! Mutations whose replies are cut, and which are sent again: each takes effect once.
//!
//! A proxy lets requests through and drops what answers them, then breaks the connections. The
//! client cannot know what became of its writes, and sends them again under their request ids. A
//! key that was put once has version 1, so a second execution cannot hide.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use tenure::{Client, Error};
use tenure_testkit::{Cluster, Cutter, STATE_MAX, wait_until};

/// Mutations whose first reply is cut.
const MUTATIONS: usize = 50_000;
/// Clients, each with a session and connections of its own.
const CLIENTS: usize = 4;
/// Mutations of one client at a time: fewer than the streams that a connection may carry.
const AT_ONCE: usize = 125;
/// Keys that many mutations put, to be counted by their versions.
const COUNTERS: usize = 10;
/// Of so many mutations one puts a counter; the others put keys of their own.
const COUNTER_EVERY: usize = 5;
/// Rounds after which the leader is killed, and a follower later.
const KILLS: [usize; 2] = [30, 60];
/// Mutations of the run that must find duplicates.
const UNNAMED: usize = 200;
/// Deadline of a mutation: an election and a restart lie well within it.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Retries in percent of the requests: here every request is retried at least once.
const RETRY_PERCENT: u32 = 1_000;
/// Retries a second beside those.
const RETRIES_PER_SECOND: u32 = 10_000;
/// Failures in a row that an endpoint is forgiven: each cut fails a whole round.
const FAILURES_MAX: u32 = 1_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutations_that_are_sent_again_after_their_reply_was_cut_take_effect_once() {
    let mut cluster = Cluster::start(3).await;
    let cutter = Cutter::start(&cluster.addresses()).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = builder(&cutter)
            .exactly_once(TIMEOUT)
            .connect()
            .await
            .unwrap();
        // Opens the session and the connections.
        client.put("ready", "").await.unwrap();
        clients.push(client);
    }
    let per_round = CLIENTS * AT_ONCE;
    let mut sent = 0;
    let mut expected = BTreeMap::new();
    for round in 0..MUTATIONS / per_round {
        let keys: Vec<_> = (sent..sent + per_round).map(key).collect();
        sent += per_round;
        cutter.cut();
        let putting = join_all(keys.chunks(AT_ONCE).zip(&clients).map(|(keys, client)| {
            join_all(
                keys.iter()
                    .map(|key| async { client.put(&**key, "once").await }),
            )
        }));
        let killing = async {
            cutter.heal_after(per_round).await;
            if KILLS.contains(&round) {
                let leader = cluster.leader().await;
                let victim = if round == KILLS[0] {
                    leader
                } else {
                    (leader + 1) % 3
                };
                cluster.node_mut(victim).kill9();
                cluster.leader_among(&cluster.others(victim)).await;
                cluster.node_mut(victim).restart().await;
            }
        };
        let (results, ()) = tokio::join!(putting, killing);
        for result in results.into_iter().flatten() {
            result.expect("a mutation with a request id is answered in the end");
        }
        for key in keys {
            *expected.entry(key).or_insert(0) += 1;
        }
    }
    println!("{sent} mutations, {} replies cut", cutter.total());
    assert!(cutter.total() >= MUTATIONS);
    assert_eq!(versions(&cluster).await, expected);
}

/// The same without request ids shows that the cutting leads to duplicates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutations_that_are_sent_again_without_a_request_id_take_effect_twice() {
    let cluster = Cluster::start(3).await;
    let cutter = Cutter::start(&cluster.addresses()).await;
    let client = builder(&cutter).connect().await.unwrap();
    client.put("ready", "").await.unwrap();
    cutter.cut();
    let keys: Vec<_> = (0..AT_ONCE.min(UNNAMED)).map(key).collect();
    let again = join_all(keys.iter().map(|key| async {
        let first: Result<_, Error> = client.put(&**key, "twice").await;
        let error = first.expect_err("its reply was cut");
        assert!(error.outcome_unknown(), "the client said: {error}");
        assert!(
            !error.is_retryable(),
            "a blind retry is not invited: {error}"
        );
        wait_until("the mutation is accepted again", STATE_MAX, async || {
            client.put(&**key, "twice").await.map(drop)
        })
        .await;
    }));
    tokio::join!(again, cutter.heal_after(keys.len()));
    let versions = versions(&cluster).await;
    let twice = versions.values().filter(|version| **version > 1).count();
    println!("{twice} of {} keys were put twice", versions.len());
    assert!(twice > 0, "the test of exactly once does not bite");
}

fn builder(cutter: &Cutter) -> tenure::ClientBuilder {
    Client::builder()
        .endpoints(cutter.addresses())
        .timeout(TIMEOUT)
        .retry_budget(RETRY_PERCENT, RETRIES_PER_SECOND)
        .breaker(FAILURES_MAX, Duration::from_millis(100))
        .attempts_max(u32::MAX)
}

fn key(number: usize) -> String {
    if number.is_multiple_of(COUNTER_EVERY) {
        format!("once/counter/{}", number / COUNTER_EVERY % COUNTERS)
    } else {
        format!("once/own/{number}")
    }
}

/// The version of every key, read past the proxy.
async fn versions(cluster: &Cluster) -> BTreeMap<String, i64> {
    let leader = cluster.leader().await;
    let calls = cluster.node(leader).calls();
    let found = calls.get_prefix("once/").await.unwrap();
    let version = |kv: tenure_proto::mvccpb::KeyValue| {
        (String::from_utf8(kv.key.to_vec()).unwrap(), kv.version)
    };
    found.into_iter().map(version).collect()
}
