//! Calls against endpoints that refuse, stay silent or break off: where the attempt goes, how long
//! it takes and what the error allows the caller to conclude. No server is needed.

use std::time::Duration;

use tenure::{Client, Compare, Error, ErrorKind, Get, LeaseId, Put};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Long enough for a connection on this machine, short enough for a test.
const TIMEOUT: Duration = Duration::from_millis(300);
/// Nothing listens here: the port is reserved and never served.
const REFUSING: &str = "127.0.0.1:1";

/// A listener whose connections are handed out and never answered.
async fn listen() -> (String, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener
        .local_addr()
        .expect("a bound listener has an address")
        .to_string();
    let (accepted, connections) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if accepted.send(stream).await.is_err() {
                break;
            }
        }
    });
    (address, connections)
}

async fn client(endpoints: &[&str]) -> Client {
    let builder = Client::builder().endpoints(endpoints).timeout(TIMEOUT);
    builder
        .connect()
        .await
        .expect("the endpoints are addresses")
}

fn assert_certainly_not_executed(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.is_retryable() && !error.outcome_unknown(), "{error}");
}

#[tokio::test]
async fn a_write_without_a_connection_is_certainly_not_executed() {
    let error = client(&[REFUSING]).await.put("k", "v").await.unwrap_err();
    assert_certainly_not_executed(&error);
    assert!(error.message().contains(REFUSING), "{error}");
}

#[tokio::test]
async fn a_write_that_is_not_answered_in_time_has_an_unknown_outcome() {
    let (address, _connections) = listen().await;
    let client = client(&[&address]).await;
    for error in [
        client.put("k", "v").await.unwrap_err(),
        client
            .txn()
            .when(Compare::missing("k"))
            .and_then(Put::new("k", "v"))
            .await
            .unwrap_err(),
        client.leases().revoke(LeaseId::new(1)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
        assert!(error.outcome_unknown() && !error.is_retryable(), "{error}");
    }
}

#[tokio::test]
async fn a_read_that_is_not_answered_in_time_may_be_repeated() {
    let (address, _connections) = listen().await;
    let client = client(&[&address]).await;
    for error in [
        client.get("k").await.unwrap_err(),
        client.txn().and_then(Get::new("k")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
        assert!(error.is_retryable() && !error.outcome_unknown(), "{error}");
    }
}

#[tokio::test]
async fn a_call_goes_to_another_endpoint_when_the_first_refuses() {
    let (address, mut connections) = listen().await;
    let client = client(&[REFUSING, &address]).await;
    let call = tokio::spawn(client.put("k", "v").into_future());
    let mut stream = connections
        .recv()
        .await
        .expect("the second endpoint is asked");
    let mut preface = [0; 3];
    stream.read_exact(&mut preface).await.unwrap();
    assert_eq!(&preface, b"PRI", "the client speaks HTTP/2");
    assert!(call.await.unwrap().unwrap_err().outcome_unknown());
}

#[tokio::test]
async fn a_write_whose_connection_breaks_is_not_sent_again() {
    let (address, mut connections) = listen().await;
    let client = client(&[&address]).await;
    let call = tokio::spawn(client.put("k", "the value").into_future());
    let mut stream = connections.recv().await.expect("the endpoint is asked");
    read_until(&mut stream, b"the value").await;
    drop(stream);
    let error = call.await.unwrap().unwrap_err();
    assert!(error.outcome_unknown() && !error.is_retryable(), "{error}");
    assert!(
        connections.try_recv().is_err(),
        "there is no second attempt"
    );
}

#[tokio::test]
async fn a_call_may_set_a_deadline_of_its_own() {
    let (address, _connections) = listen().await;
    let patient = Client::connect([address]).await.unwrap();
    let started = std::time::Instant::now();
    let error = patient.get("k").timeout(TIMEOUT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    let error = patient
        .with_timeout(TIMEOUT)
        .leases()
        .list()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "both ended before the default deadline"
    );
}

#[tokio::test]
async fn a_watch_that_cannot_start_says_so() {
    let error = client(&[REFUSING]).await.watch("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
}

#[tokio::test]
async fn a_connection_error_names_every_endpoint_that_was_tried() {
    let other = "127.0.0.1:2";
    let client = client(&[REFUSING, other]).await;
    let error = client.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    for endpoint in [REFUSING, other] {
        let named = error.message().matches(endpoint).count();
        assert!(named >= 1, "{endpoint} is not in: {error}");
    }
}

#[tokio::test]
async fn connecting_does_not_dial_and_ready_does() {
    let (address, mut connections) = listen().await;
    let client = client(&[&address]).await;
    tokio::task::yield_now().await;
    assert!(connections.try_recv().is_err(), "no connection is made");
    let error = client.ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    connections.recv().await.expect("a connection is made");
}

#[tokio::test]
async fn ready_says_that_no_endpoint_can_be_reached() {
    let error = client(&[REFUSING]).await.ready().await.unwrap_err();
    assert_certainly_not_executed(&error);
    assert!(error.message().contains(REFUSING), "{error}");
}

async fn read_until(stream: &mut TcpStream, wanted: &[u8]) {
    let mut seen = Vec::new();
    while !seen.windows(wanted.len()).any(|window| window == wanted) {
        let read = stream
            .read_buf(&mut seen)
            .await
            .expect("the client is connected");
        assert!(
            read > 0,
            "the client sends what is awaited before it closes"
        );
    }
}
