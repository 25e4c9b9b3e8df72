//! Waits for locks and elections: they end with the permission, and leave nothing in the queue.

use std::future::Future;

use tenure_proto::{
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, AuthUserDeleteRequest, AuthUserRevokeRoleRequest,
        LeaseGrantRequest,
    },
    v1::{self, acquire_response::State, election_client::ElectionClient, lock_client::LockClient},
    v3electionpb::{CampaignRequest, election_client::ElectionClient as EtcdElectionClient},
    v3lockpb::{LockRequest, lock_client::LockClient as EtcdLockClient},
};
use tenure_testkit::{STATE_MAX, wait_until};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};

use super::setup::{User, Users};

const NAME: &str = "a/lock";

async fn lease(user: &User) -> i64 {
    let grant = LeaseGrantRequest { ttl: 600, id: 0 };
    user.lease()
        .lease_grant(grant)
        .await
        .unwrap()
        .into_inner()
        .id
}

async fn request(user: &User, key: &str) -> v1::AcquireRequest {
    v1::AcquireRequest {
        names: vec![NAME.into()],
        lease: lease(user).await,
        options: (!key.is_empty()).then(|| v1::WriteOptions {
            idempotency_key: key.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Holds the lock; returns its token.
async fn hold(root: &User) -> i64 {
    let stream = LockClient::new(root.called())
        .acquire(request(root, "").await)
        .await;
    let first = stream.unwrap().into_inner().next().await.unwrap().unwrap();
    match first.state {
        Some(State::Granted(granted)) => granted.claims[0].token,
        other => panic!("{other:?}"),
    }
}

async fn release(root: &User, token: i64) {
    let name = NAME.into();
    let release = v1::ReleaseRequest {
        name,
        token,
        options: None,
    };
    LockClient::new(root.called())
        .release(release)
        .await
        .unwrap();
}

/// How many wait for the lock, and how many hold it.
async fn queue(root: &User) -> (u32, usize) {
    let inspect = v1::InspectRequest {
        name: NAME.into(),
        limit: 10,
    };
    let found = LockClient::new(root.called()).inspect(inspect).await;
    let found = found.unwrap().into_inner();
    (found.waiting, found.holders.len())
}

async fn queued(root: &User, expected: (u32, usize)) {
    wait_until(
        "the queue is as expected",
        STATE_MAX,
        async || match queue(root).await {
            found if found == expected => Ok(()),
            found => Err(format!("{found:?}")),
        },
    )
    .await;
}

/// The end of a stream of an acquisition.
async fn end<T>(mut stream: Streaming<T>) -> Result<(), Status> {
    let mut last = Ok(());
    while let Some(next) = stream.next().await {
        last = next.map(drop);
    }
    last
}

fn spawn(
    wait: impl Future<Output = Result<(), Status>> + Send + 'static,
) -> JoinHandle<Result<(), Status>> {
    tokio::spawn(wait)
}

/// Every kind of wait, with and without a request id.
async fn waits(both: &User) -> Vec<JoinHandle<Result<(), Status>>> {
    let mut waits = Vec::new();
    for key in ["", "a key"] {
        let (user, request) = (both.clone(), request(both, key).await);
        waits.push(spawn(async move {
            let stream = LockClient::new(user.called()).acquire(request).await?;
            end(stream.into_inner()).await
        }));
    }
    let (user, lease_id) = (both.clone(), lease(both).await);
    waits.push(spawn(async move {
        let campaign = v1::CampaignRequest {
            name: NAME.into(),
            lease: lease_id,
            ..Default::default()
        };
        let stream = ElectionClient::new(user.called())
            .campaign(campaign)
            .await?;
        end(stream.into_inner()).await
    }));
    let (user, lease_id) = (both.clone(), lease(both).await);
    waits.push(spawn(async move {
        let lock = LockRequest {
            name: NAME.into(),
            lease: lease_id,
        };
        let locked = EtcdLockClient::new(user.called()).lock(lock).await;
        locked.map(drop)
    }));
    let (user, lease_id) = (both.clone(), lease(both).await);
    waits.push(spawn(async move {
        let campaign = CampaignRequest {
            name: NAME.into(),
            lease: lease_id,
            ..Default::default()
        };
        let elected = EtcdElectionClient::new(user.called())
            .campaign(campaign)
            .await;
        elected.map(drop)
    }));
    waits
}

async fn ended_with(waits: Vec<JoinHandle<Result<(), Status>>>, code: Code) {
    for (number, wait) in waits.into_iter().enumerate() {
        let ended = wait.await.unwrap().map_err(|status| status.code());
        assert_eq!(ended, Err(code), "wait {number}");
    }
}

#[tokio::test]
async fn every_wait_for_a_lock_ends_when_the_role_is_taken_and_nobody_is_granted() {
    let users = Users::start(3).await;
    let root = users.user("root").await;
    // On another member than the one on which permissions are changed.
    let token = users.token("both").await;
    let both = User::on(users.cluster.node(2).address(), Some(&token));
    let held = hold(&root).await;
    let waits = waits(&both).await;
    queued(&root, (5, 1)).await;
    let revoke = AuthUserRevokeRoleRequest {
        name: "both".to_owned(),
        role: "both".to_owned(),
    };
    root.auth().user_revoke_role(revoke).await.unwrap();
    ended_with(waits, Code::PermissionDenied).await;
    // The request id does not keep its claim in the queue.
    queued(&root, (0, 1)).await;
    release(&root, held).await;
    queued(&root, (0, 0)).await;
}

#[tokio::test]
async fn a_release_right_after_the_role_was_taken_leaves_the_lock_to_none_of_its_users() {
    let users = Users::start(1).await;
    let (root, both) = (users.user("root").await, users.user("both").await);
    let held = hold(&root).await;
    let waits = waits(&both).await;
    queued(&root, (5, 1)).await;
    let revoke = AuthUserRevokeRoleRequest {
        name: "both".to_owned(),
        role: "both".to_owned(),
    };
    root.auth().user_revoke_role(revoke).await.unwrap();
    release(&root, held).await;
    ended_with(waits, Code::PermissionDenied).await;
    queued(&root, (0, 0)).await;
    hold(&root).await;
}

#[tokio::test]
async fn every_wait_for_a_lock_ends_with_its_user_and_with_its_token() {
    let users = Users::start(1).await;
    let (root, both) = (users.user("root").await, users.user("both").await);
    let held = hold(&root).await;
    let of_both = waits(&both).await;
    queued(&root, (5, 1)).await;
    let name = "both".to_owned();
    root.auth()
        .user_delete(AuthUserDeleteRequest { name })
        .await
        .unwrap();
    ended_with(of_both, Code::Unauthenticated).await;
    queued(&root, (0, 1)).await;
    // A new secret, and so no token of before, although users and roles are the same.
    root.grant_role("guest", "both").await;
    let guest = users.user("guest").await;
    let of_guest = waits(&guest).await;
    queued(&root, (5, 1)).await;
    root.auth()
        .auth_disable(AuthDisableRequest {})
        .await
        .unwrap();
    let nobody = users.nobody();
    nobody
        .auth()
        .auth_enable(AuthEnableRequest {})
        .await
        .unwrap();
    ended_with(of_guest, Code::Unauthenticated).await;
    let root = users.user("root").await;
    queued(&root, (0, 1)).await;
    release(&root, held).await;
}
