//! Last wills on real nodes: they run once, when a lease expires or a claim is lost, and not when
//! what they go with is given back.

use std::{future::IntoFuture, time::Duration};

use futures::future::join_all;
use tenure::{Client, LockGuard};
use tenure_proto::{
    etcdserverpb::{LeaseRevokeRequest, PutRequest, RequestOp, TxnRequest, request_op::Request},
    mvccpb::{Event, event::EventType},
    v1::{
        AcquireRequest, Guard, ReleaseRequest, SetWillRequest, lock_client::LockClient,
        session_client::SessionClient,
    },
};
use tenure_testkit::{Calls, Cluster, STATE_MAX, Watching, assert_same_everywhere, wait_until};
use tokio::time::timeout;

/// Leases whose wills are to run.
const LEASES: usize = 24;
/// Their TTLs, which differ so that some end before a leader is killed and others after.
const TTLS_S: [i64; 3] = [4, 6, 8];
/// TTL of a lease that ends without a kill.
const SHORT_TTL_S: i64 = 3;
/// Time between two renewals of such a lease.
const RENEW_EVERY: Duration = Duration::from_millis(200);
/// A TTL that no test outlives.
const LONG: Duration = Duration::from_secs(60);
/// The same in seconds.
const LONG_TTL_S: i64 = 60;

fn put(key: &str, value: &str) -> RequestOp {
    let put = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    };
    RequestOp {
        request: Some(Request::RequestPut(put)),
    }
}

/// A will that puts a key. A run of it beside the first one shows in the key's version.
fn will(lease: i64, key: &str) -> SetWillRequest {
    SetWillRequest {
        lease,
        transaction: Some(TxnRequest {
            success: vec![put(key, "it ran")],
            ..TxnRequest::default()
        }),
        ..SetWillRequest::default()
    }
}

async fn set(address: &str, will: SetWillRequest) {
    let url = format!("http://{address}");
    let mut sessions = SessionClient::connect(url).await.unwrap();
    sessions.set_will(will).await.unwrap();
}

/// Claims a lock that is free; the token.
async fn claim(address: &str, name: &str, lease: i64) -> i64 {
    let mut locks = LockClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    let request = AcquireRequest {
        names: vec![name.to_owned().into()],
        lease,
        ..AcquireRequest::default()
    };
    let answer = locks.try_acquire(request).await.unwrap().into_inner();
    answer.granted.expect("the lock is free").claims[0].token
}

async fn release(address: &str, name: &str, token: i64) {
    let mut locks = LockClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    let request = ReleaseRequest {
        name: name.to_owned().into(),
        token,
        options: None,
    };
    locks.release(request).await.unwrap();
}

async fn revoke(calls: &Calls, lease: i64) {
    let revoke = LeaseRevokeRequest { id: lease };
    calls.lease().lease_revoke(revoke).await.unwrap();
}

fn key(event: &Event) -> String {
    let key = &event.kv.as_ref().unwrap().key;
    String::from_utf8(key.to_vec()).unwrap()
}

/// Waits until a key is gone or there.
async fn until(calls: &Calls, name: &str, there: bool) {
    wait_until("a key comes or goes", STATE_MAX, async || {
        let found = calls.get(name).await.map_err(|error| error.to_string())?;
        (found.is_some() == there)
            .then_some(())
            .ok_or_else(|| format!("{name}: {found:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wills_of_leases_run_once_each_although_leaders_are_killed_meanwhile() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.leader().await;
    let calls = cluster.node(first).calls();
    // At once, so that all is set up before the first of them ends.
    let granting = (0..LEASES).map(|number| {
        let (calls, address) = (calls.clone(), cluster.node(number % 3).address());
        async move {
            let lease = calls.grant(TTLS_S[number % TTLS_S.len()]).await.unwrap();
            let alive = format!("alive/{number}");
            calls.put_on_lease(&alive, "v", lease).await.unwrap();
            set(address, will(lease, &format!("ran/{number}"))).await;
        }
    });
    join_all(granting).await;
    let begin = calls.put("ran", "").await.unwrap() + 1;
    assert_eq!(calls.get_prefix("ran/").await.unwrap(), [], "none has run");
    // The first leader dies when the first wills run, its successor when more do.
    let mut leader = first;
    for ran in [1, LEASES / 2] {
        let calls = cluster.node(leader).calls();
        wait_until("wills run", STATE_MAX, async || {
            let found = calls.get_prefix("ran/").await;
            let found = found.map_err(|error| error.to_string())?.len();
            (found >= ran).then_some(()).ok_or(found.to_string())
        })
        .await;
        cluster.node_mut(leader).kill9();
        let next = cluster.leader_among(&cluster.others(leader)).await;
        cluster.node_mut(leader).restart().await;
        leader = next;
    }
    let calls = cluster.node(leader).calls();
    wait_until("all leases have ended", STATE_MAX, async || {
        let left = calls.get_prefix("alive/").await;
        let left = left.map_err(|error| error.to_string())?.len();
        (left == 0).then_some(()).ok_or(left.to_string())
    })
    .await;
    // Nothing is left to run, not even by a node that starts anew and applies it all again.
    (0..3).for_each(|node| cluster.node_mut(node).kill9());
    (0..3).for_each(|node| cluster.node_mut(node).start());
    for node in 0..3 {
        cluster.node_mut(node).wait_ready().await;
    }
    let calls = cluster.node(cluster.leader().await).calls();
    let ran = calls.get_prefix("ran/").await.unwrap();
    let versions: Vec<_> = ran.iter().map(|kv| kv.version).collect();
    assert_eq!(versions, [1; LEASES], "each ran once");
    let mut watch = Watching::prefix(&calls, "", begin).await.unwrap();
    let events = watch.events(2 * LEASES, STATE_MAX).await.unwrap();
    for number in 0..LEASES {
        let revision = |name: String| {
            let event = events.iter().find(|event| key(event) == name);
            event.unwrap().kv.as_ref().unwrap().mod_revision
        };
        let (ended, ran) = (
            revision(format!("alive/{number}")),
            revision(format!("ran/{number}")),
        );
        assert!(ended < ran, "a will runs when its lease's keys are gone");
    }
    assert_same_everywhere(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_will_of_a_claim_runs_before_the_next_one_holds_although_the_leader_is_killed() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let survivor = cluster.others(leader)[0];
    let address = cluster.node(survivor).address().to_owned();
    let calls = cluster.node(survivor).calls();
    let lease = calls.grant(TTLS_S[1]).await.unwrap();
    let token = claim(&address, "jobs", lease).await;
    let of_claim = SetWillRequest {
        lock: "jobs".into(),
        ..will(lease, "state")
    };
    set(&address, of_claim).await;
    let client = Client::connect(cluster.addresses_from(survivor))
        .await
        .unwrap();
    let next = tokio::spawn(client.locks().acquire("jobs").ttl(LONG).into_future());
    wait_until("the next waits in line", STATE_MAX, async || {
        let queue = client.locks().inspect("jobs").await;
        let queue = queue.map_err(|error| error.to_string())?;
        (queue.waiters().len() == 1)
            .then_some(())
            .ok_or("nobody waits".to_owned())
    })
    .await;
    cluster.node_mut(leader).kill9();
    let next: LockGuard = timeout(STATE_MAX, next).await.unwrap().unwrap().unwrap();
    // Whoever holds it finds what its predecessor left.
    let state = calls.get("state").await.unwrap().expect("the will has run");
    assert_eq!(state.version, 1);
    assert!(state.mod_revision > token && next.token().get() > token);
    next.guarded().put("state", "next").await.unwrap();
    cluster.node_mut(leader).restart().await;
    cluster.leader().await;
    for node in cluster.nodes() {
        let state = node.calls().get("state").await.unwrap().unwrap();
        assert_eq!(
            (state.version, &state.value[..]),
            (2, &b"next"[..]),
            "it ran again"
        );
    }
    assert_same_everywhere(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_whose_guard_is_stale_does_nothing() {
    let cluster = Cluster::start(3).await;
    let address = cluster.node(0).address();
    let calls = cluster.node(0).calls();
    let bosses = [
        calls.grant(LONG_TTL_S).await.unwrap(),
        calls.grant(LONG_TTL_S).await.unwrap(),
    ];
    let stale = claim(address, "boss", bosses[0]).await;
    release(address, "boss", stale).await;
    let current = claim(address, "boss", bosses[1]).await;
    for (name, token) in [("stale", stale), ("current", current)] {
        let lease = calls.grant(SHORT_TTL_S).await.unwrap();
        let alive = format!("alive/{name}");
        calls.put_on_lease(&alive, "v", lease).await.unwrap();
        let guard = Guard {
            name: "boss".into(),
            token,
        };
        let will = SetWillRequest {
            guards: vec![guard],
            ..will(lease, &format!("ran/{name}"))
        };
        set(address, will).await;
    }
    until(&calls, "alive/stale", false).await;
    until(&calls, "alive/current", false).await;
    let ran = calls.get_prefix("ran/").await.unwrap();
    let ran: Vec<_> = ran.iter().map(|kv| kv.key.clone()).collect();
    assert_eq!(ran, ["ran/current"], "a lease ends with its will");
}

/// A will is for what is lost. Of three claims with wills one is given back, one ends with a lease
/// that is revoked, and one is ended by force, as a loss is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_back_leaves_no_will_and_what_is_taken_does() {
    let cluster = Cluster::start(3).await;
    let address = cluster.node(0).address();
    let calls = cluster.node(0).calls();
    let client = Client::connect(cluster.addresses()).await.unwrap();
    let mut leases = Vec::new();
    let mut tokens = Vec::new();
    for name in ["released", "revoked", "forced"] {
        let lease = calls.grant(LONG_TTL_S).await.unwrap();
        tokens.push(claim(address, name, lease).await);
        let of_claim = SetWillRequest {
            lock: name.into(),
            ..will(lease, &format!("ran/{name}"))
        };
        set(address, of_claim).await;
        leases.push(lease);
    }
    // The lease has a will of its own, too, that must not run either.
    set(address, will(leases[1], "ran/lease")).await;
    release(address, "released", tokens[0]).await;
    revoke(&calls, leases[1]).await;
    let forced = client
        .locks()
        .force_release("forced", "it is in the way")
        .await;
    forced.unwrap();
    // The lease of the lock that was given back ends without it.
    revoke(&calls, leases[0]).await;
    for name in ["released", "revoked", "forced"] {
        assert!(
            client
                .locks()
                .acquire(name)
                .ttl(LONG)
                .try_now()
                .await
                .unwrap()
                .is_some()
        );
    }
    let ran = calls.get_prefix("ran/").await.unwrap();
    let ran: Vec<_> = ran.iter().map(|kv| (kv.key.clone(), kv.version)).collect();
    assert_eq!(ran, [("ran/forced".into(), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_waits_while_its_lease_is_renewed_and_may_be_replaced_or_taken_back() {
    let cluster = Cluster::start(3).await;
    let address = cluster.node(0).address();
    let calls = cluster.node(0).calls();
    let [kept, replaced, taken_back] = [
        calls.grant(SHORT_TTL_S).await.unwrap(),
        calls.grant(SHORT_TTL_S).await.unwrap(),
        calls.grant(SHORT_TTL_S).await.unwrap(),
    ];
    let begin = calls.put_on_lease("alive/kept", "v", kept).await.unwrap();
    calls
        .put_on_lease("alive/replaced", "v", replaced)
        .await
        .unwrap();
    calls
        .put_on_lease("alive/taken-back", "v", taken_back)
        .await
        .unwrap();
    set(address, will(kept, "ran/kept")).await;
    set(address, will(replaced, "ran/first")).await;
    set(address, will(replaced, "ran/second")).await;
    set(address, will(taken_back, "ran/taken-back")).await;
    let none = SetWillRequest {
        lease: taken_back,
        ..SetWillRequest::default()
    };
    set(address, none).await;
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    let others_end = async {
        loop {
            ticks.tick().await;
            assert_eq!(calls.renew(kept).await.unwrap(), SHORT_TTL_S);
            let left = calls.get_prefix("alive/").await.unwrap();
            if left.iter().all(|kv| kv.key == "alive/kept") {
                return;
            }
        }
    };
    timeout(STATE_MAX, others_end).await.unwrap();
    assert_eq!(calls.get("ran/kept").await.unwrap(), None);
    until(&calls, "ran/kept", true).await;
    // All that came of it, in order: nothing but the wills that stood.
    let mut watch = Watching::prefix(&calls, "ran/", begin).await.unwrap();
    let events = watch.events(2, STATE_MAX).await.unwrap();
    let keys: Vec<_> = events.iter().map(key).collect();
    assert_eq!(keys, ["ran/second", "ran/kept"]);
    assert!(events.iter().all(|event| event.r#type() == EventType::Put));
}
