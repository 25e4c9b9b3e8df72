//! Leases: never shorter than their TTL, not even over a change of leader, and never for ever.

use std::time::{Duration, Instant};

use tenure_proto::{
    etcdserverpb::{LeaseLeasesRequest, LeaseRevokeRequest},
    mvccpb::event::EventType,
};
use tenure_testkit::{Calls, Cluster, STATE_MAX, Watching, assert_same_everywhere, wait_until};
use tonic::Code;

/// TTL of leases that are to run out: the shortest that outlasts an election with the default
/// timeouts.
const SHORT_TTL_S: i64 = 3;
/// Time between two renewals of a short lease.
const RENEW_EVERY: Duration = Duration::from_millis(700);
/// Longest that a lease may outlive its TTL, with the patience after a change of leader.
const LATE_MAX: Duration = Duration::from_secs(20);
/// Longest that a short lease may take on a quiet cluster: a change of leader under load included.
const QUIET_MAX: Duration = Duration::from_secs(8);
/// Longest that a lease with two seconds left may outlive its leader: an election, the two election
/// timeouts that follow it, and patience. As much again as was quiet before it would be far more.
const AFTER_KILL_MAX: Duration = Duration::from_millis(6500);
/// By how much a remaining TTL may exceed what the test's clock says: the reading is in seconds,
/// and cluster time may lag a little behind after each change of leader.
const REMAINING_SLACK_S: i64 = 3;

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.try_into().unwrap())
}

/// Grants a lease with a key on it, and says when the grant was sent.
async fn lease_with_key(calls: &Calls, ttl: i64, key: &str) -> (i64, Instant) {
    let sent = Instant::now();
    let lease = calls.grant(ttl).await.unwrap();
    calls.put_on_lease(key, "v", lease).await.unwrap();
    (lease, sent)
}

/// Waits for the deletion of a key that is watched, and says when it came.
async fn deletion(watch: &mut Watching) -> Instant {
    loop {
        let events = watch.events(1, LATE_MAX).await.unwrap();
        if events
            .iter()
            .any(|event| event.r#type() == EventType::Delete)
        {
            return Instant::now();
        }
    }
}

/// Renews for a while, and checks each time that the lease and its key are there.
async fn keep(calls: &Calls, lease: i64, key: &str, length: Duration) {
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    while begin.elapsed() < length {
        ticks.tick().await;
        assert_eq!(calls.renew(lease).await.unwrap(), SHORT_TTL_S);
        let kv = calls.get(key).await.unwrap();
        assert!(kv.is_some(), "{key} is gone after {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_with_its_keys_and_not_before_its_ttl() {
    let cluster = Cluster::start(3).await;
    for node in cluster.nodes() {
        let calls = node.calls();
        let key = format!("short/{}", node.name());
        let mut watch = Watching::prefix(&calls, &key, 0).await.unwrap();
        let (lease, sent) = lease_with_key(&calls, SHORT_TTL_S, &key).await;
        let lived = deletion(&mut watch).await - sent;
        assert!(lived >= seconds(SHORT_TTL_S), "it ended after {lived:?}");
        assert_eq!(calls.get(&key).await.unwrap(), None);
        let gone = calls.time_to_live(lease).await.unwrap();
        assert_eq!((gone.ttl, gone.granted_ttl), (-1, 0));
        assert_eq!(calls.renew(lease).await.unwrap(), 0, "it is gone");
    }
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn a_lone_node_with_nothing_to_do_goes_on_leading_and_ends_leases() {
    let cluster = Cluster::start(1).await;
    let calls = cluster.node(0).calls();
    let mut watch = Watching::prefix(&calls, "lone", 0).await.unwrap();
    let (_, sent) = lease_with_key(&calls, SHORT_TTL_S, "lone").await;
    // Nothing is written meanwhile, for longer than a silent quorum counts as present.
    let lived = deletion(&mut watch).await - sent;
    assert!(lived >= seconds(SHORT_TTL_S), "it ended after {lived:?}");
    calls.put("lone", "v").await.unwrap();
    assert_eq!(calls.get("lone").await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn a_lease_lives_its_whole_ttl_from_the_last_renewal_through_any_node() {
    let cluster = Cluster::start(3).await;
    for node in cluster.nodes() {
        let calls = node.calls();
        let key = format!("kept/{}", node.name());
        let mut watch = Watching::prefix(&calls, &key, 0).await.unwrap();
        let (lease, _) = lease_with_key(&calls, SHORT_TTL_S, &key).await;
        keep(&calls, lease, &key, seconds(SHORT_TTL_S) + RENEW_EVERY).await;
        let sent = Instant::now();
        assert_eq!(calls.renew(lease).await.unwrap(), SHORT_TTL_S);
        let lived = deletion(&mut watch).await - sent;
        assert!(
            lived >= seconds(SHORT_TTL_S),
            "it ended {lived:?} after a renewal"
        );
    }
}

#[tokio::test]
async fn leases_are_granted_listed_and_revoked_through_any_node() {
    let cluster = Cluster::start(3).await;
    for node in cluster.nodes() {
        let calls = node.calls();
        let key = format!("revoked/{}", node.name());
        let (lease, _) = lease_with_key(&calls, 600, &key).await;
        for other in cluster.nodes() {
            let calls = other.calls();
            let live = calls.time_to_live(lease).await.unwrap();
            assert_eq!(
                (live.granted_ttl, live.keys),
                (600, vec![key.clone().into()])
            );
            let request = LeaseLeasesRequest {};
            let list = calls
                .lease()
                .lease_leases(request)
                .await
                .unwrap()
                .into_inner();
            assert!(list.leases.iter().any(|listed| listed.id == lease));
        }
        let revoke = LeaseRevokeRequest { id: lease };
        calls.lease().lease_revoke(revoke).await.unwrap();
        for other in cluster.nodes() {
            assert_eq!(other.calls().get(&key).await.unwrap(), None);
        }
        let refused = calls.lease().lease_revoke(revoke).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        assert_eq!(refused.message(), "etcdserver: requested lease not found");
        let refused = calls.put_on_lease(&key, "v", lease).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
    }
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn a_killed_leader_neither_shortens_a_lease_nor_sets_it_back_to_its_full_ttl() {
    const TTL_S: i64 = 60;
    let mut cluster = Cluster::start(5).await;
    let sent = Instant::now();
    let lease = cluster.node(0).calls().grant(TTL_S).await.unwrap();
    let mut alive: Vec<_> = (0..5).collect();
    for _ in 0..2 {
        let leader = cluster.leader_among(&alive).await;
        // Time has to pass, or a reset could not be told from the rest.
        let calls = cluster.node(leader).calls();
        let before = calls.time_to_live(lease).await.unwrap().ttl;
        wait_until("some of the TTL has passed", STATE_MAX, async || {
            let now = calls
                .time_to_live(lease)
                .await
                .map_err(|e| e.to_string())?
                .ttl;
            (now + 4 <= before)
                .then_some(())
                .ok_or_else(|| format!("{now} s are left"))
        })
        .await;
        cluster.node_mut(leader).kill9();
        alive.retain(|number| *number != leader);
        let new = cluster.leader_among(&alive).await;
        assert_remaining(&cluster.node(new).calls(), lease, TTL_S, sent).await;
    }
}

/// Checks what is left of a lease of `ttl_s` whose last renewal was sent at `sent`.
async fn assert_remaining(calls: &Calls, lease: i64, ttl_s: i64, sent: Instant) {
    let passed = |at: Duration| i64::try_from(at.as_secs()).unwrap();
    let before = sent.elapsed();
    let live = wait_until("the node knows the lease", STATE_MAX, async || {
        calls.time_to_live(lease).await
    })
    .await;
    let after = sent.elapsed();
    let least = ttl_s - passed(after) - 1;
    let most = ttl_s - passed(before) + REMAINING_SLACK_S;
    println!(
        "{} s of {ttl_s} are left after {after:?}: {least} to {most} may",
        live.ttl
    );
    assert_eq!(live.granted_ttl, ttl_s);
    assert!(
        live.ttl >= least,
        "{} s are left, {least} must be",
        live.ttl
    );
    assert!(live.ttl <= most, "{} s are left, {most} may be", live.ttl);
}

#[tokio::test]
async fn a_lease_that_is_renewed_outlives_a_killed_leader_and_ends_when_renewing_ends() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let survivor = cluster.node(cluster.others(leader)[0]).calls();
    let mut watch = Watching::prefix(&survivor, "failover", 0).await.unwrap();
    let (lease, _) = lease_with_key(&survivor, SHORT_TTL_S, "failover").await;
    keep(&survivor, lease, "failover", RENEW_EVERY * 2).await;
    cluster.node_mut(leader).kill9();
    let (ttl, sent) = wait_until("renewals go on", STATE_MAX, async || {
        let sent = Instant::now();
        survivor.renew(lease).await.map(|ttl| (ttl, sent))
    })
    .await;
    assert_eq!(
        ttl, SHORT_TTL_S,
        "the lease ended before it could be renewed"
    );
    assert!(sent.elapsed() < LATE_MAX);
    keep(&survivor, lease, "failover", seconds(SHORT_TTL_S) * 2).await;
    let sent = Instant::now();
    assert_eq!(survivor.renew(lease).await.unwrap(), SHORT_TTL_S);
    let lived = deletion(&mut watch).await - sent;
    assert!(
        lived >= seconds(SHORT_TTL_S),
        "it ended {lived:?} after a renewal"
    );
}

#[tokio::test]
async fn a_lease_ends_although_its_leader_was_killed() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let survivor = cluster.node(cluster.others(leader)[0]).calls();
    let mut watch = Watching::prefix(&survivor, "orphan", 0).await.unwrap();
    let (_, sent) = lease_with_key(&survivor, SHORT_TTL_S, "orphan").await;
    cluster.node_mut(leader).kill9();
    let lived = deletion(&mut watch).await - sent;
    println!("a lease of {SHORT_TTL_S} s ended after {lived:?} over a change of leader");
    assert!(lived >= seconds(SHORT_TTL_S), "it ended after {lived:?}");
}

/// A leader that misses its quorum for a moment forgets when leases end. It has to learn it again
/// also when nobody else came to lead meanwhile.
#[tokio::test]
async fn a_lease_ends_although_its_leader_missed_its_quorum_and_leads_on() {
    const TTL_S: i64 = 6;
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let calls = cluster.node(leader).calls();
    let mut watch = Watching::prefix(&calls, "orphan", 0).await.unwrap();
    let (_, sent) = lease_with_key(&calls, TTL_S, "orphan").await;
    let leads = |wanted: bool| {
        let node = cluster.node(leader);
        async move || {
            let page = node.page("/metrics").await.body;
            let line = format!("\netcd_server_is_leader {}\n", u8::from(wanted));
            page.contains(&line).then_some(()).ok_or("not yet")
        }
    };
    for follower in cluster.others(leader) {
        cluster.node(follower).pause();
    }
    wait_until("it misses its quorum", STATE_MAX, leads(false)).await;
    for follower in cluster.others(leader) {
        cluster.node(follower).resume();
    }
    wait_until("it leads on", STATE_MAX, leads(true)).await;
    let lived = deletion(&mut watch).await - sent;
    println!("a lease of {TTL_S} s ended after {lived:?}");
    assert!(lived >= seconds(TTL_S), "it ended after {lived:?}");
    assert!(
        lived <= seconds(2 * TTL_S) + QUIET_MAX,
        "it ended after {lived:?}"
    );
}

#[tokio::test]
async fn a_lease_ends_in_time_on_a_quiet_cluster_with_a_short_election_timeout() {
    let cluster = Cluster::builder(3)
        .flag("--heartbeat-interval", "50")
        .flag("--election-timeout", "250")
        .start()
        .await;
    let calls = cluster.node(0).calls();
    let mut watch = Watching::prefix(&calls, "quiet", 0).await.unwrap();
    let (_, sent) = lease_with_key(&calls, SHORT_TTL_S, "quiet").await;
    let lived = deletion(&mut watch).await - sent;
    println!("a lease of {SHORT_TTL_S} s ended after {lived:?}");
    assert!(lived >= seconds(SHORT_TTL_S), "it ended after {lived:?}");
    assert!(lived <= QUIET_MAX, "it ended after {lived:?}");
}

#[tokio::test]
async fn quiet_before_a_leader_was_killed_gives_a_lease_no_time() {
    const TTL_S: i64 = 10;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let survivor = cluster.node(cluster.others(leader)[0]).calls();
    let mut watch = Watching::prefix(&survivor, "idle", 0).await.unwrap();
    let (lease, sent) = lease_with_key(&survivor, TTL_S, "idle").await;
    // Nothing is written while most of the TTL passes; what is asked for here is only read.
    wait_until("most of the TTL has passed", STATE_MAX, async || {
        let left = survivor
            .time_to_live(lease)
            .await
            .map_err(|e| e.to_string())?;
        (left.ttl <= 2)
            .then_some(())
            .ok_or(format!("{} s are left", left.ttl))
    })
    .await;
    let killed = Instant::now();
    cluster.node_mut(leader).kill9();
    let ended = deletion(&mut watch).await;
    let (lived, after) = (ended - sent, ended - killed);
    println!("a lease of {TTL_S} s ended after {lived:?}, {after:?} after its leader");
    assert!(lived >= seconds(TTL_S), "it ended after {lived:?}");
    assert!(
        after <= AFTER_KILL_MAX,
        "it ended {after:?} after its leader"
    );
}

#[tokio::test]
async fn a_leader_that_was_paused_does_not_end_a_lease_that_was_renewed_elsewhere() {
    let cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    let calls = cluster.node(cluster.others(old)[0]).calls();
    let (lease, _) = lease_with_key(&calls, SHORT_TTL_S, "paused").await;
    let watched = calls.put("paused", "begin").await.unwrap();
    calls.put_on_lease("paused", "v", lease).await.unwrap();
    let mut watch = Watching::prefix(&calls, "paused", watched).await.unwrap();
    cluster.node(old).pause();
    let ttl = wait_until("renewals go on", STATE_MAX, async || {
        calls.renew(lease).await
    })
    .await;
    assert_eq!(
        ttl, SHORT_TTL_S,
        "the lease ended before it could be renewed"
    );
    // By the old leader's book the lease is over when it wakes.
    keep(&calls, lease, "paused", seconds(SHORT_TTL_S) * 2).await;
    cluster.node(old).resume();
    keep(&calls, lease, "paused", seconds(SHORT_TTL_S) * 2).await;
    cluster.leader().await;
    let events = watch.events(2, STATE_MAX).await.unwrap();
    assert!(
        events.iter().all(|event| event.r#type() == EventType::Put),
        "the lease was ended in between: {events:?}"
    );
    let next = watch.next(RENEW_EVERY).await.unwrap_err();
    assert_eq!(next.code(), Code::DeadlineExceeded, "an event came: {next}");
    assert_same_everywhere(&cluster).await;
}

#[tokio::test]
async fn a_restart_of_all_nodes_neither_shortens_a_lease_nor_sets_it_back_to_its_full_ttl() {
    const TTL_S: i64 = 120;
    let mut cluster = Cluster::start(3).await;
    let calls = cluster.node(0).calls();
    let (lease, sent) = lease_with_key(&calls, TTL_S, "restart").await;
    wait_until("some of the TTL has passed", STATE_MAX, async || {
        let left = calls
            .time_to_live(lease)
            .await
            .map_err(|e| e.to_string())?
            .ttl;
        (left < TTL_S - 8)
            .then_some(())
            .ok_or_else(|| format!("{left} s are left"))
    })
    .await;
    // Cluster time is as new as the last entry that was written.
    calls.put("now", "v").await.unwrap();
    for number in 0..3 {
        cluster.node_mut(number).kill9();
    }
    for number in 0..3 {
        cluster.node_mut(number).start();
    }
    for number in 0..3 {
        cluster.node_mut(number).wait_ready().await;
    }
    for node in cluster.nodes() {
        assert_remaining(&node.calls(), lease, TTL_S, sent).await;
        let live = node.calls().time_to_live(lease).await.unwrap();
        assert_eq!(live.keys, ["restart"]);
    }
}
