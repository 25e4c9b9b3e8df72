//! Sessions over time: renewed while somebody holds on to them, lost before the server may end
//! them, closed at once.

use std::time::Duration;

use tenure::{ErrorKind, LeaseLoss};
use tokio::time::Instant;
use tonic::Status;

use crate::fake::{Fake, Fault, until};

/// Less than a second, so that rounding to seconds would show; enough for a machine that stalls.
const SHORT: Duration = Duration::from_millis(900);
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_short_session_is_renewed_for_as_long_as_somebody_holds_on_to_it() {
    let fake = Fake::of(1).await;
    let client = fake.client().await;
    let opened = Instant::now();
    let session = client.sessions().open(SHORT).await.unwrap();
    assert_eq!(
        session.ttl(),
        SHORT,
        "not rounded up to seconds by renewals"
    );
    until("renewals beyond the first time to live", || {
        client.metrics().renewals >= 5 && opened.elapsed() > SHORT * 2
    })
    .await;
    assert!(session.is_held());
    assert_eq!(session.ttl(), SHORT);
    assert!(session.deadline() < Instant::now() + SHORT);
    session.client().put("k", "v").await.unwrap();

    let exact = session.client();
    drop(session);
    let renewed = client.metrics().renewals;
    until("a client of the session renews it too", || {
        client.metrics().renewals > renewed
    })
    .await;
    drop(exact);
    until("nobody holds on to it", || fake.store.lock().renewing == 0).await;
}

#[tokio::test]
async fn a_session_that_is_not_renewed_is_lost_before_it_can_end_and_sends_nothing_more() {
    let fake = Fake::of(1).await;
    let client = fake.client().await;
    let opened = Instant::now();
    let ttl = Duration::from_millis(600);
    fake.mode(|modes| modes.mute = true);
    let session = client.sessions().open(ttl).await.unwrap();
    let deadline = session.deadline();
    assert!(deadline < Instant::now() + ttl && deadline >= opened + ttl * 9 / 10);
    assert_eq!(session.lost().await, LeaseLoss::Unconfirmed);
    assert!(Instant::now() >= deadline);
    assert!(!session.is_held());
    let error = session.client().put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost);
    assert!(!error.outcome_unknown());
    assert_eq!(fake.arrivals(), [], "nothing was sent");
    assert!(
        fake.store.lock().leases().len() == 1,
        "the server still knows it"
    );
}

#[tokio::test]
async fn a_session_that_the_server_ended_is_lost_with_the_next_renewal() {
    let fake = Fake::of(1).await;
    let session = fake
        .client()
        .await
        .sessions()
        .open(SHORT * 3)
        .await
        .unwrap();
    fake.change(crate::fake::Store::end_leases);
    assert_eq!(session.lost().await, LeaseLoss::Ended);
}

#[tokio::test]
async fn closing_ends_a_session_at_both_ends() {
    let fake = Fake::of(1).await;
    let session = fake.client().await.sessions().open(LONG).await.unwrap();
    let exact = session.client();
    let other = session.clone();
    session.close().await.unwrap();
    assert!(fake.store.lock().leases().is_empty());
    assert_eq!(other.lost().await, LeaseLoss::Closed);
    let error = exact.put("k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost);
    let arrivals = fake.arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.call == "close"));
    assert_eq!(
        other.close().await.unwrap_err().kind(),
        ErrorKind::SessionLost
    );
}

/// The session was ended; that it is not found by a repeat says so.
#[tokio::test]
async fn closing_is_found_out_when_its_answer_is_lost() {
    let fake = Fake::of(1).await;
    let session = fake.client().await.sessions().open(LONG).await.unwrap();
    fake.nodes[0].plan([Fault::CutAfter]);
    session.close().await.unwrap();
    assert_eq!(fake.arrivals().len(), 2);
    assert!(fake.store.lock().leases().is_empty());
}

#[tokio::test]
async fn a_session_that_may_have_been_closed_is_reported_as_such() {
    for (answer, kind) in [
        (
            Status::permission_denied("etcdserver: permission denied"),
            ErrorKind::PermissionDenied,
        ),
        // It would tell of a write that is remembered; ends of sessions are not.
        (
            Status::failed_precondition("etcdserver: not now"),
            ErrorKind::FailedPrecondition,
        ),
    ] {
        let fake = Fake::of(1).await;
        let session = fake.client().await.sessions().open(LONG).await.unwrap();
        fake.nodes[0].plan([Fault::CutAfter, Fault::Answer(answer)]);
        let error = session.close().await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.outcome_unknown() && !error.is_retryable(), "{kind:?}");
    }
}
