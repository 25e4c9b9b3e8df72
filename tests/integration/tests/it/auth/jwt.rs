//! JSON web tokens: good on every member, of use for nothing once users or roles have changed; and
//! members that can verify them only.

use std::{fs, io::Write as _, path::Path, process::Command};

use tenure_proto::etcdserverpb::{
    AuthRoleAddRequest, AuthUserListRequest, LeaseGrantRequest, PutRequest, RangeRequest,
};
use tenure_testkit::{Cluster, STATE_MAX, find_program, wait_until};
use tonic::{Code, Status};

use super::setup::{User, Users};

const OLD: &str = "etcdserver: revision of auth store is old";

async fn get(user: &User) -> Result<(), Status> {
    let get = RangeRequest {
        key: "a/1".into(),
        ..RangeRequest::default()
    };
    user.kv().range(get).await.map(drop)
}

async fn list(user: &User) -> Result<(), Status> {
    user.auth()
        .user_list(AuthUserListRequest {})
        .await
        .map(drop)
}

fn text(answer: Result<(), Status>) -> String {
    answer.unwrap_err().message().to_owned()
}

/// Without a number: in etcd an old token of root manages users until it ends.
#[tokio::test]
async fn an_old_token_is_of_no_use_for_keys_nor_for_administration() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "a secret that the members share, of some length").unwrap();
    let provider = format!("jwt,sign-method=HS256,priv-key={},ttl=10m", key.display());
    let builder = Cluster::builder(3).flag("--auth-token", &provider);
    let users = Users::enable(builder.start().await).await;
    let token = users.token("root").await;
    assert_eq!(token.split('.').count(), 3, "{token}");
    for address in users.cluster.addresses() {
        let root = User::on(&address, Some(&token));
        wait_until("the member knows the users", STATE_MAX, async || {
            get(&root).await
        })
        .await;
        list(&root).await.unwrap();
    }
    let root = User::on(users.cluster.node(0).address(), Some(&token));
    root.set_password("guest", "another").await;
    assert_eq!(text(get(&root).await), OLD);
    assert_eq!(text(list(&root).await), OLD);
    let name = "mine".to_owned();
    let added = root.auth().role_add(AuthRoleAddRequest { name }).await;
    assert_eq!(added.unwrap_err().message(), OLD);
    let put = PutRequest {
        key: "k".into(),
        ..PutRequest::default()
    };
    assert_eq!(root.kv().put(put).await.unwrap_err().message(), OLD);
    let grant = LeaseGrantRequest { ttl: 60, id: 0 };
    assert_eq!(
        root.lease().lease_grant(grant).await.unwrap_err().message(),
        OLD
    );
    get(&users.user("root").await).await.unwrap();
}

/// Makes a pair of keys; `None`, said loudly, without openssl.
fn pair(folder: &Path) -> Option<[String; 2]> {
    let Some(openssl) = find_program("openssl") else {
        // Past the capture of a passing test: a skipped check must be seen.
        _ = std::io::stderr().write_all(b"SKIPPED: openssl is not installed\n");
        return None;
    };
    let [private, public] = ["private.pem", "public.pem"].map(|name| {
        let path = folder.join(name);
        path.display().to_string()
    });
    for line in [
        format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {private}"),
        format!("pkey -in {private} -pubout -out {public}"),
    ] {
        let ran = Command::new(&openssl)
            .args(line.split(' '))
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
    Some([private, public])
}

/// In etcd such a member is unhealthy, and its leases do not end.
#[tokio::test]
async fn a_member_that_only_verifies_serves_and_ends_leases() {
    let folder = tempfile::tempdir().unwrap();
    let Some([private, public]) = pair(folder.path()) else {
        return;
    };
    let options = "jwt,sign-method=ES256,ttl=10m";
    let verifies = format!("{options},pub-key={public}");
    let signs = format!("{verifies},priv-key={private}");
    let builder = Cluster::builder(3)
        .node_flag(0, "--auth-token", &signs)
        .node_flag(1, "--auth-token", &verifies)
        .node_flag(2, "--auth-token", &verifies);
    let users = Users::enable(builder.start().await).await;
    let token = users.token("root").await;
    for node in 1..3 {
        let address = users.cluster.node(node).address();
        let root = User::on(address, Some(&token));
        wait_until("the member knows the users", STATE_MAX, async || {
            get(&root).await
        })
        .await;
        let nobody = User::on(address, None);
        let status = nobody.try_log_in("root", super::setup::PASSWORD).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::Unknown);
        assert_eq!(
            status.message(),
            "auth: token signing attempted with verify-only key"
        );
        let health = users.cluster.node(node).page("/health").await;
        assert!(format!("{health:?}").contains("true"), "{health:?}");
    }
    let root = users.user("root").await;
    let grant = LeaseGrantRequest { ttl: 1, id: 0 };
    let lease = root
        .lease()
        .lease_grant(grant)
        .await
        .unwrap()
        .into_inner()
        .id;
    let put = PutRequest {
        key: "leased".into(),
        lease,
        ..PutRequest::default()
    };
    root.kv().put(put).await.unwrap();
    wait_until("the lease ends", STATE_MAX, async || {
        let get = RangeRequest {
            key: "leased".into(),
            ..RangeRequest::default()
        };
        match root.kv().range(get).await.unwrap().into_inner().count {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
}
