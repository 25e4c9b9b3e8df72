//! Log-ins and tokens, and what etcd's client library does when one is refused.

use tenure_proto::{
    authpb::UserAddOptions,
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, AuthStatusRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserGetRequest, PutRequest, RangeRequest,
    },
};
use tonic::{Code, Status};

use super::setup::{PASSWORD, User, Users};

const FAILED: &str = "etcdserver: authentication failed, invalid user ID or password";
const INVALID: &str = "etcdserver: invalid auth token";

async fn get(user: &User) -> Result<(), Status> {
    let request = RangeRequest {
        key: "a/1".into(),
        ..RangeRequest::default()
    };
    user.kv().range(request).await.map(drop)
}

fn is(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test]
async fn a_token_is_good_on_every_member_and_over_restarts() {
    let mut users = Users::start(3).await;
    let token = users.token("reader").await;
    for address in users.cluster.addresses() {
        get(&User::on(&address, Some(&token))).await.unwrap();
    }
    for node in 0..3 {
        users.cluster.node_mut(node).terminate().await;
        users.cluster.node_mut(node).restart().await;
    }
    for address in users.cluster.addresses() {
        get(&User::on(&address, Some(&token))).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_dies_with_the_password_and_when_authentication_is_disabled() {
    let users = Users::start(1).await;
    let (root, reader) = (users.user("root").await, users.user("reader").await);
    // Other changes leave it alone.
    root.add_role("another").await;
    root.grant_role("reader", "another").await;
    get(&reader).await.unwrap();
    root.set_password("reader", "new").await;
    is(
        &get(&reader).await.unwrap_err(),
        Code::Unauthenticated,
        INVALID,
    );
    let token = users.nobody().try_log_in("reader", "new").await.unwrap();
    let reader = User::on(users.cluster.node(0).address(), Some(&token));
    get(&reader).await.unwrap();
    root.auth()
        .auth_disable(AuthDisableRequest {})
        .await
        .unwrap();
    // While it is disabled tokens are not looked at.
    get(&reader).await.unwrap();
    get(&User::on(
        users.cluster.node(0).address(),
        Some("nonsense.1"),
    ))
    .await
    .unwrap();
    users
        .nobody()
        .auth()
        .auth_enable(AuthEnableRequest {})
        .await
        .unwrap();
    is(
        &get(&reader).await.unwrap_err(),
        Code::Unauthenticated,
        INVALID,
    );
}

#[tokio::test]
async fn a_failed_log_in_says_no_more_than_that() {
    let users = Users::start(1).await;
    let nobody = users.nobody();
    let add = AuthUserAddRequest {
        name: "certified".to_owned(),
        options: Some(UserAddOptions { no_password: true }),
        ..AuthUserAddRequest::default()
    };
    users.user("root").await.auth().user_add(add).await.unwrap();
    let long = "x".repeat(100);
    for (user, password) in [
        ("reader", "wrong"),
        ("reader", ""),
        ("Reader", PASSWORD),
        ("absent", PASSWORD),
        ("", ""),
        ("certified", PASSWORD),
        ("reader", long.as_str()),
    ] {
        let failed = nobody.try_log_in(user, password).await.unwrap_err();
        is(&failed, Code::InvalidArgument, FAILED);
    }
    nobody.try_log_in("reader", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_hash_of_another_store_is_taken_over() {
    let users = Users::start(1).await;
    let root = users.user("root").await;
    // "secret", cost 4, made by another implementation.
    let change = async |hashed_password: &str| {
        let request = AuthUserChangePasswordRequest {
            name: "guest".to_owned(),
            password: String::new(),
            hashed_password: hashed_password.to_owned(),
        };
        root.auth().user_change_password(request).await
    };
    for bad in ["%", "aGFzaA=="] {
        let status = change(bad).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(
            status
                .message()
                .starts_with("tenure: hashed password is invalid")
        );
    }
    // Neither a password nor a hash: nobody logs in.
    change("").await.unwrap();
    let failed = users.nobody().try_log_in("guest", "").await.unwrap_err();
    is(&failed, Code::InvalidArgument, FAILED);
    let long = AuthUserAddRequest {
        name: "long".to_owned(),
        password: "x".repeat(73),
        ..AuthUserAddRequest::default()
    };
    let status = root.auth().user_add(long).await.unwrap_err();
    is(
        &status,
        Code::InvalidArgument,
        "tenure: password is longer than 72 bytes",
    );
}

#[tokio::test]
async fn users_ask_about_themselves_and_their_roles() {
    let users = Users::start(1).await;
    let reader = users.user("reader").await;
    let get = async |name: &str| {
        let request = AuthUserGetRequest {
            name: name.to_owned(),
        };
        let found = reader.auth().user_get(request).await;
        found.map(|found| found.into_inner().roles)
    };
    assert_eq!(get("reader").await.unwrap(), ["reader"]);
    for other in ["writer", "absent"] {
        assert_eq!(get(other).await.unwrap_err().code(), Code::PermissionDenied);
    }
    let role = async |role: &str| {
        let request = tenure_proto::etcdserverpb::AuthRoleGetRequest {
            role: role.to_owned(),
        };
        let found = reader.auth().role_get(request).await;
        found.map(|found| found.into_inner().perm.len())
    };
    assert_eq!(role("reader").await.unwrap(), 2);
    assert_eq!(
        role("writer").await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let status = users
        .nobody()
        .auth()
        .auth_status(AuthStatusRequest {})
        .await;
    let status = status.unwrap().into_inner();
    assert!(status.enabled && status.auth_revision > 1);
}

/// etcd's client logs in again when it sees one of two texts.
#[tokio::test]
async fn refusals_have_the_texts_on_which_etcds_client_logs_in_again() {
    let users = Users::start(1).await;
    let stranger = User::on(users.cluster.node(0).address(), Some("nonsense.1"));
    is(
        &get(&stranger).await.unwrap_err(),
        Code::Unauthenticated,
        INVALID,
    );
    let put = PutRequest {
        key: "a/1".into(),
        ..PutRequest::default()
    };
    let status = stranger.kv().put(put).await.unwrap_err();
    is(&status, Code::Unauthenticated, INVALID);
    let Some(tool) = tenure_testkit::Tool::etcdctl(&users.cluster.addresses()) else {
        return;
    };
    let user = format!("both:{PASSWORD}");
    let tool = tool.with(&["--user", &user]);
    assert_eq!(tool.run(&["put", "a/1", "v"]).await.ok(), "OK\n");
    assert_eq!(tool.run(&["get", "a/1"]).await.ok(), "a/1\nv\n");
}
