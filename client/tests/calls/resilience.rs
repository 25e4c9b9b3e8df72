//! What a client does when servers fail: retries within a budget, breakers, hedges, deadlines,
//! connections of their own.

use std::time::{Duration, Instant};

use tenure::{BreakerState, Client, ErrorKind, Hedge};
use tenure_proto::metadata::RETRY_METADATA;
use tokio::net::TcpListener;
use tonic::Status;

use crate::fake::{Arrival, Fake, Fault, PATIENCE, until};

/// Longer than any test takes: what waits for it waits in vain.
const NEVER: Duration = Duration::from_secs(600);

fn breakers(client: &Client) -> Vec<BreakerState> {
    let endpoints = client.metrics().endpoints;
    endpoints.iter().map(|endpoint| endpoint.breaker).collect()
}

fn unavailable() -> Fault {
    Fault::Answer(Status::unavailable("etcdserver: no leader"))
}

#[tokio::test]
async fn an_endpoint_where_nothing_gets_through_is_left_alone() {
    let fake = Fake::of(2).await;
    let client = fake.client_with(|builder| builder.breaker(3, NEVER)).await;
    fake.nodes[0].wire.take_down();
    let only = client.only(fake.nodes[0].wire.address()).unwrap();
    let error = only
        .with_timeout(Duration::from_secs(2))
        .get("k")
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(breakers(&only), [BreakerState::Open]);
    let tried = fake.nodes[0].wire.accepted();

    // With the breaker open nothing is sent, and the caller learns it at once.
    let started = Instant::now();
    let error = only.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(!error.outcome_unknown() && error.is_retryable());
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(fake.nodes[0].wire.accepted(), tried);

    // A client that has another endpoint goes on there.
    for _ in 0..5 {
        client.get("k").await.unwrap();
    }
    assert_eq!(breakers(&client)[1], BreakerState::Closed);
}

#[tokio::test]
async fn a_breaker_closes_when_the_endpoint_answers_again() {
    let fake = Fake::of(1).await;
    let pause = Duration::from_millis(50);
    let client = fake.client_with(|builder| builder.breaker(2, pause)).await;
    fake.nodes[0].wire.take_down();
    let failing = client.with_timeout(Duration::from_secs(1));
    failing.get("k").await.unwrap_err();
    assert_ne!(breakers(&client), [BreakerState::Closed]);
    fake.nodes[0].wire.restore();
    // A call that finds the breaker open waits for the probe instead of failing.
    client.get("k").await.unwrap();
    assert_eq!(breakers(&client), [BreakerState::Closed]);
}

#[tokio::test]
async fn errors_of_a_server_that_answers_do_not_open_a_breaker() {
    let fake = Fake::of(1).await;
    let client = fake.client_with(|builder| builder.breaker(2, NEVER)).await;
    fake.nodes[0].plan(vec![unavailable(); 6]);
    client.get("k").await.unwrap();
    assert_eq!(breakers(&client), [BreakerState::Closed]);
}

#[tokio::test]
async fn repeats_end_when_the_budget_is_spent() {
    let fake = Fake::of(1).await;
    let few = |builder: tenure::ClientBuilder| builder.retry_budget(0, 3).attempts_max(100);
    let client = fake.client_with(few).await;
    fake.nodes[0].plan(vec![unavailable(); 1_000]);
    // Clones share the budget: what all of them repeat is bounded.
    let started = Instant::now();
    for _ in 0..20 {
        let error = client.clone().get("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    let arrived = fake.arrivals().len();
    assert!(
        arrived <= 20 + 3 + 3 * seconds,
        "{arrived} requests arrived"
    );
    let metrics = client.metrics();
    assert_eq!(metrics.requests, 20);
    assert_eq!(metrics.retries, (arrived - 20) as u64);
    assert!(metrics.budget_refusals > 0);
}

#[tokio::test]
async fn attempts_that_found_no_connection_cost_no_budget() {
    let fake = Fake::of(1).await;
    let healthy = fake.nodes[0].wire.address();
    // Nothing listens at the first: the port is reserved and never served.
    let builder = Client::builder().endpoints(["127.0.0.1:1", &healthy]);
    let client = builder
        .timeout(PATIENCE)
        .retry_budget(0, 0)
        .connect()
        .await
        .unwrap();
    client.put("k", "v").await.unwrap();
    let metrics = client.metrics();
    assert_eq!((metrics.retries, metrics.budget_refusals), (1, 0));
}

#[tokio::test]
async fn a_server_says_when_to_try_again() {
    let fake = Fake::of(1).await;
    let client = fake.client().await;
    let pause = Duration::from_millis(300);
    let pushed_back = |value: &'static str| {
        let mut status = Status::resource_exhausted("etcdserver: too many requests");
        let value = tonic::metadata::MetadataValue::from_static(value);
        status.metadata_mut().insert(RETRY_METADATA, value);
        Fault::Answer(status)
    };
    fake.nodes[0].plan([pushed_back("300")]);
    let started = Instant::now();
    client.put("k", "v").await.unwrap();
    assert!(started.elapsed() >= pause);
    fake.nodes[0].plan([pushed_back("-1")]);
    let error = client.put("k", "w").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert_eq!(fake.arrivals().len(), 3, "never means never");
}

#[tokio::test]
async fn a_read_that_is_not_answered_goes_to_a_second_endpoint() {
    let fake = Fake::of(2).await;
    let soon = Hedge::After(Duration::from_millis(20));
    let client = fake.client_with(|builder| builder.hedge(soon)).await;
    fake.nodes[0].plan([Fault::Mute]);
    client.get("k").await.unwrap();
    let nodes: Vec<_> = fake.arrivals().iter().map(|arrival| arrival.node).collect();
    assert_eq!(nodes, [0, 1]);
    let metrics = client.metrics();
    assert_eq!((metrics.hedges_sent, metrics.hedges_won), (1, 1));
    assert_eq!(metrics.retries, 0);
}

#[tokio::test]
async fn a_hedge_that_fails_does_not_take_the_first_answer_away() {
    let fake = Fake::of(2).await;
    let soon = Hedge::After(Duration::from_millis(20));
    let client = fake.client_with(|builder| builder.hedge(soon)).await;
    fake.nodes[0].plan([Fault::Mute]);
    fake.nodes[1].plan([Fault::Answer(Status::internal("broken"))]);
    let call = client
        .with_timeout(Duration::from_millis(500))
        .get("k")
        .into_future();
    let error = call.await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::DeadlineExceeded,
        "the first was waited for"
    );
    assert_eq!(client.metrics().hedges_won, 0);
}

#[tokio::test]
async fn a_call_whose_time_is_up_says_why_it_was_tried_again() {
    let fake = Fake::of(1).await;
    let client = fake.client().await;
    fake.nodes[0].plan([unavailable(), Fault::Mute]);
    let call = client
        .with_timeout(Duration::from_millis(500))
        .get("k")
        .into_future();
    let error = call.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.to_string().contains("no leader"), "{error}");
}

#[tokio::test]
async fn writes_are_never_hedged_and_hedges_keep_to_the_budget() {
    let fake = Fake::of(2).await;
    let at_once = |builder: tenure::ClientBuilder| {
        builder
            .hedge(Hedge::After(Duration::ZERO))
            .retry_budget(0, 0)
    };
    let client = fake.client_with(at_once).await;
    client.put("k", "v").await.unwrap();
    client.get("k").await.unwrap();
    let calls: Vec<_> = fake.arrivals().iter().map(|arrival| arrival.call).collect();
    assert_eq!(calls, ["put", "range"]);
    assert_eq!(client.metrics().hedges_sent, 0);
}

#[tokio::test]
async fn a_silent_endpoint_does_not_use_up_the_deadline_of_a_read() {
    let fake = Fake::of(2).await;
    let client = fake
        .client_with(|builder| builder.timeout(Duration::from_secs(4)))
        .await;
    fake.nodes[0].plan([Fault::Mute]);
    client.get("k").await.unwrap();
    client.get("k").await.unwrap();
    let nodes = |arrival: &Arrival| arrival.node;
    let asked: Vec<_> = fake.arrivals().iter().map(nodes).collect();
    assert_eq!(asked, [0, 1, 1], "the silent one is avoided from then on");
    assert_eq!(client.metrics().retries, 1);
    assert_eq!(client.metrics().hedges_sent, 0, "nobody asked for hedges");
}

#[tokio::test]
async fn a_silent_endpoint_does_not_use_up_the_deadline_of_an_opening() {
    let fake = Fake::of(1).await;
    // Connections to it are established, and nobody serves them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::builder()
        .endpoints([
            silent.local_addr().unwrap().to_string(),
            fake.nodes[0].wire.address(),
        ])
        .timeout(Duration::from_secs(4));
    let client = client.connect().await.unwrap();
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_slow_read_is_not_given_up_for_another_attempt() {
    let fake = Fake::of(2).await;
    let client = fake
        .client_with(|builder| builder.timeout(Duration::from_secs(2)))
        .await;
    for node in &fake.nodes {
        node.plan([Fault::Mute]);
    }
    let error = client.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    assert_eq!(
        fake.arrivals().len(),
        2,
        "each is asked once, and waited for"
    );
}

#[tokio::test]
async fn the_longest_duration_means_no_limit() {
    let fake = Fake::of(2).await;
    let hedge = Hedge::After(Duration::MAX);
    let client = fake
        .client_with(|builder| builder.timeout(Duration::MAX).hedge(hedge))
        .await;
    client.put("k", "v").await.unwrap();
    client.get("k").await.unwrap();
    client.get("k").timeout(Duration::MAX).await.unwrap();
    assert_eq!(fake.arrivals().len(), 3);
}

#[tokio::test]
async fn the_deadline_of_a_call_is_told_to_the_server() {
    let fake = Fake::of(1).await;
    let client = fake.client().await;
    client
        .get("k")
        .timeout(Duration::from_secs(7))
        .await
        .unwrap();
    let told = fake.arrivals()[0].timeout.clone().unwrap();
    let (number, unit) = told.split_at(told.len() - 1);
    let number: u64 = number.parse().unwrap();
    let told = match unit {
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        other => panic!("gRPC has no unit {other:?}"),
    };
    assert!(
        told <= Duration::from_secs(7) && told > Duration::from_secs(1),
        "{told:?}"
    );
}

#[tokio::test]
async fn renewals_and_bulk_traffic_have_connections_of_their_own() {
    let fake = Fake::of(1).await;
    let client = fake.client().await;
    let wire = &fake.nodes[0].wire;
    client.get("k").await.unwrap();
    assert_eq!(wire.accepted(), 1);
    let session = client
        .sessions()
        .open(Duration::from_millis(300))
        .await
        .unwrap();
    until("a renewal", || client.metrics().renewals > 0).await;
    assert_eq!(wire.accepted(), 2, "renewals");
    let stream = client.get("k").stream().await.unwrap();
    assert_eq!(wire.accepted(), 3, "streams of ranges");
    client.put("k", "v").await.unwrap();
    assert_eq!(wire.accepted(), 3, "calls share one");
    drop((session, stream));
}
