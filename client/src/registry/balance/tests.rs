//! The balancer over instances that are registered with a server in this process.

use std::{
    collections::BTreeMap,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::StreamExt;
use http::{HeaderValue, Request, Response};
use parking_lot::Mutex;
use tokio::time::timeout;
use tonic::body::Body;
use tower::{Service, ServiceExt, discover::Change};

use super::{BalanceOptions, Balancer, STATUS, UNAVAILABLE};
use crate::{Client, Instance, Registration, Selector, fake::Fake};

/// Test timeout: longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Faults and responses of the instances.
#[derive(Debug, Default)]
struct World {
    calls: BTreeMap<String, u32>,
    /// The address of the instance that fails.
    failing: Option<String>,
}

/// An instance that returns an empty response.
#[derive(Debug, Clone)]
struct Echo {
    address: String,
    world: Arc<Mutex<World>>,
}

impl Service<Request<()>> for Echo {
    type Response = Response<Body>;
    type Error = std::io::Error;
    type Future = Ready<Result<Response<Body>, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut world = self.world.lock();
        *world.calls.entry(self.address.clone()).or_default() += 1;
        let mut answer = Response::new(Body::empty());
        if world.failing.as_ref() == Some(&self.address) {
            let status = HeaderValue::from_static(UNAVAILABLE);
            answer.headers_mut().insert(STATUS, status);
        }
        ready(Ok(answer))
    }
}

fn options(world: &Arc<Mutex<World>>) -> BalanceOptions<Echo> {
    let world = Arc::clone(world);
    BalanceOptions::with(move |address| {
        Ok(Echo {
            address: address.to_owned(),
            world: Arc::clone(&world),
        })
    })
}

async fn register(client: &Client, id: &str, port: u16) -> Registration {
    let instance = Instance::new("s", id).endpoint("grpc", "h", port).zone(id);
    client.registry().register(instance).await.unwrap()
}

async fn balancer(client: &Client, options: BalanceOptions<Echo>, peers: usize) -> Balancer<Echo> {
    let resolver = client.registry().resolver("s", Selector::default());
    let balancer = Balancer::new(resolver.clone(), options);
    let mut changes = resolver;
    let known = async {
        while balancer.peers.read().len() != peers {
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::task::yield_now() => {}
            }
        }
    };
    timeout(PATIENCE, known).await.unwrap();
    balancer
}

#[tokio::test]
async fn calls_are_spread_and_keep_away_from_an_instance_that_fails() {
    let (_fake, client) = Fake::start().await;
    let _both = (
        register(&client, "a", 1).await,
        register(&client, "b", 2).await,
    );
    let world = Arc::<Mutex<World>>::default();
    let balancer = balancer(&client, options(&world), 2).await;
    for _ in 0..100 {
        drop(balancer.clone().oneshot(Request::new(())).await.unwrap());
    }
    let calls = std::mem::take(&mut world.lock().calls);
    assert!(
        calls["http://h:1"] > 20 && calls["http://h:2"] > 20,
        "{calls:?}"
    );

    world.lock().failing = Some("http://h:1".to_owned());
    for _ in 0..200 {
        drop(balancer.clone().oneshot(Request::new(())).await.unwrap());
    }
    let calls = &world.lock().calls;
    assert_eq!(
        calls["http://h:1"], 5,
        "it is left alone after five failures in a row"
    );
}

#[tokio::test]
async fn a_call_is_under_way_until_its_answer_is_dropped() {
    let (_fake, client) = Fake::start().await;
    let _one = register(&client, "a", 1).await;
    let balancer = balancer(&client, options(&Arc::default()), 1).await;
    let peer = Arc::clone(&balancer.peers.read()[0]);
    let in_flight = || peer.load(tokio::time::Instant::now()).in_flight;
    let answer = balancer.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(in_flight(), 1);
    drop(answer);
    assert_eq!(in_flight(), 0);
}

#[tokio::test]
async fn calls_stay_in_the_zone() {
    let (_fake, client) = Fake::start().await;
    let _both = (
        register(&client, "a", 1).await,
        register(&client, "b", 2).await,
    );
    let world = Arc::<Mutex<World>>::default();
    let balancer = balancer(&client, options(&world).zone("b"), 2).await;
    for _ in 0..50 {
        drop(balancer.clone().oneshot(Request::new(())).await.unwrap());
    }
    assert_eq!(
        world.lock().calls,
        BTreeMap::from([("http://h:2".to_owned(), 50)])
    );
}

#[tokio::test]
async fn without_an_instance_a_call_says_so() {
    let (_fake, client) = Fake::start().await;
    let other = Instance::new("s", "a").endpoint("http", "h", 1);
    let _other = client.registry().register(other).await.unwrap();
    let balancer = balancer(&client, options(&Arc::default()), 0).await;
    let error = balancer.oneshot(Request::new(())).await.unwrap_err();
    let status = error.downcast::<tonic::Status>().unwrap();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(status.message(), "no instance of \"s\" is known");
}

#[tokio::test]
async fn instances_come_and_go_as_changes_for_towers_balancers() {
    let (_fake, client) = Fake::start().await;
    let first = register(&client, "a", 1).await;
    let resolver = client.registry().resolver("s", Selector::default());
    resolver.ready().await.unwrap();
    let mut changes = Box::pin(resolver.services(options(&Arc::default())));
    let mut next = async || match timeout(PATIENCE, changes.next()).await.unwrap().unwrap() {
        Ok(Change::Insert(id, echo)) => format!("+{id} {}", echo.address),
        Ok(Change::Remove(id)) => format!("-{id}"),
        Err(never) => match never {},
    };
    assert_eq!(next().await, "+a http://h:1");
    // The same instance at another address is another service.
    let _second = register(&client, "a", 2).await;
    let moved = next().await;
    assert!(["+a http://h:2", "-a"].contains(&moved.as_str()), "{moved}");
    if moved == "-a" {
        assert_eq!(next().await, "+a http://h:2");
    }
    drop(first);
    let third = register(&client, "b", 3).await;
    assert_eq!(next().await, "+b http://h:3");
    third.deregister().await.unwrap();
    assert_eq!(next().await, "-b");
}

#[test]
fn addresses_of_ipv6_are_put_in_brackets() {
    let address = |host| {
        super::address(&crate::InstanceEndpoint {
            protocol: "grpc",
            host,
            port: 7,
        })
    };
    assert_eq!(address("fe80::1"), "http://[fe80::1]:7");
    assert_eq!(address("[fe80::1]"), "http://[fe80::1]:7");
    assert_eq!(address("a.example"), "http://a.example:7");
}
