//! Space runs out and comes back: the quota, the disk below it, and what an operator does then.
//!
//! Nothing here defragments: compaction alone gives space back.

use std::{fs, io::Write, path::Path};

use tenure_proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, StatusResponse,
    alarm_request::AlarmAction,
};
use tenure_testkit::{Cluster, Node, STATE_MAX, SmallDisk, Tool, tenurectl, wait_until};
use tonic::Code;

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";
/// Bytes of a small value, and of a large one.
const SMALL: usize = 10_000;
const LARGE: usize = 1 << 20;
/// What etcd charges for a put beside its key and value.
const PUT_COST: u64 = 256;

async fn status(node: &Node) -> StatusResponse {
    node.calls().status().await.unwrap()
}

/// Puts values under one key until there is no space; returns how many there was space for.
async fn fill(node: &Node, bytes: usize, puts_max: usize) -> usize {
    let value = "x".repeat(bytes);
    for number in 0..puts_max {
        if let Err(refused) = node.calls().put("filled", &value).await {
            assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
            assert_eq!(refused.message(), NO_SPACE);
            return number;
        }
    }
    panic!("{puts_max} values of {bytes} bytes were stored");
}

/// Compacts everything but the latest values, and waits until they are gone.
async fn compact(node: &Node) {
    let calls = node.calls();
    let revision = status(node).await.header.unwrap().revision;
    let request = CompactionRequest {
        revision,
        physical: true,
    };
    calls.kv().compact(request).await.unwrap();
}

async fn disarm(node: &Node, member_id: u64) {
    let request = AlarmRequest {
        action: AlarmAction::Deactivate.into(),
        member_id,
        alarm: AlarmType::Nospace.into(),
    };
    node.calls().maintenance().alarm(request).await.unwrap();
}

async fn until_raised(node: &Node, member: u64) {
    let expected = format!("memberID:{member} alarm:NOSPACE");
    wait_until("the alarm is raised", STATE_MAX, async || {
        let errors = status(node).await.errors;
        errors
            .contains(&expected)
            .then_some(())
            .ok_or(format!("{errors:?}"))
    })
    .await;
}

async fn until_cleared(node: &Node) {
    wait_until("no alarm is raised", STATE_MAX, async || {
        let errors = status(node).await.errors;
        errors.is_empty().then_some(()).ok_or(format!("{errors:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_store_at_its_quota_takes_writes_again_after_compaction_and_disarming() {
    let quota = 300_000;
    let cluster = Cluster::builder(1)
        .flag("--quota-backend-bytes", &quota.to_string())
        .start()
        .await;
    let node = cluster.node(0);
    let member = node.member_id().await;
    let stored = fill(node, SMALL, 100).await;
    let full = status(node).await;
    assert_eq!(full.db_size_quota, quota);
    let cost = SMALL as u64 + "filled".len() as u64 + PUT_COST;
    let size = full.db_size.cast_unsigned();
    println!("{stored} values of {SMALL} bytes fit into {quota}, in {size} bytes");
    assert!(
        size + cost >= quota.cast_unsigned() && size < quota.cast_unsigned(),
        "{full:?}"
    );
    let page = node.page("/metrics").await;
    let gauge =
        format!("etcd_debugging_server_alarms{{alarm_type=\"NOSPACE\",server_id=\"{member:x}\"}}");
    assert_eq!(page.metric(&gauge), Some(1.0));
    assert_eq!(
        page.metric("etcd_server_quota_backend_bytes"),
        Some(quota as f64)
    );
    let ctl = Tool::new(tenurectl()).with(&["--endpoints", node.address()]);
    let listed = ctl.run(&["alarm", "list"]).await;
    assert_eq!(listed.out, format!("memberID:{member} alarm:NOSPACE\n"));
    let used = format!("member {member:x} uses {size} of {quota} bytes; compact away");
    assert!(listed.err.contains(&used), "{}", listed.err);
    assert!(
        listed.err.contains("versions of 1 keys: filled"),
        "{}",
        listed.err
    );
    // Disarmed while it is still full, the next write raises the alarm again.
    disarm(node, member).await;
    assert_eq!(fill(node, SMALL, 1).await, 0);
    until_raised(node, member).await;
    compact(node).await;
    let emptied = status(node).await;
    assert!(emptied.db_size < 2 * SMALL as i64, "{emptied:?}");
    let refused = node.calls().put("a", "1").await.unwrap_err();
    assert_eq!(
        refused.message(),
        NO_SPACE,
        "the alarm stays until it is disarmed"
    );
    disarm(node, member).await;
    node.calls().put("a", "1").await.unwrap();
    assert_eq!(node.page("/metrics").await.metric(&gauge), None);
}

#[tokio::test]
async fn deletes_make_room_at_the_quota_and_the_alarm_clears_itself_when_told_to() {
    let cluster = Cluster::builder(1)
        .flag("--quota-backend-bytes", "300000")
        .switch("--alarm-auto-clear")
        .start()
        .await;
    let node = cluster.node(0);
    let value = "x".repeat(SMALL);
    let mut keys = 0;
    while node
        .calls()
        .put(&format!("k/{keys:04}"), &value)
        .await
        .is_ok()
    {
        keys += 1;
    }
    until_raised(node, node.member_id().await).await;
    let request = DeleteRangeRequest {
        key: "k/".into(),
        range_end: "k0".into(),
        ..DeleteRangeRequest::default()
    };
    let deleted = node.calls().kv().delete_range(request).await.unwrap();
    assert_eq!(deleted.into_inner().deleted, keys);
    compact(node).await;
    until_cleared(node).await;
    node.calls().put("k/0000", &value).await.unwrap();
    assert!(
        node.log().contains("there is space again"),
        "{}",
        node.log_end()
    );
}

#[tokio::test]
async fn a_member_whose_disk_is_nearly_full_raises_its_alarm_until_there_is_room() {
    // More than any disk has: it is below the reserve from the start on.
    let reserve = i64::MAX.to_string();
    let mut cluster = Cluster::builder(3)
        .node_flag(1, "--disk-reserve-bytes", &reserve)
        .switch("--alarm-auto-clear")
        .start()
        .await;
    let member = cluster.node(1).member_id().await;
    until_raised(cluster.node(0), member).await;
    let refused = cluster.node(0).calls().put("a", "1").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::ResourceExhausted, NO_SPACE)
    );
    let page = cluster.node(1).page("/metrics").await;
    assert!(page.metric("tenure_disk_available_bytes") > Some(0.0));
    assert!(page.metric("tenure_disk_reserve_bytes") > page.metric("tenure_disk_available_bytes"));
    // Disarmed by hand, it comes back.
    disarm(cluster.node(0), member).await;
    until_raised(cluster.node(0), member).await;
    cluster.node_mut(1).set_flag("--disk-reserve-bytes", None);
    cluster.node_mut(1).terminate().await;
    cluster.node_mut(1).start();
    until_cleared(cluster.node(0)).await;
    cluster.node(0).calls().put("a", "1").await.unwrap();
}

#[tokio::test]
async fn compacted_history_gives_its_bytes_back_to_the_disk_without_defragmentation() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    let value = "x".repeat(LARGE);
    for _ in 0..64 {
        node.calls().put("often", &value).await.unwrap();
    }
    let state = node.data_dir().join("state");
    let before = wait_until("history is on the disk", STATE_MAX, async || {
        let bytes = bytes_below(&state);
        (bytes > 40 * LARGE as u64).then_some(bytes).ok_or(bytes)
    })
    .await;
    compact(node).await;
    let after = wait_until("its bytes are free", STATE_MAX, async || {
        let bytes = bytes_below(&state);
        (bytes < before / 3).then_some(bytes).ok_or(bytes)
    })
    .await;
    println!("{before} bytes of state on the disk, {after} after compaction");
    assert_eq!(
        node.calls()
            .get("often")
            .await
            .unwrap()
            .unwrap()
            .value
            .len(),
        LARGE
    );
}

/// Bytes of all files below a directory that is in use.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        // It was removed meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}

#[tokio::test]
async fn on_a_full_disk_a_node_lives_deletes_compacts_and_writes_again() {
    let disk = match SmallDisk::new(600) {
        Ok(disk) => disk,
        Err(why) => {
            let notice = format!("SKIPPED: a file system of its own cannot be mounted: {why}\n");
            drop(std::io::stderr().write_all(notice.as_bytes()));
            return;
        }
    };
    // What other programs would take of it: with that, the disk ends before the quota.
    fs::write(disk.path().join("ballast"), vec![1; 200 << 20]).unwrap();
    let mut cluster = Cluster::builder(1).directory(disk.path()).start().await;
    let node = cluster.node(0);
    let member = node.member_id().await;
    let stored = fill(node, LARGE, 600).await;
    until_raised(node, member).await;
    let figure = async |name: &str| node.page("/metrics").await.metric(name).unwrap();
    let (available, reserve) = (
        figure("tenure_disk_available_bytes").await,
        figure("tenure_disk_reserve_bytes").await,
    );
    println!("{stored} values of {LARGE} bytes; {available} of {reserve} reserved bytes are free");
    assert!(available < reserve);
    node.calls().delete("filled").await.unwrap();
    compact(node).await;
    wait_until("the disk has room", STATE_MAX, async || {
        let available = figure("tenure_disk_available_bytes").await;
        (available > 1.1 * reserve).then_some(()).ok_or(available)
    })
    .await;
    disarm(node, member).await;
    node.calls().put("after", &"y".repeat(LARGE)).await.unwrap();
    cluster.node_mut(0).kill9();
    cluster.node_mut(0).restart().await;
    let found = cluster.node(0).calls().get("after").await.unwrap();
    assert_eq!(found.unwrap().value.len(), LARGE);
}
