//! The `Lease` service against a node of one process.

use std::sync::atomic::Ordering;

use futures::{StreamExt, stream};
use tenure_statemachine::{Command, LeaseExpiry, Put, Reply};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::rpc::admission::Allowed;
use crate::{
    node::ProposeError,
    rpc::{
        Limits,
        answer::status::reason_of,
        fake::{FakeNode, MEMBER, TERM},
    },
};

fn service() -> (Arc<FakeNode>, LeaseService) {
    let node = FakeNode::leading();
    let services = node.services(Limits {
        quota_bytes: Some(1000),
        ..Limits::standard()
    });
    (node, LeaseService(services))
}

async fn grant(service: &LeaseService, id: i64, ttl: i64) -> wire::LeaseGrantResponse {
    let request = Request::new(wire::LeaseGrantRequest { ttl, id });
    service
        .lease_grant(request)
        .await
        .expect("granted")
        .into_inner()
}

async fn refused_grant(service: &LeaseService, id: i64, ttl: i64) -> Reason {
    let request = Request::new(wire::LeaseGrantRequest { ttl, id });
    let status = service.lease_grant(request).await.expect_err("refused");
    reason_of(&status).expect("a status of ours")
}

async fn time_to_live(service: &LeaseService, id: i64) -> wire::LeaseTimeToLiveResponse {
    let request = Request::new(wire::LeaseTimeToLiveRequest { id, keys: true });
    service
        .lease_time_to_live(request)
        .await
        .expect("answered")
        .into_inner()
}

#[tokio::test]
async fn short_leases_live_the_minimum_and_long_ones_are_refused() {
    let (_node, service) = service();
    for (id, requested, granted) in [(1, 1, 2), (2, 0, 2), (3, -5, 2), (4, 3, 3)] {
        let reply = grant(&service, id, requested).await;
        assert_eq!(
            (reply.id, reply.ttl, reply.error.as_str()),
            (id, granted, "")
        );
        assert_eq!(reply.header.map(|header| header.revision), Some(1));
    }
    let longest = 9_000_000_000;
    assert_eq!(grant(&service, 5, longest).await.ttl, longest);
    assert_eq!(
        refused_grant(&service, 6, longest + 1).await,
        Reason::LeaseTtlTooLarge
    );
    assert_eq!(refused_grant(&service, 4, 3).await, Reason::LeaseExists);
}

#[tokio::test]
async fn the_server_chooses_positive_ids() {
    let (_node, service) = service();
    let (first, second) = (
        grant(&service, 0, 9).await.id,
        grant(&service, 0, 9).await.id,
    );
    assert!(first > 0 && second > 0 && first != second);
}

#[tokio::test]
async fn no_lease_is_granted_without_space() {
    let (node, service) = service();
    node.logical_bytes.store(940, Ordering::SeqCst);
    assert_eq!(refused_grant(&service, 1, 9).await, Reason::NoSpace);
    let alarmed = node.proposals.lock().first().cloned();
    assert!(matches!(alarmed, Some(Command::Alarm(change)) if change.member == MEMBER));
}

#[tokio::test]
async fn the_remaining_ttl_of_a_lease_is_reported_in_whole_seconds() {
    let (node, service) = service();
    grant(&service, 7, 10).await;
    let key: bytes::Bytes = "a".into();
    let put = Put {
        key: key.clone(),
        lease: LeaseId(7),
        ..Put::default()
    };
    node.apply(&Command::Put(put));
    node.now.fetch_add(2500, Ordering::SeqCst);
    let reply = time_to_live(&service, 7).await;
    assert_eq!((reply.id, reply.ttl, reply.granted_ttl), (7, 7, 10));
    assert_eq!(reply.keys, [key]);
    // Its deadline has passed, but its expiry is not replicated yet.
    node.now.fetch_add(20_000, Ordering::SeqCst);
    assert_eq!(time_to_live(&service, 7).await.ttl, 0);
    let expiry = LeaseExpiry {
        id: LeaseId(7),
        generation: 0,
        term: TERM,
    };
    let mut outcome = node.apply(&Command::LeaseExpire(vec![expiry]));
    if outcome.reply == Ok(Reply::LeaseExpire(Vec::new())) {
        outcome = node.apply(&Command::LeaseExpire(vec![LeaseExpiry {
            generation: 1,
            ..expiry
        }]));
    }
    assert_eq!(outcome.reply, Ok(Reply::LeaseExpire(vec![LeaseId(7)])));
    let gone = time_to_live(&service, 7).await;
    assert_eq!((gone.ttl, gone.granted_ttl, gone.keys.len()), (-1, 0, 0));
}

#[tokio::test]
async fn leases_are_listed_by_when_they_end() {
    let (_node, service) = service();
    for (id, ttl) in [(1, 30), (2, 10), (3, 20)] {
        grant(&service, id, ttl).await;
    }
    let reply = service
        .lease_leases(Request::new(wire::LeaseLeasesRequest {}))
        .await;
    let ids: Vec<i64> = reply
        .expect("listed")
        .into_inner()
        .leases
        .into_iter()
        .map(|lease| lease.id)
        .collect();
    assert_eq!(ids, [2, 3, 1]);
}

#[tokio::test]
async fn leases_that_end_together_are_listed_in_the_order_of_granting() {
    let (_node, service) = service();
    // In one millisecond of cluster time, so that only the order of grants distinguishes them.
    for id in [30, 10, 20] {
        grant(&service, id, 60).await;
    }
    let listed = service.lease_leases(Request::new(wire::LeaseLeasesRequest {}));
    let listed = listed.await.expect("answered").into_inner().leases;
    let ids: Vec<_> = listed.iter().map(|lease| lease.id).collect();
    assert_eq!(ids, [30, 10, 20]);
}

#[tokio::test]
async fn a_revoked_lease_takes_its_keys_along_once() {
    let (node, service) = service();
    grant(&service, 7, 10).await;
    for key in ["a", "b"] {
        let put = Put {
            key: key.into(),
            lease: LeaseId(7),
            ..Put::default()
        };
        node.apply(&Command::Put(put));
    }
    let revoke = || Request::new(wire::LeaseRevokeRequest { id: 7 });
    let reply = service
        .lease_revoke(revoke())
        .await
        .expect("revoked")
        .into_inner();
    assert_eq!(reply.header.map(|header| header.revision), Some(4));
    let status = service.lease_revoke(revoke()).await.expect_err("gone");
    assert_eq!(reason_of(&status), Some(Reason::LeaseNotFound));
}

struct KeepAlives {
    requests: mpsc::Sender<Result<wire::LeaseKeepAliveRequest, Status>>,
    responses: Pin<Box<dyn Stream<Item = Result<wire::LeaseKeepAliveResponse, Status>> + Send>>,
}

impl KeepAlives {
    fn of(service: &LeaseService) -> Self {
        let (requests, inbound) = mpsc::channel(16);
        let call = service.0.admit(&Request::new(())).expect("admitted");
        let inbound = ReceiverStream::new(inbound);
        let responses = Box::pin(keep_alive::responses(Arc::clone(&service.0), call, inbound));
        Self {
            requests,
            responses,
        }
    }

    async fn ask(&self, id: i64) {
        let request = Ok(wire::LeaseKeepAliveRequest { id });
        self.requests.send(request).await.expect("open");
    }

    async fn next(&mut self) -> Result<wire::LeaseKeepAliveResponse, Status> {
        self.responses.next().await.expect("a response")
    }
}

#[tokio::test]
async fn keep_alives_are_answered_in_order_and_the_unknown_with_no_time() {
    let (node, service) = service();
    grant(&service, 7, 10).await;
    let mut stream = KeepAlives::of(&service);
    node.now.fetch_add(8000, Ordering::SeqCst);
    for id in [7, 8, 7] {
        stream.ask(id).await;
    }
    for (id, ttl) in [(7, 10), (8, 0), (7, 10)] {
        let response = stream.next().await.expect("an answer");
        assert_eq!((response.id, response.ttl), (id, ttl));
        assert_eq!(response.header.map(|header| header.revision), Some(1));
    }
    assert_eq!(time_to_live(&service, 7).await.ttl, 10);
    let KeepAlives {
        requests,
        mut responses,
    } = stream;
    drop(requests);
    assert!(responses.next().await.is_none());
}

#[tokio::test]
async fn a_failed_renewal_ends_the_stream() {
    let (node, service) = service();
    let mut stream = KeepAlives::of(&service);
    *node.propose_error.lock() = Some(ProposeError::NoLeader);
    stream.ask(7).await;
    let status = stream.next().await.expect_err("the end");
    assert_eq!(reason_of(&status), Some(Reason::NoLeader));
    assert!(stream.responses.next().await.is_none());
}

#[tokio::test]
async fn a_renewal_that_finds_no_leader_in_time_says_so() {
    let (node, service) = service();
    *node.propose_error.lock() = Some(ProposeError::TimedOut);
    for (leader, reason) in [
        (Some(MEMBER), Reason::WriteTimedOut),
        (None, Reason::NoLeader),
    ] {
        node.set_leader(leader);
        let mut stream = KeepAlives::of(&service);
        stream.ask(7).await;
        let status = stream.next().await.expect_err("the end");
        assert_eq!(reason_of(&status), Some(reason));
    }
}

#[tokio::test]
async fn a_stopping_node_ends_keep_alives_so_that_clients_go_elsewhere() {
    let (_node, service) = service();
    let mut stream = KeepAlives::of(&service);
    service.0.drain();
    let status = stream.next().await.expect_err("the end");
    assert_eq!(reason_of(&status), Some(Reason::Stopped));
}

#[tokio::test]
async fn renewals_that_come_together_are_replicated_together() {
    let (node, service) = service();
    let mut renewals = Vec::new();
    for id in 1..=1000 {
        node.apply(&Command::LeaseGrant(LeaseGrant {
            id: LeaseId(id),
            ttl: Ttl::from_secs(id as u64),
        }));
        renewals.push(
            service
                .0
                .renewals
                .renew(Allowed::renewing(None, vec![LeaseId(id)])),
        );
    }
    let renewed = futures::future::join_all(renewals).await;
    for (at, ttl) in renewed.into_iter().enumerate() {
        assert_eq!(ttl, Ok(vec![Ok(Ttl::from_secs(at as u64 + 1))]));
    }
    assert!(
        node.proposals.lock().len() <= 3,
        "{}",
        node.proposals.lock().len()
    );
    *node.propose_error.lock() = Some(ProposeError::LeaderLost);
    assert_eq!(
        service
            .0
            .renewals
            .renew(Allowed::renewing(None, vec![LeaseId(1)]))
            .await,
        Err(ProposeError::LeaderLost)
    );
}

#[tokio::test]
async fn a_stream_reads_on_while_earlier_renewals_are_under_way_and_renews_each_lease_once() {
    let (node, service) = service();
    for id in 1..=3 {
        grant(&service, id, 10).await;
    }
    let renewals: Vec<i64> = (0..15_000).map(|number| number % 3 + 1).collect();
    let requests = stream::iter(
        renewals
            .clone()
            .into_iter()
            .map(|id| Ok(wire::LeaseKeepAliveRequest { id })),
    );
    let call = service.0.admit(&Request::new(())).expect("admitted");
    let before = node.proposals.lock().len();
    let responses = keep_alive::responses(Arc::clone(&service.0), call, requests);
    let answered: Vec<i64> = responses
        .map(|response| {
            let response = response.expect("renewed");
            assert_eq!(response.ttl, 10);
            response.id
        })
        .collect()
        .await;
    assert_eq!(answered, renewals);
    let renewals = node.proposals.lock()[before..]
        .iter()
        .map(|command| match command {
            Command::LeaseRenew(leases) => leases.len(),
            other => panic!("{other:?}"),
        })
        .sum::<usize>();
    assert!(renewals <= 12, "{renewals} renewals of three leases");
}
