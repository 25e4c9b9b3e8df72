//! Names and passwords that end up where they do not belong: in logs, metrics, lines of their own.

use tenure_proto::etcdserverpb::{AuthUserAddRequest, AuthUserListRequest, PutRequest};
use tenure_testkit::Cluster;

use super::super::setup::{PASSWORD, User, Users};

/// Typed as a name by mistake, and a password.
const SECRETS: [&str; 3] = ["hunter2-as-a-name", "hunter2-as-a-password", "hunter2-new"];

#[tokio::test]
async fn no_secret_is_in_a_log_an_error_or_a_metric() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let cluster = Cluster::builder(1)
        .flag("--log-level", "debug")
        .flag("--audit-log", &file.display().to_string());
    let users = Users::enable(cluster.start().await).await;
    let (nobody, root) = (users.nobody(), users.user("root").await);
    let mut texts = Vec::new();
    for (name, password) in [
        (SECRETS[0], PASSWORD),
        ("reader", SECRETS[1]),
        (SECRETS[0], SECRETS[1]),
    ] {
        let failed = nobody.try_log_in(name, password).await.unwrap_err();
        texts.push(format!("{failed:?}"));
    }
    root.set_password("guest", SECRETS[2]).await;
    let token = nobody.try_log_in("guest", SECRETS[2]).await.unwrap();
    let guest = User::on(users.cluster.node(0).address(), Some(&token));
    let put = PutRequest {
        key: "a/1".into(),
        value: SECRETS[2].into(),
        ..PutRequest::default()
    };
    texts.push(format!("{:?}", guest.kv().put(put).await.unwrap_err()));
    let long = AuthUserAddRequest {
        name: "long".to_owned(),
        password: format!("{}{}", SECRETS[2], "x".repeat(100)),
        ..AuthUserAddRequest::default()
    };
    texts.push(format!(
        "{:?}",
        root.auth().user_add(long).await.unwrap_err()
    ));
    let bad = User::on(users.cluster.node(0).address(), Some("hunter2.token"));
    texts.push(format!(
        "{:?}",
        bad.auth()
            .user_list(AuthUserListRequest {})
            .await
            .unwrap_err()
    ));
    let node = users.cluster.node(0);
    for page in ["/metrics", "/health", "/version", "/config"] {
        texts.push(format!("{:?}", node.page(page).await));
    }
    texts.push(node.log());
    texts.push(std::fs::read_to_string(&file).unwrap());
    for text in &texts {
        for secret in SECRETS.iter().chain(&[token.as_str(), "hunter2"]) {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}

/// A name may hold any text, and a line of the audit log is one line of JSON.
#[tokio::test]
async fn a_name_with_line_ends_writes_no_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let cluster = Cluster::builder(1).flag("--audit-log", &file.display().to_string());
    let users = Users::enable(cluster.start().await).await;
    let root = users.user("root").await;
    let name = "x\",\n{\"action\":\"Auth/AuthDisable\",\"result\":\"done\"}\n\u{1b}[2J";
    root.add_user(name).await;
    root.add_role(name).await;
    root.grant_role(name, name).await;
    let token = users.token(name).await;
    let user = User::on(users.cluster.node(0).address(), Some(&token));
    let refused = user.auth().user_list(AuthUserListRequest {}).await;
    assert!(refused.is_err());
    let mut users = users;
    // Every line is written then.
    users.cluster.node_mut(0).terminate().await;
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}")))
        .collect();
    assert!(!text.contains('\u{1b}'), "{text}");
    let actions: Vec<_> = lines
        .iter()
        .filter_map(|line| line["action"].as_str())
        .collect();
    assert!(!actions.contains(&"Auth/AuthDisable"), "{actions:?}");
    assert!(actions.contains(&"Auth/UserAdd"), "{actions:?}");
}
