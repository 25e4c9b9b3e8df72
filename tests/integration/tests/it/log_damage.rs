//! A node whose log was damaged says so and does not start, so that it never votes or serves
//! without what it acknowledged.

use std::{fs, path::PathBuf};

use tenure_testkit::{Cluster, Node, STATE_MAX, assert_same_everywhere};

/// Puts before the damage: enough that its place is far from both ends.
const PUTS: usize = 200;

#[tokio::test]
async fn a_node_with_one_flipped_bit_in_its_synced_log_refuses_to_start() {
    let mut cluster = Cluster::start(1).await;
    put_all(cluster.node(0)).await;
    cluster.node_mut(0).kill9();
    flip(cluster.node(0), 0.5);
    assert_refuses(&mut cluster, 0).await;

    // The same bit again makes it whole.
    flip(cluster.node(0), 0.5);
    cluster.node_mut(0).restart().await;
    assert_all(cluster.node(0)).await;
}

#[tokio::test]
async fn a_damaged_member_takes_no_part_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let (a, b, c) = (0, 1, 2);
    cluster.node_mut(c).kill9();
    cluster.leader_among(&[a, b]).await;
    put_all(cluster.node(a)).await;
    cluster.node_mut(a).kill9();
    cluster.node_mut(b).kill9();
    flip(cluster.node(a), 0.5);

    cluster.node_mut(c).start();
    assert_refuses(&mut cluster, a).await;
    // The member that missed the writes must not lead with the damaged one's help.
    let page = cluster.node(c).calls().get("damage/0").await;
    assert!(page.is_err(), "one of three members served: {page:?}");

    cluster.node_mut(b).restart().await;
    cluster.leader_among(&[b, c]).await;
    assert_all(cluster.node(b)).await;
    assert_all(cluster.node(c)).await;

    flip(cluster.node(a), 0.5);
    cluster.node_mut(a).restart().await;
    assert_same_everywhere(&cluster).await;
}

async fn put_all(node: &Node) {
    let calls = node.calls();
    for number in 0..PUTS {
        calls.put(&key(number), "kept").await.unwrap();
    }
}

async fn assert_all(node: &Node) {
    let calls = node.calls();
    for number in 0..PUTS {
        let kv = calls.get(&key(number)).await.unwrap();
        assert!(kv.is_some(), "{}, acknowledged, is lost", key(number));
    }
}

fn key(number: usize) -> String {
    format!("damage/{number}")
}

/// Starts a node whose log was damaged, and waits until it has said where and ended.
async fn assert_refuses(cluster: &mut Cluster, node: usize) {
    let (file, _) = written(cluster.node(node));
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    cluster.node_mut(node).start();
    let status = cluster.node_mut(node).wait_exit(STATE_MAX).await;
    assert!(!status.success(), "{status}");
    let log = cluster.node(node).log_end();
    for part in [&*name, "offset", "replace the member"] {
        assert!(log.contains(part), "it does not say {part}: {log}");
    }
}

/// Flips a bit of the log, this far into what was written of it.
fn flip(node: &Node, share: f64) {
    let (path, length) = written(node);
    let mut content = fs::read(&path).unwrap();
    let at = (length as f64 * share) as usize;
    content[at] ^= 0x04;
    fs::write(&path, content).unwrap();
}

/// The file of the log that was written most to, and how far.
fn written(node: &Node) -> (PathBuf, usize) {
    fs::read_dir(node.data_dir().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| {
            let content = fs::read(&path).unwrap();
            let end = content.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            (path, end)
        })
        .max_by_key(|(_, end)| *end)
        .unwrap()
}
