//! Tests of log-ins through [`Passwords`].

use std::time::Instant;

use super::*;
use crate::auth::fake::{CountingEntropy, FakeClock};

const COST: u32 = 4;

fn passwords_of(cost: u32) -> (Passwords, FakeClock) {
    let clock = FakeClock::default();
    let entropy = Arc::new(CountingEntropy::default());
    let metrics = AuthMetrics::unregistered();
    let started = Passwords::start(cost, Arc::new(clock.clone()), entropy, metrics);
    (started.unwrap(), clock)
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned()).unwrap()
}

fn peer() -> Option<IpAddr> {
    Some(IpAddr::from([10, 0, 0, 1]))
}

async fn log_in(
    passwords: &Passwords,
    user: &str,
    hash: Option<&str>,
    text: &str,
) -> Result<(), LoginFault> {
    let login = Login {
        user,
        peer: peer(),
        hash,
        password: password(text),
    };
    passwords.verify(login).await
}

#[tokio::test]
async fn a_right_password_is_hashed_once_and_then_remembered() {
    let (it, _) = passwords_of(COST);
    let hash = it.hash(peer(), password("secret")).await.unwrap();
    for _ in 0..3 {
        let verified = log_in(&it, "alice", Some(&hash), "secret").await;
        assert_eq!(verified, Ok(()));
    }
    let counts = (it.metrics.hashed.get(), it.metrics.remembered.get());
    assert_eq!(counts, (1, 2));
    it.forget("alice");
    assert_eq!(log_in(&it, "alice", Some(&hash), "secret").await, Ok(()));
    assert_eq!(it.metrics.hashed.get(), 2);
}

#[tokio::test]
async fn a_changed_password_ends_what_was_remembered() {
    let (it, _) = passwords_of(COST);
    let old = it.hash(peer(), password("old")).await.unwrap();
    assert_eq!(log_in(&it, "alice", Some(&old), "old").await, Ok(()));
    let new = it.hash(peer(), password("new")).await.unwrap();
    let stale = log_in(&it, "alice", Some(&new), "old").await;
    assert_eq!(stale, Err(LoginFault::Wrong));
    assert_eq!(log_in(&it, "alice", Some(&new), "new").await, Ok(()));
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_get_one_answer() {
    let (it, _) = passwords_of(COST);
    let hash = it.hash(peer(), password("secret")).await.unwrap();
    assert_eq!(log_in(&it, "alice", Some(&hash), "secret").await, Ok(()));
    for (user, hash, text) in [
        ("alice", Some(&hash[..]), "wrong"),
        ("alice", Some(&hash[..]), ""),
        ("nobody", None, "secret"),
        ("locked", Some(""), ""),
    ] {
        let verified = log_in(&it, user, hash, text).await;
        assert_eq!(verified, Err(LoginFault::Wrong), "{user}");
    }
    assert_eq!(it.metrics.wrong.get(), 4);
}

/// At cost 10 a hash takes long enough that skipping it would show.
#[tokio::test]
async fn an_unknown_user_costs_as_much_as_a_wrong_password() {
    let (it, _) = passwords_of(10);
    let hash = it.hash(peer(), password("secret")).await.unwrap();
    let known = Instant::now();
    assert!(log_in(&it, "alice", Some(&hash), "wrong").await.is_err());
    let known = known.elapsed();
    let unknown = Instant::now();
    assert!(log_in(&it, "nobody", None, "wrong").await.is_err());
    let unknown = unknown.elapsed();
    // Other tests disturb the measurement, so only an order of magnitude counts.
    assert!(unknown * 5 > known, "{unknown:?} for {known:?}");
}

#[tokio::test]
async fn too_many_wrong_passwords_are_refused_unread() {
    let (it, clock) = passwords_of(COST);
    let hash = it.hash(peer(), password("secret")).await.unwrap();
    let wrong = async || log_in(&it, "alice", Some(&hash), "wrong").await;
    for _ in 0..10 {
        assert_eq!(wrong().await, Err(LoginFault::Wrong));
    }
    let retry_after = Duration::from_secs(1);
    let refused = Err(LoginFault::TooManyWrong { retry_after });
    assert_eq!(wrong().await, refused);
    let right = log_in(&it, "alice", Some(&hash), "secret").await;
    assert_eq!(right, refused, "the right password must not show");
    assert_eq!(it.metrics.limited.get(), 2);
    clock.advance(retry_after);
    assert_eq!(log_in(&it, "alice", Some(&hash), "secret").await, Ok(()));
}

/// Guesses against a remembered log-in cost a hash each, and count.
#[tokio::test]
async fn a_remembered_password_cannot_be_guessed_fast() {
    let (it, _) = passwords_of(COST);
    let hash = it.hash(peer(), password("secret")).await.unwrap();
    assert_eq!(log_in(&it, "alice", Some(&hash), "secret").await, Ok(()));
    let mut refused = 0;
    for guess in 0..50 {
        let guessed = log_in(&it, "alice", Some(&hash), &guess.to_string()).await;
        refused += usize::from(guessed != Err(LoginFault::Wrong));
    }
    assert_eq!((it.metrics.wrong.get(), refused), (10, 40));
}

#[tokio::test]
async fn a_login_does_not_show_its_password() {
    let login = Login {
        user: "alice",
        peer: None,
        hash: None,
        password: password("hunter2"),
    };
    assert!(!format!("{login:?}").contains("hunter2"));
    let (it, _) = passwords_of(COST);
    let hash = it.hash(peer(), password("hunter2")).await.unwrap();
    assert_eq!(log_in(&it, "alice", Some(&hash), "hunter2").await, Ok(()));
    assert!(!format!("{it:?}").contains("hunter2"));
}
