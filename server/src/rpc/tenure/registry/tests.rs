//! The `Registry` service against a node of one process.

use std::{sync::atomic::Ordering, time::Duration};

use tenure_proto::metadata::{
    AGE_METADATA, CURRENT_TOKEN_METADATA, GUARD_TEXT_METADATA, MEMBER_METADATA,
};
use tenure_statemachine::{ClusterTime, Command, InstanceName, LeaseId, Put};

use super::*;
use crate::{
    node::ReadIndexError,
    rpc::{
        Limits,
        answer::status::{Reason, reason_of},
        fake::{FakeNode, MEMBER, TERM},
    },
};

pub(super) fn service() -> (Arc<FakeNode>, RegistryService) {
    let node = FakeNode::leading();
    let services = node.services(Limits::standard());
    (node, RegistryService(services))
}

pub(super) fn instance(id: &str, readiness: wire::Readiness) -> wire::Instance {
    wire::Instance {
        service: "web".to_owned(),
        id: id.to_owned(),
        endpoints: vec![wire::Endpoint {
            protocol: "http".to_owned(),
            host: id.to_owned(),
            port: 80,
        }],
        readiness: readiness.into(),
        ..wire::Instance::default()
    }
}

pub(super) async fn register(
    service: &RegistryService,
    instance: wire::Instance,
    incarnation: i64,
) -> Result<wire::RegisterResponse, Status> {
    let request = Request::new(wire::RegisterRequest {
        instance: Some(instance),
        incarnation,
        ttl_ms: 5000,
        ..wire::RegisterRequest::default()
    });
    let response = Registry::register(service, request).await;
    response.map(Response::into_inner)
}

/// Registers a new incarnation of a ready instance.
pub(super) async fn ready(service: &RegistryService, id: &str) -> i64 {
    let instance = instance(id, wire::Readiness::Ready);
    let registered = register(service, instance, 0).await;
    registered.expect("registered").incarnation
}

pub(super) async fn say(
    service: &RegistryService,
    id: &str,
    incarnation: i64,
    readiness: wire::Readiness,
) -> Result<(), Status> {
    let request = Request::new(wire::SetReadinessRequest {
        service: "web".to_owned(),
        id: id.to_owned(),
        incarnation,
        readiness: readiness.into(),
        options: None,
    });
    Registry::set_readiness(service, request).await.map(|_| ())
}

pub(super) async fn deregister(service: &RegistryService, id: &str) -> Result<(), Status> {
    let request = Request::new(wire::DeregisterRequest {
        service: "web".to_owned(),
        id: id.to_owned(),
        ..wire::DeregisterRequest::default()
    });
    Registry::deregister(service, request).await.map(|_| ())
}

fn asking() -> wire::DiscoverRequest {
    wire::DiscoverRequest {
        service: "web".to_owned(),
        ..wire::DiscoverRequest::default()
    }
}

async fn discover(
    service: &RegistryService,
    request: wire::DiscoverRequest,
) -> Result<wire::DiscoverResponse, Status> {
    let response = Registry::discover(service, Request::new(request)).await;
    response.map(Response::into_inner)
}

pub(super) fn ids(registrations: &[wire::Registration]) -> Vec<&str> {
    let instances = registrations.iter().filter_map(|it| it.instance.as_ref());
    instances.map(|instance| instance.id.as_str()).collect()
}

fn reason(status: &Status) -> Reason {
    reason_of(status).expect("a status of ours")
}

#[tokio::test]
async fn an_instance_registers_changes_drains_and_goes() {
    let (node, service) = service();
    let first = register(&service, instance("a", wire::Readiness::Starting), 0).await;
    let first = first.expect("registered");
    assert_eq!((first.incarnation, first.ttl_ms), (2, 5000));
    assert!(first.lease > 0);
    assert_eq!(first.header.map(|header| header.revision), Some(2));

    say(&service, "a", 2, wire::Readiness::Ready)
        .await
        .expect("said");
    let found = discover(&service, asking()).await.expect("found");
    let [found] = found.registrations.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(
        (found.incarnation, found.revision, found.lease),
        (2, 3, first.lease)
    );
    let expected = instance("a", wire::Readiness::Ready);
    assert_eq!(found.instance.as_ref(), Some(&expected));

    let changed = wire::Instance {
        weight: 7,
        ..expected
    };
    let again = register(&service, changed.clone(), 2)
        .await
        .expect("changed");
    assert_eq!(
        (again.incarnation, again.lease, again.ttl_ms),
        (2, first.lease, 5000)
    );
    let found = discover(&service, asking()).await.expect("found");
    assert_eq!(found.registrations[0].instance.as_ref(), Some(&changed));

    let drain = Request::new(wire::DrainRequest {
        service: "web".to_owned(),
        id: "a".to_owned(),
        grace_ms: 100,
        ..wire::DrainRequest::default()
    });
    Registry::drain(&service, drain).await.expect("drains");
    let found = discover(&service, asking()).await.expect("found");
    assert!(found.registrations.is_empty());
    node.now.fetch_add(100, Ordering::SeqCst);
    node.apply(&Command::Wake);
    let gone = deregister(&service, "a").await.expect_err("gone");
    assert_eq!(reason(&gone), Reason::InstanceNotFound);
}

#[tokio::test]
async fn a_replaced_incarnation_is_refused_and_changes_nothing() {
    let (_node, service) = service();
    let old = ready(&service, "a").await;
    let new = ready(&service, "a").await;
    assert!(new > old);
    let starting = instance("a", wire::Readiness::Starting);
    let refused = [
        register(&service, starting, old).await.map(|_| ()),
        say(&service, "a", old, wire::Readiness::NotReady).await,
    ];
    for status in refused {
        let status = status.expect_err("refused");
        assert_eq!(reason(&status), Reason::InstanceReplaced);
        let text = format!("tenure: instance is replaced: your incarnation {old}, current {new}");
        assert_eq!(status.message(), text);
        let current = status.metadata().get(CURRENT_TOKEN_METADATA);
        assert_eq!(
            current.map(|it| it.to_str().unwrap().to_owned()),
            Some(new.to_string())
        );
    }
    let found = discover(&service, asking()).await.expect("found");
    assert_eq!(found.registrations[0].incarnation, new);
}

#[tokio::test]
async fn bad_requests_change_nothing() {
    let (node, service) = service();
    let status = register(&service, wire::Instance::default(), 0).await;
    let status = status.expect_err("refused");
    assert_eq!(reason(&status), Reason::ServiceNameInvalid);
    let nameless = discover(&service, wire::DiscoverRequest::default()).await;
    assert_eq!(
        reason(&nameless.expect_err("refused")),
        Reason::ServiceNameInvalid
    );
    let negative = wire::DiscoverRequest {
        at_least_revision: -5,
        ..asking()
    };
    let status = discover(&service, negative).await.expect_err("refused");
    let text = "tenure: freshness is malformed: revision -5 is negative";
    assert_eq!(status.message(), text);
    assert!(node.proposals.lock().is_empty());
}

#[tokio::test]
async fn a_write_carries_its_conditions() {
    let (node, service) = service();
    let mut request = Request::new(wire::RegisterRequest {
        instance: Some(instance("a", wire::Readiness::Ready)),
        ttl_ms: 5000,
        ..wire::RegisterRequest::default()
    });
    let guard = "lock=5".parse().expect("ascii");
    request.metadata_mut().insert(GUARD_TEXT_METADATA, guard);
    let status = Registry::register(&service, request).await;
    assert_eq!(reason(&status.expect_err("refused")), Reason::GuardStale);
    let key = wire::WriteOptions {
        idempotency_key: "once".to_owned(),
        ..wire::WriteOptions::default()
    };
    let request = wire::RegisterRequest {
        instance: Some(instance("a", wire::Readiness::Ready)),
        lease: 9,
        options: Some(key),
        ..wire::RegisterRequest::default()
    };
    let grant = tenure_statemachine::LeaseGrant {
        id: LeaseId(9),
        ttl: tenure_statemachine::Ttl(5000),
    };
    node.apply(&Command::LeaseGrant(grant));
    let mut incarnations = Vec::new();
    for _ in 0..2 {
        let response = Registry::register(&service, Request::new(request.clone())).await;
        incarnations.push(response.expect("registered").into_inner().incarnation);
    }
    assert_eq!(incarnations, [2, 2], "the second is the first one's answer");
}

#[tokio::test]
async fn nothing_registers_without_space() {
    let (node, service) = service();
    node.logical_bytes.store(2 << 30, Ordering::SeqCst);
    let full = register(&service, instance("a", wire::Readiness::Ready), 0).await;
    assert_eq!(reason(&full.expect_err("refused")), Reason::NoSpace);
}

#[tokio::test]
async fn fewer_than_half_ready_means_all_if_that_was_asked_for() {
    let (_node, service) = service();
    ready(&service, "a").await;
    for id in ["b", "c"] {
        let not_ready = instance(id, wire::Readiness::NotReady);
        register(&service, not_ready, 0).await.expect("registered");
    }
    let ask = |passing_or_all| wire::DiscoverRequest {
        selector: Some(wire::Selector {
            passing_or_all,
            ..wire::Selector::default()
        }),
        ..asking()
    };
    let found = discover(&service, ask(false)).await.expect("found");
    assert_eq!((ids(&found.registrations), found.all), (vec!["a"], false));
    let found = discover(&service, ask(true)).await.expect("found");
    assert_eq!(
        (ids(&found.registrations), found.all),
        (vec!["a", "b", "c"], true)
    );
    ready(&service, "b").await;
    let found = discover(&service, ask(true)).await.expect("found");
    assert_eq!(
        (ids(&found.registrations), found.all),
        (vec!["a", "b"], false)
    );
}

#[tokio::test]
async fn keys_that_are_no_instance_are_passed_over() {
    let (node, service) = service();
    ready(&service, "b").await;
    let liar = wire::Instance {
        service: "other".to_owned(),
        ..instance("x", wire::Readiness::Ready)
    };
    let liar = prost::Message::encode_to_vec(&liar);
    for (key, value) in [
        ("tenure.services/web/a", liar.clone()),
        ("tenure.services/web/c", b"\xff".to_vec()),
        // Ready, and without endpoints.
        ("tenure.services/web/d", vec![72, 1]),
        ("tenure.services/web/e/f", liar.clone()),
        ("tenure.services/web2/g", liar.clone()),
    ] {
        node.apply(&Command::Put(Put {
            key: key.into(),
            value: value.into(),
            ..Put::default()
        }));
    }
    let found = discover(&service, asking()).await.expect("found");
    assert_eq!(
        ids(&found.registrations),
        ["a", "b"],
        "what the key says is right"
    );
    let named = found.registrations[0]
        .instance
        .as_ref()
        .expect("an instance");
    assert_eq!(named.service, "web");
}

#[tokio::test(start_paused = true)]
async fn what_is_discovered_tells_its_age_and_is_linearizable_unless_asked_otherwise() {
    let (node, service) = service();
    ready(&service, "a").await;
    *node.barrier_error.lock() = Some(ReadIndexError::NoLeader);
    *node.staleness.lock() = Some(Duration::from_millis(70));
    let refused = discover(&service, asking()).await.expect_err("no quorum");
    assert_eq!(reason(&refused), Reason::NoLeader);
    let local = wire::DiscoverRequest {
        serializable: true,
        max_staleness_ms: 80,
        ..asking()
    };
    let answer = Registry::discover(&service, Request::new(local.clone())).await;
    let answer = answer.expect("found");
    let metadata_of = |key| {
        answer
            .metadata()
            .get(key)
            .map(|it| it.to_str().unwrap().to_owned())
    };
    assert_eq!(metadata_of(AGE_METADATA), Some("70".to_owned()));
    assert_eq!(metadata_of(MEMBER_METADATA), Some(MEMBER.to_string()));
    assert_eq!(answer.get_ref().age_ms, 70);
    assert_eq!(ids(&answer.get_ref().registrations), ["a"]);
    let stricter = wire::DiscoverRequest {
        max_staleness_ms: 60,
        ..local.clone()
    };
    let refused = discover(&service, stricter).await.expect_err("too old");
    assert_eq!(reason(&refused), Reason::TooOld);
    *node.staleness.lock() = None;
    let any = wire::DiscoverRequest {
        max_staleness_ms: 0,
        ..local
    };
    let answer = discover(&service, any).await.expect("of any age");
    assert_eq!(answer.age_ms, u64::MAX, "not known");
}

#[tokio::test]
async fn suspects_are_reported_as_such() {
    let (node, service) = service();
    let mut leases = Vec::new();
    for id in ["a", "b", "c"] {
        let registered = register(&service, instance(id, wire::Readiness::Ready), 0).await;
        leases.push(registered.expect("registered").lease);
    }
    node.now.fetch_add(5000, Ordering::SeqCst);
    let expiries = leases.iter().map(|lease| tenure_statemachine::LeaseExpiry {
        id: LeaseId(*lease),
        generation: 1,
        term: TERM,
    });
    node.apply(&Command::LeaseExpire(expiries.collect()));
    let found = discover(&service, asking()).await.expect("found");
    assert_eq!(ids(&found.registrations), ["c"]);
    let kept = found.registrations[0]
        .instance
        .as_ref()
        .expect("an instance");
    assert!(kept.suspect);
    let deadline = service.0.latest(|reader| {
        let name = InstanceName {
            service: "web".to_owned(),
            id: "c".to_owned(),
        };
        let kv = reader.instance(&name)?.expect("registered");
        Ok(reader.lease(kv.lease)?.expect("kept").deadline)
    });
    assert_eq!(deadline, Ok(ClusterTime(66_000)));
}
