//! Many keys go through a snapshot in both directions, with times, memory, and what it does to the
//! writes that go on meanwhile.
//!
//! A few thousand keys go with the other tests; `TENURE_SNAPSHOT_KEYS=1000000`, which
//! `make large-backup` sets, makes so many. Figures are printed and not asserted.

use std::{
    env, fs,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use tenure_proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op};
use tenure_testkit::{Calls, Cluster, Tool, find_program, wait_until};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::Status;

use crate::backup::{ctl, ctl_at, restore_words, wipe};

/// Keys that go with the other tests.
const KEYS: usize = 3_000;
const VALUE_BYTES: usize = 256;
/// Puts of a transaction: etcd's most.
const BATCH: usize = 128;
/// Transactions in flight.
const IN_FLIGHT: usize = 32;
/// Time limit for a state to arrive.
const STATE_MAX: Duration = Duration::from_secs(600);
/// The rate of the puts whose latency is measured, and how long it is without a snapshot.
const PACE: Duration = Duration::from_millis(2);
const QUIET: Duration = Duration::from_secs(2);
/// Snapshots that are saved beside the measured puts.
const SAVES: usize = 3;

fn keys() -> usize {
    env::var("TENURE_SNAPSHOT_KEYS").map_or(KEYS, |keys| keys.parse().unwrap())
}

fn batch(first: usize, end: usize) -> TxnRequest {
    let put = |number: usize| RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: format!("many/{number:012}").into(),
            value: format!("{number:0VALUE_BYTES$}").into(),
            ..PutRequest::default()
        })),
    };
    TxnRequest {
        success: (first..end).map(put).collect(),
        ..TxnRequest::default()
    }
}

async fn fill(calls: &Calls, keys: usize) -> i64 {
    let batches = (0..keys).step_by(BATCH).map(|first| {
        let mut kv = calls.kv();
        async move {
            let request = batch(first, keys.min(first + BATCH));
            Ok::<_, Status>(kv.txn(request).await?.into_inner())
        }
    });
    let done = stream::iter(batches).buffer_unordered(IN_FLIGHT);
    done.try_for_each(|_| async { Ok(()) }).await.unwrap();
    calls.put("filled", "yes").await.unwrap()
}

/// The most memory that a process has had, in MB.
fn peak_mb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() >> 10
}

/// Runs a tool to its end; returns how long it took, and its most memory in MB.
async fn measured(tool: &Tool, words: &[String]) -> (Duration, u64) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let begin = Instant::now();
    let mut command = tool.command(&words);
    // Neither is read, and a full pipe would stop the tool.
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (pid, mut most) = (child.id().unwrap(), 0);
    loop {
        most = most.max(peak_mb(pid));
        // Cancel-safe: the next round waits for the same end.
        tokio::select! {
            ended = child.wait() => {
                assert!(ended.unwrap().success(), "{words:?}");
                return (begin.elapsed(), most);
            }
            // A pause between two looks at its memory.
            () = sleep(Duration::from_millis(20)) => {}
        }
    }
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// Puts at a steady rate until told to stop; the time that each took.
async fn pace(calls: Calls, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut due = interval(PACE);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        due.tick().await;
        let begin = Instant::now();
        calls.put("paced", "v").await.unwrap();
        took.push(begin.elapsed());
    }
    took.sort_unstable();
    took
}

fn percentile(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() * part / 100).min(sorted.len() - 1)]
}

/// Paced puts through the leader beside `meanwhile`.
async fn paced_beside<T>(calls: &Calls, meanwhile: impl Future<Output = T>) -> (Vec<Duration>, T) {
    let stop = Arc::<AtomicBool>::default();
    let pacing = tokio::spawn(pace(calls.clone(), Arc::clone(&stop)));
    let done = meanwhile.await;
    stop.store(true, Ordering::Relaxed);
    (pacing.await.unwrap(), done)
}

async fn serves(calls: &Calls) {
    wait_until("it serves", STATE_MAX, async || {
        calls.get("any").await.map_err(|status| status.to_string())
    })
    .await;
}

async fn restore(cluster: &Cluster, node: usize, file: &Path, tool: &Tool, more: &[&str]) {
    let mut line = restore_words(cluster, node, file);
    line.extend(words(more));
    let (took, memory) = measured(tool, &line).await;
    println!("restored in {:.1} s with {memory} MB", took.as_secs_f64());
}

#[tokio::test]
async fn many_keys_go_from_a_quorum_into_a_real_etcd() {
    let (Some(etcdctl), Some(etcd)) = (Tool::etcdctl(&[]), find_program("etcd")) else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("snapshot.db");
    let cluster = Cluster::start(3).await;
    let lead = cluster.leader().await;
    let calls = cluster.node(lead).calls();
    fill(&calls, keys()).await;
    let before = peak_mb(cluster.node(lead).pid());
    // Time is the subject: puts are measured for so long.
    let (quiet, ()) = paced_beside(&calls, sleep(QUIET)).await;
    let save = words(&["snapshot", "save", &file.display().to_string()]);
    let tool = ctl_at(&cluster, lead);
    let saving = async {
        let mut saved = Vec::new();
        for _ in 0..SAVES {
            saved.push(measured(&tool, &save).await);
        }
        saved
    };
    let (beside, saved) = paced_beside(&calls, saving).await;
    let bytes = fs::metadata(&file).unwrap().len();
    for (took, memory) in saved {
        println!(
            "{} keys, {} MB saved from the leader in {:.1} s; tenurectl had {memory} MB",
            keys(),
            bytes >> 20,
            took.as_secs_f64(),
        );
    }
    println!(
        "the leader had {before} MB at most before, and {} MB after; puts through it took {:?} and \
         {:?} (p50, p99 of {}) without a snapshot, {:?} and {:?} (of {}) beside one",
        peak_mb(cluster.node(lead).pid()),
        percentile(&quiet, 50),
        percentile(&quiet, 99),
        quiet.len(),
        percentile(&beside, 50),
        percentile(&beside, 99),
        beside.len(),
    );
    measured(&tool, &save).await;
    let revision = calls.get("paced").await.unwrap().unwrap().mod_revision;

    let mut real = Cluster::builder(1).program(etcd).spawn();
    wipe(&mut real);
    restore(&real, 0, &file, &etcdctl, &[]).await;
    real.node_mut(0).start();
    let theirs = real.node(0).calls();
    serves(&theirs).await;
    let ours = calls.hash_kv(revision).await.unwrap();
    let theirs = theirs.hash_kv(revision).await.unwrap();
    println!("HashKV at {revision}: tenure {ours}, etcd {theirs}");
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn many_keys_go_from_a_real_etcd_into_a_node() {
    let (Some(etcdctl), Some(etcd)) = (Tool::etcdctl(&[]), find_program("etcd")) else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("snapshot.db");
    let mut real = Cluster::builder(1).program(etcd).spawn();
    let calls = real.node(0).calls();
    serves(&calls).await;
    let revision = fill(&calls, keys()).await;
    let theirs = calls.hash_kv(revision).await.unwrap();
    let tool = etcdctl.with(&["--endpoints", real.node(0).address()]);
    let save = words(&["snapshot", "save", &file.display().to_string()]);
    let (took, _) = measured(&tool, &save).await;
    println!(
        "{} keys, {} MB saved from etcd in {:.1} s",
        keys(),
        fs::metadata(&file).unwrap().len() >> 20,
        took.as_secs_f64(),
    );
    real.node_mut(0).kill9();

    let mut cluster = Cluster::builder(1).spawn();
    wipe(&mut cluster);
    restore(&cluster, 0, &file, &ctl(), &["--same-revision"]).await;
    let begin = Instant::now();
    cluster.node_mut(0).start();
    cluster.node_mut(0).wait_ready().await;
    let ready = begin.elapsed();
    let ours = cluster.node(0).calls().hash_kv(revision).await.unwrap();
    println!(
        "tenured was ready after {:.1} s, with {} MB at most; HashKV at {revision}: etcd {theirs}, \
         tenure {ours}",
        ready.as_secs_f64(),
        peak_mb(cluster.node(0).pid()),
    );
    assert_eq!(ours, theirs);
}
