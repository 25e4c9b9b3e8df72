//! Log-ins: one for all calls and clones, another once a token is rejected, none where none is
//! asked for.

use futures::future::join_all;
use tenure::{Client, ClientBuilder, ErrorKind};
use tonic::Status;

use crate::fake::{Fake, Fault};

fn alice(builder: ClientBuilder) -> ClientBuilder {
    builder.credentials("alice", "secret")
}

async fn fake(nodes: usize) -> std::sync::Arc<Fake> {
    let fake = Fake::of(nodes).await;
    fake.store.lock().password = "secret".to_owned();
    fake
}

/// The tokens that arrived with calls of the key space.
fn tokens(fake: &Fake) -> Vec<String> {
    let arrivals = fake.arrivals().into_iter();
    arrivals.map(|it| it.token.unwrap_or_default()).collect()
}

fn logins(fake: &Fake) -> u32 {
    fake.store.lock().calls("authenticate")
}

#[tokio::test]
async fn all_calls_clones_and_endpoints_share_one_login() {
    let fake = fake(3).await;
    let client = fake.client_with(alice).await;
    let reads = (0..20)
        .map(|_| client.clone())
        .map(|client| async move { client.get("k").await.map(drop) });
    assert!(join_all(reads).await.iter().all(Result::is_ok));
    for endpoint in client.endpoints() {
        client.only(endpoint).unwrap().get("k").await.unwrap();
    }
    assert_eq!(logins(&fake), 1);
    assert_eq!(tokens(&fake), vec!["token-1"; 23]);
}

#[tokio::test]
async fn a_rejected_token_is_replaced_and_the_call_repeated() {
    for stale in [
        Status::unauthenticated("etcdserver: invalid auth token"),
        Status::invalid_argument("etcdserver: revision of auth store is old"),
        Status::invalid_argument("etcdserver: user name is empty"),
    ] {
        let fake = fake(1).await;
        let client = fake.client_with(alice).await;
        fake.nodes[0].plan([Fault::Answer(stale)]);
        client.put("k", "v").await.unwrap();
        assert_eq!(tokens(&fake), ["token-1", "token-2"]);
        assert_eq!(fake.executed(), ["put k = v"]);
    }
}

#[tokio::test]
async fn a_call_whose_second_token_is_rejected_fails() {
    let fake = fake(1).await;
    let client = fake.client_with(alice).await;
    fake.store.lock().accepted = Some("none".to_owned());
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(
        !error.outcome_unknown(),
        "it was refused before it was read"
    );
    assert_eq!(logins(&fake), 2);
}

#[tokio::test]
async fn a_token_that_is_rejected_for_many_calls_is_replaced_once() {
    let fake = fake(1).await;
    let client = fake.client_with(alice).await;
    client.get("k").await.unwrap();
    fake.store.lock().accepted = Some("token-2".to_owned());
    let reads = (0..20).map(|_| client.get("k"));
    let reads = join_all(reads.map(IntoFuture::into_future)).await;
    assert!(reads.iter().all(Result::is_ok));
    assert_eq!(logins(&fake), 2);
}

#[tokio::test]
async fn a_wrong_password_fails_the_call_and_shows_nowhere() {
    let fake = fake(1).await;
    let wrong = |builder: ClientBuilder| builder.credentials("alice", "hunter2");
    let client: Client = fake.client_with(wrong).await;
    let error = client.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("invalid user ID or password"));
    assert!(!error.outcome_unknown());
    assert!(!format!("{error} {error:?} {client:?}").contains("hunter2"));
    assert_eq!((logins(&fake), fake.arrivals().len()), (1, 0));
}

#[tokio::test]
async fn where_authentication_is_off_calls_carry_no_token_until_one_is_asked_for() {
    let fake = fake(1).await;
    fake.store.lock().open = true;
    let client = fake.client_with(alice).await;
    for _ in 0..3 {
        client.get("k").await.unwrap();
    }
    assert_eq!(logins(&fake), 1, "it is not asked again");
    fake.change(|store| {
        store.open = false;
        store.accepted = Some("token-2".to_owned());
    });
    client.put("k", "v").await.unwrap();
    assert_eq!(tokens(&fake), ["", "", "", "", "token-2"]);
}

#[tokio::test]
async fn a_given_token_is_sent_and_never_replaced() {
    let fake = fake(1).await;
    let given = |builder: ClientBuilder| alice(builder).token("given");
    let client = fake.client_with(given).await;
    client.get("k").await.unwrap();
    fake.store.lock().accepted = Some("other".to_owned());
    let error = client.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(tokens(&fake), ["given", "given"]);
    assert_eq!(logins(&fake), 0);
}

#[tokio::test]
async fn a_login_that_gets_no_answer_is_tried_at_another_endpoint() {
    let fake = fake(2).await;
    let client = fake.client_with(alice).await;
    fake.plan(&["authenticate"], [Fault::CutBefore]);
    client.get("k").await.unwrap();
    assert_eq!(logins(&fake), 2);
}
