//! What is refused leaves a line that says what was asked for; an unknown request is no other.

use tenure_proto::{
    authpb::{Permission, permission::Type},
    etcdserverpb::{
        AlarmRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest, CompactionRequest,
        MemberAddRequest, alarm_request::AlarmAction, cluster_client::ClusterClient,
        maintenance_client::MaintenanceClient,
    },
    v1::{self, lock_client::LockClient},
};
use tenure_testkit::Cluster;
use tonic::Code;

use super::setup::{User, Users};

const DENIED: Code = Code::PermissionDenied;

/// The lines of an audit log about one action.
fn lines(text: &str, action: &str) -> Vec<serde_json::Value> {
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines = lines.filter(|line: &serde_json::Value| line["action"] == action);
    lines.collect()
}

/// Acts that `guest` may not do, of every kind of detail.
async fn try_all(guest: &User) {
    let code = |status: tonic::Status| status.code();
    let add = AuthUserAddRequest {
        name: "mallory".to_owned(),
        password: "hunter2-of-mallory".to_owned(),
        ..AuthUserAddRequest::default()
    };
    let refused = guest.auth().user_add(add).await.map(drop).map_err(code);
    assert_eq!(refused, Err(DENIED));
    let grant = AuthRoleGrantPermissionRequest {
        name: "reader".to_owned(),
        perm: Some(Permission {
            perm_type: Type::Write.into(),
            key: "secrets/".into(),
            range_end: "secrets0".into(),
        }),
    };
    let refused = guest.auth().role_grant_permission(grant).await;
    assert_eq!(refused.map(drop).map_err(code), Err(DENIED));
    let refused = guest.kv().compact(compact()).await;
    assert_eq!(refused.map(drop).map_err(code), Err(DENIED));
    let add = MemberAddRequest {
        peer_ur_ls: vec!["http://10.9.8.7:2380".to_owned()],
        ..MemberAddRequest::default()
    };
    let refused = ClusterClient::new(guest.called()).member_add(add).await;
    assert_eq!(refused.map(drop).map_err(code), Err(DENIED));
    let force = v1::ForceReleaseRequest {
        name: "jobs/42".into(),
        token: 3,
        reason: "mine".to_owned(),
        options: None,
    };
    let refused = LockClient::new(guest.called()).force_release(force).await;
    assert_eq!(refused.map(drop).map_err(code), Err(DENIED));
}

/// Of a revision that does not exist, so that root is refused for another reason.
fn compact() -> CompactionRequest {
    CompactionRequest {
        revision: 7,
        ..CompactionRequest::default()
    }
}

#[tokio::test]
async fn a_refused_act_leaves_a_line_with_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let cluster = Cluster::builder(1).flag("--audit-log", &file.display().to_string());
    let mut users = Users::enable(cluster.start().await).await;
    let guest = users.user("guest").await;
    try_all(&guest).await;
    // Of what was admitted, too.
    let root = users.user("root").await;
    let failed = root.kv().compact(compact()).await.unwrap_err();
    assert_eq!(failed.code(), Code::OutOfRange);
    // Every line is written then.
    users.cluster.node_mut(0).terminate().await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("hunter2-of-mallory"), "{text}");
    for (action, name, value) in [
        ("Auth/UserAdd", "name", "mallory"),
        ("Auth/RoleGrantPermission", "key", "secrets/"),
        ("Auth/RoleGrantPermission", "range_end", "secrets0"),
        ("Auth/RoleGrantPermission", "role", "reader"),
        ("KV/Compact", "revision", "7"),
        ("Cluster/MemberAdd", "peer_urls", "http://10.9.8.7:2380"),
        ("Lock/ForceRelease", "name", "jobs/42"),
    ] {
        let found = lines(&text, action);
        let found = found.iter().find(|line| line["user"] == "guest");
        let found = found.unwrap_or_else(|| panic!("no line about {action}: {text}"));
        assert_eq!(found["details"][name], value, "{found}");
        assert_eq!(found["result"], "refused", "{found}");
        assert!(found["peer"].is_string(), "{found}");
    }
    let of_root = lines(&text, "KV/Compact");
    let of_root = of_root.iter().find(|line| line["user"] == "root").unwrap();
    assert_eq!(of_root["details"]["revision"], "7", "{of_root}");
}

/// etcd's member crashes on it.
#[tokio::test]
async fn an_alarm_request_with_an_unknown_action_is_refused_and_changes_nothing() {
    let users = Users::start(1).await;
    for name in ["root", "guest"] {
        let user: User = users.user(name).await;
        let mut client = MaintenanceClient::new(user.called());
        for (action, alarm) in [(3, 0), (7, 1), (-1, 1)] {
            let request = AlarmRequest {
                action,
                alarm,
                member_id: 1,
            };
            let refused = client.alarm(request).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{action}");
            assert_eq!(
                refused.message(),
                "tenure: action of the alarm request is unknown"
            );
        }
        let list = AlarmRequest {
            action: AlarmAction::Get.into(),
            ..AlarmRequest::default()
        };
        let alarms = client.alarm(list).await.unwrap().into_inner().alarms;
        assert_eq!(alarms, []);
    }
}
