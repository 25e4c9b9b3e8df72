//! Keys beyond those permitted: by ranges without an end, comparisons, leases and names of others.

use tenure_proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest,
        PutRequest, RangeRequest, RequestOp, TxnRequest, compare::TargetUnion,
        request_op::Request as Op,
    },
    v1::{
        self, lock_client::LockClient, registry_client::RegistryClient,
        session_client::SessionClient,
    },
    v3electionpb::{LeaderKey, ProclaimRequest, ResignRequest, election_client::ElectionClient},
    v3lockpb::{UnlockRequest, lock_client::LockClient as EtcdLockClient},
};
use tokio_stream::StreamExt;
use tonic::Code;

use super::{
    super::setup::{User, Users},
    denied, refused,
};

/// Ranges that begin inside of `a/`, and do not end there.
const BEYOND: [(&str, &[u8]); 7] = [
    ("a/", b"\0"),
    ("a/1", b"\0"),
    ("\0", b"\0"),
    ("a/", b"a1"),
    ("a/", b"b"),
    ("a", b"a0"),
    ("a", b""),
];

#[tokio::test]
async fn a_range_that_leaves_the_permitted_one_is_refused_wherever_it_stands() {
    let users = Users::start(1).await;
    let both = users.user("both").await;
    for (key, end) in BEYOND {
        let (key, range_end) = (key.as_bytes().to_vec(), end.to_vec());
        let range = RangeRequest {
            key: key.clone().into(),
            range_end: range_end.clone().into(),
            ..RangeRequest::default()
        };
        let delete = DeleteRangeRequest {
            key: key.clone().into(),
            range_end: range_end.clone().into(),
            ..DeleteRangeRequest::default()
        };
        let compare = Compare {
            key: key.into(),
            range_end: range_end.into(),
            target_union: Some(TargetUnion::Version(0)),
            ..Compare::default()
        };
        denied(both.kv().range(range.clone()).await);
        denied(both.kv().range_stream(range.clone()).await);
        denied(both.kv().delete_range(delete.clone()).await);
        for operation in [Op::RequestRange(range), Op::RequestDeleteRange(delete)] {
            let within = RequestOp {
                request: Some(operation),
            };
            let taken = TxnRequest {
                success: vec![within.clone()],
                ..TxnRequest::default()
            };
            let other = TxnRequest {
                failure: vec![within],
                ..TxnRequest::default()
            };
            denied(both.kv().txn(taken).await);
            denied(both.kv().txn(other).await);
        }
        let asking = TxnRequest {
            compare: vec![compare],
            ..TxnRequest::default()
        };
        denied(both.kv().txn(asking).await);
    }
}

/// Otherwise it would be told by the branch that was taken.
#[tokio::test]
async fn a_comparison_reveals_no_value_to_who_may_only_write() {
    let users = Users::start(1).await;
    let writer = users.user("writer").await;
    for target in [
        TargetUnion::Value("secret".into()),
        TargetUnion::Version(1),
        TargetUnion::ModRevision(1),
    ] {
        let compare = Compare {
            key: "a/1".into(),
            target_union: Some(target),
            ..Compare::default()
        };
        let txn = TxnRequest {
            compare: vec![compare],
            ..TxnRequest::default()
        };
        denied(writer.kv().txn(txn.clone()).await);
        let nested = TxnRequest {
            success: vec![RequestOp {
                request: Some(Op::RequestTxn(txn)),
            }],
            ..TxnRequest::default()
        };
        denied(writer.kv().txn(nested).await);
    }
}

/// A lease of root, with a key of root.
async fn foreign_lease(root: &User) -> i64 {
    let grant = LeaseGrantRequest { ttl: 600, id: 0 };
    let granted = root.lease().lease_grant(grant).await.unwrap();
    let lease = granted.into_inner().id;
    let put = PutRequest {
        key: "others".into(),
        lease,
        ..PutRequest::default()
    };
    root.kv().put(put).await.unwrap();
    lease
}

/// Its end would delete keys that the user may not write.
#[tokio::test]
async fn a_lease_with_keys_of_others_is_of_no_use() {
    let users = Users::start(1).await;
    let (root, both) = (users.user("root").await, users.user("both").await);
    let lease = foreign_lease(&root).await;
    denied(
        both.lease()
            .lease_revoke(LeaseRevokeRequest { id: lease })
            .await,
    );
    let renew = LeaseKeepAliveRequest { id: lease };
    let renewed = both
        .lease()
        .lease_keep_alive(tokio_stream::once(renew))
        .await;
    denied(renewed.unwrap().into_inner().next().await.unwrap());
    let acquire = v1::AcquireRequest {
        names: vec!["a/lock".into()],
        lease,
        ..Default::default()
    };
    let mut locks = LockClient::new(both.called());
    denied(locks.try_acquire(acquire.clone()).await);
    denied(locks.acquire(acquire).await);
    let register = v1::RegisterRequest {
        instance: Some(v1::Instance {
            service: "web".to_owned(),
            id: "1".to_owned(),
            endpoints: vec![v1::Endpoint {
                protocol: "http".to_owned(),
                host: "h".to_owned(),
                port: 1,
            }],
            ..Default::default()
        }),
        lease,
        ..Default::default()
    };
    denied(RegistryClient::new(both.called()).register(register).await);
    let will = v1::SetWillRequest {
        lease,
        transaction: Some(TxnRequest {
            success: vec![RequestOp {
                request: Some(Op::RequestPut(PutRequest {
                    key: "a/1".into(),
                    ..PutRequest::default()
                })),
            }],
            ..TxnRequest::default()
        }),
        ..Default::default()
    };
    denied(SessionClient::new(both.called()).set_will(will).await);
}

/// The name is permitted, the key is another's.
#[tokio::test]
async fn the_key_of_a_leader_or_a_lock_is_checked_and_not_its_name() {
    let users = Users::start(1).await;
    let (root, both) = (users.user("root").await, users.user("both").await);
    let put = PutRequest {
        key: "others".into(),
        value: "kept".into(),
        ..PutRequest::default()
    };
    let put = root.kv().put(put).await.unwrap().into_inner();
    let leader = || {
        Some(LeaderKey {
            name: "a/elected".into(),
            key: "others".into(),
            rev: put.header.unwrap().revision,
            lease: 0,
        })
    };
    let mut elections = ElectionClient::new(both.called());
    let proclaim = ProclaimRequest {
        leader: leader(),
        value: "taken over".into(),
    };
    // A key of another name leads nothing.
    refused(elections.proclaim(proclaim).await, "election: not leader");
    // As with etcd, who no longer leads has nothing to resign.
    let resign = ResignRequest { leader: leader() };
    drop(elections.resign(resign).await);
    let unlock = UnlockRequest {
        key: "others".into(),
    };
    denied(EtcdLockClient::new(both.called()).unlock(unlock).await);
    let get = RangeRequest {
        key: "others".into(),
        ..RangeRequest::default()
    };
    let found = root.kv().range(get).await.unwrap().into_inner();
    assert_eq!(found.kvs[0].value, "kept");
}

#[tokio::test]
async fn one_name_that_is_not_permitted_refuses_all() {
    let users = Users::start(1).await;
    let both = users.user("both").await;
    let mut locks = LockClient::new(both.called());
    let names = || vec!["a/lock".into(), "b/lock".into()];
    let acquire = v1::AcquireRequest {
        names: names(),
        ttl_ms: 60_000,
        ..Default::default()
    };
    denied(locks.try_acquire(acquire).await);
    denied(
        locks
            .watch_tokens(v1::WatchTokensRequest { names: names() })
            .await,
    );
    // The claims on `a` are the keys below `a/`: those are permitted, and not those of `a0`.
    for (name, may) in [("a", true), ("a/", true), ("a0", false), ("", false)] {
        let inspect = v1::InspectRequest {
            name: name.as_bytes().to_vec().into(),
            limit: 0,
        };
        let code = locks.inspect(inspect).await.map_err(|status| status.code());
        assert_eq!(code.is_ok(), may, "{name}");
    }
    // Of all locks a user sees its own.
    let root = users.user("root").await;
    for (user, name) in [(&both, "a/lock"), (&root, "b/lock")] {
        let acquire = v1::AcquireRequest {
            names: vec![name.into()],
            ttl_ms: 60_000,
            ..Default::default()
        };
        let mut locks = LockClient::new(user.called());
        locks.try_acquire(acquire).await.unwrap();
    }
    let seen = async |user: &User| {
        let mut locks = LockClient::new(user.called());
        let list = locks.list(v1::ListRequest::default()).await.unwrap();
        list.into_inner().claims.len()
    };
    assert_eq!((seen(&both).await, seen(&root).await), (1, 2));
    let status = locks.list(v1::ListRequest::default()).await;
    assert_ne!(status.map_err(|it| it.code()).err(), Some(Code::Internal));
}
