//! What belongs to another user: idempotency keys, sessions, wills.

use tenure_proto::{
    etcdserverpb::{
        AuthUserRevokeRoleRequest, LeaseLeasesRequest, PutRequest, PutResponse, RangeRequest,
        RequestOp, TxnRequest, request_op,
    },
    metadata::{IDEMPOTENCY_KEY_METADATA, REQUEST_METADATA},
    v1::{self, session_client::SessionClient},
};
use tenure_testkit::{STATE_MAX, wait_until};
use tonic::{Request, Status};

use super::{
    super::setup::{User, Users},
    denied,
};

/// A put that returns what was there, under a request id.
async fn put(
    user: &User,
    (name, id): (&'static str, &str),
    value: &str,
) -> Result<PutResponse, Status> {
    let put = PutRequest {
        key: "a/1".into(),
        value: value.to_owned().into(),
        prev_kv: true,
        ..PutRequest::default()
    };
    let mut request = Request::new(put);
    request.metadata_mut().insert(name, id.parse().unwrap());
    user.kv()
        .put(request)
        .await
        .map(tonic::Response::into_inner)
}

async fn value(user: &User) -> Vec<u8> {
    let get = RangeRequest {
        key: "a/1".into(),
        ..RangeRequest::default()
    };
    let found = user.kv().range(get).await.unwrap().into_inner();
    found.kvs.first().map_or(Vec::new(), |kv| kv.value.to_vec())
}

/// The remembered outcome holds a record, which the other may not read.
#[tokio::test]
async fn an_outcome_is_given_to_no_other_user_under_the_same_idempotency_key() {
    let users = Users::start(1).await;
    let (root, both, writer) = (
        users.user("root").await,
        users.user("both").await,
        users.user("writer").await,
    );
    let key = (IDEMPOTENCY_KEY_METADATA, "the same");
    put(&root, (IDEMPOTENCY_KEY_METADATA, "before"), "root's")
        .await
        .unwrap();
    let first = put(&both, key, "both's").await.unwrap();
    assert_eq!(first.prev_kv.unwrap().value, "root's");
    // Who may not read is refused, and learns nothing of it.
    denied(put(&writer, key, "both's").await);
    // For root it is a request of its own, or refused as another one; never that of `both`.
    match put(&root, key, "both's").await {
        Ok(second) => assert_eq!(second.prev_kv.unwrap().value, "both's"),
        Err(status) => assert!(status.message().contains("request id"), "{status}"),
    }
    // Who made it gets it again.
    let again = put(&both, key, "both's").await.unwrap();
    assert_eq!(again.prev_kv.unwrap().value, "root's");
}

#[tokio::test]
async fn a_session_is_used_inspected_and_closed_by_its_user_only() {
    let users = Users::start(1).await;
    let (root, both, reader) = (
        users.user("root").await,
        users.user("both").await,
        users.user("reader").await,
    );
    let session = open(&both, 60_000).await;
    let id = format!("{session:016x}.1.0");
    let request = (REQUEST_METADATA, id.as_str());
    put(&both, request, "both's").await.unwrap();
    let inspect = async |user: &User| {
        let request = v1::InspectSessionRequest { session };
        SessionClient::new(user.called()).inspect(request).await
    };
    inspect(&both).await.unwrap();
    inspect(&root).await.unwrap();
    assert!(inspect(&reader).await.is_err());
    // Another user who may do the same finds no such session.
    let other = async |user: &User| put(user, request, "both's").await.map(drop);
    assert!(other(&users.user("writer").await).await.is_err());
    let close = v1::CloseSessionRequest { session };
    assert!(
        SessionClient::new(reader.called())
            .close(close)
            .await
            .is_err()
    );
    inspect(&both).await.expect("it is open still");
}

/// Opens a session.
async fn open(user: &User, ttl_ms: u64) -> i64 {
    let request = v1::OpenSessionRequest {
        ttl_ms,
        ..Default::default()
    };
    let opened = SessionClient::new(user.called()).open(request).await;
    opened.unwrap().into_inner().session
}

/// A transaction that writes a key.
fn writing(key: &str) -> Option<TxnRequest> {
    let put = PutRequest {
        key: key.to_owned().into(),
        value: "by will".into(),
        ..PutRequest::default()
    };
    Some(TxnRequest {
        success: vec![RequestOp {
            request: Some(request_op::Request::RequestPut(put)),
        }],
        ..TxnRequest::default()
    })
}

#[tokio::test]
async fn a_will_does_what_its_user_may_do_when_it_runs_and_is_replaced_by_no_other() {
    let users = Users::start(1).await;
    let root = users.user("root").await;
    root.grant_role("guest", "both").await;
    let (guest, both) = (users.user("guest").await, users.user("both").await);
    let mut sessions = Vec::new();
    for user in [&guest, &both] {
        let lease = open(user, 3_000).await;
        let own = format!("a/of {lease}");
        let will = |key: &str| v1::SetWillRequest {
            lease,
            transaction: writing(key),
            ..Default::default()
        };
        let mut client = SessionClient::new(user.called());
        denied(client.set_will(will("others")).await);
        client.set_will(will(&own)).await.unwrap();
        let mut stranger = SessionClient::new(users.user("writer").await.called());
        denied(stranger.set_will(will("a/stranger")).await);
        let removal = v1::SetWillRequest {
            lease,
            ..Default::default()
        };
        denied(stranger.set_will(removal).await);
        sessions.push(own);
    }
    // What the first user set while it could does nothing once it cannot.
    let revoke = AuthUserRevokeRoleRequest {
        name: "guest".to_owned(),
        role: "both".to_owned(),
    };
    root.auth().user_revoke_role(revoke).await.unwrap();
    let written = async |key: &str| {
        let get = RangeRequest {
            key: key.to_owned().into(),
            ..RangeRequest::default()
        };
        root.kv().range(get).await.unwrap().into_inner().count
    };
    wait_until(
        "the will of the other ran",
        STATE_MAX,
        async || match written(&sessions[1]).await {
            1 => Ok(()),
            found => Err(found),
        },
    )
    .await;
    // The first lease was granted before, and has ended before.
    wait_until("the first lease ended", STATE_MAX, async || {
        let leases = LeaseLeasesRequest {};
        let left = root.lease().lease_leases(leases).await.unwrap();
        match left.into_inner().leases.len() {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    assert_eq!(written(&sessions[0]).await, 0);
    assert_eq!(value(&root).await, b"");
}
