//! Locks and elections over all nodes: what a hand-over costs, and that etcd's clients take part.

use std::{future::IntoFuture, time::Duration};

use tenure::Client;
use tenure_proto::v1::{
    AcquireRequest, ReleaseRequest, acquire_response::State, lock_client::LockClient,
};
use tenure_testkit::{Cluster, STATE_MAX, Tool, wait_until};
use tokio::time::timeout;
use tonic::{Streaming, transport::Channel};

/// Clients that wait for one lock.
const WAITERS: usize = 100;
/// A TTL that no test outlives.
const LONG: Duration = Duration::from_secs(60);

type States = Streaming<tenure_proto::v1::AcquireResponse>;

async fn locks(address: &str) -> LockClient<Channel> {
    LockClient::connect(format!("http://{address}"))
        .await
        .unwrap()
}

/// The sum of a counter over all nodes.
async fn counter(cluster: &Cluster, name: &str) -> f64 {
    let mut sum = 0.0;
    for node in cluster.nodes() {
        let page = node.page("/metrics").await;
        sum += page
            .metric(name)
            .unwrap_or_else(|| panic!("no metric {name}"));
    }
    sum
}

async fn applied_index(cluster: &Cluster, node: usize) -> u64 {
    cluster
        .node(node)
        .calls()
        .status()
        .await
        .unwrap()
        .raft_applied_index
}

/// The token, once it is granted.
async fn granted(states: &mut States) -> i64 {
    loop {
        let answer = timeout(STATE_MAX, states.message()).await.unwrap().unwrap();
        if let Some(State::Granted(granted)) = answer.unwrap().state {
            return granted.claims[0].token;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handing_a_lock_on_costs_one_entry_and_wakes_one_waiter() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let mut service = locks(cluster.node(leader).address()).await;
    let calls = cluster.node(leader).calls();
    let mut waiting = Vec::new();
    for number in 0..=WAITERS {
        // Over all nodes, in a known order.
        let mut service = locks(cluster.node(number % 3).address()).await;
        let request = AcquireRequest {
            names: vec!["hand".into()],
            lease: calls.grant(600).await.unwrap(),
            ..AcquireRequest::default()
        };
        let mut states = service.acquire(request).await.unwrap().into_inner();
        if number == 0 {
            let token = granted(&mut states).await;
            waiting.push((states, token));
        } else {
            let first = states.message().await.unwrap().unwrap().state;
            assert!(matches!(first, Some(State::Queued(_))), "{first:?}");
            waiting.push((states, 0));
        }
    }
    let wakeups = counter(&cluster, "tenure_lock_wakeups_total").await;
    let before = applied_index(&cluster, leader).await;
    let mut token = waiting.remove(0).1;
    for (states, _) in &mut waiting {
        let release = ReleaseRequest {
            name: "hand".into(),
            token,
            options: None,
        };
        service.release(release).await.unwrap();
        let next = granted(states).await;
        assert!(next > token, "tokens ascend");
        token = next;
    }
    let entries = applied_index(&cluster, leader).await - before;
    let wakeups = counter(&cluster, "tenure_lock_wakeups_total").await - wakeups;
    println!("{WAITERS} hand-overs: {entries} log entries, {wakeups} wake-ups");
    assert_eq!(entries, WAITERS as u64);
    assert_eq!(wakeups, WAITERS as f64);
}

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
#[tokio::test]
async fn etcdctl_and_a_tenure_client_exclude_each_other_in_both_orders() {
    let cluster = Cluster::start(3).await;
    let client = Client::connect(cluster.addresses()).await.unwrap();
    let address = cluster.node(0).address().to_owned();
    let Some(etcdctl) = Tool::etcdctl(&[address]) else {
        println!("**** etcdctl IS NOT INSTALLED: this test was SKIPPED");
        return;
    };
    // Ours first: etcdctl waits until it is released.
    let guard = client.locks().acquire("shared").ttl(LONG).await.unwrap();
    let ours = guard.token().get();
    let tool = etcdctl.clone();
    let running = tokio::spawn(async move {
        let script = "echo $ETCD_LOCK_KEY";
        tool.run(&["lock", "shared", "--", "sh", "-c", script])
            .await
    });
    let theirs = wait_until("etcdctl queues up", STATE_MAX, async || {
        let queue = client.locks().inspect("shared").await;
        let queue = queue.map_err(|error| error.to_string())?;
        let found = queue.waiters().first().cloned();
        found.ok_or_else(|| "nobody waits".to_owned())
    })
    .await;
    assert!(theirs.token().get() > ours);
    let key = String::from_utf8(theirs.key().to_vec()).unwrap();
    let record = cluster.node(0).calls().get(&key).await.unwrap().unwrap();
    assert_eq!(
        record.create_revision,
        theirs.token().get(),
        "its token is its key's create revision"
    );
    assert!(
        !running.is_finished(),
        "etcdctl was granted a lock that is held"
    );
    guard.release().await.unwrap();
    let ran = timeout(STATE_MAX, running).await.unwrap().unwrap();
    assert_eq!(ran.ok().trim(), key);
    // Theirs first: ours waits until the command has ended.
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "while [ -s {} ]; do sleep 0.05; done",
        file.path().display()
    );
    std::fs::write(file.path(), "hold").unwrap();
    let running = tokio::spawn(async move {
        etcdctl
            .run(&["lock", "shared", "--", "sh", "-c", &script])
            .await
    });
    wait_until("etcdctl holds", STATE_MAX, async || {
        let queue = client.locks().inspect("shared").await;
        let queue = queue.map_err(|error| error.to_string())?;
        (!queue.holders().is_empty())
            .then_some(())
            .ok_or("nobody holds".to_owned())
    })
    .await;
    assert!(
        client
            .locks()
            .acquire("shared")
            .ttl(LONG)
            .try_now()
            .await
            .unwrap()
            .is_none()
    );
    let waiting = client
        .locks()
        .acquire("shared")
        .ttl(LONG)
        .wait(STATE_MAX)
        .into_future();
    let end = async { std::fs::write(file.path(), "").unwrap() };
    let (guard, ()) = tokio::join!(waiting, end);
    assert!(guard.unwrap().is_held());
    running.await.unwrap();
}

#[tokio::test]
async fn etcds_own_calls_for_locks_and_elections_share_the_queue() {
    let cluster = Cluster::start(3).await;
    let client = Client::connect(cluster.addresses()).await.unwrap();
    let mut etcd = etcd_client::Client::connect(cluster.addresses(), None)
        .await
        .unwrap();
    let locked = etcd.lock("both", None).await.unwrap();
    assert!(
        client
            .locks()
            .acquire("both")
            .ttl(LONG)
            .try_now()
            .await
            .unwrap()
            .is_none()
    );
    etcd.unlock(locked.key()).await.unwrap();
    let ours = client
        .locks()
        .acquire("both")
        .ttl(LONG)
        .wait(STATE_MAX)
        .await
        .unwrap();
    assert!(ours.is_held());

    let lease = etcd.lease_grant(600, None).await.unwrap().id();
    let elected = etcd.campaign("mayor", "alice", lease).await.unwrap();
    let leader = client
        .elections()
        .named("mayor")
        .leader()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(leader.epoch.get(), elected.leader().unwrap().rev());
    let campaign = client
        .elections()
        .named("mayor")
        .campaign("bob")
        .ttl(LONG)
        .wait(STATE_MAX);
    let resign = etcd_client::ResignOptions::new().with_leader(elected.leader().unwrap().clone());
    let (won, resigned) = tokio::join!(campaign.into_future(), etcd.resign(Some(resign)));
    resigned.unwrap();
    assert!(won.unwrap().epoch() > leader.epoch);
}
