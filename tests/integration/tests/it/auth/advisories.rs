//! Faults that etcd's access control had, each by its number: none is here.
//!
//! Beside the tests below: CVE-2018-16886 is in `evasion/connections.rs`, GHSA-3wh4-j44w-pg92 in
//! `tls/reload.rs`, CVE-2026-73500 beside the server's handshakes (`transport/secure.rs`), and what
//! old JSON web tokens could do is in `jwt.rs`.

use std::{fs, path::Path};

use tenure_proto::{
    authpb::permission::Type,
    etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
        RangeRequest, RequestOp, TxnRequest, request_op::Request as Op,
    },
};
use tenure_testkit::Cluster;
use tonic::{Code, Status};

use super::{
    setup::{PASSWORD, User, Users},
    watching::Watching,
};

fn put(key: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: "v".into(),
        ..PutRequest::default()
    }
}

fn txn(operations: Vec<Op>) -> TxnRequest {
    let operations = operations.into_iter().map(|request| RequestOp {
        request: Some(request),
    });
    TxnRequest {
        success: operations.collect(),
        ..TxnRequest::default()
    }
}

async fn run(user: &User, txn: TxnRequest) -> Result<(), Status> {
    user.kv().txn(txn).await.map(drop)
}

fn denied<T>(answer: Result<T, Status>) {
    let code = answer.map(drop).map_err(|status| status.code());
    assert_eq!(code, Err(Code::PermissionDenied));
}

/// CVE-2026-33413.
#[tokio::test]
async fn compaction_and_leases_are_checked() {
    let users = Users::start(1).await;
    let (nobody, both) = (users.nobody(), users.user("both").await);
    let compact = CompactionRequest::default;
    denied(both.kv().compact(compact()).await);
    let status = nobody.kv().compact(compact()).await.unwrap_err();
    assert_eq!(status.message(), "etcdserver: user name is empty");
    let grant = LeaseGrantRequest { ttl: 60, id: 0 };
    let status = nobody.lease().lease_grant(grant).await.unwrap_err();
    assert_eq!(status.message(), "etcdserver: user name is empty");
}

/// CVE-2026-33343.
#[tokio::test]
async fn operations_of_nested_transactions_are_checked() {
    let users = Users::start(1).await;
    let guest = users.user("guest").await;
    let read = || {
        Op::RequestRange(RangeRequest {
            key: "a/1".into(),
            ..RangeRequest::default()
        })
    };
    let delete = || {
        Op::RequestDeleteRange(DeleteRangeRequest {
            key: "a/1".into(),
            ..DeleteRangeRequest::default()
        })
    };
    for operation in [read(), Op::RequestPut(put("a/1")), delete()] {
        let once = txn(vec![operation]);
        let twice = txn(vec![Op::RequestTxn(once.clone())]);
        let thrice = TxnRequest {
            failure: txn(vec![Op::RequestTxn(twice.clone())]).success,
            ..TxnRequest::default()
        };
        for request in [once, twice, thrice] {
            denied(run(&guest, request).await);
        }
    }
    // Without an operation there is nothing to permit, but a user it takes.
    run(&guest, TxnRequest::default()).await.unwrap();
    let status = run(&users.nobody(), TxnRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.message(), "etcdserver: user name is empty");
}

/// CVE-2026-44283.
#[tokio::test]
async fn a_put_in_a_transaction_is_checked_like_one_alone() {
    let users = Users::start(1).await;
    let (root, writer) = (users.user("root").await, users.user("writer").await);
    let previous = PutRequest {
        prev_kv: true,
        ..put("a/1")
    };
    denied(writer.kv().put(previous.clone()).await);
    denied(run(&writer, txn(vec![Op::RequestPut(previous)])).await);
    let grant = LeaseGrantRequest { ttl: 600, id: 0 };
    let lease = root
        .lease()
        .lease_grant(grant)
        .await
        .unwrap()
        .into_inner()
        .id;
    let others = PutRequest {
        lease,
        ..put("others")
    };
    root.kv().put(others).await.unwrap();
    let attached = PutRequest {
        lease,
        ..put("a/1")
    };
    denied(writer.kv().put(attached.clone()).await);
    denied(run(&writer, txn(vec![Op::RequestPut(attached.clone())])).await);
    denied(
        writer
            .lease()
            .lease_revoke(LeaseRevokeRequest { id: lease })
            .await,
    );
    root.permit("writer", Type::Write, ("others", "")).await;
    writer.kv().put(attached).await.unwrap();
    writer
        .lease()
        .lease_revoke(LeaseRevokeRequest { id: lease })
        .await
        .unwrap();
}

/// GHSA-xg4h-6gfc-h4m8.
#[tokio::test]
async fn a_watch_without_an_end_is_no_watch_of_one_key() {
    let users = Users::start(1).await;
    let root = users.user("root").await;
    root.permit("reader", Type::Read, ("c", "")).await;
    let reader = users.user("reader").await;
    let mut watching = Watching::open(&reader).await;
    for (key, range_end) in [("c", b"\0"), ("a/", b"\0"), ("a/1", b"\0"), ("", b"\0")] {
        let answer = watching.create(key, range_end).await;
        assert!(answer.created && answer.canceled, "{key}: {answer:?}");
    }
    let point = watching.create("c", b"").await;
    assert!(!point.canceled);
    // Only who may read all keys after it watches them.
    root.permit("reader", Type::Read, ("c", "\0")).await;
    assert!(!watching.create("c", b"\0").await.canceled);
    assert!(watching.create("b", b"\0").await.canceled);
}

/// Without a number: whoever could reach an etcd could raise the alarm that stops all writes.
#[tokio::test]
async fn a_call_without_a_user_raises_no_alarm() {
    let builder = Cluster::builder(1).flag("--quota-backend-bytes", "1000000");
    let users = Users::enable(builder.start().await).await;
    let large = || PutRequest {
        value: vec![b'x'; 1_200_000].into(),
        ..put("a/1")
    };
    for user in [users.nobody(), users.user("guest").await] {
        let status = user.kv().put(large()).await.unwrap_err();
        assert_ne!(status.code(), Code::ResourceExhausted, "{status}");
    }
    let writer = users.user("writer").await;
    writer.kv().put(put("a/1")).await.unwrap();
    let status = writer.kv().put(large()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

/// CVE-2021-28235.
#[tokio::test]
async fn a_password_is_in_no_file_of_a_node() {
    let users = Users::start(1).await;
    let password = "the only one of its kind";
    let root = users.user("root").await;
    root.set_password("guest", password).await;
    let token = users.nobody().try_log_in("guest", password).await.unwrap();
    let node = users.cluster.node(0);
    assert!(!node.log().contains(password) && !node.log().contains(&token));
    let mut found = Vec::new();
    look(
        node.data_dir(),
        &[password.as_bytes(), token.as_bytes()],
        &mut found,
    );
    assert_eq!(found, [] as [String; 0]);
    look(node.data_dir(), &[b"$2"], &mut found);
    assert!(!found.is_empty(), "hashes are found, so passwords would be");
    assert_ne!(PASSWORD, password);
}

/// The files below `folder` that hold one of `words`.
fn look(folder: &Path, words: &[&[u8]], found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look(&path, words, found);
            continue;
        }
        let content = fs::read(&path).unwrap_or_default();
        let holds = |word: &&[u8]| content.windows(word.len()).any(|part| part == *word);
        if words.iter().any(holds) {
            found.push(path.display().to_string());
        }
    }
}
