//! A leader whose disk damaged what it sends: the member that waits for it is not kept out, and the
//! leader is the one that ends and says why.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use tenure_testkit::{Cluster, Node, STATE_MAX, assert_same_everywhere, wait_until};

/// Entries after which a snapshot is made in these tests.
const SNAPSHOT_ENTRIES: usize = 40;
/// Bytes of a value: a table of a few of them is mostly blocks of values.
const VALUE_BYTES: usize = 32 << 10;
/// Bytes of a table whose first third is within its values.
const TABLE_BYTES: u64 = 4 * VALUE_BYTES as u64;

async fn write(node: &Node, keys: std::ops::Range<usize>) {
    for number in keys {
        let key = format!("state/{number:04}");
        node.calls().put(&key, &value(number)).await.unwrap();
    }
}

/// Letters that do not compress.
fn value(number: usize) -> String {
    let mut state = number as u64;
    let letters = (0..VALUE_BYTES).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'?' + (state >> 58) as u8)
    });
    letters.collect()
}

/// Writes to the first of `nodes` until the logs of all of them have become shorter.
async fn until_purged(cluster: &Cluster, nodes: [usize; 2]) {
    let mut longest = [0.0_f64; 2];
    let mut purged = [false; 2];
    wait_until("the logs are purged", STATE_MAX, async || {
        for _ in 0..SNAPSHOT_ENTRIES {
            let put = cluster.node(nodes[0]).calls().put("small", "v").await;
            put.unwrap();
        }
        for (at, node) in nodes.into_iter().enumerate() {
            let page = cluster.node(node).page("/metrics").await;
            let held = page.metric("tenure_log_entries");
            let held = held.expect("every node tells how long its log is");
            longest[at] = longest[at].max(held);
            purged[at] |= held < longest[at];
        }
        let all = purged.iter().all(|it| *it);
        all.then_some(())
            .ok_or(format!("the longest were {longest:?}"))
    })
    .await;
}

/// Flips a bit of each large table of a node's state and snapshots, in place: whatever shares one
/// has the damage, too, and so has the next snapshot.
fn flip_bits(node: &Node) {
    let mut flipped = BTreeSet::new();
    for root in ["state", "snapshots"] {
        for database in paths(&node.data_dir().join(root)) {
            for path in paths(&database) {
                let is_table = path.extension().is_some_and(|it| it == "sst");
                let file = fs::File::options().read(true).write(true).open(&path);
                // A snapshot that was replaced may go meanwhile.
                let Ok(file) = file else { continue };
                let table = file.metadata().unwrap();
                if is_table && table.len() > TABLE_BYTES && flipped.insert(table.ino()) {
                    flip_a_bit(&file, table.len() / 3);
                }
            }
        }
    }
    assert!(!flipped.is_empty(), "the values are in tables");
}

fn flip_a_bit(file: &fs::File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn paths(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The follower refused each transfer, five times a second, and the leader sent it again and said
/// nothing: with a third member away there were no writes at all.
#[tokio::test]
async fn a_leader_that_sends_a_snapshot_its_disk_damaged_ends_by_name_and_is_repaired() {
    let mut cluster = Cluster::builder(3)
        .flag("--snapshot-count", &SNAPSHOT_ENTRIES.to_string())
        .flag("--snapshot-catchup-entries", "5")
        // Nothing else is to find it.
        .flag("--corrupt-check-time", "0s")
        .start()
        .await;
    let first = cluster.leader().await;
    let [absent, other] = cluster.others(first)[..] else {
        panic!("there are three")
    };
    write(cluster.node(first), 0..SNAPSHOT_ENTRIES).await;
    cluster.node_mut(absent).kill9();
    write(cluster.node(first), 0..4 * SNAPSHOT_ENTRIES).await;
    until_purged(&cluster, [first, other]).await;
    // From now on no other snapshot takes the place of the damaged one.
    for node in [first, other] {
        cluster.node_mut(node).terminate().await;
        let node = cluster.node_mut(node);
        node.set_flag("--snapshot-count", Some("1000000"));
        node.start();
    }
    for node in [first, other] {
        cluster.node_mut(node).wait_ready().await;
    }
    let leader = cluster.leader_among(&[first, other]).await;
    flip_bits(cluster.node(leader));

    cluster.node_mut(absent).start();
    wait_until("the leader ends", STATE_MAX, async || {
        let refused = cluster.node(absent).log().matches("did not arrive").count();
        let ended = cluster.node_mut(leader).exited();
        ended.ok_or(format!(
            "it runs, and its snapshot was refused {refused} times"
        ))
    })
    .await;
    assert!(
        !cluster
            .node_mut(leader)
            .wait_exit(STATE_MAX)
            .await
            .success()
    );
    let node = cluster.node(leader);
    let fatal = node.log();
    let fatal = fatal.lines().find(|line| line.contains("fatal:"));
    let fatal = fatal.expect("it says why it ended");
    let state = node.data_dir().join("state");
    for part in [&*state.to_string_lossy(), ".sst", "start the node again"] {
        assert!(fatal.contains(part), "no {part} in {fatal}");
    }
    // The two others are a majority, and one of them has what the other lacks.
    cluster.node_mut(absent).wait_ready().await;
    write(cluster.node(absent), 0..2).await;
    cluster.node_mut(leader).restart().await;
    let log = cluster.node(leader).log();
    assert!(
        log.contains("the state of another member is in place"),
        "{log}"
    );
    assert_same_everywhere(&cluster).await;
}
