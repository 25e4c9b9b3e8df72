//! Guards and request ids with etcd's calls.

use tenure_proto::{
    etcdserverpb::{
        AlarmRequest, LeaseGrantRequest, LeaseRevokeRequest, RangeRequest,
        alarm_request::AlarmAction, lease_server::Lease, maintenance_server::Maintenance,
    },
    metadata::{GUARD_TEXT_METADATA, IDEMPOTENCY_KEY_METADATA, REQUEST_METADATA},
};
use tenure_statemachine::{Conditional, Guard, RequestId};

use super::*;
use crate::rpc::etcd::{lease::LeaseService, maintenance::MaintenanceService};

fn guarded<T>(request: T) -> Request<T> {
    let mut request = Request::new(request);
    let metadata = request.metadata_mut();
    metadata.insert(GUARD_TEXT_METADATA, "lock=7".parse().expect("ascii"));
    metadata.insert(IDEMPOTENCY_KEY_METADATA, "once".parse().expect("ascii"));
    request
}

/// The last proposed command, without its conditions, which are checked.
fn proposed(node: &FakeNode) -> Command {
    match node.proposals.lock().pop() {
        Some(Command::Conditional(conditional)) => {
            let Conditional {
                guards,
                request,
                command,
            } = *conditional;
            let guard = Guard {
                name: "lock".into(),
                token: Revision(7),
            };
            assert_eq!(guards, [guard]);
            assert_eq!(request, Some(RequestId::Key("once".into())));
            command
        }
        other => panic!("it carries conditions: {other:?}"),
    }
}

#[tokio::test]
async fn every_mutating_call_carries_its_conditions_to_where_they_are_checked() {
    let (node, service) = service();
    // The node applies nothing: the test checks the proposals.
    *node.propose_error.lock() = Some(ProposeError::NoLeader);
    let lease = LeaseService(Arc::clone(&service.0));
    let maintenance = MaintenanceService(Arc::clone(&service.0));
    _ = Kv::put(&service, guarded(put("a", "1"))).await;
    assert!(matches!(proposed(&node), Command::Put(_)));
    let delete = DeleteRangeRequest {
        key: "a".into(),
        ..DeleteRangeRequest::default()
    };
    _ = Kv::delete_range(&service, guarded(delete.clone())).await;
    assert!(matches!(proposed(&node), Command::DeleteRange(_)));
    let txn = success(vec![op(Op::RequestDeleteRange(delete))]);
    _ = Kv::txn(&service, guarded(txn)).await;
    assert!(matches!(proposed(&node), Command::Txn(_)));
    let compact = CompactionRequest {
        revision: 1,
        physical: false,
    };
    _ = Kv::compact(&service, guarded(compact)).await;
    assert!(matches!(proposed(&node), Command::Compact(_)));
    _ = Lease::lease_grant(&lease, guarded(LeaseGrantRequest { id: 7, ttl: 9 })).await;
    assert!(matches!(proposed(&node), Command::LeaseGrant(_)));
    _ = Lease::lease_revoke(&lease, guarded(LeaseRevokeRequest { id: 7 })).await;
    assert!(matches!(proposed(&node), Command::LeaseRevoke(_)));
    let alarm = AlarmRequest {
        action: AlarmAction::Deactivate as i32,
        ..AlarmRequest::default()
    };
    _ = Maintenance::alarm(&maintenance, guarded(alarm)).await;
    assert!(matches!(proposed(&node), Command::Alarm(_)));
}

#[tokio::test]
async fn reads_take_no_guards() {
    let (_node, service) = service();
    let read = RangeRequest {
        key: "a".into(),
        ..RangeRequest::default()
    };
    let txn = success(vec![op(Op::RequestRange(read.clone()))]);
    for refused in [
        Kv::range(&service, guarded(read.clone())).await.map(|_| ()),
        Kv::range_stream(&service, guarded(read)).await.map(|_| ()),
        Kv::txn(&service, guarded(txn)).await.map(|_| ()),
    ] {
        let status = refused.expect_err("refused");
        assert_eq!(reason_of(&status), Some(Reason::GuardOnRead));
        assert_eq!(status.message(), "tenure: a read takes no guards");
    }
}

#[tokio::test]
async fn a_condition_that_is_not_understood_is_never_ignored() {
    let (node, service) = service();
    for (key, value, expected) in [
        (
            GUARD_TEXT_METADATA,
            "lock",
            "tenure: guard is malformed: \"lock\" is not NAME=TOKEN",
        ),
        (
            REQUEST_METADATA,
            "1",
            "tenure: request id is malformed: \"1\" is not SESSION.SEQUENCE.ANSWERED",
        ),
    ] {
        let mut request = Request::new(put("a", "1"));
        let value = value.parse().expect("ascii");
        request.metadata_mut().insert(key, value);
        let status = Kv::put(&service, request).await.expect_err("refused");
        assert_eq!(status.message(), expected);
    }
    assert!(node.proposals.lock().is_empty());
}

#[tokio::test]
async fn a_put_with_an_idempotency_key_takes_effect_once() {
    let (_node, service) = service();
    let once = || {
        let mut request = Request::new(put("a", "1"));
        let key = "once".parse().expect("ascii");
        request.metadata_mut().insert(IDEMPOTENCY_KEY_METADATA, key);
        request
    };
    for _ in 0..2 {
        let reply = Kv::put(&service, once()).await.expect("put").into_inner();
        assert_eq!(reply.header.map(|header| header.revision), Some(2));
    }
    let mut other = once();
    other.get_mut().value = "2".into();
    let status = Kv::put(&service, other).await.expect_err("another request");
    assert_eq!(reason_of(&status), Some(Reason::RequestDiffers));
}
