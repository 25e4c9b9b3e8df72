//! A node that was away is brought up to date: from the log, or by a snapshot when the log is gone.

use std::{fs, path::Path, time::Duration};

use tenure_testkit::{
    Cluster, Load, Node, STATE_MAX, Watching, assert_same_everywhere, wait_until,
};

/// What a node says when it takes a snapshot from the leader.
const SNAPSHOT_LINE: &str = "installing a snapshot from the leader";
/// Entries after which a snapshot is made in these tests.
const SNAPSHOT_ENTRIES: usize = 40;
/// Bytes of a value.
const VALUE_BYTES: usize = 32 << 10;
/// Time for one event.
const EVENT_MAX: Duration = Duration::from_secs(30);

async fn cluster_that_purges() -> Cluster {
    Cluster::builder(3)
        .flag("--snapshot-count", &SNAPSHOT_ENTRIES.to_string())
        .flag("--snapshot-catchup-entries", "5")
        .start()
        .await
}

/// Writes one entry at a time, until the log that an absent node would need is purged.
///
/// The values do not fit into the buffers between two nodes, so a paused node cannot find what it
/// missed in its own sockets.
async fn write_past_the_log(cluster: &Cluster, leader: usize, prefix: &str) {
    const ENTRIES: usize = 10 * SNAPSHOT_ENTRIES;
    let leader = cluster.node(leader);
    let calls = leader.calls();
    let value = "away".repeat(VALUE_BYTES / 4);
    for number in 0..ENTRIES {
        calls
            .put(&format!("{prefix}{number:06}"), &value)
            .await
            .unwrap();
    }
    until_purged(leader, ENTRIES, &format!("{prefix}last")).await;
}

/// Writes to `key` until the leader's log is shorter than the `entries` that a node lacks at the
/// least. A leader keeps what it is sending, also for a while to a follower that has gone silent.
async fn until_purged(leader: &Node, entries: usize, key: &str) {
    // It is looked at twice a second; a number that moved is of a time after the entries were made.
    let before = log_entries(leader).await;
    wait_until("the leader's log is purged", STATE_MAX, async || {
        for _ in 0..SNAPSHOT_ENTRIES {
            leader.calls().put(key, "away").await.unwrap();
        }
        let held = log_entries(leader).await;
        if held < entries as f64 && held.total_cmp(&before).is_ne() {
            Ok(())
        } else {
            Err(format!("{held} entries, {before} before"))
        }
    })
    .await;
}

async fn log_entries(node: &Node) -> f64 {
    let entries = node.page("/metrics").await.metric("tenure_log_entries");
    entries.expect("every node tells how long its log is")
}

/// The number of a node's newest snapshot: their directories are numbered.
pub(crate) fn newest_snapshot(snapshots: &Path) -> u64 {
    let names = fs::read_dir(snapshots).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let numbers =
        names.filter_map(|name| u64::from_str_radix(name.strip_prefix("built-")?, 16).ok());
    numbers.max().unwrap_or(0)
}

fn snapshots_taken(node: &Node) -> usize {
    node.log().matches(SNAPSHOT_LINE).count()
}

#[tokio::test]
async fn a_node_whose_log_was_purged_is_brought_up_by_a_snapshot() {
    let mut cluster = cluster_that_purges().await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.node(away).calls().put("before", "v").await.unwrap();
    let lease = cluster.node(leader).calls().grant(600).await.unwrap();
    cluster.node_mut(away).kill9();
    write_past_the_log(&cluster, leader, "purged/").await;
    cluster
        .node(leader)
        .calls()
        .put_on_lease("leased", "v", lease)
        .await
        .unwrap();
    let before = snapshots_taken(cluster.node(away));

    cluster.node_mut(away).restart().await;
    let node = cluster.node(away);
    assert_eq!(
        snapshots_taken(node),
        before + 1,
        "it was to come by a snapshot"
    );
    assert_same_everywhere(&cluster).await;
    assert_eq!(
        node.calls()
            .get_serializable("before")
            .await
            .unwrap()
            .unwrap()
            .value,
        "v"
    );
    let live = node.calls().time_to_live(lease).await.unwrap();
    assert_eq!(live.keys, ["leased"]);
    // It goes on from there like any other, also after it is killed again.
    node.calls().put("after", "v").await.unwrap();
    cluster.node_mut(away).kill9();
    cluster.node_mut(away).restart().await;
    assert_same_everywhere(&cluster).await;
    assert_eq!(snapshots_taken(cluster.node(away)), before + 1);
}

#[tokio::test]
async fn a_watch_on_a_paused_node_misses_nothing_when_a_snapshot_brings_it_up() {
    let cluster = cluster_that_purges().await;
    let leader = cluster.leader().await;
    let slow = cluster.others(leader)[0];
    let node = cluster.node(slow);
    let first = node.calls().put("watched/0", "v").await.unwrap();
    let mut watch = Watching::prefix(&node.calls(), "watched/", first)
        .await
        .unwrap();
    assert_eq!(watch.events(1, EVENT_MAX).await.unwrap().len(), 1);

    node.pause();
    let calls = cluster.node(leader).calls();
    let mut expected = Vec::new();
    for number in 1..=10 {
        let key = format!("watched/{number}");
        expected.push((key.clone(), calls.put(&key, "v").await.unwrap()));
    }
    write_past_the_log(&cluster, leader, "purged/").await;
    let before = snapshots_taken(node);
    node.resume();
    let seen = watch.events(expected.len(), EVENT_MAX).await.unwrap();
    let seen: Vec<_> = seen
        .into_iter()
        .map(|event| event.kv.unwrap())
        .map(|kv| (String::from_utf8(kv.key.to_vec()).unwrap(), kv.mod_revision))
        .collect();
    assert_eq!(seen, expected);
    assert_same_everywhere(&cluster).await;
    assert!(
        snapshots_taken(node) > before,
        "the test was to provoke a snapshot"
    );
    // And the watch is alive.
    let revision = calls.put("watched/last", "v").await.unwrap();
    let last = watch.events(1, EVENT_MAX).await.unwrap();
    assert_eq!(last[0].kv.as_ref().unwrap().mod_revision, revision);
}

#[tokio::test]
async fn a_node_that_was_away_catches_up_from_the_log_when_it_is_there() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.node_mut(away).kill9();
    let calls = cluster.node(leader).calls();
    for number in 0..1000 {
        calls.put(&format!("log/{number:06}"), "v").await.unwrap();
    }
    cluster.node_mut(away).restart().await;
    assert_same_everywhere(&cluster).await;
    assert_eq!(snapshots_taken(cluster.node(away)), 0);
}

/// Regression: while a snapshot was sent, the log behind it was purged, so that another was needed,
/// which took longer, without end.
#[tokio::test]
async fn one_snapshot_brings_a_node_up_while_much_is_written() {
    /// Puts before the node starts again: more than the leader keeps for it.
    const PUTS: usize = 200;
    const READY_LINE: &str = "ready to serve client requests";
    let mut cluster = cluster_that_purges().await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    let load = Load::sized("busy/", &cluster.addresses(), 6, 1_000_000);
    load.wait_for(SNAPSHOT_ENTRIES).await;
    cluster.node_mut(away).kill9();
    load.wait_for(PUTS).await;
    cluster.node_mut(away).start();
    let node = cluster.node(away);
    wait_until(
        "a snapshot has arrived, or none is needed",
        STATE_MAX,
        async || {
            let is_ready_again = node.log().matches(READY_LINE).count() > 1;
            let has_come = snapshots_taken(node) > 0 || is_ready_again;
            has_come.then_some(()).ok_or("neither")
        },
    )
    .await;
    // Whether it then keeps up with the load is a question of the machine.
    drop(load.finish().await);
    cluster.node_mut(away).wait_ready().await;
    let taken = snapshots_taken(cluster.node(away));
    assert!(taken <= 1, "{taken} snapshots were needed");
}

/// A link of 300 kB/s that breaks every few seconds carried a snapshot from its beginning each
/// time, and never to its end.
#[tokio::test]
async fn a_snapshot_arrives_over_a_slow_link_that_breaks_without_being_sent_twice() {
    const BYTES_PER_SECOND: u64 = 300_000;
    const BYTES_PER_CONNECTION: u64 = 700_000;
    const VALUES: usize = 110;
    let cluster = Cluster::builder(3).linked();
    let cluster = cluster.flag("--snapshot-count", &SNAPSHOT_ENTRIES.to_string());
    let mut cluster = cluster
        .flag("--snapshot-catchup-entries", "5")
        .start()
        .await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.node_mut(away).kill9();
    let calls = cluster.node(leader).calls();
    for number in 0..VALUES {
        calls
            .put(&format!("k{number}"), &incompressible(number))
            .await
            .unwrap();
    }
    let snapshots = cluster.node(leader).data_dir().join("snapshots");
    until_purged(cluster.node(leader), VALUES, "last").await;
    let size = bytes(&snapshots.join(format!("built-{:016x}", newest_snapshot(&snapshots))));
    assert!(size > 3 * BYTES_PER_CONNECTION, "{size} bytes are no test");
    let link = cluster.link(away);
    let before = link.passed();
    link.narrow(BYTES_PER_SECOND, BYTES_PER_CONNECTION);

    cluster.node_mut(away).restart().await;
    let passed = cluster.link(away).passed() - before;
    eprintln!("a snapshot of {size} bytes took {passed}");
    assert_eq!(snapshots_taken(cluster.node(away)), 1);
    assert!(
        passed < size * 3 / 2,
        "{passed} bytes for a snapshot of {size}"
    );
    assert_eq!(
        cluster.leader().await,
        leader,
        "heartbeats had room beside it"
    );
    assert_same_everywhere(&cluster).await;
}

/// A value of its own for each number, of letters that look random.
fn incompressible(number: usize) -> String {
    let mut state = number as u64 + 1;
    let letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'a' + ((state >> 59) as u8 % 26))
    };
    std::iter::repeat_with(letter).take(VALUE_BYTES).collect()
}

fn bytes(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}
