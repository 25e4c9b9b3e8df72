//! A member whose data differs from the others': it is found, named, and serves no reads, while the
//! others do.
//!
//! The state of a member is altered on disk while it is stopped, with every checksum right, so that
//! nothing but a comparison with the others can find it.

use std::path::Path;

use tenure_proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, MemberListRequest, SnapshotRequest,
    WatchCreateRequest, WatchRequest, alarm_request::AlarmAction, watch_request::RequestUnion,
};
use tenure_statemachine::{
    Engine as _, FeatureLevel, MemberId, Table, View as _, WriteBatch, WriteOp,
};
use tenure_testkit::{Cluster, ClusterBuilder, Node, STATE_MAX, Tool, tenurectl, wait_until};
use tenured::storage::StateStore;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

/// What a member says to a read when an alarm names it.
const DIFFERS: &str = "tenure: the state of this member differs from that of the majority";
const CORRUPT: &str = "etcdserver: corrupt cluster";

async fn change_alarm(
    node: &Node,
    action: AlarmAction,
    member_id: u64,
    alarm: AlarmType,
) -> Result<(), Status> {
    let request = AlarmRequest {
        action: action.into(),
        member_id,
        alarm: alarm.into(),
    };
    node.calls().maintenance().alarm(request).await.map(drop)
}

/// Changes the last byte of the value of the first row of a table, of a node that is stopped.
fn alter(data_dir: &Path, table: Table) {
    let store = StateStore::open(&data_dir.join("state")).unwrap();
    let engine = store.engine();
    let (row, value) = {
        let mut cursor = engine.scan(table, &[]).unwrap();
        cursor.next().unwrap().unwrap()
    };
    let mut value = value.to_vec();
    *value.last_mut().unwrap() ^= 1;
    let ops = vec![WriteOp::Put(table, row, value.into())];
    engine.write(WriteBatch { ops }).unwrap();
    engine.flush().unwrap();
}

/// Starts three members with some keys, and alters the state of a follower while it is stopped.
/// Returns its number; it is not started again.
async fn with_altered(builder: ClusterBuilder, table: Table) -> (Cluster, usize) {
    let mut cluster = builder.start().await;
    until_newest_level(cluster.node(0)).await;
    for number in 0..8 {
        let calls = cluster.node(0).calls();
        calls.put(&format!("state/{number}"), "v").await.unwrap();
    }
    let altered = cluster.others(cluster.leader().await)[0];
    cluster.node_mut(altered).terminate().await;
    alter(cluster.node(altered).data_dir(), table);
    (cluster, altered)
}

async fn until_newest_level(node: &Node) {
    wait_until("the newest rules are in force", STATE_MAX, async || {
        let level = node.page("/metrics").await.metric("tenure_feature_level");
        let newest = f64::from(FeatureLevel::NEWEST.0);
        (level >= Some(newest))
            .then_some(())
            .ok_or(format!("{level:?}"))
    })
    .await;
}

async fn until_named(cluster: &Cluster, member: u64) {
    let expected = format!("memberID:{member} alarm:CORRUPT");
    for node in cluster.nodes() {
        wait_until("every member names it", STATE_MAX, async || {
            let status = node.calls().status().await.map_err(|e| e.to_string())?;
            let named = status.errors.contains(&expected);
            named.then_some(()).ok_or(format!("{:?}", status.errors))
        })
        .await;
    }
}

fn assert_differs<T>(answer: Result<T, Status>, what: &str) {
    let Err(status) = answer else {
        panic!("{what} is served");
    };
    assert_eq!(status.code(), Code::Unavailable, "{what}: {status}");
    assert_eq!(status.message(), DIFFERS, "{what}");
}

/// What reads a member's own state, each with its answer.
async fn assert_serves_no_reads(node: &Node, lease: i64) {
    let calls = node.calls();
    assert_differs(calls.get("state/0").await, "a linearizable read");
    assert_differs(
        calls.get_serializable("state/0").await,
        "a serializable read",
    );
    assert_differs(calls.get_prefix("state/").await, "a range");
    assert_differs(calls.time_to_live(lease).await, "the rest of a lease");
    assert_differs(calls.renew(lease).await, "a renewal");
    let watch = calls.watch().watch(tokio_stream::pending()).await;
    assert_differs(watch, "a watch");
    assert_differs(
        calls.maintenance().snapshot(SnapshotRequest {}).await,
        "a snapshot",
    );
    // What says how it is with the member goes on.
    calls.status().await.unwrap();
    calls.hash_kv(0).await.unwrap();
    let list = MemberListRequest { linearizable: true };
    calls.cluster().member_list(list).await.unwrap();
    assert_eq!(node.page("/livez").await.status, 200);
    let ready = node.page("/readyz").await;
    let failed = "[-]data_corruption failed: alarm activated: CORRUPT\n";
    assert!(
        ready.status == 503 && ready.body.contains(failed),
        "{}",
        ready.body
    );
    let health = node.page("/health").await;
    let body = r#"{"health":"false","reason":"ALARM CORRUPT"}"#;
    assert_eq!((health.status, health.body.trim_end()), (503, body));
}

#[tokio::test]
async fn a_member_that_differs_is_named_and_serves_no_reads_and_the_others_do() {
    let builder = Cluster::builder(3).flag("--corrupt-check-time", "1s");
    let (mut cluster, altered) = with_altered(builder, Table::Current).await;
    let others = cluster.others(altered);
    let lease = cluster.node(others[0]).calls().grant(600).await.unwrap();
    cluster.node_mut(altered).start();
    let member = wait_until("it answers", STATE_MAX, async || {
        let status = cluster.node(altered).calls().status().await;
        status.map(|status| status.header.unwrap().member_id)
    })
    .await;
    until_named(&cluster, member).await;
    assert_serves_no_reads(cluster.node(altered), lease).await;
    let log = cluster.node(altered).log();
    assert!(
        log.contains("serves no reads"),
        "{}",
        cluster.node(altered).log_end()
    );
    let gauge =
        format!("etcd_debugging_server_alarms{{alarm_type=\"CORRUPT\",server_id=\"{member:x}\"}}");
    for &other in &others {
        let node = cluster.node(other);
        let kv = node.calls().get("state/0").await.unwrap().unwrap();
        assert_eq!(kv.value, "v");
        node.calls()
            .get_serializable("state/0")
            .await
            .unwrap()
            .unwrap();
        assert!(node.calls().renew(lease).await.unwrap() > 0);
        assert_eq!(node.page("/metrics").await.metric(&gauge), Some(1.0));
    }
    for node in cluster.nodes() {
        let refused = node.calls().put("state/0", "w").await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::DataLoss, CORRUPT)
        );
    }
    // So it is after a restart, before anything is compared again.
    cluster.node_mut(altered).kill9();
    cluster.node_mut(altered).start();
    wait_until("it answers", STATE_MAX, async || {
        let status = cluster.node(altered).calls().status().await;
        status.map(drop)
    })
    .await;
    assert_differs(
        cluster
            .node(altered)
            .calls()
            .get_serializable("state/0")
            .await,
        "a read after a restart",
    );
    replace(&mut cluster, altered, member).await;
}

/// Replaces a member by one with an empty directory, and clears the alarm: the way in the manual.
async fn replace(cluster: &mut Cluster, altered: usize, member: u64) {
    let others = cluster.others(altered);
    cluster.node_mut(altered).kill9();
    let endpoints: Vec<_> = others
        .iter()
        .map(|&other| cluster.node(other).address().to_owned())
        .collect();
    let ctl = Tool::new(tenurectl()).with(&["--endpoints", &endpoints.join(",")]);
    let removed = ctl.run(&["member", "remove", &format!("{member:x}")]).await;
    _ = removed.ok();
    let listed = ctl.run(&["alarm", "list"]).await.ok();
    assert!(
        listed.contains(&format!("memberID:{member} alarm:CORRUPT")),
        "{listed}"
    );
    _ = ctl.run(&["alarm", "disarm"]).await.ok();
    let joined = cluster.joining_through(&others);
    let url = cluster.node(joined).peer_url();
    let name = cluster.node(joined).name().to_owned();
    // The members must have seen each other for a while first.
    wait_until("it is added", STATE_MAX, async || {
        let added = ctl
            .run(&["member", "add", &name, "--peer-urls", &url])
            .await;
        (added.code == Some(0)).then_some(()).ok_or(added.err)
    })
    .await;
    cluster.node_mut(joined).restart().await;
    let kv = cluster.node(joined).calls().get("state/0").await.unwrap();
    assert_eq!(kv.unwrap().value, "v");
    cluster
        .node(others[0])
        .calls()
        .put("state/0", "w")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_leader_that_is_named_passes_leadership_on_and_its_streams_end() {
    let cluster = Cluster::start(3).await;
    until_newest_level(cluster.node(0)).await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    let member = node.member_id().await;
    let create = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
            key: "a".into(),
            ..WatchCreateRequest::default()
        })),
    };
    let requests = tokio_stream::once(create).chain(tokio_stream::pending());
    let mut watch = node
        .calls()
        .watch()
        .watch(requests)
        .await
        .unwrap()
        .into_inner();
    assert!(watch.message().await.unwrap().unwrap().created);
    change_alarm(node, AlarmAction::Activate, member, AlarmType::Corrupt)
        .await
        .unwrap();
    let ended = watch.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::Unavailable, DIFFERS)
    );
    let next = wait_until("another member leads", STATE_MAX, async || {
        let next = cluster.leader().await;
        (next != leader).then_some(next).ok_or("it leads")
    })
    .await;
    change_alarm(node, AlarmAction::Deactivate, member, AlarmType::Corrupt)
        .await
        .unwrap();
    node.calls().put("a", "1").await.unwrap();
    node.calls().get("a").await.unwrap().unwrap();
    assert_ne!(next, leader);
}

#[tokio::test]
async fn leases_end_beside_a_member_that_is_named_and_not_when_none_is() {
    let cluster = Cluster::start(3).await;
    until_newest_level(cluster.node(0)).await;
    let leader = cluster.leader().await;
    let named = cluster.others(leader)[0];
    let (sound, member) = (cluster.node(leader), cluster.node(named).member_id().await);
    let lease = sound.calls().grant(2).await.unwrap();
    sound
        .calls()
        .put_on_lease("leased", "v", lease)
        .await
        .unwrap();
    change_alarm(sound, AlarmAction::Activate, member, AlarmType::Corrupt)
        .await
        .unwrap();
    wait_until("the key is gone with its lease", STATE_MAX, async || {
        let found = sound
            .calls()
            .get("leased")
            .await
            .map_err(|e| e.to_string())?;
        found.map_or(Ok(()), |_| Err("it is there".to_owned()))
    })
    .await;
    change_alarm(sound, AlarmAction::Deactivate, member, AlarmType::Corrupt)
        .await
        .unwrap();
    // An alarm that names no member stops the reads of all, and the ends of leases with them.
    let lease = sound.calls().grant(2).await.unwrap();
    sound
        .calls()
        .put_on_lease("leased", "v", lease)
        .await
        .unwrap();
    let unnamed = MemberId::UNNAMED.0;
    change_alarm(sound, AlarmAction::Activate, unnamed, AlarmType::Corrupt)
        .await
        .unwrap();
    for node in cluster.nodes() {
        wait_until("it has the alarm", STATE_MAX, async || {
            let status = node.calls().status().await.map_err(|e| e.to_string())?;
            (!status.errors.is_empty())
                .then_some(())
                .ok_or("none".to_owned())
        })
        .await;
        let refused = node.calls().get_serializable("leased").await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::DataLoss, CORRUPT)
        );
    }
    change_alarm(sound, AlarmAction::Deactivate, unnamed, AlarmType::Corrupt)
        .await
        .unwrap();
    wait_until("the lease ends at last", STATE_MAX, async || {
        let found = sound
            .calls()
            .get("leased")
            .await
            .map_err(|e| e.to_string())?;
        found.map_or(Ok(()), |_| Err("it is there".to_owned()))
    })
    .await;
}

#[tokio::test]
async fn a_member_whose_history_differs_does_not_start_with_the_initial_check() {
    let builder = Cluster::builder(3)
        .flag("--feature-gates", "InitialCorruptCheck=true")
        .flag("--corrupt-check-time", "0s");
    let (mut cluster, altered) = with_altered(builder, Table::History).await;
    cluster.node_mut(altered).start();
    let ended = cluster.node_mut(altered).wait_exit(STATE_MAX).await;
    assert!(!ended.success(), "{ended}");
    let node = cluster.node(altered);
    let log = node.log();
    assert!(
        log.contains("found data inconsistency with peers"),
        "{}",
        node.log_end()
    );
    // The others start, although one of the members is down.
    let other = cluster.others(altered)[0];
    cluster.node_mut(other).terminate().await;
    cluster.node_mut(other).restart().await;
    let node = cluster.node(other);
    assert!(
        node.log()
            .contains("the history of this member was compared"),
        "{}",
        node.log_end()
    );
    assert_eq!(
        node.calls().get("state/0").await.unwrap().unwrap().value,
        "v"
    );
}

#[tokio::test]
async fn a_member_whose_hash_of_a_compaction_differs_is_named() {
    let builder = Cluster::builder(3)
        .flag("--feature-gates", "CompactHashCheck=true")
        .flag("--compact-hash-check-time", "500ms")
        .flag("--corrupt-check-time", "0s");
    let (mut cluster, altered) = with_altered(builder, Table::History).await;
    cluster.node_mut(altered).restart().await;
    let member = cluster.node(altered).member_id().await;
    let calls = cluster.node(altered).calls();
    let revision = calls.put("state/0", "w").await.unwrap();
    let request = CompactionRequest {
        revision,
        physical: true,
    };
    calls.kv().compact(request).await.unwrap();
    until_named(&cluster, member).await;
    assert_differs(calls.get("state/0").await, "a read");
}

#[tokio::test]
async fn members_whose_hashes_of_a_compaction_agree_raise_no_alarm() {
    let cluster = Cluster::builder(3)
        .flag("--feature-gates", "CompactHashCheck=true")
        .flag("--compact-hash-check-time", "200ms")
        .start()
        .await;
    let same = "hashes of the compaction are the same";
    for round in 1..=2 {
        let calls = cluster.node(0).calls();
        let revision = calls.put("a", "v").await.unwrap();
        let request = CompactionRequest {
            revision,
            physical: false,
        };
        calls.kv().compact(request).await.unwrap();
        wait_until("the hashes are compared", STATE_MAX, async || {
            let logs = cluster.nodes().iter().map(|node| node.log());
            let compared = logs.map(|log| log.matches(same).count()).sum::<usize>();
            (compared >= round)
                .then_some(())
                .ok_or(format!("{compared} times"))
        })
        .await;
    }
    let status = cluster.node(0).calls().status().await.unwrap();
    assert_eq!(status.errors, Vec::<String>::new());
}
