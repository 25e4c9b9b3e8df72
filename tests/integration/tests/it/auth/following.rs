//! Streams that follow locks, elections and services: they end when their user may not read what
//! they follow any more.

use tenure_proto::{
    etcdserverpb::{AuthUserRevokeRoleRequest, LeaseGrantRequest},
    v1::{
        self, election_client::ElectionClient, lock_client::LockClient,
        registry_client::RegistryClient,
    },
    v3electionpb::{
        CampaignRequest, LeaderRequest, election_client::ElectionClient as EtcdElectionClient,
    },
};
use tokio_stream::StreamExt;
use tonic::{Code, Streaming};

use super::setup::{User, Users};

/// The first message of a stream arrives; what follows is its end, for this reason.
async fn ends<T>(mut stream: Streaming<T>, name: &str, revoke: impl AsyncFnOnce()) {
    let first = stream.next().await;
    assert!(first.is_some_and(|it| it.is_ok()), "{name} begins");
    revoke().await;
    loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => {
                assert_eq!(status.code(), Code::PermissionDenied, "{name}: {status}");
                return;
            }
            None => panic!("{name} ended without a reason"),
        }
    }
}

/// A claim on `a/elected`, which leads it.
async fn elect(root: &User) {
    let lease = LeaseGrantRequest { ttl: 600, id: 0 };
    let lease = root.lease().lease_grant(lease).await.unwrap();
    let campaign = CampaignRequest {
        name: "a/elected".into(),
        lease: lease.into_inner().id,
        ..CampaignRequest::default()
    };
    let mut elections = EtcdElectionClient::new(root.called());
    elections.campaign(campaign).await.unwrap();
}

#[tokio::test]
async fn streams_of_claims_and_services_end_with_the_permission() {
    let users = Users::start(3).await;
    let root = users.user("root").await;
    elect(&root).await;
    // On another member than the one on which permissions are changed.
    let token = users.token("guest").await;
    let guest = User::on(users.cluster.node(2).address(), Some(&token));
    let change = async |grants: bool| {
        let (name, role) = ("guest".to_owned(), "reader".to_owned());
        if grants {
            root.grant_role(&name, &role).await;
        } else {
            let revoke = AuthUserRevokeRoleRequest { name, role };
            root.auth().user_revoke_role(revoke).await.unwrap();
        }
    };
    // A read in between: the member has applied the grant.
    let settle = async || {
        let get = tenure_proto::etcdserverpb::RangeRequest {
            key: "a/1".into(),
            ..Default::default()
        };
        guest.kv().range(get).await.unwrap();
    };
    change(true).await;
    settle().await;
    let request = LeaderRequest {
        name: "a/elected".into(),
    };
    let stream = EtcdElectionClient::new(guest.called())
        .observe(request)
        .await;
    let revoke = async || change(false).await;
    ends(stream.unwrap().into_inner(), "etcd's observe", revoke).await;

    change(true).await;
    settle().await;
    let request = v1::ObserveRequest {
        name: "a/elected".into(),
    };
    let stream = ElectionClient::new(guest.called()).observe(request).await;
    let revoke = async || change(false).await;
    ends(stream.unwrap().into_inner(), "observe", revoke).await;

    change(true).await;
    settle().await;
    let request = v1::WatchTokensRequest {
        names: vec!["a/elected".into()],
    };
    let stream = LockClient::new(guest.called()).watch_tokens(request).await;
    let revoke = async || change(false).await;
    ends(stream.unwrap().into_inner(), "tokens", revoke).await;

    change(true).await;
    settle().await;
    let request = v1::WatchEndpointsRequest {
        service: "web".to_owned(),
        ..Default::default()
    };
    let stream = RegistryClient::new(guest.called())
        .watch_endpoints(request)
        .await;
    let revoke = async || change(false).await;
    ends(stream.unwrap().into_inner(), "endpoints", revoke).await;
}
