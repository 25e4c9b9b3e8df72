//! The etcdctl that people have: users and roles.

use tenure_testkit::{Cluster, STATE_MAX, Tool, wait_until};

async fn ok(etcdctl: &Tool, arguments: &[&str]) -> String {
    etcdctl.run(arguments).await.ok()
}

async fn refusal(etcdctl: &Tool, arguments: &[&str]) -> String {
    let ran = etcdctl.run(arguments).await;
    assert_ne!(ran.code, Some(0), "{arguments:?} was to fail: {ran:?}");
    ran.err
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn etcdctl_administers_users_and_roles_and_works_as_one() {
    if Tool::etcdctl(&[]).is_none() {
        return;
    }
    let cluster = Cluster::start(3).await;
    let ctl = Tool::etcdctl(&cluster.addresses()).unwrap();
    wait_until("a role can be added", STATE_MAX, async || {
        let ran = ctl.run(&["role", "add", "first"]).await;
        if ran.code == Some(0) {
            Ok(())
        } else {
            Err(ran.err)
        }
    })
    .await;
    assert_eq!(
        ok(&ctl, &["user", "add", "root:secret"]).await,
        "User root created\n"
    );
    assert!(
        refusal(&ctl, &["user", "add", "root:x"])
            .await
            .contains("user name already exists")
    );
    assert_eq!(
        ok(&ctl, &["role", "add", "app"]).await,
        "Role app created\n"
    );
    let permission = [
        "role",
        "grant-permission",
        "app",
        "readwrite",
        "app/",
        "--prefix",
    ];
    ok(&ctl, &permission).await;
    let shown = ok(&ctl, &["role", "get", "app"]).await;
    assert!(shown.contains("[app/, app0) (prefix app/)"), "{shown}");
    ok(&ctl, &["user", "add", "ann:pass"]).await;
    ok(&ctl, &["user", "grant-role", "ann", "app"]).await;
    assert_eq!(ok(&ctl, &["user", "list"]).await, "ann\nroot\n");
    assert_eq!(ok(&ctl, &["role", "list"]).await, "app\nfirst\n");
    // Adds the role root itself.
    assert_eq!(
        ok(&ctl, &["auth", "enable"]).await,
        "Authentication Enabled\n"
    );
    assert!(
        refusal(&ctl, &["put", "app/1", "v"])
            .await
            .contains("user name is empty")
    );
    let ann = ctl.clone().with(&["--user", "ann:pass"]);
    let root = ctl.clone().with(&["--user", "root:secret"]);
    assert_eq!(ok(&ann, &["put", "app/1", "v"]).await, "OK\n");
    assert_eq!(
        ok(&ann, &["get", "app/1", "--print-value-only"]).await,
        "v\n"
    );
    assert!(
        refusal(&ann, &["put", "other", "v"])
            .await
            .contains("permission denied")
    );
    assert!(
        refusal(&ann, &["user", "list"])
            .await
            .contains("permission denied")
    );
    let wrong = ctl.clone().with(&["--user", "ann:wrong"]);
    let text = refusal(&wrong, &["get", "app/1"]).await;
    assert!(
        text.contains("authentication failed, invalid user ID or password"),
        "{text}"
    );
    assert_eq!(ok(&root, &["put", "other", "v"]).await, "OK\n");
    assert!(ok(&root, &["user", "get", "ann"]).await.contains("app"));
    ok(
        &root,
        &["role", "revoke-permission", "app", "app/", "--prefix"],
    )
    .await;
    assert!(
        refusal(&ann, &["get", "app/1"])
            .await
            .contains("permission denied")
    );
    ok(&root, &["user", "revoke-role", "ann", "app"]).await;
    ok(&root, &["role", "delete", "app"]).await;
    ok(&root, &["user", "delete", "ann"]).await;
    assert!(
        refusal(&root, &["user", "delete", "root"])
            .await
            .contains("invalid auth management")
    );
    assert_eq!(
        ok(&root, &["auth", "disable"]).await,
        "Authentication Disabled\n"
    );
    assert_eq!(
        ok(&ctl, &["get", "other", "--print-value-only"]).await,
        "v\n"
    );
}
