//! Writes whose answer is lost: executed once, and the caller learns what came of them or learns
//! that it is not known. The bugs these tests are named after are those of other clients.

use std::{collections::BTreeSet, time::Duration};

use tenure::{Client, Compare, ErrorKind, Put, Session, Token, Txn};
use tonic::Status;

use crate::fake::{Fake, Fault, PATIENCE};

const TTL: Duration = Duration::from_secs(60);
/// For calls that are to run out of time.
const BRIEF: Duration = Duration::from_millis(400);

async fn session(client: &Client) -> (Session, Client) {
    let session = client.sessions().open(TTL).await.unwrap();
    let exact = session.client();
    (session, exact)
}

fn increment(client: &Client) -> Txn<Client> {
    client
        .txn()
        .when(Compare::missing("counter"))
        .and_then(Put::new("counter", "1"))
}

/// etcd's client sent a transaction again when the server had become unavailable, although it had
/// been committed: it took effect twice, or the condition that had held was reported as failed.
#[tokio::test]
async fn a_transaction_is_not_committed_twice_etcd_14890_18424() {
    let fake = Fake::of(1).await;
    let (_session, exact) = session(&fake.client().await).await;
    fake.nodes[0].plan([Fault::CutAfter]);
    let answer = increment(&exact).await.unwrap();
    assert!(answer.succeeded(), "the first attempt found no counter");
    assert_eq!(fake.executed(), ["txn"]);
    let arrivals = fake.arrivals();
    assert_eq!(arrivals.len(), 2, "the answer was asked for again");
    let ids: Vec<_> = arrivals.iter().map(|arrival| arrival.request).collect();
    assert_eq!(ids, [Some((1, 1, 0)), Some((1, 1, 0))], "under the same id");
    assert_eq!(exact.metrics().unknown_resolved, 1);
}

/// The same without a session: the server could not tell, so the client must not ask.
#[tokio::test]
async fn without_an_id_a_transaction_is_sent_at_most_once_etcd_14890_18424() {
    for fault in [
        Fault::CutAfter,
        Fault::CutBefore,
        Fault::Answer(Status::unavailable("etcdserver: request timed out")),
    ] {
        let fake = Fake::of(2).await;
        let client = fake.client().await;
        fake.nodes[0].plan([fault.clone()]);
        let error = increment(&client).await.unwrap_err();
        assert!(error.outcome_unknown(), "{fault:?}: {error}");
        assert!(!error.is_retryable(), "{fault:?}: {error}");
        assert_eq!(fake.arrivals().len(), 1, "{fault:?}");
        assert_eq!(client.metrics().unknown_reported, 1);
    }
}

/// jetcd left the caller of a transaction whose connection died with an exception that could mean
/// either. Here it means what it says, and it says nothing wrong.
#[tokio::test]
async fn a_connection_that_dies_leaves_no_ambiguity_jetcd_1072() {
    let fake = Fake::of(1).await;
    let client = fake.client_with(|builder| builder.timeout(BRIEF)).await;
    let (_session, exact) = session(&client).await;
    // Committed, and never answered, however often it is asked for: not known, and said so.
    fake.nodes[0].plan(vec![Fault::MuteAfter; 16]);
    let error = increment(&exact).await.unwrap_err();
    assert!(error.outcome_unknown() && !error.is_retryable(), "{error}");
    assert_eq!(fake.executed(), ["txn"]);
    assert!(fake.arrivals().len() > 1, "it was asked for again");
    assert_eq!(exact.metrics().unknown_reported, 1);
    assert_eq!(exact.metrics().unknown_resolved, 0);
}

#[tokio::test]
async fn a_write_lost_on_the_way_there_is_executed_by_the_repeat() {
    let fake = Fake::of(1).await;
    let (_session, exact) = session(&fake.client().await).await;
    fake.nodes[0].plan([Fault::CutBefore, Fault::CutBefore, Fault::CutAfter]);
    exact.put("k", "v").await.unwrap();
    assert_eq!(fake.executed(), ["put k = v"]);
    assert_eq!(fake.nodes[0].planned(), 0);
}

#[tokio::test]
async fn a_write_that_one_node_does_not_answer_is_resolved_at_another() {
    let fake = Fake::of(2).await;
    let client = fake.client_with(|builder| builder.timeout(BRIEF)).await;
    let (_session, exact) = session(&client).await;
    fake.nodes[0].plan([Fault::MuteAfter]);
    exact.put("k", "v").await.unwrap();
    assert_eq!(fake.executed(), ["put k = v"]);
    let nodes: Vec<_> = fake.arrivals().iter().map(|arrival| arrival.node).collect();
    assert_eq!(nodes, [0, 1]);
}

#[tokio::test]
async fn a_refusal_is_found_out_by_a_repeat_as_well() {
    let fake = Fake::of(1).await;
    let token = fake.change(|store| store.hold("lock"));
    let (_session, exact) = session(&fake.client().await).await;
    fake.nodes[0].plan([Fault::CutAfter]);
    let error = exact
        .put("k", "v")
        .guard("lock", Token::new(token - 1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleGuard);
    assert!(
        !error.outcome_unknown(),
        "it is known that nothing was written"
    );
    assert!(fake.executed().is_empty());
    assert_eq!(exact.metrics().unknown_resolved, 1);
}

/// An answer that is given in front of what remembers outcomes tells nothing about the attempt
/// before it.
#[tokio::test]
async fn an_answer_that_does_not_tell_leaves_the_outcome_unknown() {
    let fake = Fake::of(1).await;
    let (_session, exact) = session(&fake.client().await).await;
    let denied = Status::permission_denied("etcdserver: permission denied");
    fake.nodes[0].plan([Fault::CutAfter, Fault::Answer(denied)]);
    let error = exact.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.outcome_unknown(), "it was written");
    assert_eq!(fake.executed(), ["put k = v"]);
}

/// Limits are those of each node: one that is refused here may have been executed there.
#[tokio::test]
async fn a_limit_of_another_node_leaves_the_outcome_unknown() {
    let fake = Fake::of(1).await;
    let (_session, exact) = session(&fake.client().await).await;
    let too_large = Status::invalid_argument("etcdserver: request is too large");
    fake.nodes[0].plan([Fault::CutAfter, Fault::Answer(too_large)]);
    let error = exact.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.outcome_unknown(), "it was written");
    assert_eq!(fake.executed(), ["put k = v"]);
}

/// What is said to a name and a password tells nothing about a write that was sent before.
#[tokio::test]
async fn a_token_that_cannot_be_renewed_leaves_the_outcome_unknown() {
    let fake = Fake::of(1).await;
    fake.store.lock().password = "first".to_owned();
    let known = |builder: tenure::ClientBuilder| builder.credentials("me", "first");
    let (_session, exact) = session(&fake.client_with(known).await).await;
    let stale = Status::unauthenticated("etcdserver: invalid auth token");
    fake.nodes[0].plan([Fault::CutAfter, Fault::Answer(stale)]);
    fake.store.lock().password = "second".to_owned();
    let error = exact.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().contains("password"), "{error}");
    assert!(error.outcome_unknown(), "it was written");
    assert_eq!(fake.executed(), ["put k = v"]);
}

#[tokio::test]
async fn a_session_that_ends_meanwhile_is_reported_and_never_a_second_execution() {
    let fake = Fake::of(1).await;
    let (session, exact) = session(&fake.client().await).await;
    fake.nodes[0].plan([Fault::ForgetAfter]);
    let error = exact.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost, "{error}");
    assert!(error.outcome_unknown() && !error.is_retryable());
    assert_eq!(fake.executed(), ["put k = v"]);

    let arrived = fake.arrivals().len();
    let error = exact.put("k", "w").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost);
    assert!(!error.outcome_unknown(), "nothing was sent");
    assert_eq!(fake.arrivals().len(), arrived);
    assert!(!session.is_held());
}

#[tokio::test]
async fn many_writers_on_a_wire_that_keeps_breaking_write_everything_once() {
    const WRITERS: usize = 8;
    const WRITES: usize = 25;
    let fake = Fake::of(3).await;
    // The wire breaks for everybody, so that attempts of others are lost as well.
    let generous =
        |builder: tenure::ClientBuilder| builder.retry_budget(100, 10_000).breaker(0, TTL);
    let (_session, exact) = session(&fake.client_with(generous).await).await;
    for node in &fake.nodes {
        node.plan((0..20).map(|turn| {
            if turn % 2 == 0 {
                Fault::CutAfter
            } else {
                Fault::CutBefore
            }
        }));
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let exact = exact.clone();
            tokio::spawn(async move {
                for write in 0..WRITES {
                    exact.put(format!("{writer}/{write}"), "v").await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        tokio::time::timeout(PATIENCE, writer)
            .await
            .unwrap()
            .unwrap();
    }
    let executed = fake.executed();
    let different: BTreeSet<_> = executed.iter().collect();
    assert_eq!(executed.len(), WRITERS * WRITES, "nothing twice");
    assert_eq!(different.len(), WRITERS * WRITES, "nothing left out");
    assert!(exact.metrics().unknown_resolved > 0, "the wire did break");
    let highest = fake
        .arrivals()
        .iter()
        .filter_map(|arrival| arrival.request)
        .max();
    let (_, sequence, answered) = highest.unwrap();
    assert_eq!(sequence, (WRITERS * WRITES) as u64, "every number is used");
    assert!(
        sequence - answered <= WRITERS as u64,
        "what is over is not held on to"
    );
}

#[tokio::test]
async fn a_write_that_is_given_up_does_not_hold_up_the_watermark() {
    let fake = Fake::of(1).await;
    let (_session, exact) = session(&fake.client().await).await;
    fake.nodes[0].plan([Fault::Mute]);
    let given_up = tokio::time::timeout(BRIEF, exact.put("k", "1")).await;
    assert!(given_up.is_err());
    exact.put("k", "2").await.unwrap();
    exact.put("k", "3").await.unwrap();
    let ids: Vec<_> = fake
        .arrivals()
        .iter()
        .filter_map(|arrival| arrival.request)
        .collect();
    assert_eq!(ids, [(1, 1, 0), (1, 2, 1), (1, 3, 2)]);
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repeat_by_another_client_harmless() {
    let fake = Fake::of(1).await;
    let first = fake.client().await;
    fake.nodes[0].plan([Fault::CutAfter]);
    let once = first
        .put("order", "17")
        .idempotency_key("order 17")
        .await
        .unwrap();
    let second = fake.client().await;
    let again = second
        .put("order", "17")
        .idempotency_key("order 17")
        .await
        .unwrap();
    assert_eq!(once, again, "the answer is the first one");
    assert_eq!(fake.executed(), ["put order = 17"]);
    assert_eq!(fake.arrivals().len(), 3);
}

#[tokio::test]
async fn a_key_takes_the_place_of_the_number_of_a_session() {
    let fake = Fake::of(1).await;
    let (_session, exact) = session(&fake.client().await).await;
    exact.put("k", "v").idempotency_key("mine").await.unwrap();
    let arrivals = fake.arrivals();
    assert_eq!(arrivals[0].request, None);
    assert_eq!(arrivals[0].idempotency_key.as_deref(), Some("mine"));
}

/// A server that does not know keys would execute the repeat of a write again.
#[tokio::test]
async fn a_key_is_not_sent_to_a_server_that_would_ignore_it() {
    let fake = Fake::of_etcd().await;
    let client = fake.client().await;
    let error = client
        .put("k", "v")
        .idempotency_key("mine")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
    assert!(!error.outcome_unknown(), "nothing was sent");
    let error = client.sessions().open(TTL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
    client.put("k", "plain").await.unwrap();
    assert_eq!(fake.executed(), ["put k = plain"]);
}

#[tokio::test]
async fn a_client_that_writes_exactly_once_opens_sessions_by_itself() {
    let fake = Fake::of(1).await;
    let exact = fake.client_with(|builder| builder.exactly_once(TTL)).await;
    assert_eq!(fake.store.lock().opened, 0, "nothing was written yet");
    let both = futures::future::join(exact.put("a", "1").into_future(), async {
        exact.clone().put("b", "1").await
    });
    let (a, b) = both.await;
    a.and(b).unwrap();
    assert_eq!(
        fake.store.lock().opened,
        1,
        "writes that start together share it"
    );

    fake.nodes[0].plan([Fault::ForgetAfter]);
    let error = exact.put("c", "1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost);
    assert!(error.outcome_unknown());
    exact.put("d", "1").await.unwrap();
    assert_eq!(
        fake.store.lock().opened,
        2,
        "later writes belong to another"
    );
    assert_eq!(fake.executed().len(), 4);
}

/// A session is renewed where it was opened: that of all clones must not hang on one endpoint.
#[tokio::test]
async fn a_client_of_one_endpoint_opens_a_session_of_its_own() {
    let fake = Fake::of(2).await;
    let exact = fake.client_with(|builder| builder.exactly_once(TTL)).await;
    let only = exact.only(fake.nodes[0].wire.address()).unwrap();
    only.put("a", "1").await.unwrap();
    exact.put("b", "1").await.unwrap();
    only.clone().put("c", "1").await.unwrap();
    let arrivals = fake.arrivals();
    let numbers = arrivals.iter().filter_map(|arrival| arrival.request);
    let sessions: Vec<i64> = numbers.map(|(session, ..)| session).collect();
    assert_eq!(sessions, [1, 2, 1]);
}

#[tokio::test]
async fn reads_and_members_are_not_numbered() {
    let fake = Fake::of(1).await;
    let (_session, exact) = session(&fake.client().await).await;
    exact.get("k").await.unwrap();
    exact.txn().and_then(tenure::Get::new("k")).await.unwrap();
    let numbered = fake
        .arrivals()
        .iter()
        .any(|arrival| arrival.request.is_some());
    assert!(!numbered);
}
