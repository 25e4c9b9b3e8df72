//! `migrate`: a live cluster moves, both ways, and every revision, version and lease moves with it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use tenure_proto::etcdserverpb::{DeleteRangeRequest, LeaseRevokeRequest, LeaseTimeToLiveResponse};
use tenure_testkit::{Acknowledged, Calls, Cluster, Load, Tool, find_program, wait_until};

use super::program::Program;
use crate::backup::{all, ctl, restore_words, run, wipe};

const STATE_MAX: Duration = Duration::from_secs(60);
/// More keys than a transaction may change.
const MANY: usize = 300;

/// A node of real etcd; nothing when it is not installed.
async fn real_etcd() -> Option<Cluster> {
    // `Tool::etcdctl` says that it is missing.
    Tool::etcdctl(&[])?;
    let etcd = Cluster::builder(1).program(find_program("etcd")?).spawn();
    serves(&etcd.node(0).calls()).await;
    Some(etcd)
}

async fn serves(calls: &Calls) {
    wait_until("etcd serves", STATE_MAX, async || {
        calls.get("any").await.map_err(|status| status.to_string())
    })
    .await;
}

/// The snapshot in the folder of a move.
async fn snapshot_in(directory: &Path) -> PathBuf {
    wait_until("a snapshot is saved", STATE_MAX, async || {
        let entries = fs::read_dir(directory).map_err(|error| error.to_string())?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let found = paths.find(|path| path.extension().is_some_and(|end| end == "db"));
        found.ok_or_else(|| "there is none".to_owned())
    })
    .await
}

/// Leases and keys of the source, some of which end while it moves.
struct Content {
    kept: i64,
    ended: i64,
}

impl Content {
    async fn write(calls: &Calls) -> Self {
        for number in 0..20 {
            calls.put(&format!("old/{number}"), "1").await.unwrap();
        }
        calls.delete("old/3").await.unwrap();
        let kept = calls.grant(3600).await.unwrap();
        let ended = calls.grant(3600).await.unwrap();
        for number in 0..MANY {
            let key = format!("leased/{number:04}");
            // The lease that ends has every other key.
            let lease = if number % 2 == 0 { kept } else { ended };
            calls.put_on_lease(&key, "1", lease).await.unwrap();
            let key = format!("range/{number:04}");
            calls.put(&key, "1").await.unwrap();
        }
        Self { kept, ended }
    }

    /// Ends a lease with more keys than a transaction may change, and deletes a range of them.
    async fn change(&self, calls: &Calls) {
        let mut extra = Vec::new();
        for number in 0..MANY {
            let key = format!("extra/{number:04}");
            extra.push(calls.put_on_lease(&key, "1", self.ended).await.unwrap());
        }
        let revoke = LeaseRevokeRequest { id: self.ended };
        calls.lease().lease_revoke(revoke).await.unwrap();
        let range = DeleteRangeRequest {
            key: "range/".into(),
            range_end: "range0".into(),
            ..DeleteRangeRequest::default()
        };
        let deleted = calls.kv().delete_range(range).await.unwrap();
        assert_eq!(deleted.into_inner().deleted, MANY as i64);
        let late = calls.grant(1800).await.unwrap();
        calls.put_on_lease("late", "1", late).await.unwrap();
    }
}

/// Compares two clusters that are not written to.
async fn assert_equal(source: &Calls, destination: &Calls, content: &Content) {
    let revision = source.status().await.unwrap().header.unwrap().revision;
    let ours = destination.hash_kv(revision).await.unwrap();
    let theirs = source.hash_kv(revision).await.unwrap();
    println!("HashKV at {revision}: source {theirs}, destination {ours}");
    assert_eq!(ours, theirs);
    assert_eq!(all(destination).await, all(source).await);
    let left: LeaseTimeToLiveResponse = destination.time_to_live(content.kept).await.unwrap();
    assert!(left.ttl > 3000 && left.granted_ttl == 3600, "{left:?}");
    assert_eq!(left.keys.len(), MANY / 2);
    let gone = destination.time_to_live(content.ended).await.unwrap();
    assert_eq!(gone.ttl, -1);
    let next = destination.put("first of the new one", "1").await.unwrap();
    assert_eq!(next, revision + 1);
}

/// Moves a source under load to a destination whose nodes `start` makes from the snapshot.
async fn move_under_load(
    source: &Cluster,
    destination: &mut Cluster,
    restorer: (&Tool, &[&str]),
) -> Vec<Acknowledged> {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("move").display().to_string();
    let calls = source.node(0).calls();
    let content = Content::write(&calls).await;
    let load = Load::start("load/", &source.addresses(), 2);
    load.wait_for(50).await;
    wipe(destination);
    let (from, to) = (
        source.addresses().join(","),
        destination.addresses().join(","),
    );
    let words = ["migrate", "--from", &from, "--to", &to, "--dir", &directory];
    let mut moving = Program::start(&ctl(), &words);
    let snapshot = snapshot_in(Path::new(&directory)).await;
    moving.wait_for("waiting for").await;
    content.change(&calls).await;
    // The source forgets what the destination has not seen.
    let now = calls.status().await.unwrap().header.unwrap().revision;
    let compaction = ctl().with(&["--endpoints", &from]);
    let compacted = compaction.run(&["compaction", &now.to_string()]).await;
    drop(compacted.ok());
    for node in 0..destination.nodes().len() {
        let mut words = restore_words(destination, node, &snapshot);
        words.extend(restorer.1.iter().map(|&word| word.to_owned()));
        drop(run(restorer.0, &words).await.ok());
    }
    for node in 0..destination.nodes().len() {
        destination.node_mut(node).start();
    }
    // It may catch up only when the load pauses.
    load.wait_for(50).await;
    let written = load.finish().await;
    moving.wait_for("Ready to switch").await;
    let last = calls.put("written at the end", "1").await.unwrap();
    moving.signal(Signal::INT);
    let (status, said) = moving.end().await;
    println!("{said}");
    assert!(status.success(), "{said}");
    assert!(said.contains(&format!("at revision {last}")), "{said}");
    for node in destination.nodes() {
        let calls = node.calls();
        wait_until("a node has it all", STATE_MAX, async || {
            let found = calls.get("written at the end").await;
            found
                .map_err(|status| status.to_string())?
                .ok_or_else(|| "not yet".to_owned())
        })
        .await;
    }
    assert_equal(&calls, &destination.node(0).calls(), &content).await;
    written
}

async fn assert_written(calls: &Calls, written: &[Acknowledged]) {
    let found = calls.get_prefix("load/").await.unwrap();
    assert!(!written.is_empty());
    println!("{} acknowledged writes under load", written.len());
    for one in written {
        let kv = found.iter().find(|kv| kv.key == one.key.as_bytes());
        let kv = kv.unwrap_or_else(|| panic!("{} is lost", one.key));
        assert_eq!(kv.mod_revision, one.revision, "{}", one.key);
    }
}

#[tokio::test]
async fn a_live_etcd_moves_to_a_quorum_under_load_with_its_revisions_and_leases() {
    let Some(etcd) = real_etcd().await else {
        return;
    };
    let mut quorum = Cluster::builder(3).spawn();
    let restorer = (&ctl(), &["--same-revision"][..]);
    let written = move_under_load(&etcd, &mut quorum, restorer).await;
    for node in quorum.nodes() {
        assert_written(&node.calls(), &written).await;
    }
}

#[tokio::test]
async fn a_quorum_moves_back_to_etcd_under_load_with_its_revisions_and_leases() {
    let Some(etcdctl) = Tool::etcdctl(&[]) else {
        return;
    };
    let Some(program) = find_program("etcd") else {
        return;
    };
    let quorum = Cluster::start(3).await;
    let mut etcd = Cluster::builder(1).program(program).spawn();
    let written = move_under_load(&quorum, &mut etcd, (&etcdctl, &[])).await;
    assert_written(&etcd.node(0).calls(), &written).await;
}

#[tokio::test]
async fn a_destination_that_is_written_to_ends_the_move_with_its_revision() {
    let Some(etcd) = real_etcd().await else {
        return;
    };
    let calls = etcd.node(0).calls();
    calls.put("a", "1").await.unwrap();
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("move").display().to_string();
    let mut quorum = Cluster::builder(1).spawn();
    wipe(&mut quorum);
    let (from, to) = (etcd.addresses().join(","), quorum.addresses().join(","));
    let words = ["migrate", "--from", &from, "--to", &to, "--dir", &directory];
    let mut moving = Program::start(&ctl(), &words);
    let snapshot = snapshot_in(Path::new(&directory)).await;
    let mut words = restore_words(&quorum, 0, &snapshot);
    words.push("--same-revision".to_owned());
    drop(run(&ctl(), &words).await.ok());
    quorum.node_mut(0).start();
    moving.wait_for("Ready to switch").await;
    quorum.node(0).calls().put("foreign", "1").await.unwrap();
    calls.put("b", "1").await.unwrap();
    let (status, said) = moving.end().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("something else writes to it"), "{said}");
}

#[tokio::test]
async fn values_and_leases_are_copied_into_a_running_quorum_and_compared() {
    let Some(etcd) = real_etcd().await else {
        return;
    };
    let calls = etcd.node(0).calls();
    let content = Content::write(&calls).await;
    let quorum = Cluster::start(1).await;
    let load = Load::start("load/", &etcd.addresses(), 2);
    let (from, to) = (etcd.addresses().join(","), quorum.addresses().join(","));
    let words = ["migrate", "--values", "--from", &from, "--to", &to];
    let mut moving = Program::start(&ctl(), &words);
    moving.wait_for("To switch").await;
    load.wait_for(50).await;
    content.change(&calls).await;
    let written = load.finish().await;
    moving.wait_for("verified: ").await;
    calls.put("written at the end", "1").await.unwrap();
    moving.signal(Signal::INT);
    let (status, said) = moving.end().await;
    println!("{said}");
    assert!(status.success(), "{said}");
    let ours = quorum.node(0).calls();
    assert!(ours.get("written at the end").await.unwrap().is_some());
    let found = ours.get_prefix("load/").await.unwrap();
    assert_eq!(found.len(), written.len());
    let left = ours.time_to_live(content.kept).await.unwrap();
    assert_eq!((left.granted_ttl, left.keys.len()), (3600, MANY / 2));
    assert_eq!(ours.time_to_live(content.ended).await.unwrap().ttl, -1);
    assert!(ours.get_prefix("range/").await.unwrap().is_empty());
}
