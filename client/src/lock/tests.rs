//! Tests of locks against an in-process server with fault injection.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};
use tonic::Status;

use crate::{
    ClaimLoss, Client, Error, ErrorKind, LockGuard, LockRequest,
    fake::{Fake, Fault, Store},
};

/// Test timeout: longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn denied() -> Fault {
    Fault::Answer(Status::permission_denied("etcdserver: permission denied"))
}

async fn holding(client: &Client, name: &str) -> LockGuard {
    client
        .locks()
        .acquire(name)
        .await
        .expect("the lock is free")
}

/// Starts to wait for a lock, and returns when the server has the claim.
async fn waiting(fake: &Fake, request: LockRequest) -> JoinHandle<Result<LockGuard, Error>> {
    let before = fake.store.lock().claimed;
    let waiter = tokio::spawn(request.into_future());
    fake.until(|store| store.claimed > before).await;
    waiter
}

async fn granted(waiter: JoinHandle<Result<LockGuard, Error>>) -> LockGuard {
    let outcome = timeout(PATIENCE, waiter)
        .await
        .expect("it is granted in time");
    outcome.expect("no panic").expect("it is granted")
}

#[tokio::test]
async fn a_free_lock_is_granted_and_given_back() {
    let (fake, client) = Fake::start().await;
    let guard = client
        .locks()
        .acquire("a")
        .principal("me")
        .value("here")
        .await
        .unwrap();
    let holder = fake.store.lock().holder("a").unwrap();
    assert_eq!(guard.token().get(), holder.token.0);
    assert_eq!(guard.token_of("a"), Some(guard.token()));
    assert_eq!(guard.token_of("b"), None);
    assert_eq!(
        (holder.principal.as_str(), &holder.value[..]),
        ("me", &b"here"[..])
    );
    assert!(guard.is_held() && guard.remaining() > Duration::from_secs(5));
    guard.ensure(Duration::from_secs(5)).unwrap();
    let error = guard.ensure(Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    guard.release().await.unwrap();
    assert_eq!(fake.store.lock().claims("a"), 0);
    // The guard's separate session ends, too.
    fake.until(|store| store.leases().is_empty()).await;
}

#[tokio::test]
async fn a_waiter_is_told_its_place_and_granted_when_the_holder_is_done() {
    let (fake, client) = Fake::start().await;
    let first = client
        .locks()
        .acquire("a")
        .principal("first")
        .await
        .unwrap();
    let told = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&told);
    let request = client.locks().acquire("a").on_queued(move |place| {
        let holder = place.holder.as_ref().map(|holder| holder.principal());
        assert_eq!((place.position, holder), (1, Some("first")));
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let waiter = waiting(&fake, request).await;
    let token = first.token();
    first.release().await.unwrap();
    let second = granted(waiter).await;
    assert!(second.token() > token);
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_wait_goes_on_in_the_same_place_after_the_stream_breaks() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    for request in [
        client.locks().acquire("a"),
        client.locks().acquire("a").session(&session),
    ] {
        let first = holding(&client, "a").await;
        let waiter = waiting(&fake, request).await;
        let (claimed, calls) = {
            let store = fake.store.lock();
            (store.claimed, store.calls("acquire"))
        };
        fake.break_streams();
        fake.until(|store| store.calls("acquire") > calls).await;
        first.release().await.unwrap();
        granted(waiter).await.release().await.unwrap();
        assert_eq!(
            fake.store.lock().claimed,
            claimed,
            "no second claim was made"
        );
    }
}

#[tokio::test]
async fn a_claim_whose_request_is_forgotten_is_found_by_its_key() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let first = holding(&client, "a").await;
    let waiter = waiting(&fake, client.locks().acquire("a").session(&session)).await;
    let calls = fake.store.lock().calls("acquire");
    fake.mode(|modes| modes.forgetful = true);
    fake.break_streams();
    fake.until(|store| store.calls("acquire") > calls).await;
    first.release().await.unwrap();
    let guard = granted(waiter).await;
    let holder = fake.store.lock().holder("a").unwrap();
    assert_eq!(
        (guard.token().get(), guard.lease()),
        (holder.token.0, session.lease())
    );
}

#[tokio::test]
async fn who_stops_waiting_leaves_the_queue_and_keeps_the_session() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let first = holding(&client, "a").await;
    let waiter = waiting(&fake, client.locks().acquire("a").session(&session)).await;
    waiter.abort();
    fake.until(|store| store.claims("a") == 1).await;
    assert!(session.is_held() && first.is_held());

    // A separate session of the waiter ends as well.
    let waiter = waiting(&fake, client.locks().acquire("a")).await;
    let leases = fake.store.lock().leases().len();
    waiter.abort();
    fake.until(|store| store.claims("a") == 1 && store.leases().len() == leases - 1)
        .await;
}

#[tokio::test]
async fn a_withdrawal_is_not_overtaken_by_the_request_it_takes_back() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    for attempt in [true, false] {
        let counts = |store: &Store| (store.calls("withdraw"), store.calls("late"));
        let (withdrawn, late) = counts(&fake.store.lock());
        fake.mode(|modes| modes.held = true);
        fake.plan(&["acquire", "try_acquire"], [Fault::Late]);
        let request = client.locks().acquire("a").session(&session);
        let waiter = if attempt {
            tokio::spawn(async move { request.try_now().await.map(drop) })
        } else {
            tokio::spawn(async move { request.await.map(drop) })
        };
        crate::fake::until("the request is under way", || fake.planned() == 0).await;
        waiter.abort();
        fake.until(|store| counts(store).0 > withdrawn && store.claims("a") == 0)
            .await;
        fake.mode(|modes| modes.held = false);
        fake.until(|store| counts(store).1 > late).await;
        assert_eq!(fake.store.lock().claims("a"), 0, "attempt: {attempt}");
    }
}

#[tokio::test]
async fn a_refusal_of_a_repeat_does_not_leave_what_the_first_attempt_claimed() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    fake.plan(&["acquire"], [Fault::LoseAnswer, denied()]);
    let error = client
        .locks()
        .acquire("a")
        .session(&session)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    fake.until(|store| store.claimed == 1 && store.claims("a") == 0)
        .await;
    assert!(session.is_held());
}

#[tokio::test]
async fn a_guard_that_is_dropped_releases_in_the_background() {
    let (fake, client) = Fake::start().await;
    drop(holding(&client, "a").await);
    fake.until(|store| store.claims("a") == 0 && store.leases().is_empty())
        .await;

    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    drop(client.locks().acquire("a").session(&session).await.unwrap());
    fake.until(|store| store.claims("a") == 0).await;
    assert!(session.is_held());
}

/// A refusal that does not settle an earlier attempt of the release is retried.
#[tokio::test]
async fn a_guard_that_is_dropped_releases_until_it_is_known_that_it_is_done() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let guard = client.locks().acquire("a").session(&session).await.unwrap();
    let lost = Fault::Answer(Status::unavailable("the connection breaks"));
    fake.plan(&["release"], [lost, denied()]);
    drop(guard);
    fake.until(|store| store.claims("a") == 0).await;
    assert_eq!(fake.planned(), 0, "they happened");
}

#[test]
fn a_guard_may_be_dropped_when_its_runtime_is_gone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (guard, fake) = runtime.block_on(async {
        let (fake, client) = Fake::start().await;
        (holding(&client, "a").await, fake)
    });
    runtime.shutdown_timeout(PATIENCE);
    drop(guard);
    assert_eq!(
        fake.store.lock().claims("a"),
        1,
        "there was no handle to release it"
    );
}

#[tokio::test]
async fn who_only_tries_takes_what_is_free_and_never_waits() {
    let (fake, client) = Fake::start().await;
    let guard = client
        .locks()
        .acquire("a")
        .try_now()
        .await
        .unwrap()
        .expect("it is free");
    let leases = fake.store.lock().leases().len();
    assert!(
        client
            .locks()
            .acquire("a")
            .try_now()
            .await
            .unwrap()
            .is_none()
    );
    fake.until(|store| store.claims("a") == 1 && store.leases().len() == leases)
        .await;
    assert!(guard.is_held());
}

#[tokio::test]
async fn a_claim_that_is_ended_by_force_is_lost_and_its_work_dropped() {
    let (fake, client) = Fake::start().await;
    let guard = holding(&client, "a").await;
    let work = guard.run(std::future::pending::<()>());
    let force = client.locks().force_release("a", "test").into_future();
    let (outcome, forced) = timeout(PATIENCE, futures::future::join(work, force))
        .await
        .unwrap();
    forced.unwrap();
    assert_eq!(outcome, Err(ClaimLoss::Revoked));
    assert!(!guard.is_held());
    assert_eq!(guard.remaining(), Duration::ZERO);
    assert_eq!(
        guard.ensure(Duration::ZERO).unwrap_err().kind(),
        ErrorKind::NotHolder
    );
    let error = guard.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotHolder);
    assert!(!error.outcome_unknown());
    assert_eq!(fake.store.lock().calls("release"), 0, "nothing was sent");
}

#[tokio::test]
async fn a_claim_that_ended_before_it_was_watched_is_lost() {
    let (fake, client) = Fake::start().await;
    let guard = holding(&client, "a").await;
    // The watch starts at the creation of the claim, whatever happened meanwhile.
    let lease = guard.lease().get();
    fake.change(|store| store.end_claim("a", lease));
    assert_eq!(
        timeout(PATIENCE, guard.lost()).await.unwrap(),
        ClaimLoss::Revoked
    );
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_is_lost_before_the_server_may_grant_to_another() {
    let (fake, client) = Fake::start().await;
    let ttl = Duration::from_millis(300);
    fake.mode(|modes| modes.mute = true);
    let started = tokio::time::Instant::now();
    let guard = client.locks().acquire("a").ttl(ttl).await.unwrap();
    let deadline = guard.deadline();
    assert!(deadline < started + ttl + (tokio::time::Instant::now() - started));
    let loss = timeout(PATIENCE, guard.lost()).await.unwrap();
    assert!(matches!(loss, ClaimLoss::Lease(_)), "{loss:?}");
    assert!(!guard.is_held() && guard.remaining().is_zero());
    assert!(tokio::time::Instant::now() >= deadline);
    assert_eq!(guard.run(async {}).await, Err(loss));
}

#[tokio::test]
async fn a_session_that_is_lost_ends_the_wait() {
    let (fake, client) = Fake::start().await;
    let _first = holding(&client, "a").await;
    fake.mode(|modes| modes.mute = true);
    let request = client.locks().acquire("a").ttl(Duration::from_millis(300));
    let error = timeout(PATIENCE, request.into_future())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost, "{error}");
}

#[tokio::test]
async fn a_claim_that_is_taken_out_of_the_line_is_told_from_a_wait_that_is_over() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let _first = holding(&client, "a").await;
    let waiter = waiting(&fake, client.locks().acquire("a").session(&session)).await;
    fake.change(|store| store.end_claim("a", session.lease().get()));
    let error = waiter.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClaimEnded, "{error}");
    assert!(session.is_held());

    let waiter = waiting(&fake, client.locks().acquire("a").session(&session)).await;
    fake.change(|store| store.revoke(session.lease().get()));
    let error = waiter.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost, "{error}");
    assert!(!session.is_held(), "the server said so");
}

#[tokio::test]
async fn what_is_left_of_claims_made_together_is_withdrawn_when_one_is_ended() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let _first = holding(&client, "a").await;
    let request = client.locks().acquire_all(["a", "b"]).session(&session);
    let waiter = waiting(&fake, request).await;
    fake.until(|store| store.claims("a") == 2 && store.claims("b") == 1)
        .await;
    fake.change(|store| store.end_claim("a", session.lease().get()));
    let error = waiter.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClaimEnded, "{error}");
    fake.until(|store| store.claims("b") == 0).await;
    assert!(session.is_held());
}

#[tokio::test]
async fn a_server_that_stays_silent_is_told_from_a_lock_that_is_not_free() {
    let (fake, client) = Fake::start().await;
    fake.plan(&["acquire"], [Fault::Mute]);
    let wait = Duration::from_millis(10);
    let error = client.locks().acquire("a").wait(wait).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    assert!(error.outcome_unknown());
}

#[tokio::test]
async fn a_wait_that_is_over_withdraws() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let _first = holding(&client, "a").await;
    let wait = Duration::from_millis(10);
    let error = client
        .locks()
        .acquire("a")
        .session(&session)
        .wait(wait)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitOver, "{error}");
    fake.until(|store| store.claims("a") == 1).await;
}

#[tokio::test]
async fn writes_through_a_guard_carry_its_token_and_are_refused_when_it_is_lost() {
    let (fake, client) = Fake::start().await;
    let guard = holding(&client, "a").await;
    let store = guard.guarded();
    store.put("k", "v").await.unwrap();
    let sent = format!("a={}", guard.token());
    let arrivals = fake.arrivals();
    let (name, token) = &arrivals[0].guards[0];
    let carried = format!("{}={token}", String::from_utf8_lossy(name));
    assert_eq!(carried, sent);
    guard.release().await.unwrap();
    let error = store.put("k", "late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleGuard);
    assert_eq!(client.get("k").await.unwrap().value().unwrap(), "v");
}

/// The token identifies the claim to release, even if the client that acquired it may not write.
#[tokio::test]
async fn what_was_taken_through_a_guarded_client_is_given_back_when_the_guard_is_stale() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let outer = holding(&client, "outer").await;
    let guarded = outer.guarded();
    let held = guarded
        .locks()
        .acquire("a")
        .session(&session)
        .await
        .unwrap();
    let dropped = guarded
        .locks()
        .acquire("b")
        .session(&session)
        .await
        .unwrap();
    let _other = holding(&client, "c").await;
    let waiter = waiting(&fake, guarded.locks().acquire("c").session(&session)).await;
    outer.release().await.unwrap();
    held.release().await.unwrap();
    drop(dropped);
    waiter.abort();
    fake.until(|store| store.claims("a") + store.claims("b") == 0 && store.claims("c") == 1)
        .await;
    assert!(session.is_held());
}

#[tokio::test]
async fn a_grant_of_other_names_is_an_error_and_what_was_claimed_is_withdrawn() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    fake.mode(|modes| modes.misname = true);
    let request = client.locks().acquire("a").session(&session).into_future();
    let error = timeout(PATIENCE, request).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    fake.until(|store| store.claimed == 1 && store.claims("a") == 0)
        .await;
    assert!(session.is_held());
}

#[tokio::test]
async fn several_locks_are_granted_together_or_not_at_all() {
    let (fake, client) = Fake::start().await;
    let first = holding(&client, "b").await;
    let waiter = waiting(&fake, client.locks().acquire_all(["c", "b"])).await;
    fake.until(|store| store.claims("b") == 2 && store.claims("c") == 1)
        .await;
    assert!(fake.store.lock().holder("c").is_none());
    first.release().await.unwrap();
    let both = granted(waiter).await;
    assert_eq!(both.names().collect::<Vec<_>>(), ["b", "c"]);
    assert!(both.token_of("c").is_some());
    both.release().await.unwrap();
    let store = fake.store.lock();
    assert_eq!((store.claims("b"), store.claims("c")), (0, 0));
}

#[tokio::test]
async fn a_lock_is_handed_on_under_a_greater_token() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let mut guard = holding(&client, "a").await;
    let before = guard.token();
    let after = guard.transfer(session.lease(), "successor").await.unwrap();
    assert!(after > before);
    assert_eq!(guard.lost().await, ClaimLoss::Released);
    drop(guard);
    fake.until(|store| store.leases().len() == 1).await;
    let holder = fake
        .store
        .lock()
        .holder("a")
        .expect("it is held without a gap");
    assert_eq!(
        (holder.token.0, holder.lease.0),
        (after.get(), session.lease().get())
    );
}

#[tokio::test]
async fn bad_requests_are_refused_before_anything_is_sent() {
    let (fake, client) = Fake::start().await;
    let none: [&str; 0] = [];
    for (request, text) in [
        (client.locks().acquire_all(none), "no lock is named"),
        (
            client.locks().acquire_all(["a", "b", "a"]),
            "a lock is named twice",
        ),
        (
            client.locks().acquire("a").wait(Duration::ZERO),
            "a wait of no time at all; `try_now` does not wait",
        ),
    ] {
        let error = request.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.message(), text);
    }
    assert!(fake.store.lock().leases().is_empty());
}
