//! Streams that are open while authentication is disabled and enabled again: the tokens have ended,
//! and the streams end with them.

use tenure_proto::{
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
        PutRequest, SnapshotRequest, maintenance_client::MaintenanceClient,
    },
    v1::{self, lock_client::LockClient},
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Code;

use super::{
    setup::{User, Users},
    watching::Watching,
};

/// Values that make a snapshot larger than what a stream holds before it is read.
const VALUE_BYTES: usize = 1 << 20;
const VALUES: usize = 24;

/// Disables authentication, and enables it again.
async fn off_and_on(root: &User, nobody: &User) {
    root.auth()
        .auth_disable(AuthDisableRequest {})
        .await
        .unwrap();
    nobody
        .auth()
        .auth_enable(AuthEnableRequest {})
        .await
        .unwrap();
}

#[tokio::test]
async fn watches_renewals_and_observers_end_with_the_tokens_that_opened_them() {
    let users = Users::start(1).await;
    let (root, both) = (users.user("root").await, users.user("both").await);
    let mut watching = Watching::open(&both).await;
    assert!(!watching.create("a/1", b"").await.canceled);
    let grant = LeaseGrantRequest { ttl: 600, id: 0 };
    let granted = both.lease().lease_grant(grant).await.unwrap();
    let id = granted.into_inner().id;
    let (renewals, sent) = mpsc::channel(16);
    let mut leases = both.lease();
    let opened = leases.lease_keep_alive(ReceiverStream::new(sent));
    let renew = LeaseKeepAliveRequest { id };
    renewals.send(renew).await.unwrap();
    let mut renewed = opened.await.unwrap().into_inner();
    assert_eq!(renewed.next().await.unwrap().unwrap().ttl, 600);
    let follow = v1::WatchTokensRequest {
        names: vec!["a/lock".into()],
    };
    let followed = LockClient::new(both.called()).watch_tokens(follow).await;
    let mut followed = followed.unwrap().into_inner();
    followed.next().await.unwrap().unwrap();

    off_and_on(&root, &users.nobody()).await;

    let cancelled = watching.next().await;
    let reason = &cancelled.cancel_reason;
    assert!(cancelled.canceled, "{cancelled:?}");
    assert!(reason.ends_with("invalid auth token"), "{reason}");
    renewals.send(renew).await.unwrap();
    let refused = renewed.next().await.unwrap().map(|renewed| renewed.ttl);
    let refused = refused.map_err(|status| status.code());
    assert_eq!(refused, Err(Code::Unauthenticated));
    let ended = followed.next().await.unwrap().map(drop);
    let ended = ended.map_err(|status| status.code());
    assert_eq!(ended, Err(Code::Unauthenticated));
    // A new watcher on the old stream is refused, too.
    let created = watching.create("a/2", b"").await;
    assert!(created.canceled && created.created, "{created:?}");
}

#[tokio::test]
async fn a_snapshot_ends_with_the_token_and_with_the_role_that_may_have_it() {
    let users = Users::start(1).await;
    let root = users.user("root").await;
    for number in 0..VALUES {
        let put = PutRequest {
            key: format!("a/{number}").into(),
            value: vec![b'v'; VALUE_BYTES].into(),
            ..PutRequest::default()
        };
        root.kv().put(put).await.unwrap();
    }
    let open = async |user: &User| {
        let mut client = MaintenanceClient::new(user.called());
        let opened = client.snapshot(SnapshotRequest {}).await;
        let mut stream = opened.unwrap().into_inner();
        stream.next().await.unwrap().unwrap();
        stream
    };
    let rest = async |mut stream: tonic::Streaming<_>| {
        while let Some(next) = stream.next().await {
            let next: Result<tenure_proto::etcdserverpb::SnapshotResponse, _> = next;
            if let Err(status) = next {
                return Some(status.code());
            }
        }
        None
    };
    assert_eq!(rest(open(&root).await).await, None, "all of it");
    root.grant_role("guest", "root").await;
    let stream = open(&users.user("guest").await).await;
    let revoke = tenure_proto::etcdserverpb::AuthUserRevokeRoleRequest {
        name: "guest".to_owned(),
        role: "root".to_owned(),
    };
    root.auth().user_revoke_role(revoke).await.unwrap();
    assert_eq!(rest(stream).await, Some(Code::PermissionDenied));
    let stream = open(&root).await;
    off_and_on(&root, &users.nobody()).await;
    assert_eq!(rest(stream).await, Some(Code::Unauthenticated));
}
