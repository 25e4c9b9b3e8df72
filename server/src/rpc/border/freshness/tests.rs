//! Freshness of reads, required by metadata and by fields.

use std::{
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use futures::poll;
use tenure_proto::etcdserverpb::{RangeRequest, RangeResponse, kv_server::Kv};
use tenure_statemachine::{Command, Put};
use tonic::{Request, Status};

use super::*;
use crate::{
    node::ReadIndexError,
    rpc::{
        Limits,
        answer::status::reason_of,
        etcd::kv::KvService,
        fake::{FakeNode, MEMBER},
    },
};

fn service() -> (Arc<FakeNode>, KvService) {
    let node = FakeNode::leading();
    let services = node.services(Limits::standard());
    (node, KvService(services))
}

fn request(serializable: bool, pairs: &[(&'static str, &str)]) -> Request<RangeRequest> {
    let mut request = Request::new(RangeRequest {
        key: "a".into(),
        serializable,
        ..RangeRequest::default()
    });
    for (key, value) in pairs {
        let value = value.parse().expect("ascii");
        request.metadata_mut().insert(*key, value);
    }
    request
}

async fn range(
    service: &KvService,
    serializable: bool,
    pairs: &[(&'static str, &str)],
) -> Result<Response<RangeResponse>, Status> {
    Kv::range(service, request(serializable, pairs)).await
}

fn metadata_of(response: &Response<RangeResponse>, key: &str) -> Option<String> {
    let value = response.metadata().get(key)?;
    Some(value.to_str().expect("ascii").to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_age_is_that_of_what_is_read_after_a_wait_for_a_revision() {
    let (node, service) = service();
    *node.staleness.lock() = Some(Duration::from_millis(40));
    let required = [
        (AT_LEAST_REVISION_METADATA, "2"),
        (MAX_STALENESS_METADATA, "100"),
    ];
    let mut read = Box::pin(range(&service, true, &required));
    assert!(poll!(&mut read).is_pending());
    // The state is fresh at the start, and too old once the revision is reached.
    *node.staleness.lock() = Some(Duration::from_millis(5000));
    *node.barrier_error.lock() = Some(ReadIndexError::NoLeader);
    node.apply(&Command::Put(Put::default()));
    let status = read.await.expect_err("too old");
    assert_eq!(
        status.message(),
        "tenure: state is older than asked: up to 5000 ms, at most 100 ms"
    );
}

#[tokio::test(start_paused = true)]
async fn an_age_grows_until_it_is_reported() {
    let staleness_max = Some(Duration::from_millis(50));
    let since = Some(Instant::now());
    let age = Age {
        since,
        staleness_max,
    };
    age.check().expect("young enough");
    tokio::time::advance(Duration::from_millis(51)).await;
    assert_eq!(age.in_ms(), 51);
    assert!(age.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn answers_tell_their_age_and_who_gave_them() {
    let (node, service) = service();
    *node.staleness.lock() = Some(Duration::from_micros(41_500));
    let response = range(&service, true, &[]).await.expect("served");
    assert_eq!(metadata_of(&response, AGE_METADATA).as_deref(), Some("42"));
    assert_eq!(
        metadata_of(&response, MEMBER_METADATA),
        Some(MEMBER.to_string())
    );
    let response = range(&service, false, &[]).await.expect("served");
    let age = metadata_of(&response, AGE_METADATA).expect("a response");
    assert!(age.parse::<u64>().expect("a number") < 1000);
    *node.staleness.lock() = None;
    let response = range(&service, true, &[]).await.expect("served");
    assert_eq!(
        metadata_of(&response, AGE_METADATA),
        None,
        "it is not known"
    );
}

#[tokio::test]
async fn a_read_makes_a_node_confirm_its_freshness() {
    let (node, service) = service();
    range(&service, true, &[]).await.expect("served");
    assert_eq!(node.freshened.load(Ordering::SeqCst), 0);
    *node.staleness.lock() = None;
    range(&service, true, &[]).await.expect("served");
    *node.staleness.lock() = Some(Duration::from_secs(1));
    range(&service, true, &[]).await.expect("served");
    assert_eq!(node.freshened.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn state_within_its_bound_is_served_without_the_quorum() {
    let (node, service) = service();
    *node.barrier_error.lock() = Some(ReadIndexError::NoLeader);
    *node.staleness.lock() = Some(Duration::from_millis(50));
    let bound = [(MAX_STALENESS_METADATA, "50")];
    range(&service, true, &bound).await.expect("young enough");
    let bound = [(MAX_STALENESS_METADATA, "49")];
    let status = range(&service, true, &bound).await.expect_err("too old");
    assert_eq!(reason_of(&status), Some(Reason::TooOld));
    assert_eq!(
        status.message(),
        "tenure: state is older than asked: up to 50 ms, at most 49 ms"
    );
    *node.staleness.lock() = None;
    let status = range(&service, true, &bound).await.expect_err("unknown");
    assert_eq!(
        status.message(),
        "tenure: state is older than asked: by an unknown time, at most 49 ms"
    );
}

#[tokio::test]
async fn state_of_unknown_age_is_confirmed_if_the_quorum_can_be_had() {
    let (node, service) = service();
    *node.staleness.lock() = None;
    let bound = [(MAX_STALENESS_METADATA, "400")];
    let response = range(&service, true, &bound).await.expect("confirmed");
    assert!(metadata_of(&response, AGE_METADATA).is_some());
}

#[tokio::test]
async fn a_read_waits_for_the_revision_that_its_client_has_seen() {
    let (node, service) = service();
    let seen = [(AT_LEAST_REVISION_METADATA, "3")];
    let mut read = Box::pin(range(&service, true, &seen));
    assert!(poll!(&mut read).is_pending());
    for _ in 0..2 {
        node.apply(&Command::Put(Put {
            key: "a".into(),
            ..Put::default()
        }));
    }
    let response = read.await.expect("reached").into_inner();
    assert_eq!(response.header.map(|header| header.revision), Some(3));
    assert!(matches!(
        poll!(Box::pin(range(&service, true, &seen))),
        Poll::Ready(Ok(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_is_not_reached_in_time_is_reported_with_the_present_one() {
    let (_node, service) = service();
    let seen = [
        (AT_LEAST_REVISION_METADATA, "100"),
        ("grpc-timeout", "500m"),
    ];
    let status = range(&service, false, &seen).await.expect_err("not there");
    assert_eq!(reason_of(&status), Some(Reason::RevisionNotReached));
    assert_eq!(
        status.message(),
        "tenure: revision is not reached: asked 100, here 1"
    );
}

#[tokio::test]
async fn what_is_no_number_is_refused() {
    let (_node, service) = service();
    for (key, value, expected) in [
        (
            MAX_STALENESS_METADATA,
            "soon",
            "tenure-max-staleness is \"soon\", not a number",
        ),
        (
            AT_LEAST_REVISION_METADATA,
            "-1",
            "tenure-at-least-revision is \"-1\", not a number",
        ),
        (
            AT_LEAST_REVISION_METADATA,
            "",
            "tenure-at-least-revision is \"\", not a number",
        ),
        (
            AT_LEAST_REVISION_METADATA,
            "9223372036854775808",
            "no revision is that great",
        ),
    ] {
        let status = range(&service, true, &[(key, value)])
            .await
            .expect_err("refused");
        assert_eq!(
            status.message(),
            format!("tenure: freshness is malformed: {expected}")
        );
    }
}
