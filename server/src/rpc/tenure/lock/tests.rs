//! The `Lock` service against a node of one process.

mod crowd;
mod waiting;

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, poll};
use tenure_proto::metadata::CURRENT_TOKEN_METADATA;
use tenure_statemachine::{Command, LeaseGrant, LeaseId};
use tonic::Code;

use super::*;
use crate::rpc::{
    Limits,
    answer::status::reason_of,
    fake::{CLUSTER, FakeNode, MEMBER, TERM},
};

struct Fixture {
    node: Arc<FakeNode>,
    service: LockService,
}

impl Fixture {
    /// A node with leases 1 to 9 of a thousand seconds.
    fn new() -> Self {
        let node = FakeNode::leading();
        for id in 1..10 {
            node.apply(&Command::LeaseGrant(LeaseGrant {
                id: LeaseId(id),
                ttl: Ttl::from_secs(1000),
            }));
        }
        let service = LockService(node.services(Limits::standard()));
        Self { node, service }
    }

    async fn acquire(
        &self,
        request: wire::AcquireRequest,
    ) -> Result<Responses<wire::AcquireResponse>, Status> {
        let response = Lock::acquire(&self.service, Request::new(request)).await;
        response.map(Response::into_inner)
    }

    /// The grant of a claim that holds at once.
    async fn hold(&self, request: wire::AcquireRequest) -> wire::Granted {
        let mut stream = self.acquire(request).await.expect("admitted");
        let received = granted_on(&mut stream).await;
        assert!(stream.next().await.is_none(), "the stream ends");
        received
    }

    async fn release(&self, token: i64) -> Result<wire::ReleaseResponse, Status> {
        let request = wire::ReleaseRequest {
            name: "a".into(),
            token,
            options: None,
        };
        let response = Lock::release(&self.service, Request::new(request)).await;
        response.map(Response::into_inner)
    }

    async fn inspect(&self) -> wire::InspectResponse {
        let request = wire::InspectRequest {
            name: "a".into(),
            limit: 0,
        };
        let response = Lock::inspect(&self.service, Request::new(request)).await;
        response.expect("answered").into_inner()
    }

    /// Waits until only `leases` have claims on the name.
    async fn until_claimed_by(&self, leases: &[i64]) {
        let mut applied = self.node.applied.subscribe();
        loop {
            applied.borrow_and_update();
            let now = self.inspect().await;
            let all = now.holders.iter().chain(&now.waiters);
            if all.map(|claim| claim.lease).eq(leases.iter().copied()) {
                return;
            }
            applied.changed().await.expect("the node lives");
        }
    }
}

fn ask(name: &'static str, lease: i64) -> wire::AcquireRequest {
    wire::AcquireRequest {
        names: vec![name.into()],
        lease,
        ..wire::AcquireRequest::default()
    }
}

async fn queued_on(stream: &mut Responses<wire::AcquireResponse>) -> wire::Queued {
    let response = stream
        .next()
        .await
        .expect("a response")
        .expect("no failure");
    match response.state {
        Some(State::Queued(queued)) => queued,
        other => panic!("it waits: {other:?}"),
    }
}

async fn next_states(watch: &mut Responses<wire::WatchTokensResponse>) -> Vec<wire::TokenState> {
    let response = watch.next().await.expect("a response");
    response.expect("no failure").states
}

async fn granted_on(stream: &mut Responses<wire::AcquireResponse>) -> wire::Granted {
    let response = stream
        .next()
        .await
        .expect("a response")
        .expect("no failure");
    match response.state {
        Some(State::Granted(granted)) => granted,
        other => panic!("it holds: {other:?}"),
    }
}

fn token(granted: &wire::Granted) -> i64 {
    granted.claims.first().expect("a claim").token
}

fn text<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    result.expect_err("refused").message().to_owned()
}

#[tokio::test]
async fn a_free_lock_is_granted_with_its_token_and_the_time_left() {
    let it = Fixture::new();
    it.node.now.fetch_add(250_000, Ordering::SeqCst);
    let granted = it
        .hold(wire::AcquireRequest {
            principal: "me".to_owned(),
            value: "v".into(),
            ..ask("a", 2)
        })
        .await;
    assert_eq!((granted.lease, granted.ttl_ms), (2, 1_000_000));
    assert_eq!(granted.remaining_ms, 750_000);
    let claim = granted.claims.first().expect("a claim");
    assert_eq!(
        (claim.name.as_ref(), claim.key.as_ref()),
        (&b"a"[..], &b"a/2"[..])
    );
    assert_eq!((claim.token, claim.held, claim.position), (2, true, 0));
    assert_eq!(
        (claim.principal.as_str(), claim.value.as_ref()),
        ("me", &b"v"[..])
    );
}

#[tokio::test]
async fn without_a_lease_one_is_made() {
    let it = Fixture::new();
    let granted = it
        .hold(wire::AcquireRequest {
            ttl_ms: 1500,
            ..ask("a", 0)
        })
        .await;
    assert!(granted.lease > 0);
    assert_eq!((granted.ttl_ms, granted.remaining_ms), (1500, 1500));
}

#[tokio::test]
async fn try_acquire_never_waits_and_tells_who_is_in_the_way() {
    let it = Fixture::new();
    let attempt = |lease| Lock::try_acquire(&it.service, Request::new(ask("a", lease)));
    let first = attempt(1).await.expect("answered").into_inner();
    let header = first.header.expect("a header");
    assert_eq!((header.cluster_id, header.member_id), (CLUSTER, MEMBER.0));
    assert_eq!(header.revision, 2);
    assert_eq!(token(&first.granted.expect("it was free")), 2);
    let second = attempt(2).await.expect("answered").into_inner();
    assert_eq!(second.granted, None);
    assert_eq!(second.holder.map(|holder| holder.lease), Some(1));
    assert_eq!(it.inspect().await.waiting, 0);
}

#[tokio::test]
async fn only_the_token_that_holds_gives_a_lock_back() {
    let it = Fixture::new();
    let token = token(&it.hold(ask("a", 1)).await);
    let status = it.release(token + 5).await.expect_err("not the holder");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(
        status.message(),
        "tenure: not the holder: lock \"a\": your token 7, current 2"
    );
    let current = status.metadata().get(CURRENT_TOKEN_METADATA);
    assert_eq!(current.and_then(|it| it.to_str().ok()), Some("2"));
    let header = it.release(token).await.expect("released").header;
    assert_eq!(header.map(|header| header.revision), Some(3));
    let status = it.release(token).await.expect_err("it was given back");
    assert_eq!(reason_of(&status), Some(Reason::NotHolder));
    let current = status.metadata().get(CURRENT_TOKEN_METADATA);
    assert_eq!(current.and_then(|it| it.to_str().ok()), Some("0"));
}

#[tokio::test]
async fn a_waiting_claim_is_withdrawn_by_lease() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let mut waiting = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut waiting).await;
    let withdraw = || {
        let request = wire::WithdrawRequest {
            name: "a".into(),
            lease: 2,
            options: None,
        };
        Lock::withdraw(&it.service, Request::new(request))
    };
    assert!(withdraw().await.expect("answered").get_ref().withdrawn);
    assert!(!withdraw().await.expect("answered").get_ref().withdrawn);
    let status = waiting.next().await.expect("an end").expect_err("it ended");
    assert_eq!(reason_of(&status), Some(Reason::ClaimEnded));
    assert_eq!(
        status.message(),
        "tenure: claim was ended while it waited: lock \"a\" was withdrawn from"
    );
}

#[tokio::test]
async fn a_lock_is_handed_to_another_lease_under_a_greater_token() {
    let it = Fixture::new();
    let token = token(&it.hold(ask("a", 1)).await);
    let request = |token| wire::TransferRequest {
        name: "a".into(),
        token,
        to_lease: 2,
        principal: "heir".to_owned(),
        options: None,
    };
    let response = Lock::transfer(&it.service, Request::new(request(token))).await;
    let claim = response.expect("handed on").into_inner().claim;
    let claim = claim.expect("a claim");
    assert!(claim.held && claim.token > token);
    assert_eq!((claim.lease, claim.principal.as_str()), (2, "heir"));
    let again = Lock::transfer(&it.service, Request::new(request(token))).await;
    assert_eq!(
        reason_of(&again.expect_err("stale")),
        Some(Reason::NotHolder)
    );
}

#[tokio::test]
async fn a_token_is_checked_against_who_holds_now() {
    let it = Fixture::new();
    let check = |token| {
        let request = wire::CheckTokenRequest {
            name: "a".into(),
            token,
        };
        Lock::check_token(&it.service, Request::new(request))
    };
    let free = check(1).await.expect("answered").into_inner();
    assert_eq!(
        (free.valid, free.current_token, free.holder),
        (false, 0, None)
    );
    let token = token(&it.hold(ask("a", 1)).await);
    it.node.now.fetch_add(400_000, Ordering::SeqCst);
    let held = check(token).await.expect("answered").into_inner();
    assert_eq!((held.valid, held.current_token), (true, token));
    assert_eq!(held.remaining_ms, 600_000);
    assert_eq!(
        held.holder.map(|holder| (holder.lease, holder.since_ms)),
        Some((1, 400_000))
    );
    let stale = check(token + 1).await.expect("answered").into_inner();
    assert_eq!((stale.valid, stale.current_token), (false, token));
}

#[tokio::test]
async fn looking_into_a_lock_shows_its_queue() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let mut streams = Vec::new();
    for lease in 2..5 {
        let mut stream = it.acquire(ask("a", lease)).await.expect("admitted");
        let queued = queued_on(&mut stream).await;
        assert_eq!(u64::from(queued.position), lease as u64 - 1);
        assert_eq!(queued.holder.map(|holder| holder.lease), Some(1));
        streams.push(stream);
    }
    let leases = |claims: Vec<wire::Claim>| -> Vec<i64> {
        claims.into_iter().map(|claim| claim.lease).collect()
    };
    let all = it.inspect().await;
    assert_eq!(
        (leases(all.holders), leases(all.waiters)),
        (vec![1], vec![2, 3, 4])
    );
    let request = wire::InspectRequest {
        name: "a".into(),
        limit: 2,
    };
    let some = Lock::inspect(&it.service, Request::new(request)).await;
    let some = some.expect("answered").into_inner();
    assert_eq!((leases(some.waiters), some.waiting), (vec![2, 3], 3));
}

#[tokio::test]
async fn locks_are_listed_by_prefix() {
    let it = Fixture::new();
    for name in ["b/1", "a/1", "a/2"] {
        it.hold(ask(name, 1)).await;
    }
    let list = |prefix: &'static str, limit| {
        let request = wire::ListRequest {
            prefix: prefix.into(),
            limit,
        };
        Lock::list(&it.service, Request::new(request))
    };
    let names = |found: wire::ListResponse| -> (Vec<Bytes>, bool) {
        let names = found.claims.into_iter().map(|claim| claim.name);
        (names.collect(), found.more)
    };
    let found = list("a/", 0).await.expect("answered").into_inner();
    assert_eq!(names(found), (vec!["a/1".into(), "a/2".into()], false));
    let found = list("", 2).await.expect("answered").into_inner();
    assert_eq!(names(found), (vec!["a/1".into(), "a/2".into()], true));
}

#[tokio::test]
async fn a_claim_is_ended_by_force_with_a_reason() {
    let it = Fixture::new();
    let token = token(&it.hold(ask("a", 1)).await);
    let force = |token, why: &str| {
        let request = wire::ForceReleaseRequest {
            name: "a".into(),
            token,
            reason: why.to_owned(),
            options: None,
        };
        Lock::force_release(&it.service, Request::new(request))
    };
    assert_eq!(text(force(0, "").await), "tenure: reason is not provided");
    assert_eq!(
        text(force(0, &"w".repeat(1025)).await),
        "tenure: reason is too long: 1025 bytes, at most 1024"
    );
    assert_eq!(
        text(force(-1, "why").await),
        "tenure: token is not provided"
    );
    let released = force(0, "why").await.expect("ended").into_inner().released;
    let tokens: Vec<i64> = released.iter().map(|claim| claim.token).collect();
    assert_eq!(tokens, [token]);
    let status = force(token, "why").await.expect_err("it is gone");
    assert_eq!(reason_of(&status), Some(Reason::NotHolder));
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_is_proposed() {
    let it = Fixture::new();
    it.node.proposals.lock().clear();
    let permits = wire::Mode {
        kind: Some(wire::mode::Kind::Permits(wire::Permits {
            count: 3,
            limit: 2,
        })),
    };
    for (request, expected) in [
        (
            wire::AcquireRequest {
                names: Vec::new(),
                ..ask("a", 1)
            },
            "tenure: name is not provided",
        ),
        (ask("", 1), "tenure: name is not provided"),
        (ask("a", 0), "tenure: neither lease nor ttl is provided"),
        (
            wire::AcquireRequest {
                names: vec!["a".into(), "a".into()],
                ..ask("a", 1)
            },
            "tenure: name is given twice: \"a\"",
        ),
        (
            wire::AcquireRequest {
                mode: Some(permits),
                ..ask("a", 1)
            },
            "tenure: permits are not countable: 3 of 2, at least 1 and at most all",
        ),
        (
            wire::AcquireRequest {
                ttl_ms: 100,
                ..ask("a", 0)
            },
            "tenure: ttl is too short: 100 ms, at least 200 ms",
        ),
        (
            wire::AcquireRequest {
                lock_delay_ms: 60_001,
                ..ask("a", 1)
            },
            "tenure: lock delay is too long: 60001 ms, at most 60000 ms",
        ),
        (
            wire::AcquireRequest {
                value: vec![0; 2 << 20].into(),
                ..ask("a", 1)
            },
            "etcdserver: request is too large",
        ),
    ] {
        let refused = it.acquire(request).await.map(|_| ());
        assert_eq!(text(refused), expected);
    }
    assert_eq!(it.node.proposals.lock().len(), 0);
    assert_eq!(text(it.release(0).await), "tenure: token is not provided");
    let refused = it.acquire(ask("a", 77)).await.map(|_| ());
    assert_eq!(text(refused), "etcdserver: requested lease not found");
}

#[tokio::test]
async fn tokens_are_watched_from_what_holds_now() {
    let it = Fixture::new();
    let first = token(&it.hold(ask("a", 1)).await);
    let request = wire::WatchTokensRequest {
        names: vec!["b".into(), "a".into()],
    };
    let watch = Lock::watch_tokens(&it.service, Request::new(request)).await;
    let mut watch = watch.expect("opened").into_inner();
    let received = next_states(&mut watch).await;
    let received: Vec<_> = received
        .into_iter()
        .map(|state| (state.name, state.min_valid_token, state.holder.is_some()))
        .collect();
    assert_eq!(
        received,
        [("a".into(), first, true), ("b".into(), 0, false)]
    );
    let mut waiting = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut waiting).await;
    assert!(poll!(watch.next()).is_pending(), "nobody else holds");
    it.release(first).await.expect("released");
    let second = token(&granted_on(&mut waiting).await);
    let received = next_states(&mut watch).await;
    assert_eq!(received.len(), 1);
    assert_eq!(
        received.first().map(|state| state.min_valid_token),
        Some(second)
    );
    it.service.0.drain();
    let status = watch.next().await.expect("an end").expect_err("it ended");
    assert_eq!(reason_of(&status), Some(Reason::Stopped));
}

#[tokio::test]
async fn a_repeated_release_is_answered_and_not_made_again() {
    let it = Fixture::new();
    let token = token(&it.hold(ask("a", 1)).await);
    let release = || {
        let request = wire::ReleaseRequest {
            name: "a".into(),
            token,
            options: Some(wire::WriteOptions {
                idempotency_key: "once".to_owned(),
                ..wire::WriteOptions::default()
            }),
        };
        Lock::release(&it.service, Request::new(request))
    };
    let first = release().await.expect("released").into_inner();
    let again = release().await.expect("the same answer").into_inner();
    assert_eq!(first, again);
}

#[tokio::test]
async fn a_stalled_client_costs_nothing_but_its_own_stream() {
    let it = Fixture::new();
    let request = wire::WatchTokensRequest {
        names: vec!["a".into()],
    };
    let watch = Lock::watch_tokens(&it.service, Request::new(request)).await;
    let mut watch = watch.expect("opened").into_inner();
    watch.next().await.expect("a response").expect("no failure");
    for _ in 0..100 {
        let token = token(&it.hold(ask("a", 1)).await);
        it.release(token).await.expect("released");
    }
    let last = token(&it.hold(ask("a", 1)).await);
    let received = next_states(&mut watch).await;
    assert_eq!(
        received.first().map(|state| state.min_valid_token),
        Some(last)
    );
    it.service.0.drain();
    let status = watch.next().await.expect("an end");
    status.expect_err("the rest was told as one");
}
