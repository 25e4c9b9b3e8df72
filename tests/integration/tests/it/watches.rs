//! Watches: every change once, in order, through any node and over a change of leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tenure::{KeyRange, Revision};
use tenure_proto::{
    etcdserverpb::{
        CompactionRequest, PutRequest, RequestOp, TxnRequest, WatchCreateRequest, request_op,
    },
    mvccpb::Event,
};
use tenure_testkit::{Acknowledged, Calls, Cluster, Load, STATE_MAX, Watching, wait_until};

/// Time for one event on a busy machine.
const EVENT_MAX: Duration = Duration::from_secs(30);
/// Writers of a load.
const WRITERS: usize = 4;

fn told(event: &Event) -> (String, i64) {
    let kv = event.kv.as_ref().unwrap();
    let key = String::from_utf8(kv.key.to_vec()).unwrap();
    (key, kv.mod_revision)
}

#[tokio::test]
async fn a_watch_through_any_node_tells_the_same_changes_in_the_same_order() {
    let cluster = Cluster::start(3).await;
    let mut watches = Vec::new();
    for node in cluster.nodes() {
        watches.push(Watching::prefix(&node.calls(), "w/", 0).await.unwrap());
    }
    let mut expected = Vec::new();
    for number in 0..60 {
        let key = format!("w/{}", number % 7);
        let revision = cluster
            .node(number % 3)
            .calls()
            .put(&key, "v")
            .await
            .unwrap();
        expected.push((key, revision));
    }
    for watch in &mut watches {
        let events = watch.events(expected.len(), EVENT_MAX).await.unwrap();
        assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    }
    // From a revision in the past, the same.
    for node in cluster.nodes() {
        let begin = expected[20].1;
        let mut watch = Watching::prefix(&node.calls(), "w/", begin).await.unwrap();
        let events = watch.events(expected.len() - 20, EVENT_MAX).await.unwrap();
        assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected[20..]);
    }
}

#[tokio::test]
async fn the_changes_of_one_transaction_are_told_together() {
    let cluster = Cluster::start(3).await;
    let put = |key: String| RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: key.into(),
            value: "v".into(),
            ..PutRequest::default()
        })),
    };
    for node in cluster.nodes() {
        // A watch from now on begins where its node is; a read brings the node up to date.
        node.calls().get("t/").await.unwrap();
        let mut watch = Watching::prefix(&node.calls(), "t/", 0).await.unwrap();
        let txn = TxnRequest {
            success: (0..50)
                .map(|number| put(format!("t/{number:02}")))
                .collect(),
            ..TxnRequest::default()
        };
        let revision = cluster.node(0).calls().kv().txn(txn).await.unwrap();
        let revision = revision.into_inner().header.unwrap().revision;
        let response = watch.next(EVENT_MAX).await.unwrap();
        assert_eq!(response.events.len(), 50);
        for (number, event) in response.events.iter().enumerate() {
            assert_eq!(told(event), (format!("t/{number:02}"), revision));
        }
    }
}

#[tokio::test]
async fn a_watch_below_the_compacted_revision_is_cancelled_with_that_revision() {
    let cluster = Cluster::start(3).await;
    let calls = cluster.node(0).calls();
    let first = calls.put("c", "1").await.unwrap();
    calls.put("c", "2").await.unwrap();
    let last = calls.put("c", "3").await.unwrap();
    let compaction = CompactionRequest {
        revision: last,
        physical: true,
    };
    calls.kv().compact(compaction).await.unwrap();
    for node in cluster.nodes() {
        // A read makes sure that this node has applied the compaction.
        node.calls().get("c").await.unwrap();
        let mut watch = Watching::prefix(&node.calls(), "c", first).await.unwrap();
        let response = watch.next(EVENT_MAX).await.unwrap();
        assert!(response.canceled, "{response:?}");
        assert_eq!(response.compact_revision, last);
    }
}

#[tokio::test]
async fn a_watch_tells_how_far_it_is_when_it_is_asked_and_by_itself() {
    let cluster = Cluster::builder(3)
        .flag("--watch-progress-notify-interval", "200ms")
        .start()
        .await;
    for node in cluster.nodes() {
        let calls = node.calls();
        let mut asked = Watching::prefix(&calls, "p/", 0).await.unwrap();
        let revision = calls.put("elsewhere", "v").await.unwrap();
        asked.ask_progress().await.unwrap();
        let response = asked.next(EVENT_MAX).await.unwrap();
        assert!(response.events.is_empty() && !response.canceled);
        assert_eq!(response.watch_id, -1, "an answer is for the whole stream");
        assert_eq!(response.header.unwrap().revision, revision);

        let create = WatchCreateRequest {
            key: "p/".into(),
            range_end: "p0".into(),
            progress_notify: true,
            ..WatchCreateRequest::default()
        };
        let mut idle = Watching::create(&calls, create).await.unwrap();
        let response = idle.next(EVENT_MAX).await.unwrap();
        assert!(response.events.is_empty() && !response.canceled);
        assert!(response.header.unwrap().revision >= revision);
    }
}

#[tokio::test]
async fn a_cancelled_watch_is_confirmed_and_tells_no_more() {
    let cluster = Cluster::start(1).await;
    let calls = cluster.node(0).calls();
    let mut watch = Watching::prefix(&calls, "x/", 0).await.unwrap();
    watch.cancel().await.unwrap();
    let response = watch.next(EVENT_MAX).await.unwrap();
    assert!(response.canceled, "{response:?}");
    calls.put("x/1", "v").await.unwrap();
    let next = watch.next(Duration::from_millis(300)).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn a_watcher_that_does_not_read_misses_nothing_and_holds_up_nobody() {
    const CHANGES: usize = 600;
    let cluster = Cluster::start(1).await;
    let calls = cluster.node(0).calls();
    let mut slow = Watching::prefix(&calls, "slow/", 0).await.unwrap();
    // More than all buffers between the node and this test hold.
    let value = "0123456789abcdef".repeat(4 << 10);
    let mut expected = Vec::new();
    for number in 0..CHANGES {
        let key = format!("slow/{number}");
        expected.push((key.clone(), calls.put(&key, &value).await.unwrap()));
    }
    let events = slow.events(CHANGES, EVENT_MAX).await.unwrap();
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
}

/// What a watcher saw must be every acknowledged change once, with no older one after a newer one.
fn assert_complete(seen: &[Event], acknowledged: &[Acknowledged]) {
    let told: Vec<_> = seen.iter().map(told).collect();
    for pair in told.windows(2) {
        assert!(
            pair[0].1 < pair[1].1,
            "{:?} came before {:?}",
            pair[0],
            pair[1]
        );
    }
    let told: BTreeSet<_> = told.into_iter().collect();
    for put in acknowledged {
        let change = (put.key.clone(), put.revision);
        assert!(
            told.contains(&change),
            "{change:?} was acknowledged and not told"
        );
    }
    // Every change of a key has a version of its own; none may be missing in between.
    let mut versions: BTreeMap<_, i64> = BTreeMap::new();
    for event in seen {
        let kv = event.kv.as_ref().unwrap();
        let last = versions.insert(kv.key.clone(), kv.version).unwrap_or(0);
        assert_eq!(
            kv.version,
            last + 1,
            "a change of {:?} was left out",
            kv.key
        );
    }
}

/// Reads until every acknowledged change is in; `next` gives some events.
async fn read_all(acknowledged: &[Acknowledged], mut next: impl AsyncFnMut() -> Vec<Event>) {
    let last = acknowledged.iter().map(|put| put.revision).max().unwrap();
    let mut seen: Vec<Event> = Vec::new();
    while seen.last().is_none_or(|event| told(event).1 < last) {
        seen.extend(next().await);
    }
    assert_complete(&seen, acknowledged);
}

async fn kill_the_leader_twice(cluster: &mut Cluster, load: &Load) {
    for _ in 0..2 {
        load.wait_for(150).await;
        let leader = cluster.leader().await;
        cluster.node_mut(leader).kill9();
        cluster.leader_among(&cluster.others(leader)).await;
        load.wait_for(150).await;
        cluster.node_mut(leader).restart().await;
    }
}

#[tokio::test]
async fn a_client_that_resumes_sees_every_change_once_while_leaders_are_killed() {
    let mut cluster = Cluster::start(3).await;
    let client = tenure::Client::connect(cluster.addresses()).await.unwrap();
    let mut watcher = client
        .watch(KeyRange::prefix("r/"))
        .start_revision(Revision::new(1))
        .await
        .unwrap();
    let load = Load::start("r/", &cluster.addresses(), WRITERS);
    kill_the_leader_twice(&mut cluster, &load).await;
    let acknowledged = load.finish().await;
    read_all(&acknowledged, async || {
        let update = tokio::time::timeout(EVENT_MAX, watcher.next()).await;
        let update = update.expect("the watch goes on").unwrap().unwrap();
        update.into_iter().map(tenure::Event::into_wire).collect()
    })
    .await;
}

#[tokio::test]
async fn a_watch_on_a_follower_goes_on_over_the_death_of_the_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let calls = cluster.node(follower).calls();
    let mut watch = Watching::prefix(&calls, "f/", 1).await.unwrap();
    let load = Load::start("f/", &cluster.addresses(), WRITERS);
    load.wait_for(150).await;
    cluster.node_mut(leader).kill9();
    cluster.leader_among(&cluster.others(leader)).await;
    load.wait_for(150).await;
    let acknowledged = load.finish().await;
    read_all(&acknowledged, async || {
        watch.next(EVENT_MAX).await.unwrap().events
    })
    .await;
}

#[tokio::test]
async fn a_watch_from_a_revision_to_come_tells_only_what_is_from_there_on() {
    let cluster = Cluster::start(3).await;
    let calls = cluster.node(0).calls();
    let now = calls.put("future", "0").await.unwrap();
    let mut watch = Watching::prefix(&calls, "future", now + 3).await.unwrap();
    for value in 1..=4 {
        calls.put("future", &value.to_string()).await.unwrap();
    }
    let events = watch.events(2, EVENT_MAX).await.unwrap();
    let values: Vec<_> = events
        .iter()
        .map(|event| event.kv.clone().unwrap().value)
        .collect();
    assert_eq!(values, ["3", "4"]);
}

#[tokio::test]
async fn a_watch_that_requires_a_leader_ends_when_there_is_none() {
    let mut cluster = Cluster::start(3).await;
    let calls: Calls = cluster.node(2).calls();
    calls.put("l", "v").await.unwrap();
    let client = tenure::Client::connect([cluster.node(2).address()])
        .await
        .unwrap();
    let mut watcher = client.watch("l").require_leader().await.unwrap();
    cluster.node_mut(0).kill9();
    cluster.node_mut(1).kill9();
    // The client tries again and again, so the end of the stream is seen in what the node says.
    let refused = wait_until("a new watch is refused", STATE_MAX, async || {
        let options = etcd_client::ConnectOptions::new().with_require_leader(true);
        let address = cluster.node(2).address();
        let mut client = etcd_client::Client::connect([address], Some(options))
            .await
            .map_err(|error| error.to_string())?;
        match client.watch("l", None).await {
            Err(error) => Ok(error.to_string()),
            Ok(mut stream) => match stream.message().await {
                Err(error) => Ok(error.to_string()),
                Ok(message) => Err(format!("{message:?}")),
            },
        }
    })
    .await;
    assert!(refused.contains("etcdserver: no leader"), "{refused}");
    cluster.node_mut(0).start();
    cluster.node_mut(1).restart().await;
    let revision = wait_until("writes go on", STATE_MAX, async || {
        cluster.node(1).calls().put("l", "again").await
    })
    .await;
    let update = tokio::time::timeout(EVENT_MAX, watcher.next())
        .await
        .unwrap();
    let update = update.unwrap().unwrap();
    assert_eq!(update.events()[0].revision(), Revision::new(revision));
}
