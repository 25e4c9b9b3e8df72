//! Users in snapshots: they survive a restore here and at etcd, tokens do not; and in mirrors and
//! moves, which log in at both ends.

use tenure_proto::etcdserverpb::RangeRequest;
use tenure_testkit::{Cluster, STATE_MAX, Tool, tenurectl, wait_until};

use super::{
    setup::{PASSWORD, User, Users},
    tenurectl::start,
};
use crate::backup::restored;

async fn get(user: &User) -> Result<(), tonic::Status> {
    let get = RangeRequest {
        key: "a/1".into(),
        ..RangeRequest::default()
    };
    user.kv().range(get).await.map(drop)
}

fn root(cluster: &Cluster) -> Tool {
    let user = format!("root:{PASSWORD}");
    let endpoint = cluster.node(0).address().to_owned();
    Tool::new(tenurectl()).with(&["--endpoints", &endpoint, "--user", &user])
}

#[tokio::test]
async fn users_survive_a_restore_and_tokens_do_not() {
    let users = Users::start(1).await;
    let old = users.token("reader").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot.db").display().to_string();
    let refused = Tool::new(tenurectl())
        .with(&["--endpoints", users.cluster.node(0).address()])
        .run(&["snapshot", "save", &file])
        .await;
    assert!(refused.err.contains("user name is empty"), "{refused:?}");
    drop(
        root(&users.cluster)
            .run(&["snapshot", "save", &file])
            .await
            .ok(),
    );

    let tool = Tool::new(tenurectl());
    let cluster = restored(1, file.as_ref(), &tool, &[]).await;
    let users = Users { cluster };
    // No token of before is good, and everybody logs in with the old password.
    let stranger = User::on(users.cluster.node(0).address(), Some(&old));
    let status = get(&stranger).await.unwrap_err();
    assert_eq!(status.message(), "etcdserver: invalid auth token");
    wait_until("users log in", STATE_MAX, async || {
        users
            .nobody()
            .try_log_in("reader", PASSWORD)
            .await
            .map(drop)
    })
    .await;
    get(&users.user("reader").await).await.unwrap();
    assert!(get(&users.user("guest").await).await.is_err());
    let wrong = users.nobody().try_log_in("reader", "wrong").await;
    assert!(wrong.is_err());
    // The token of before is still none, now that there is a secret.
    let status = get(&stranger).await.unwrap_err();
    assert_eq!(status.message(), "etcdserver: invalid auth token");
}

#[tokio::test]
async fn a_mirror_logs_in_at_both_ends() {
    let source = Users::start(1).await;
    let (destination, _) = start(1).await;
    let admin = Tool::new(tenurectl()).with(&["--endpoints", destination.node(0).address()]);
    for line in [
        "role add mirror",
        "role grant-permission mirror readwrite a/ --prefix",
        "role grant-permission mirror readwrite tenure --prefix",
        "user add mirror:pass",
        "user grant-role mirror mirror",
        "auth enable",
    ] {
        drop(admin.run(&line.split(' ').collect::<Vec<_>>()).await.ok());
    }
    drop(
        root(&source.cluster)
            .run(&["put", "a/1", "mirrored"])
            .await
            .ok(),
    );
    let reader = format!("both:{PASSWORD}");
    let from = Tool::new(tenurectl()).with(&[
        "--endpoints",
        source.cluster.node(0).address(),
        "--user",
        &reader,
    ]);
    let to = destination.node(0).address();
    let wrong = ["make-mirror", to, "--prefix", "a/", "--once"];
    let refused = from.run(&wrong).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let right = [&wrong[..], &["--dest-user", "mirror:pass"]].concat();
    drop(from.run(&right).await.ok());
    let mirrored = admin.with(&["--user", "mirror:pass"]);
    let value = mirrored
        .run(&["get", "a/1", "--print-value-only"])
        .await
        .ok();
    assert_eq!(value, "mirrored\n");
}
