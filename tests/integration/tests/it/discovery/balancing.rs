//! Calls that are spread over instances, and follow their readiness, their leases and their ends.

use std::{collections::BTreeMap, time::Duration};

use tenure::{BalanceOptions, Balancer, Client, Readiness};
use tenure_testkit::{Cluster, STATE_MAX, wait_until};
use tokio::{sync::oneshot, time::timeout};

use super::{
    LONG, client, ids, instance,
    instances::{Server, call, call_slow},
    register, resolver, view_that,
};

/// Calls of a round.
const CALLS: usize = 300;
/// Least that one of three instances gets of a round: a third of it is its share, and so few come
/// by chance once in more rounds than are ever run.
const SHARE_MIN: usize = 50;
/// Grace of an instance that drains: longer than the test looks.
const GRACE: Duration = Duration::from_secs(60);
/// Age of a view while all nodes are down: time for many attempts to reach one.
const OLD: Duration = Duration::from_secs(3);
/// TTL of an instance that dies.
const SHORT: Duration = Duration::from_secs(3);

/// Makes a round of calls; how many each instance answered.
async fn round(balancer: &Balancer) -> BTreeMap<String, usize> {
    let mut answered = BTreeMap::new();
    for _ in 0..CALLS {
        let name = timeout(STATE_MAX, call(balancer)).await.unwrap().unwrap();
        *answered.entry(name).or_default() += 1;
    }
    answered
}

/// Waits until calls go to these instances alone, and all of them, and makes a round.
async fn round_goes_to(balancer: &Balancer, names: &[&str]) -> BTreeMap<String, usize> {
    // The view is known; the balancer learns of it at about the same time.
    wait_until("the balancer knows", STATE_MAX, async || {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..CALLS / 10 {
            seen.insert(call(balancer).await.map_err(|error| error.to_string())?);
        }
        let same = seen.iter().map(String::as_str).eq(names.iter().copied());
        same.then_some(()).ok_or_else(|| format!("{seen:?}"))
    })
    .await;
    let answered = round(balancer).await;
    let expected: Vec<_> = names.iter().map(ToString::to_string).collect();
    assert_eq!(answered.keys().cloned().collect::<Vec<_>>(), expected);
    answered
}

async fn servers() -> [Server; 3] {
    [
        Server::start("a").await,
        Server::start("b").await,
        Server::start("c").await,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_spread_over_the_instances_that_are_ready() {
    let cluster = Cluster::start(3).await;
    let client = client(&cluster).await;
    let [a, b, c] = servers().await;
    let first = register(&client, &a).await;
    let _others = (register(&client, &b).await, register(&client, &c).await);
    let resolver = resolver(&client).await;
    let balancer = Balancer::new(resolver.clone(), BalanceOptions::default());
    let answered = round_goes_to(&balancer, &["a", "b", "c"]).await;
    println!("{answered:?}");
    assert!(
        answered.values().all(|count| *count >= SHARE_MIN),
        "{answered:?}"
    );

    first.set_ready(false).await.unwrap();
    view_that(&resolver, "a is out", |view| view.get("a").is_none()).await;
    round_goes_to(&balancer, &["b", "c"]).await;

    first.set_ready(true).await.unwrap();
    view_that(&resolver, "a is back", |view| view.get("a").is_some()).await;
    let answered = round_goes_to(&balancer, &["a", "b", "c"]).await;
    assert!(answered["a"] >= SHARE_MIN, "{answered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_drains_gets_no_new_call_and_finishes_those_under_way() {
    let cluster = Cluster::start(3).await;
    let client = client(&cluster).await;
    let [a, b, _] = servers().await;
    let draining = register(&client, &a).await;
    let resolver = resolver(&client).await;
    let balancer = Balancer::new(resolver.clone(), BalanceOptions::default());
    round_goes_to(&balancer, &["a"]).await;
    let slow = balancer.clone();
    let before = a.calls();
    let slow = tokio::spawn(async move { call_slow(&slow).await });
    wait_until("the slow call is under way", STATE_MAX, async || {
        let calls = a.calls();
        (calls > before).then_some(()).ok_or(calls)
    })
    .await;
    let _other = register(&client, &b).await;
    draining.drain(GRACE).await.unwrap();
    let view = view_that(&resolver, "b alone is ready", |view| ids(view) == ["b"]).await;
    assert!(!view.is_all());
    round_goes_to(&balancer, &["b"]).await;
    let calls = a.calls();
    round(&balancer).await;
    assert_eq!(a.calls(), calls, "it got a new call");
    assert!(!slow.is_finished());
    a.answer();
    let answered = timeout(STATE_MAX, slow).await.unwrap().unwrap();
    assert_eq!(answered.unwrap(), "a");
    // It is registered until its grace is over, or it says that it is done.
    let all = client
        .registry()
        .discover("billing", tenure::Selector::any());
    let states = all.await.unwrap();
    let states: Vec<_> = states.iter().map(|it| (it.id(), it.readiness())).collect();
    assert_eq!(
        states,
        [("a", Readiness::Draining), ("b", Readiness::Ready)]
    );
    draining.deregister().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_whose_lease_ends_is_called_no_longer() {
    let cluster = Cluster::start(3).await;
    let client = client(&cluster).await;
    let [a, b, _] = servers().await;
    let _kept = register(&client, &b).await;
    // A program of its own, so that it can die without a word.
    let program = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (registered, done) = oneshot::channel();
    let (addresses, described) = (cluster.addresses(), instance(a.name(), a.port()));
    program.spawn(async move {
        let client = Client::connect(addresses).await.unwrap();
        let request = client.registry().register(described).ttl(SHORT);
        let registration = request.await.unwrap();
        registered.send(()).expect("the test waits for it");
        println!("lost: {}", registration.lost().await);
    });
    timeout(STATE_MAX, done).await.unwrap().unwrap();
    let resolver = resolver(&client).await;
    let balancer = Balancer::new(resolver.clone(), BalanceOptions::default());
    round_goes_to(&balancer, &["a", "b"]).await;
    program.shutdown_background();
    view_that(&resolver, "a is gone", |view| ids(view) == ["b"]).await;
    round_goes_to(&balancer, &["b"]).await;
    let calls = a.calls();
    round(&balancer).await;
    assert_eq!(a.calls(), calls, "it got a new call");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_while_all_nodes_are_down_and_learn_of_new_instances_when_they_are_back() {
    let mut cluster = Cluster::start(3).await;
    let client = client(&cluster).await;
    let [a, b, c] = servers().await;
    let _both = (register(&client, &a).await, register(&client, &b).await);
    let resolver = resolver(&client).await;
    let balancer = Balancer::new(resolver.clone(), BalanceOptions::default());
    round_goes_to(&balancer, &["a", "b"]).await;
    let known = resolver.view().unwrap();
    (0..3).for_each(|node| cluster.node_mut(node).kill9());
    let killed = tokio::time::Instant::now();
    round_goes_to(&balancer, &["a", "b"]).await;
    wait_until("the view is old", STATE_MAX, async || {
        let age = resolver.view().unwrap().age();
        (age >= OLD).then_some(()).ok_or(format!("{age:?}"))
    })
    .await;
    // Attempts to reach the nodes do not make it younger.
    let passed = killed.elapsed();
    let old = resolver.view().unwrap();
    println!(
        "{passed:?} after the end of all nodes the view is {:?} old",
        old.age()
    );
    assert_eq!((ids(&old), old.revision()), (ids(&known), known.revision()));
    assert!(old.age() >= passed, "nobody has confirmed it since");
    round_goes_to(&balancer, &["a", "b"]).await;

    (0..3).for_each(|node| cluster.node_mut(node).start());
    for node in 0..3 {
        cluster.node_mut(node).wait_ready().await;
    }
    let new = client.registry().register(instance(c.name(), c.port()));
    let _new = new.ttl(LONG).await.unwrap();
    let all = ["a", "b", "c"];
    let view = view_that(&resolver, "c is known", |view| ids(view) == all).await;
    assert!(view.age() < killed.elapsed(), "it is of the new quorum");
    assert!(view.revision() > known.revision());
    round_goes_to(&balancer, &all).await;
}
