//! A member whose state has a bad block comes back by itself: what it promised is in its log, and
//! what follows from that others have, too.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tenure_testkit::{Cluster, Node, STATE_MAX, assert_same_everywhere, page, wait_until};

/// Entries after which a snapshot is made in these tests.
const SNAPSHOT_ENTRIES: usize = 40;
/// Bytes of a value: a table of a few of them is mostly blocks of values.
const VALUE_BYTES: usize = 32 << 10;
/// What a member says when it brings back its state, and from where.
const BEGINS: &str = "the state is damaged and is brought back";
const FROM_PEER: &str = "the state of another member is in place";
const FROM_SNAPSHOT: &str = "from the newest snapshot of this member";
const FROM_LOG: &str = "from the log of this member";

async fn write(node: &Node, keys: std::ops::Range<usize>) {
    let value = "whole".repeat(VALUE_BYTES / 5);
    for number in keys {
        let key = format!("state/{number:04}");
        node.calls().put(&key, &value).await.unwrap();
    }
}

/// The directory of the state in use.
fn state(node: &Node) -> PathBuf {
    let root = node.data_dir().join("state");
    let current = fs::read_to_string(root.join("current")).unwrap();
    root.join(format!("{:08}", current.trim().parse::<u64>().unwrap()))
}

/// Flips one bit within the largest table of the state that no snapshot shares.
fn flip_a_bit(state: &Path) {
    let entries = fs::read_dir(state).unwrap();
    let own = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "sst"))
        .filter(|path| fs::metadata(path).unwrap().nlink() == 1);
    let largest = own.max_by_key(|path| fs::metadata(path).unwrap().len());
    let path = largest.expect("what was written last is in a table of its own");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 3;
    assert!(at > VALUE_BYTES, "{} may miss the blocks", path.display());
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Starts a node and reads all of its state, until it ends by what it reads.
async fn ends_by_itself(node: &mut Node) {
    node.start();
    wait_until("the damage is met", STATE_MAX, async || {
        if node.exited().is_some() {
            return Ok(());
        }
        let hash = node.calls().hash_kv(0).await;
        drop(node.calls().get_prefix("state/").await);
        let hash = hash.map(|hash| format!("the hash is {hash:x}"));
        Err(hash.unwrap_or_else(|error| error.to_string()))
    })
    .await;
    assert!(!node.wait_exit(STATE_MAX).await.success());
    assert!(node.log().contains("Corruption"), "{}", node.log_end());
}

/// Nodes whose logs are short, so that one of them soon needs more than a log.
async fn of_three() -> Cluster {
    Cluster::builder(3)
        .flag("--snapshot-count", &SNAPSHOT_ENTRIES.to_string())
        .flag("--snapshot-catchup-entries", "5")
        .start()
        .await
}

/// What happens to the files by which a database is opened.
#[derive(Clone, Copy, Debug)]
enum Lost {
    Current,
    Manifest,
    /// A digit of the name that `CURRENT` holds changes.
    Digit,
}

fn lose(state: &Path, lost: Lost) {
    let current = state.join("CURRENT");
    let named = fs::read_to_string(&current).unwrap();
    let manifest = state.join(named.trim());
    assert!(manifest.is_file(), "{}", manifest.display());
    match lost {
        Lost::Current => fs::remove_file(current).unwrap(),
        Lost::Manifest => fs::remove_file(manifest).unwrap(),
        Lost::Digit => {
            let mut bytes = named.into_bytes();
            let digit = bytes.iter().rposition(u8::is_ascii_digit).unwrap();
            bytes[digit - 1] ^= 1;
            fs::write(current, bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn a_state_that_has_lost_the_files_by_which_it_is_opened_is_made_anew() {
    for nodes in [1, 3] {
        let mut cluster = Cluster::builder(nodes)
            .flag("--snapshot-count", &SNAPSHOT_ENTRIES.to_string())
            .flag("--snapshot-catchup-entries", "5")
            .start()
            .await;
        let leader = cluster.leader().await;
        let damaged = cluster.others(leader).first().copied().unwrap_or(leader);
        for lost in [Lost::Current, Lost::Manifest, Lost::Digit] {
            write(cluster.node(leader), 0..2 * SNAPSHOT_ENTRIES).await;
            cluster.node_mut(damaged).kill9();
            lose(&state(cluster.node(damaged)), lost);
            let before = cluster.node(damaged).log().len();
            cluster.node_mut(damaged).restart().await;
            let told = &cluster.node(damaged).log()[before..];
            assert!(told.contains(BEGINS), "{lost:?}: {told}");
            let found = cluster.node(damaged).calls().get_prefix("state/").await;
            assert_eq!(found.unwrap().len(), 2 * SNAPSHOT_ENTRIES, "{lost:?}");
            assert_same_everywhere(&cluster).await;
        }
    }
}

fn set_aside(node: &Node) -> usize {
    let names = fs::read_dir(node.data_dir()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("state.damaged-"))
        .count()
}

#[tokio::test]
async fn a_member_with_a_damaged_state_fetches_another_members_and_goes_on() {
    let mut cluster = of_three().await;
    let leader = cluster.leader().await;
    let damaged = cluster.others(leader)[0];
    write(cluster.node(leader), 0..4 * SNAPSHOT_ENTRIES).await;
    until_purged(cluster.node(leader), cluster.node(damaged)).await;
    assert_same_everywhere(&cluster).await;
    cluster.node_mut(damaged).terminate().await;
    // The next snapshot is made of the damaged files, without a look at them.
    let snapshots = cluster.node(damaged).data_dir().join("snapshots");
    fs::remove_dir_all(snapshots).unwrap();
    flip_a_bit(&state(cluster.node(damaged)));
    ends_by_itself(cluster.node_mut(damaged)).await;
    write(cluster.node(leader), 0..SNAPSHOT_ENTRIES).await;

    // With nobody to ask it waits, and says so; a restart would not help.
    for other in cluster.others(damaged) {
        cluster.node_mut(other).kill9();
    }
    cluster.node_mut(damaged).start();
    let node = cluster.node(damaged);
    wait_until("it tells why it is not ready", STATE_MAX, async || {
        let ready = page(node.address(), "/readyz")
            .await
            .map_err(|e| e.to_string())?;
        let told = ready.status == 503 && ready.body.contains("another one's snapshot");
        if told { Ok(()) } else { Err(ready.body) }
    })
    .await;
    assert_eq!(node.page("/livez").await.status, 200);
    let refused = node
        .calls()
        .get_serializable("state/0000")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");

    for other in cluster.others(damaged) {
        cluster.node_mut(other).start();
    }
    for number in 0..3 {
        cluster.node_mut(number).wait_ready().await;
    }
    let node = cluster.node(damaged);
    assert!(node.log().contains(FROM_PEER), "{}", node.log_end());
    assert_eq!(set_aside(node), 1);
    write(node, 0..2).await;
    assert_same_everywhere(&cluster).await;
    // And it is a member like any other from then on.
    cluster.node_mut(damaged).kill9();
    cluster.node_mut(damaged).restart().await;
    assert_same_everywhere(&cluster).await;
    assert_eq!(cluster.node(damaged).log().matches(BEGINS).count(), 1);
}

/// Writes to `leader` until the log of `node` has become shorter.
async fn until_purged(leader: &Node, node: &Node) {
    let mut longest = 0.0_f64;
    wait_until("the log is purged", STATE_MAX, async || {
        for _ in 0..SNAPSHOT_ENTRIES {
            leader.calls().put("small", "v").await.unwrap();
        }
        let held = node.page("/metrics").await.metric("tenure_log_entries");
        let held = held.expect("every node tells how long its log is");
        longest = longest.max(held);
        if held < longest { Ok(()) } else { Err(held) }
    })
    .await;
}

/// The flags of a member count at its first start. One that was started with others later took
/// itself for alone, and went on with the damaged state.
#[tokio::test]
async fn a_member_with_a_damaged_state_finds_the_others_whatever_its_flags_say_by_then() {
    let mut cluster = of_three().await;
    let damaged = cluster.others(cluster.leader().await)[0];
    let changes = [
        ("--initial-cluster-state", Some("existing")),
        ("--initial-cluster", None),
    ];
    for (times, (flag, value)) in (1..).zip(changes) {
        let leader = cluster.leader_among(&cluster.others(damaged)).await;
        write(cluster.node(leader), 0..4 * SNAPSHOT_ENTRIES).await;
        until_purged(cluster.node(leader), cluster.node(damaged)).await;
        assert_same_everywhere(&cluster).await;
        cluster.node_mut(damaged).terminate().await;
        let snapshots = cluster.node(damaged).data_dir().join("snapshots");
        fs::remove_dir_all(snapshots).unwrap();
        flip_a_bit(&state(cluster.node(damaged)));
        ends_by_itself(cluster.node_mut(damaged)).await;

        cluster.node_mut(damaged).set_flag(flag, value);
        cluster.node_mut(damaged).restart().await;
        let node = cluster.node(damaged);
        let fetched = node.log().matches(FROM_PEER).count();
        assert_eq!(fetched, times, "with {flag} {value:?}: {}", node.log_end());
        assert_same_everywhere(&cluster).await;
    }
}

#[tokio::test]
async fn a_lone_node_with_a_damaged_state_replays_its_log_when_all_of_it_is_there() {
    let mut cluster = Cluster::start(1).await;
    write(cluster.node(0), 0..SNAPSHOT_ENTRIES).await;
    let hash = cluster.node(0).calls().hash_kv(0).await.unwrap();
    cluster.node_mut(0).terminate().await;
    flip_a_bit(&state(cluster.node(0)));
    ends_by_itself(cluster.node_mut(0)).await;
    cluster.node_mut(0).restart().await;
    let node = cluster.node(0);
    assert!(node.log().contains(FROM_LOG), "{}", node.log_end());
    assert_eq!(node.calls().hash_kv(0).await.unwrap(), hash);
}

#[tokio::test]
async fn a_lone_node_with_a_damaged_state_takes_its_newest_snapshot_when_that_is_whole() {
    let mut cluster = Cluster::builder(1)
        .flag("--snapshot-count", &SNAPSHOT_ENTRIES.to_string())
        .flag("--snapshot-catchup-entries", "5")
        .start()
        .await;
    write(cluster.node(0), 0..3 * SNAPSHOT_ENTRIES / 2).await;
    let snapshots = cluster.node(0).data_dir().join("snapshots");
    wait_until("a snapshot is made", STATE_MAX, async || {
        let made = fs::read_dir(&snapshots).unwrap().count();
        (made > 0).then_some(()).ok_or("none yet")
    })
    .await;
    // Not as many as make another snapshot.
    write(cluster.node(0), 1000..1000 + SNAPSHOT_ENTRIES / 4).await;
    let hash = cluster.node(0).calls().hash_kv(0).await.unwrap();
    cluster.node_mut(0).terminate().await;
    flip_a_bit(&state(cluster.node(0)));
    ends_by_itself(cluster.node_mut(0)).await;
    cluster.node_mut(0).restart().await;
    let node = cluster.node(0);
    assert!(node.log().contains(FROM_SNAPSHOT), "{}", node.log_end());
    assert_eq!(node.calls().hash_kv(0).await.unwrap(), hash);
}
