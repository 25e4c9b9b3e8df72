//! A member whose state differs from the others' is found, named, and stops all writes.

use std::path::Path;

use tenure_proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};
use tenure_statemachine::{Engine as _, Table, View as _, WriteBatch, WriteOp};
use tenure_testkit::{Cluster, Load, STATE_MAX, wait_until};
use tenured::storage::StateStore;
use tonic::Status;

/// What a leader says when it has the digests of all members.
const COMPARED: &str = "the members' states were compared";
/// Comparisons that are to find nothing.
const COMPARISONS: usize = 4;

async fn alarms(cluster: &Cluster, node: usize) -> Result<Vec<(u64, AlarmType)>, Status> {
    let request = AlarmRequest {
        action: AlarmAction::Get.into(),
        ..AlarmRequest::default()
    };
    let mut maintenance = cluster.node(node).calls().maintenance();
    let alarms = maintenance.alarm(request).await?.into_inner().alarms;
    let alarms = alarms.into_iter();
    Ok(alarms
        .map(|found| (found.member_id, found.alarm()))
        .collect())
}

/// Changes one byte of a key's latest record in the state of a node that is stopped, and leaves
/// every checksum right.
fn alter(data_dir: &Path) {
    let store = StateStore::open(&data_dir.join("state")).unwrap();
    let engine = store.engine();
    let (row, value) = {
        let mut cursor = engine.scan(Table::Current, &[]).unwrap();
        cursor.next().unwrap().unwrap()
    };
    let mut value = value.to_vec();
    *value.last_mut().unwrap() ^= 1;
    let ops = vec![WriteOp::Put(Table::Current, row, value.into())];
    engine.write(WriteBatch { ops }).unwrap();
    engine.flush().unwrap();
}

#[tokio::test]
async fn a_member_whose_state_differs_from_the_majority_is_named_and_writes_end() {
    let mut cluster = Cluster::builder(3)
        .flag("--corrupt-check-time", "1s")
        .start()
        .await;
    for number in 0..8 {
        let calls = cluster.node(0).calls();
        calls.put(&format!("state/{number}"), "v").await.unwrap();
    }
    let altered = cluster.others(cluster.leader().await)[0];
    let id = cluster.node(altered).member_id().await;
    cluster.node_mut(altered).terminate().await;
    alter(cluster.node(altered).data_dir());
    cluster.node_mut(altered).restart().await;
    let found = wait_until("an alarm is raised", STATE_MAX, async || {
        let alarms = alarms(&cluster, 0).await.map_err(|e| e.to_string())?;
        (!alarms.is_empty())
            .then_some(alarms)
            .ok_or("none")
            .map_err(str::to_owned)
    })
    .await;
    assert_eq!(found, [(id, AlarmType::Corrupt)]);
    let refused = cluster.node(0).calls().put("state/0", "w").await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: corrupt cluster");
}

#[tokio::test]
async fn members_whose_states_agree_raise_no_alarm_idle_or_under_load() {
    let cluster = Cluster::builder(3)
        .flag("--corrupt-check-time", "500ms")
        .start()
        .await;
    let compared = || {
        let logs = cluster.nodes().iter().map(|node| node.log());
        logs.map(|log| log.matches(COMPARED).count()).sum::<usize>()
    };
    for busy in [false, true] {
        let load = busy.then(|| Load::start("digests/", &cluster.addresses(), 4));
        let before = compared();
        wait_until("states are compared", STATE_MAX, async || {
            let now = compared() - before;
            (now >= COMPARISONS)
                .then_some(())
                .ok_or(format!("{now} times"))
        })
        .await;
        drop(load);
    }
    assert_eq!(alarms(&cluster, 0).await.unwrap(), []);
}
