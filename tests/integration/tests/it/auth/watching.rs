//! Watches and renewals of users whose permissions change.

use tenure_proto::{
    authpb::permission::Type,
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, AuthRoleRevokePermissionRequest,
        AuthUserDeleteRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest,
        LeaseTimeToLiveRequest, PutRequest, WatchCreateRequest, WatchRequest, WatchResponse,
        watch_client::WatchClient, watch_request::RequestUnion,
    },
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Streaming};

use super::setup::{User, Users};

const DENIED: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";

/// A watch stream of a user, with its requests.
pub(super) struct Watching {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Watching {
    pub(super) async fn open(user: &User) -> Self {
        let (requests, sent) = mpsc::channel(16);
        let mut client = WatchClient::new(user.called());
        let responses = client.watch(ReceiverStream::new(sent)).await.unwrap();
        Self {
            requests,
            responses: responses.into_inner(),
        }
    }

    pub(super) async fn create(&mut self, key: &str, range_end: &[u8]) -> WatchResponse {
        let create = WatchCreateRequest {
            key: key.to_owned().into(),
            range_end: range_end.to_vec().into(),
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        self.requests.send(request).await.unwrap();
        self.next().await
    }

    pub(super) async fn next(&mut self) -> WatchResponse {
        self.responses.next().await.expect("it is open").unwrap()
    }
}

async fn put(user: &User, key: &str, lease: i64) -> Result<(), tonic::Status> {
    let request = PutRequest {
        key: key.to_owned().into(),
        lease,
        ..PutRequest::default()
    };
    user.kv().put(request).await.map(drop)
}

#[tokio::test]
async fn a_refused_watcher_leaves_the_others_of_its_stream() {
    let users = Users::start(1).await;
    let reader = users.user("reader").await;
    let mut watching = Watching::open(&reader).await;
    let first = watching.create("a/1", b"").await;
    assert!(first.created && !first.canceled);
    // Beyond the permission, and without an end, which is no point.
    for (key, range_end) in [
        ("b", &b""[..]),
        ("a/", b"a1"),
        ("a/", b"\0"),
        ("", b"\0"),
        ("", b""),
    ] {
        let refused = watching.create(key, range_end).await;
        assert!(refused.created && refused.canceled, "{key} {range_end:?}");
        assert_eq!(
            (refused.watch_id, refused.cancel_reason.as_str()),
            (-1, DENIED)
        );
    }
    put(&users.user("root").await, "a/1", 0).await.unwrap();
    let event = watching.next().await;
    assert_eq!((event.watch_id, event.events.len()), (first.watch_id, 1));
    let mut nobody = Watching::open(&users.nobody()).await;
    let reason = nobody.create("a/1", b"").await.cancel_reason;
    assert_eq!(
        reason,
        "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
    );
    let stranger = User::on(users.cluster.node(0).address(), Some("nonsense.1"));
    let reason = Watching::open(&stranger)
        .await
        .create("a/1", b"")
        .await
        .cancel_reason;
    assert_eq!(
        reason,
        "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
    );
}

#[tokio::test]
async fn a_watch_ends_when_its_user_loses_the_permission() {
    let users = Users::start(3).await;
    let root = users.user("root").await;
    root.permit("reader", Type::Read, ("c", "")).await;
    // On another member than the one on which permissions are changed.
    let token = users.token("reader").await;
    let reader = User::on(users.cluster.node(2).address(), Some(&token));
    let mut watching = Watching::open(&reader).await;
    let stays = watching.create("a/1", b"").await;
    let ends = watching.create("c", b"").await;
    assert!(!stays.canceled && !ends.canceled);
    let revoke = AuthRoleRevokePermissionRequest {
        role: "reader".to_owned(),
        key: "c".into(),
        range_end: "".into(),
    };
    root.auth().role_revoke_permission(revoke).await.unwrap();
    put(&root, "c", 0).await.unwrap();
    put(&root, "a/1", 0).await.unwrap();
    let cancelled = watching.next().await;
    assert_eq!(
        (cancelled.watch_id, cancelled.canceled),
        (ends.watch_id, true)
    );
    assert_eq!(
        (cancelled.cancel_reason.as_str(), cancelled.events.len()),
        (DENIED, 0)
    );
    let event = watching.next().await;
    assert_eq!((event.watch_id, event.events.len()), (stays.watch_id, 1));
    // With the password the token goes, and with it what it opened.
    root.set_password("reader", "another").await;
    let cancelled = watching.next().await;
    assert_eq!(
        (cancelled.watch_id, cancelled.canceled),
        (stays.watch_id, true)
    );
    assert!(
        cancelled.cancel_reason.ends_with("invalid auth token"),
        "{cancelled:?}"
    );
}

#[tokio::test]
async fn a_watch_ends_with_its_user_and_when_authentication_is_enabled() {
    let users = Users::start(1).await;
    let root = users.user("root").await;
    let mut watching = Watching::open(&users.user("both").await).await;
    assert!(!watching.create("a/1", b"").await.canceled);
    let name = "both".to_owned();
    root.auth()
        .user_delete(AuthUserDeleteRequest { name })
        .await
        .unwrap();
    assert!(watching.next().await.canceled);
    root.auth()
        .auth_disable(AuthDisableRequest {})
        .await
        .unwrap();
    let nobody = users.nobody();
    let mut watching = Watching::open(&nobody).await;
    assert!(!watching.create("a/1", b"").await.canceled);
    nobody
        .auth()
        .auth_enable(AuthEnableRequest {})
        .await
        .unwrap();
    let cancelled = watching.next().await;
    assert!(
        cancelled.cancel_reason.ends_with("user name is empty"),
        "{cancelled:?}"
    );
}

#[tokio::test]
async fn renewals_of_many_users_are_each_their_own() {
    let users = Users::start(3).await;
    let mut streams = Vec::new();
    for name in ["writer", "both", "guest"] {
        let user = users.user(name).await;
        let grant = LeaseGrantRequest { ttl: 600, id: 0 };
        let lease = user
            .lease()
            .lease_grant(grant)
            .await
            .unwrap()
            .into_inner()
            .id;
        if name != "guest" {
            put(&user, &format!("a/{name}"), lease).await.unwrap();
        }
        let (requests, sent) = mpsc::channel(16);
        let responses = user
            .lease()
            .lease_keep_alive(ReceiverStream::new(sent))
            .await;
        streams.push((lease, requests, responses.unwrap().into_inner()));
    }
    let leases: Vec<i64> = streams.iter().map(|(lease, ..)| *lease).collect();
    for round in 0..20 {
        for (lease, requests, _) in &streams {
            let request = LeaseKeepAliveRequest { id: *lease };
            requests.send(request).await.unwrap();
        }
        if round == 7 {
            // Permissions change while renewals are on their way.
            users.user("root").await.add_user("late").await;
        }
        for (lease, _, responses) in &mut streams {
            let renewed = responses.next().await.unwrap().unwrap();
            assert_eq!((renewed.id, renewed.ttl), (*lease, 600));
        }
    }
    // A lease with keys of others is not renewed.
    let (_, requests, responses) = &mut streams[2];
    requests
        .send(LeaseKeepAliveRequest { id: leases[0] })
        .await
        .unwrap();
    let status = responses.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    // Of leases a user sees those whose keys it may read.
    let seen = async |name: &str| {
        let user = users.user(name).await;
        let found = user.lease().lease_leases(LeaseLeasesRequest {}).await;
        let found = found.unwrap().into_inner().leases;
        let mut found: Vec<i64> = found.iter().map(|lease| lease.id).collect();
        found.sort_unstable();
        found
    };
    let mut all = leases.clone();
    all.sort_unstable();
    assert_eq!(seen("reader").await, all);
    assert_eq!(seen("guest").await, [leases[2]]);
    let keys_of = async |name: &str, id: i64| {
        let user = users.user(name).await;
        let request = LeaseTimeToLiveRequest { id, keys: true };
        user.lease().lease_time_to_live(request).await
    };
    assert_eq!(
        keys_of("reader", leases[0])
            .await
            .unwrap()
            .into_inner()
            .keys,
        ["a/writer"]
    );
    let refused = keys_of("guest", leases[0]).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}
