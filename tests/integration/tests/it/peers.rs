//! Bugs that other coordination services had, each as a test that tenure does not have it.
//!
//! The doc comment of each test names where it was met. Those of leases across elections are in
//! `leases.rs`, those of lost replies in `exactly_once.rs`; `docs/testing.md` lists all.

use std::{
    future::IntoFuture,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures::future::join_all;
use tenure::{Client, Compare, ErrorKind, Instance, Put, Readiness, Relation, Revision, Selector};
use tenure_proto::v1::{AcquireRequest, acquire_response::State, lock_client::LockClient};
use tenure_testkit::{Cluster, Cutter, STATE_MAX, tenurectl, wait_until};
use tokio::time::timeout;
use tonic::{Code, transport::Channel};

/// A short TTL, of the length that the millisecond calls allow.
const SHORT: Duration = Duration::from_millis(700);
/// A TTL that no test outlives.
const LONG: Duration = Duration::from_secs(60);

async fn client(cluster: &Cluster) -> Client {
    Client::connect(cluster.addresses()).await.unwrap()
}

async fn locks(address: &str) -> LockClient<Channel> {
    let url = format!("http://{address}");
    LockClient::connect(url).await.unwrap()
}

fn ask(name: &str, lease: i64) -> AcquireRequest {
    AcquireRequest {
        names: vec![name.to_owned().into()],
        lease,
        ..AcquireRequest::default()
    }
}

/// etcd #9921, #11456: the lock was granted to a waiter whose lease had ended in the queue.
/// etcd #19597: such a waiter went on waiting for ever.
#[tokio::test]
async fn a_waiter_whose_lease_ends_is_told_so_and_never_granted() {
    let cluster = Cluster::start(3).await;
    let client = client(&cluster).await;
    let held = client.locks().acquire("queue").ttl(LONG).await.unwrap();
    let lease = cluster.node(0).calls().grant(3).await.unwrap();
    let mut waiting = locks(cluster.node(0).address()).await;
    let mut states = waiting
        .acquire(ask("queue", lease))
        .await
        .unwrap()
        .into_inner();
    let first = states.message().await.unwrap().unwrap().state;
    assert!(matches!(first, Some(State::Queued(_))), "{first:?}");
    let ended = timeout(STATE_MAX, states.message()).await.unwrap();
    let error = ended.expect_err("the lease was never renewed");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    // The lock passes over it to whoever is next.
    held.release().await.unwrap();
    let next = client
        .locks()
        .acquire("queue")
        .ttl(LONG)
        .wait(STATE_MAX)
        .await
        .unwrap();
    assert!(next.is_held());
}

/// etcd #14890, #18424; jetcd #1072: a transaction that was retried after `Unavailable` committed
/// twice, or nobody could tell whether it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_answer_is_lost_commits_once_and_is_answered() {
    let cluster = Cluster::start(3).await;
    let cutter = Cutter::start(&cluster.addresses()).await;
    let client = Client::builder()
        .endpoints(cutter.addresses())
        .exactly_once(LONG)
        .connect()
        .await
        .unwrap();
    client.put("account", "0").await.unwrap();
    let before = cluster
        .node(0)
        .calls()
        .get("account")
        .await
        .unwrap()
        .unwrap();
    cutter.cut();
    let seen = Revision::new(before.mod_revision);
    let unchanged = Compare::mod_revision("account", Relation::Equal, seen);
    let deposit = client
        .txn()
        .when(unchanged)
        .and_then(Put::new("account", "1"));
    let deposit = deposit.into_future();
    let (answer, ()) = tokio::join!(deposit, cutter.heal_after(1));
    let answer = answer.expect("the retry is answered");
    assert!(
        answer.succeeded(),
        "the retry got the first outcome, not its own"
    );
    let after = cluster
        .node(0)
        .calls()
        .get("account")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(after.version, before.version + 1);
}

/// etcd: after a long outage a flood of expiries kept the leader busy. Here all nodes are down for
/// longer than the leases live; they come back, writes go on, and the leases end.
#[tokio::test]
async fn many_leases_that_ran_out_in_an_outage_do_not_hold_up_writes() {
    const LEASES: usize = 2_000;
    let mut cluster = Cluster::start(3).await;
    let calls = cluster.node(0).calls();
    for chunk in (0..LEASES).collect::<Vec<_>>().chunks(100) {
        let granted = chunk.iter().map(|number| {
            let calls = calls.clone();
            async move {
                let lease = calls.grant(2).await.unwrap();
                let key = format!("outage/{number}");
                calls.put_on_lease(&key, "v", lease).await.unwrap();
            }
        });
        join_all(granted).await;
    }
    (0..3).for_each(|number| cluster.node_mut(number).kill9());
    (0..3).for_each(|number| cluster.node_mut(number).start());
    for number in 0..3 {
        cluster.node_mut(number).wait_ready().await;
    }
    let leader = cluster.leader().await;
    let calls = cluster.node(leader).calls();
    let mut slowest = Duration::ZERO;
    wait_until("the leases have ended", STATE_MAX, async || {
        let begun = Instant::now();
        calls
            .put("busy", "no")
            .await
            .map_err(|error| error.to_string())?;
        slowest = slowest.max(begun.elapsed());
        let left = calls
            .get_prefix("outage/")
            .await
            .map_err(|error| error.to_string())?;
        left.is_empty()
            .then_some(())
            .ok_or(format!("{} keys are left", left.len()))
    })
    .await;
    println!("the slowest write while {LEASES} leases ended took {slowest:?}");
}

/// etcd #6093: deleting a key whose lease was gone ended every member.
#[tokio::test]
async fn a_key_whose_lease_has_gone_can_be_written_and_deleted() {
    let cluster = Cluster::start(1).await;
    let calls = cluster.node(0).calls();
    let lease = calls.grant(60).await.unwrap();
    calls.put_on_lease("k", "v", lease).await.unwrap();
    calls.put("k", "free").await.unwrap();
    let revoke = tenure_proto::etcdserverpb::LeaseRevokeRequest { id: lease };
    calls.lease().lease_revoke(revoke).await.unwrap();
    calls.delete("k").await.unwrap();
    calls.put("k", "again").await.unwrap();
    assert_eq!(calls.get("k").await.unwrap().unwrap().version, 1);
}

/// CURATOR-604: a new session took the key that its predecessor had left behind for its own, and
/// two held the lock. Here the claim is its lease's: another lease waits behind it.
#[tokio::test]
async fn a_new_session_does_not_take_over_what_the_old_one_left() {
    let cluster = Cluster::start(3).await;
    let client = client(&cluster).await;
    let calls = cluster.node(0).calls();
    let old = calls.grant(60).await.unwrap();
    let mut service = locks(cluster.node(0).address()).await;
    let granted = service
        .try_acquire(ask("restart", old))
        .await
        .unwrap()
        .into_inner();
    let token = granted.granted.unwrap().claims[0].token;
    let taken = client
        .locks()
        .acquire("restart")
        .ttl(LONG)
        .try_now()
        .await
        .unwrap();
    assert!(taken.is_none(), "the old session still holds it");
    let waiting = client
        .locks()
        .acquire("restart")
        .ttl(LONG)
        .wait(STATE_MAX)
        .into_future();
    let revoke = tenure_proto::etcdserverpb::LeaseRevokeRequest { id: old };
    let mut leases = calls.lease();
    let (next, _) = tokio::join!(waiting, leases.lease_revoke(revoke));
    assert!(next.unwrap().token().get() > token);
}

/// CURATOR-678: a release that failed left its holder's node behind, and nobody got the lock again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_whose_answer_is_lost_frees_the_lock() {
    let cluster = Cluster::start(3).await;
    let cutter = Cutter::start(&cluster.addresses()).await;
    let through = Client::connect(cutter.addresses()).await.unwrap();
    let guard = through
        .locks()
        .acquire("lost-release")
        .ttl(LONG)
        .await
        .unwrap();
    cutter.cut();
    let (released, ()) = tokio::join!(guard.release(), cutter.heal_after(1));
    println!("the release said {released:?}");
    let direct = client(&cluster).await;
    let next = direct
        .locks()
        .acquire("lost-release")
        .ttl(LONG)
        .wait(STATE_MAX / 2)
        .await;
    assert!(next.unwrap().is_held());
}

/// hashicorp/consul #9788: the child of `consul lock` ran for 90 s after the lock was lost.
#[tokio::test]
async fn a_command_does_not_outlive_its_lock() {
    let cluster = Cluster::start(1).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "while :; do date +%s%N >> {}; sleep 0.02; done",
        file.path().display()
    );
    let mut command = Command::new(tenurectl());
    command
        .args(["--endpoints", cluster.node(0).address()])
        .args(["lock", "child", "--ttl", "2s", "--", "sh", "-c", &script])
        .stdin(Stdio::null());
    let mut running = command.spawn().unwrap();
    let beats = || {
        std::fs::read_to_string(file.path())
            .unwrap()
            .lines()
            .count()
    };
    wait_until("the command runs", STATE_MAX, async || {
        let beats = beats();
        (beats > 5).then_some(()).ok_or(beats)
    })
    .await;
    // The lock cannot be kept any more. The lease ends at the latest after its TTL; whoever waits
    // would be granted then, so the command must have ended by then.
    let paused = Instant::now();
    cluster.node(0).pause();
    let status = wait_until("the command is stopped", STATE_MAX, async || {
        running.try_wait().unwrap().ok_or("it runs")
    })
    .await;
    let took = paused.elapsed();
    cluster.node(0).resume();
    println!("the command was stopped {took:?} after its lock could not be kept: {status}");
    assert!(!status.success());
    // Two seconds of the lease, and as much again for a machine that is busy.
    assert!(took < Duration::from_secs(4), "{took:?}");
    // Nothing of the command is left that could write.
    let left = Command::new("pgrep")
        .args(["-f", &script])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&left.stdout),
        "",
        "the command goes on"
    );
}

/// hashicorp/vault #23013: two active servers each rewrote one record, and updates were lost. With
/// a guard on the lock that makes a server active, the one that lost it cannot.
#[tokio::test]
async fn two_writers_of_one_record_lose_nothing() {
    let cluster = Cluster::start(3).await;
    let client = client(&cluster).await;
    let first = client.locks().acquire("active").ttl(LONG).await.unwrap();
    let stale = first.guarded();
    let read = |kv: Option<tenure_proto::mvccpb::KeyValue>| {
        kv.map_or(String::new(), |kv| {
            String::from_utf8(kv.value.to_vec()).unwrap()
        })
    };
    stale.put("record", "a").await.unwrap();
    // The first server reads the record, and loses the lock before it writes it back.
    let seen = read(cluster.node(0).calls().get("record").await.unwrap());
    client
        .locks()
        .force_release("active", "the operator fails over")
        .await
        .unwrap();
    let second = client.locks().acquire("active").ttl(LONG).await.unwrap();
    second
        .guarded()
        .put("record", format!("{seen}b"))
        .await
        .unwrap();
    let error = stale.put("record", format!("{seen}c")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleGuard, "{error}");
    assert_eq!(error.current_token(), Some(second.token()));
    assert_eq!(
        read(cluster.node(0).calls().get("record").await.unwrap()),
        "ab"
    );
}

/// Netflix/eureka #1073: self-preservation never let go, and dead instances stayed for ever.
#[tokio::test]
async fn the_brake_holds_what_expires_at_once_and_lets_it_go_in_the_end() {
    const INSTANCES: usize = 10;
    let cluster = Cluster::start(1).await;
    let client = client(&cluster).await;
    let mut service = tenure_proto::v1::registry_client::RegistryClient::connect(format!(
        "http://{}",
        cluster.node(0).address()
    ))
    .await
    .unwrap();
    for number in 0..INSTANCES {
        let instance = Instance::new("fleet", format!("i{number}"))
            .endpoint("tcp", "10.0.0.1", 80)
            .readiness(Readiness::Ready);
        let request = tenure_proto::v1::RegisterRequest {
            instance: Some(instance.into_wire()),
            ttl_ms: 1_000,
            ..Default::default()
        };
        service.register(request).await.unwrap();
    }
    let suspects = async || {
        let found = client
            .registry()
            .discover("fleet", Selector::any())
            .await
            .unwrap();
        let suspects = found.iter().filter(|it| it.is_suspect()).count();
        (found.registrations().len(), suspects)
    };
    wait_until("most are kept as suspects", STATE_MAX, async || {
        let (left, suspects) = suspects().await;
        (suspects >= 4 && left == suspects)
            .then_some(())
            .ok_or(format!("{left}, {suspects}"))
    })
    .await;
    wait_until("the brake lets go", STATE_MAX * 2, async || {
        let (left, _) = suspects().await;
        (left == 0).then_some(()).ok_or(left)
    })
    .await;
}

/// Hazelcast: without a quorum the lock API went on with weaker promises. Here nobody is granted
/// anything, and a guarded write does not go through.
#[tokio::test]
async fn without_a_quorum_nothing_is_granted() {
    let mut cluster = Cluster::start(3).await;
    let address = cluster.node(0).address().to_owned();
    cluster.node_mut(1).kill9();
    cluster.node_mut(2).kill9();
    let alone = Client::builder()
        .endpoints([address])
        .timeout(Duration::from_secs(3))
        .connect()
        .await
        .unwrap();
    let asked = timeout(
        Duration::from_secs(8),
        alone.locks().acquire("split").ttl(SHORT),
    )
    .await;
    assert!(!matches!(asked, Ok(Ok(_))), "{asked:?}");
    cluster.node_mut(1).restart().await;
    cluster.leader_among(&[0, 1]).await;
    let again = alone
        .locks()
        .acquire("split")
        .ttl(LONG)
        .wait(STATE_MAX / 2)
        .await;
    assert!(again.unwrap().is_held());
}

/// Netflix/curator #9 and CURATOR-206: two held one lock, because the first was believed dead too
/// early. A zombie instance of a service is the same: it must not overwrite its successor.
#[tokio::test]
async fn a_zombie_instance_cannot_overwrite_its_successor() {
    let cluster = Cluster::start(3).await;
    let client = client(&cluster).await;
    let instance = |port| {
        Instance::new("web", "web-1")
            .endpoint("http", "10.0.0.9", port)
            .readiness(Readiness::Ready)
    };
    let zombie = client
        .registry()
        .register(instance(80))
        .ttl(LONG)
        .await
        .unwrap();
    let successor = client
        .registry()
        .register(instance(81))
        .ttl(LONG)
        .await
        .unwrap();
    assert!(successor.incarnation() > zombie.incarnation());
    let error = zombie.set_readiness(Readiness::NotReady).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstanceReplaced, "{error}");
    let found = client
        .registry()
        .discover("web", Selector::any())
        .await
        .unwrap();
    let ports: Vec<_> = found.registrations()[0]
        .endpoints()
        .map(|endpoint| endpoint.port)
        .collect();
    assert_eq!(ports, [81]);
}
