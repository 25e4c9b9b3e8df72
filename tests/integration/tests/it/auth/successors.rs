//! A user who is deleted, and another who gets the name: what the first owned is not the second's.

use tenure_proto::{
    etcdserverpb::{
        AuthUserDeleteRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest,
        PutRequest, PutResponse,
    },
    metadata::{IDEMPOTENCY_KEY_METADATA, REQUEST_METADATA},
    v1::{self, session_client::SessionClient},
};
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};

use super::setup::{User, Users};

async fn put(user: &User, (name, id): (&'static str, &str)) -> Result<PutResponse, Status> {
    let put = PutRequest {
        key: "a/1".into(),
        value: "the same".into(),
        prev_kv: true,
        ..PutRequest::default()
    };
    let mut request = Request::new(put);
    request.metadata_mut().insert(name, id.parse().unwrap());
    let put = user.kv().put(request).await;
    put.map(tonic::Response::into_inner)
}

/// Grants a lease with an id that is made of the key.
async fn grant(user: &User, key: &str) -> i64 {
    let mut request = Request::new(LeaseGrantRequest { ttl: 600, id: 0 });
    let key = key.parse().unwrap();
    request.metadata_mut().insert(IDEMPOTENCY_KEY_METADATA, key);
    let granted = user.lease().lease_grant(request).await;
    granted.unwrap().into_inner().id
}

async fn replace(root: &User, name: &str) {
    let deleted = AuthUserDeleteRequest {
        name: name.to_owned(),
    };
    root.auth().user_delete(deleted).await.unwrap();
    root.add_user(name).await;
    root.grant_role(name, "both").await;
}

#[tokio::test]
async fn a_user_has_no_session_key_or_lease_of_an_earlier_one_of_the_name() {
    let users = Users::start(1).await;
    let (root, first) = (users.user("root").await, users.user("both").await);
    let opened = SessionClient::new(first.called())
        .open(v1::OpenSessionRequest {
            ttl_ms: 600_000,
            ..Default::default()
        })
        .await;
    let session = opened.unwrap().into_inner().session;
    let numbered = format!("{session:016x}.1.0");
    let (numbered, keyed) = (
        (REQUEST_METADATA, numbered.as_str()),
        (IDEMPOTENCY_KEY_METADATA, "a key"),
    );
    put(&first, numbered).await.unwrap();
    let told = put(&first, keyed).await.unwrap();
    assert_eq!(put(&first, keyed).await.unwrap(), told);
    let lease = grant(&first, "of a lease").await;
    replace(&root, "both").await;
    let second = users.user("both").await;
    let found = put(&second, numbered).await.map_err(|it| it.code());
    assert_eq!(found.map(drop), Err(Code::NotFound), "no such session");
    let inspect = v1::InspectSessionRequest { session };
    let mut sessions = SessionClient::new(second.called());
    let found = sessions.inspect(inspect).await.map_err(|it| it.code());
    assert_eq!(found.map(drop), Err(Code::NotFound));
    // Executed, and not told what the first was told.
    let own = put(&second, keyed).await.unwrap();
    let revision = |put: &PutResponse| put.header.as_ref().unwrap().revision;
    assert!(revision(&own) > revision(&told));
    let revoke = LeaseRevokeRequest { id: session };
    let revoked = second.lease().lease_revoke(revoke).await;
    assert_eq!(
        revoked.map(drop).map_err(|it| it.code()),
        Err(Code::PermissionDenied)
    );
    let renew = LeaseKeepAliveRequest { id: session };
    let renewed = second
        .lease()
        .lease_keep_alive(tokio_stream::iter([renew]))
        .await;
    let renewed = renewed.unwrap().into_inner().next().await.unwrap();
    assert_eq!(
        renewed.map(drop).map_err(|it| it.code()),
        Err(Code::PermissionDenied)
    );
    assert_ne!(grant(&second, "of a lease").await, lease);
}

#[tokio::test]
async fn no_user_can_use_up_the_keys_or_guess_the_leases_of_another() {
    let users = Users::start(1).await;
    let (root, both) = (users.user("root").await, users.user("both").await);
    let key = (IDEMPOTENCY_KEY_METADATA, "order 17");
    put(&root, key).await.unwrap();
    let other = put(&both, key).await.unwrap();
    assert!(other.prev_kv.is_some(), "executed on its own");
    assert_eq!(put(&both, key).await.unwrap(), other);
    let of_root = grant(&root, "order 18").await;
    let of_both = grant(&both, "order 18").await;
    assert_ne!(of_root, of_both);
    assert_eq!(grant(&both, "order 18").await, of_both, "a repeat");
}
