//! Bad input to locks, elections, registrations, sessions, fences and guards, as a table: the exact
//! refusal, nothing changed, the queue whole, and the next good request served.

mod ask;
mod claims;
mod conditions;
mod registrations;

use tenure_proto::{
    etcdserverpb::LeaseLeasesRequest,
    v1::{
        AcquireRequest, InspectRequest, ReleaseRequest, acquire_response::State,
        lock_client::LockClient,
    },
};
use tenure_testkit::Cluster;

use crate::{
    bad_input::case::{Case, check_rows, good},
    differential::{
        ask::Reply,
        requests::{grant, hash},
        wire::Wire,
    },
};

/// A lease that exists and holds the lock.
const HOLDER: i64 = 11;
/// A lease that exists and waits for the lock.
const WAITER: i64 = 12;
/// A lease that exists and claims nothing.
const IDLE: i64 = 13;
/// A lease that never was.
const UNKNOWN: i64 = 99;
/// The lock.
const LOCK: &str = "lock";
/// Longer than any name may be.
const HUGE: usize = 64 << 10;

const NO_NAME: &str = "tenure: name is not provided";
const NO_TTL: &str = "tenure: neither lease nor ttl is provided";
const SHORT_TTL: &str = "tenure: ttl is too short: 1 ms, at least 200 ms";

/// Every case, with the token of the holder.
fn table(token: i64) -> Vec<Case> {
    let mut table = claims::cases(token);
    table.extend(registrations::cases());
    table.extend(conditions::cases(token));
    table
}

fn acquire(name: &str, lease: i64) -> AcquireRequest {
    AcquireRequest {
        names: vec![name.to_owned().into()],
        lease,
        ..AcquireRequest::default()
    }
}

fn stale(what: &str, lock: &str, yours: i64, current: i64) -> String {
    format!("tenure: {what}: lock \"{lock}\": your token {yours}, current {current}")
}

fn inspect() -> InspectRequest {
    InspectRequest {
        name: LOCK.into(),
        limit: 0,
    }
}

/// What must not change: history and its hash, the lock's queue, and the leases.
async fn state(wire: &Wire) -> [Reply; 3] {
    [
        good(wire, &hash(0)).await,
        good(wire, &inspect()).await,
        good(wire, &LeaseLeasesRequest {}).await,
    ]
}

#[tokio::test]
async fn bad_claims_are_refused_by_name_and_change_nothing() {
    let cluster = Cluster::start(1).await;
    let wire = Wire::to(cluster.node(0).address());
    for lease in [HOLDER, WAITER, IDLE] {
        good(&wire, &grant(lease, 100_000)).await;
    }
    let mut locks = LockClient::new(wire.channel().clone());
    let held = locks.try_acquire(acquire(LOCK, HOLDER)).await.unwrap();
    let token = held.into_inner().granted.unwrap().claims[0].token;
    let waiting = locks.acquire(acquire(LOCK, WAITER)).await.unwrap();
    let mut waiting = waiting.into_inner();
    waiting.message().await.unwrap();
    let queue = locks.inspect(inspect()).await.unwrap().into_inner();
    assert_eq!((queue.holders.len(), queue.waiters.len()), (1, 1));

    let table = table(token);
    let rows = table.iter().map(|case| (case, &case.expected));
    check_rows(&wire, rows, async || state(&wire).await).await;
    println!("{} bad requests", table.len());

    // The queue is whole: the lock goes on to who waits.
    let release = ReleaseRequest {
        name: LOCK.into(),
        token,
        options: None,
    };
    locks.release(release).await.unwrap();
    let next = waiting.message().await.unwrap().unwrap().state;
    assert!(matches!(next, Some(State::Granted(_))));
}
