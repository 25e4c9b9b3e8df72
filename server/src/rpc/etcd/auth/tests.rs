//! The service against a node of one process, through all layers of the port.

use std::sync::Arc;

use tenure_proto::{
    authpb,
    etcdserverpb::{
        self as wire, RangeRequest, auth_client::AuthClient, kv_client::KvClient,
        lease_client::LeaseClient,
    },
};
use tenure_statemachine::{AuthChange, Command, FeatureLevel, Principal, Put, Refusal, by_system};
use tonic::{Request, Status};

use crate::rpc::{
    Limits, Reason,
    answer::status::reason_of,
    fake::{FakeNode, connected},
};

const PASSWORD: &str = "correct horse";

struct Served {
    node: Arc<FakeNode>,
    channel: tonic::transport::Channel,
}

/// A node on which authentication is enabled, with the users `root` and `ann`, who may read and
/// write from `a` to before `b`.
async fn served() -> Served {
    let node = FakeNode::leading();
    node.apply(&Command::RaiseLevel(FeatureLevel::NEWEST));
    let channel = connected(node.services(Limits::standard())).await;
    let served = Served { node, channel };
    let mut auth = served.auth();
    for name in ["root", "ann"] {
        let request = wire::AuthUserAddRequest {
            name: name.to_owned(),
            password: PASSWORD.to_owned(),
            ..Default::default()
        };
        auth.user_add(request).await.expect("added");
    }
    let name = "app".to_owned();
    auth.role_add(wire::AuthRoleAddRequest { name })
        .await
        .expect("added");
    let permission = wire::AuthRoleGrantPermissionRequest {
        name: "app".to_owned(),
        perm: Some(authpb::Permission {
            perm_type: authpb::permission::Type::Readwrite.into(),
            key: "a".into(),
            range_end: "b".into(),
        }),
    };
    auth.role_grant_permission(permission)
        .await
        .expect("granted");
    for (user, role) in [("root", "root"), ("ann", "app")] {
        let request = wire::AuthUserGrantRoleRequest {
            user: user.to_owned(),
            role: role.to_owned(),
        };
        auth.user_grant_role(request).await.expect("granted");
    }
    auth.auth_enable(wire::AuthEnableRequest {})
        .await
        .expect("enabled");
    served
}

fn reason<T>(answer: Result<T, Status>) -> Option<Reason> {
    reason_of(&answer.err()?)
}

impl Served {
    fn auth(&self) -> AuthClient<tonic::transport::Channel> {
        AuthClient::new(self.channel.clone())
    }

    async fn token(&self, name: &str) -> String {
        let request = wire::AuthenticateRequest {
            name: name.to_owned(),
            password: PASSWORD.to_owned(),
        };
        let answer = self.auth().authenticate(request).await;
        answer.expect("logged in").into_inner().token
    }

    async fn put(&self, token: Option<&str>, key: &str) -> Option<Reason> {
        let request = wire::PutRequest {
            key: key.to_owned().into(),
            ..Default::default()
        };
        let mut request = Request::new(request);
        if let Some(token) = token {
            let token = token.parse().expect("a token is ascii");
            request.metadata_mut().insert("token", token);
        }
        reason(KvClient::new(self.channel.clone()).put(request).await)
    }
}

#[tokio::test]
async fn a_command_is_proposed_for_its_user_at_the_auth_revision_of_its_check() {
    let served = served().await;
    let token = served.token("ann").await;
    assert_eq!(served.put(Some(&token), "a").await, None);
    let proposed = served.node.proposals.lock().last().cloned();
    let Some(Command::By(by)) = proposed else {
        panic!("{proposed:?} has no principal")
    };
    let Principal::User {
        name,
        auth_revision,
    } = by.principal
    else {
        panic!("the principal is no user")
    };
    assert_eq!((name.as_str(), auth_revision.0), ("ann", 7));
    let proposals = served.node.proposals.lock().len();
    assert_eq!(
        served.put(Some(&token), "b").await,
        Some(Reason::PermissionDenied)
    );
    assert_eq!(served.put(None, "a").await, Some(Reason::UserEmpty));
    assert_eq!(
        served.put(Some("nonsense"), "a").await,
        Some(Reason::InvalidAuthToken)
    );
    assert_eq!(
        served.node.proposals.lock().len(),
        proposals,
        "nothing was proposed"
    );
}

#[tokio::test]
async fn a_write_is_checked_again_when_permissions_change_on_its_way() {
    let served = served().await;
    let token = served.token("ann").await;
    served.node.is_stalled.send_replace(true);
    let change = async {
        // The put waits to be applied.
        let is_put = |command: &Command| match command {
            Command::By(by) => matches!(by.command, Command::Put(_)),
            _ => false,
        };
        while !served.node.proposals.lock().last().is_some_and(is_put) {
            tokio::task::yield_now().await;
        }
        let user = "late".to_owned();
        let add = AuthChange::UserAdd {
            user,
            password: None,
        };
        let done = served.node.apply(&by_system(add.into()));
        assert!(done.reply.is_ok());
        served.node.is_stalled.send_replace(false);
    };
    let (done, ()) = tokio::join!(served.put(Some(&token), "a"), change);
    assert_eq!(done, None);
    assert_eq!(served.node.keys(), ["a"]);
}

#[tokio::test]
async fn a_command_that_was_admitted_before_authentication_was_enabled_is_refused() {
    let served = served().await;
    let put = Command::Put(Put {
        key: "a".into(),
        ..Put::default()
    });
    let refused = served.node.apply(&put).reply;
    assert_eq!(refused, Err(Refusal::UserEmpty));
}

#[tokio::test]
async fn a_log_in_after_a_restore_makes_a_secret() {
    let served = served().await;
    served.node.forget_token_secret();
    let old = served.put(Some("signed.x"), "a").await;
    assert_eq!(old, Some(Reason::InvalidAuthToken));
    let token = served.token("ann").await;
    assert_eq!(served.put(Some(&token), "a").await, None);
}

#[tokio::test]
async fn services_beside_keys_are_admitted_by_the_same_layer() {
    let served = served().await;
    let mut leases = LeaseClient::new(served.channel.clone());
    let granted = leases
        .lease_grant(wire::LeaseGrantRequest { ttl: 60, id: 0 })
        .await;
    assert_eq!(reason(granted), Some(Reason::UserEmpty));
    let listed = served.auth().user_list(wire::AuthUserListRequest {}).await;
    assert_eq!(reason(listed), Some(Reason::UserEmpty));
    let range = RangeRequest {
        key: "a".into(),
        ..Default::default()
    };
    let read = KvClient::new(served.channel.clone()).range(range).await;
    assert_eq!(reason(read), Some(Reason::UserEmpty));
}
